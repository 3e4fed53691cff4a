"""Pictures of labels that look wrong."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from mlrpl_cli.core.curation.check_options import CheckOptions
from mlrpl_cli.core.curation.correcting import check_labels
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.prediction.images import Unreadable
from mlrpl_cli.core.reports.names import picture_name
from mlrpl_cli.core.reports.suspects import draw_suspects
from tests.core.curation.conftest import place  # noqa: F401


def test_there_is_a_picture_of_each_image_of_the_shown_cells(place, tmp_path):  # noqa: F811
    prepared, run = place
    options = CheckOptions(run=run, data=prepared.folder, most=4, device="cpu", workers=0)
    found = check_labels(options)
    images = list(dict.fromkeys(found.checked.rows[:4].tolist()))
    drawn = list(draw_suspects(found, options, tmp_path, Silent()))
    assert drawn == [tmp_path / picture_name(path) for path in prepared.paths(images)]
    for path in drawn:
        assert isinstance(path, Path)
        with Image.open(path) as picture:
            assert picture.format == "PNG"


def test_an_image_that_cannot_be_read_is_told(place, tmp_path):  # noqa: F811
    prepared, run = place
    options = CheckOptions(run=run, data=prepared.folder, most=1, device="cpu", workers=0)
    found = check_labels(options)
    (path,) = prepared.paths(found.checked.rows[:1])
    whole = path.read_bytes()
    path.write_bytes(b"none")
    try:
        (drawn,) = draw_suspects(found, options, tmp_path, Silent())
    finally:
        path.write_bytes(whole)
    assert isinstance(drawn, Unreadable)
