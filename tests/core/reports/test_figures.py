import subprocess
import sys

import numpy as np
from matplotlib import colormaps
from PIL import Image

from mlrpl_cli.core.reports.figures import (
    MOST_BARS,
    draw_attention,
    draw_average_precision,
    draw_curves,
    draw_paired_bars,
    overlay,
    render,
)

GREY = np.full((40, 60, 3), 128, dtype=np.uint8)


def test_the_overlay_is_warm_where_attention_is_and_cold_elsewhere():
    attention = np.zeros((4, 6))
    attention[1, 2] = 1.0
    tinted = overlay(GREY, attention).astype(int)
    warmth = tinted[..., 0] - tinted[..., 2]  # red minus blue
    assert np.unravel_index(warmth.argmax(), warmth.shape)[0] in range(10, 20)
    assert np.unravel_index(warmth.argmax(), warmth.shape)[1] in range(20, 30)
    assert warmth[35, 55] < 0


def test_uniform_attention_tints_evenly():
    tinted = overlay(GREY, np.full((4, 6), 1 / 24))
    assert (tinted == tinted[0, 0]).all()
    assert tinted.shape == GREY.shape
    assert tinted.dtype == np.uint8


def test_a_tall_image_is_tinted_in_parts_as_one_whole():
    """By the formula over all rows at once."""
    pixels = np.random.default_rng(0).integers(0, 256, (700, 9, 3), dtype=np.uint8)
    attention = np.random.default_rng(1).random((5, 3)).astype(np.float32)
    scaled = (attention - attention.min()) / (attention.max() - attention.min())
    fine = np.asarray(Image.fromarray(scaled).resize((9, 700), Image.Resampling.BICUBIC)).clip(0, 1)
    weight = 0.6 * (0.25 + 0.75 * fine[..., None])
    expected = np.rint((1 - weight) * pixels + weight * 255 * colormaps["jet"](fine)[..., :3])
    np.testing.assert_allclose(overlay(pixels, attention), expected, atol=1)


def test_bars_of_classes_that_could_not_be_learned_are_starred():
    plain, same, starred = (
        draw_average_precision(["a", "b"], np.array([0.2, 0.9]), learnable)
        for learnable in (None, (True, True), (True, False))
    )
    assert plain == same
    assert plain != starred


def test_a_figure_has_a_row_an_image():
    maps = [np.random.default_rng(0).random((3, 2, 2))] * 2
    titles = [["a $b", "c", "d"]] * 2
    one, two = draw_attention([GREY], ["n"], maps[:1], titles[:1]), draw_attention([GREY] * 2, ["n"] * 2, maps, titles)
    assert two.width == one.width
    assert two.height == 2 * one.height


def test_curves_and_bars_are_drawn_without_any_figure_to_show():
    rows = [{"epoch": n, "loss": 1 / n, "map": None, "split": "validation"} for n in (1, 2)]
    assert draw_curves(rows).mode == "RGB"
    assert draw_average_precision(["a", "b"], np.array([np.nan, np.nan])).mode == "RGB"


def test_more_classes_make_taller_bars():
    few = draw_average_precision(["a"] * 2, np.array([0.2, 0.9]))
    many = draw_average_precision(["a"] * 40, np.linspace(0, 1, 40))
    assert many.height > few.height


def ticks(figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_bars_of_any_number_of_classes_have_the_same_height_and_say_what_they_leave_out():
    """All that fit are drawn; of more, the ends of the order, and the title says how many there are."""
    count = 20 * MOST_BARS
    names, one = [f"c{n}" for n in range(count)], np.arange(count, dtype=float) / count
    one[0] = np.nan
    full = draw_average_precision(names[:MOST_BARS], one[:MOST_BARS])
    assert draw_average_precision(names, one).size == full.size
    values = {"a": 100 * one, "b": np.full(count, 50.0)}
    figure = draw_paired_bars(names, values, "AP")
    assert len(figure.axes[0].patches) == 2 * MOST_BARS
    half = MOST_BARS // 2
    assert ticks(figure) == [f"c{n}" for n in (*range(count - 1, count - half - 1, -1), *range(half, 0, -1))]
    assert figure.axes[0].get_title() == "AP\n200 of 4,000 classes, the largest differences either way"
    few = draw_paired_bars(names[:MOST_BARS], {name: of[:MOST_BARS] for name, of in values.items()}, "AP")
    assert few.axes[0].get_title() == "AP"
    assert len(ticks(few)) == MOST_BARS


def test_long_names_are_cut():
    figure = draw_paired_bars(["x" * 10_000], {"a": np.ones(1), "b": np.ones(1)}, "AP")
    assert render(figure).width == 770
    assert len(ticks(figure)[0]) == 60


def test_a_letter_that_the_font_lacks_is_no_warning_on_the_command_line():
    code = (
        "import warnings; warnings.simplefilter('error')\n"
        "from mlrpl_cli.core.io.own_process import own_process; own_process()\n"
        "from mlrpl_cli.core.reports.figures import np, draw_average_precision\n"
        "draw_average_precision(['\u4e2d'], np.ones(1))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
