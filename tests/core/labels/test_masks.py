from __future__ import annotations

import hashlib
import random
from itertools import pairwise

import numpy as np
import pytest

from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.labels.masks import known_mask, mask_sha256, observe

VOC_2007 = 5011, 20
PROPORTIONS = [tenth / 10 for tenth in range(1, 10)]
GOLDEN = {
    0.1: "90b9d4d26415ab74dc052722af4623c304197146371559f1abdfc119f4a3f094",
    0.2: "07d1f5ce8768ae3b964cce59c823fc1f8a3477a108ffc9d1499782f1302d479b",
    0.3: "04016b0756b8f80c14345d92eabaf7aa73ff7a17fda60c4fa8c0447b45139399",
    0.4: "c6811f81e0cea27a0d262016a8cdab9ac1c069bd41ba97f06f91627ba52fabb9",
    0.5: "9233edc072b335aa418c2d28c38860c3af8ed63c6dfcea81cfd04ef3c9e66cc3",
    0.6: "6bc13d65afc8516caf7187d59c7742e9da3bed3c5f3e24f01a8278a875dc6667",
    0.7: "4b4eeac11a775f38c445f80324fc3297e9b5f1f6916c4eac8fd13839949632ad",
    0.8: "e09334dd61a2e48e8d537a2f87422d1e9dc22a5a847595659536c0937549e411",
    0.9: "bc240e756d5af11146636240ccd22113e6503eb5caf1c73713a2a42ed5adc32f",
}


def mersenne_twister(seed: int) -> random.Random:
    """Python's own MT19937 brought to the state that the generator's authors define for an integer seed."""
    state = [seed]
    for index in range(1, 624):
        state.append((1812433253 * (state[-1] ^ (state[-1] >> 30)) + index) % 2**32)
    generator = random.Random()
    generator.setstate((3, (*state, 624), None))
    return generator


@pytest.fixture(scope="module")
def draws() -> list[float]:
    generator = mersenne_twister(0)
    return [generator.random() for _ in range(VOC_2007[0] * VOC_2007[1])]


@pytest.mark.parametrize("keep", PROPORTIONS)
def test_voc_2007_mask_is_the_published_one(keep: float, draws: list[float]) -> None:
    """Reference: MT19937 of Python's standard library, seeded by hand, 53-bit doubles, compared cell by cell."""
    independent = hashlib.sha256(bytes(draw < keep for draw in draws)).hexdigest()
    assert mask_sha256(known_mask(*VOC_2007, keep)) == independent == GOLDEN[keep]


@pytest.mark.parametrize("seed", [0, 3])
def test_masks_of_growing_proportion_are_nested(seed: int) -> None:
    masks = [known_mask(200, 7, keep, seed) for keep in (*PROPORTIONS, 1.0)]
    for smaller, larger in pairwise(masks):
        assert larger[smaller].all()


def test_keeping_all_hides_nothing() -> None:
    assert known_mask(50, 4, 1.0, seed=9).all()


def test_another_seed_gives_another_mask_and_leaves_the_global_generator_alone() -> None:
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    assert (known_mask(50, 4, 0.5, seed=1) != known_mask(50, 4, 0.5, seed=2)).any()
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize(("keep", "shown"), [(0, "0"), (-0.1, "-0.1"), (1.5, "1.5"), (float("nan"), "nan")])
def test_bad_proportion_is_told(keep: float, shown: str) -> None:
    with pytest.raises(ConfigError) as error:
        known_mask(2, 2, keep)
    expected = f"the keep proportion must be above 0 and at most 1, not {shown}; for 30% type --keep 0.3"
    assert str(error.value) == expected


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_bad_seed_is_told(seed: int) -> None:
    with pytest.raises(ConfigError, match=f"^the seed must be from 0 to 4294967295, not {seed}$"):
        known_mask(2, 2, 0.5, seed)


def test_observing_hides_cells_and_reveals_none() -> None:
    """Test rows are whole wherever they stand."""
    labels = np.array([[1, -1, 0]] * 5, dtype=np.int8)
    observed, checksum = observe(labels, ("train", "test", "validation", "train", "test"), 0.5, seed=3)
    mask = known_mask(3, 3, 0.5, seed=3)
    assert observed.dtype == np.int8
    assert observed[[0, 2, 3]].tolist() == (labels[[0, 2, 3]] * mask).tolist()
    assert observed[[1, 4]].tolist() == labels[[1, 4]].tolist()
    assert checksum == mask_sha256(mask)


def test_checksum_reads_one_byte_a_cell_row_after_row() -> None:
    mask = np.array([[True, False, False], [True, True, False]])
    expected = hashlib.sha256(b"\1\0\0\1\1\0").hexdigest()
    assert mask_sha256(mask) == mask_sha256(np.asfortranarray(mask)) == expected
