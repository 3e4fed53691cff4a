import numpy as np
import pytest

from mlrpl_cli.core.evaluation.localization import attention_inside, pointing_hits


def test_a_peak_inside_the_object_is_a_hit_and_one_beside_it_is_not():
    attention = np.zeros((2, 4, 4), np.float32)
    attention[0, 1, 2] = attention[1, 3, 0] = 1
    masks = np.zeros((2, 16, 16), bool)
    masks[:, 4:8, 8:12] = True
    assert pointing_hits(attention, masks).tolist() == [True, False]


def test_the_share_inside_is_the_integral_of_the_map_over_the_mask():
    """Cell by cell: attention times the part of the cell that is covered."""
    random = np.random.default_rng(0)
    attention = random.random((3, 2, 4))
    masks = random.random((3, 6, 8)) < 0.4
    for m in range(3):
        inside = sum(
            attention[m, y, x] * masks[m, 3 * y : 3 * y + 3, 2 * x : 2 * x + 2].mean()
            for y in range(2)
            for x in range(4)
        )
        assert attention_inside(attention, masks)[m] == pytest.approx(inside / attention[m].sum())


@pytest.mark.filterwarnings("error")
def test_no_map_gives_no_figure_and_a_map_of_zeros_has_nothing_inside():
    none = np.zeros((0, 2, 2), np.float32), np.zeros((0, 4, 4), bool)
    assert pointing_hits(*none).shape == attention_inside(*none).shape == (0,)
    assert attention_inside(np.zeros((1, 2, 2), np.float32), np.ones((1, 4, 4), bool)).tolist() == [0.0]
