"""Names on pictures and of their files, and pictures of one image."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mlrpl_cli.core.reports.names import at_most, elided, picture_name
from mlrpl_cli.core.reports.slides import MOST_PIXELS, draw_slide, panel_size


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("short.png", 9, "short.png"),
        ("holiday-in-spain-0001.jpg", 11, "holid…1.jpg"),
        ("ééééééé.png", 8, "ééé….png"),
        ("e\u0301" * 7 + ".png", 8, "ééé….png"),
        ("x\u0323\u0307" * 7, 3, "x\u0323\u0307…x\u0323\u0307".replace("x\u0323\u0307", "ẋ\u0323")),
        ("北京北京北京.jpg", 9, "北京…jpg"),
        ("a\x1b[31m\n.png", 99, "a\\x1b[31m\\n.png"),
    ],
)
def test_the_middle_of_a_long_name_is_left_out(text, columns, shown):
    found = elided(text, at_most(columns))
    assert unicodedata.normalize("NFC", found) == unicodedata.normalize("NFC", shown)


@given(st.text(max_size=60), st.integers(1, 30))
def test_a_shortened_name_fits_and_steers_nothing(text, columns):
    found = elided(text, at_most(columns))
    assert at_most(columns)(found)
    assert found.isprintable()


@given(st.text(alphabet=st.characters(exclude_characters="/\0"), min_size=1, max_size=200))
def test_the_file_of_a_picture_has_a_name_that_every_file_system_takes(name):
    if name in (".", ".."):
        return
    found = picture_name(Path("folder", name))
    assert len(found.encode()) <= 120
    assert not set(found) & set('<>:"/\\|?*\n\t ')
    assert found.isprintable()


def test_pictures_of_equal_names_in_other_folders_or_kinds_have_names_of_their_own(tmp_path):
    names = ("a/x.png", "b/x.png", "a/x.jpg", "a/X.png", "a/x\udcff.png", "a/x\udcfe.png")
    assert len({picture_name(tmp_path / name).lower() for name in names}) == len(names)
    assert picture_name(tmp_path / "a/../b/x.png") == picture_name(tmp_path / "b/x.png")


@pytest.mark.parametrize(
    ("size", "panels", "drawn"),
    [
        ((400, 200), 4, (1600, 800)),
        ((200, 400), 4, (800, 1600)),
        ((3000, 2000), 4, (3000, 2000)),
        ((20000, 10), 1, (20000, 10)),
        ((10, 1), 24, (1600, 160)),
        ((8000, 8000), 4, (4000, 4000)),
        ((8000, 8000), 24, (1633, 1633)),
    ],
)
def test_an_image_is_drawn_at_its_own_size_or_at_1600_pixels_and_within_the_limit(size, panels, drawn):
    assert panel_size(*size, panels) == drawn
    assert panels * drawn[0] * drawn[1] <= max(1.001 * MOST_PIXELS, panels * 1600**2)


def test_titles_lie_inside_their_panels():
    """Ink below each panel leaves its edges white, however long a title is."""
    image = Image.new("RGB", (1600, 800), "black")
    titles = ["W" * 500, "short", "北" * 300]
    picture = np.asarray(draw_slide(image, "n" * 400 + ".png", np.ones((3, 2, 2)), titles))
    assert picture.shape == (2 * 880, 2 * 1600 + 20, 3)
    for row in (0, 1):
        band = picture[row * 880 + 800 : (row + 1) * 880].min(axis=2)
        assert (band[[0, -1]] == 255).all()
        for left in (0, 1620):
            assert band[:, left : left + 1600].min() < 128
        assert (band[:, 1600:1620] == 255).all()
    assert (picture[:800, :1600] == 0).all()
