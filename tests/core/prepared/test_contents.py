"""What the image files of a prepared folder hold is kept, checked when it is read, and finds images again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.files import sha256_of_file
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.prepared.contents import CONTENT, contents_of, digests_in, known_again
from mlrpl_cli.core.prepared.folder import read_prepared, write_manifest
from tests import small


def test_sizes_and_digests_are_those_of_the_files_and_read_back(tmp_path: Path) -> None:
    prepared = read_prepared(small.write_prepared(tmp_path / "prepared"))
    paths = [prepared.image_root / name for name in prepared.images]
    for hashed in (False, True):
        contents = contents_of(prepared, hashed, Silent())
        write_manifest(prepared.folder, replace(prepared, contents=contents))
        read = read_prepared(prepared.folder).contents
        assert read is not None
        assert read["bytes"].tolist() == [path.stat().st_size for path in paths]
        assert digests_in(read) == (tuple(map(sha256_of_file, paths)) if hashed else None)


def test_a_file_that_is_gone_has_no_size_and_cannot_be_hashed(tmp_path: Path) -> None:
    prepared = read_prepared(small.write_prepared(tmp_path / "prepared"))
    (prepared.image_root / prepared.images[3]).unlink()
    assert contents_of(prepared, False, Silent())["bytes"][3] == -1
    with pytest.raises(DataError, match=r"cannot read .*003\.png: No such file"):
        contents_of(prepared, True, Silent())


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(35, CONTENT),
        np.zeros(36, "i8"),
        np.array([(-2, b"")] * 36, CONTENT),
        np.array([(1, b"x" * 64)] * 36, CONTENT),
        np.array([(1, b"a" * 64)] * 35 + [(1, b"")], CONTENT),
    ],
    ids=["too few", "no sizes and digests", "a negative size", "no digest", "one digest missing"],
)
def test_what_prepare_cannot_have_written_is_damage(tmp_path: Path, wrong: np.ndarray) -> None:
    prepared = read_prepared(small.write_prepared(tmp_path / "prepared"))
    write_manifest(prepared.folder, replace(prepared, contents=contents_of(prepared, True, Silent())))
    np.save(prepared.folder / "contents.npy", wrong)
    manifest = json.loads((prepared.folder / "manifest.json").read_text())
    manifest["sha256"]["contents.npy"] = sha256_of_file(prepared.folder / "contents.npy")
    (prepared.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"contents\.npy does not hold the sizes and digests of 36 images"):
        read_prepared(prepared.folder)


def test_images_are_known_again_by_digest_or_by_a_size_that_no_other_has() -> None:
    a, b, c = (bytes(letter, "ascii") * 64 for letter in "abc")
    hashed = np.array([(1, a), (1, b)], CONTENT), np.array([(1, b), (1, b), (1, c)], CONTENT)
    assert known_again(*hashed) == 2
    sizes = [np.array([(size, b"") for size in own], CONTENT) for own in ((5, 6, 7, 7, -1), (6, 5, 5, 7, -1))]
    assert known_again(*sizes) == 1
    assert known_again(None, sizes[0]) == 0
