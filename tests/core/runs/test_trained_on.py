"""What a checkpoint says of the images and cells that its run was trained on."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mlrpl_cli.core.config import make_config
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.io.tensorfiles import write_tensors
from mlrpl_cli.core.prepared.folder import read_prepared
from mlrpl_cli.core.runs.checkpoint import FORMAT, Checkpoint, load_checkpoint, save_checkpoint
from mlrpl_cli.core.runs.trained_on import changed_images, image_tensors, images_in, joined, learnable
from mlrpl_cli.core.training.train import train
from tests import small
from tests.core.runs.test_folder import INFO, TENSORS


def digests(folder: Path, split: str) -> set[bytes]:
    """By hashlib alone."""
    prepared = read_prepared(folder)
    return {hashlib.sha256(path.read_bytes()).digest()[:16] for path in prepared.paths(prepared.rows(split))}


@pytest.fixture
def flags(tmp_path) -> dict:
    return small.write_training(tmp_path, epochs=2)


@pytest.mark.parametrize("views", [0, 1])
def test_both_checkpoints_say_the_images_by_content_and_the_known_cells(flags, views):
    run = train(make_config(flags={**flags, "views": views})).run
    folder = Path(flags["data"])
    prepared = read_prepared(folder)
    cells = prepared.observed_labels[prepared.rows("train")]
    for which in ("best", "last"):
        found = load_checkpoint(run, which)
        expected = {"trained_images": digests(folder, "train"), "selected_images": digests(folder, "validation")}
        assert images_in(found.tensors) == expected
        rows = [row.tobytes() for row in found.tensors["trained_images"].numpy()]
        paths = prepared.paths(prepared.rows("train"))
        assert rows == [hashlib.sha256(path.read_bytes()).digest()[:16] for path in paths]
        assert (found.info.known_present, found.info.known_absent) == tuple(
            tuple((cells == state).sum(axis=0).tolist()) for state in (1, -1)
        )
        assert (found.info.training_images, found.info.selection) == (24, "validation")


def test_a_run_that_goes_on_keeps_the_images_that_it_saw_before():
    """An older mlrpl went on with files that had been replaced: they count in both of their contents."""
    own, earlier = image_tensors(["bb" * 32, "aa" * 32], ["cc" * 32]), image_tensors(["00" * 32, "aa" * 32], [])
    found = joined(own, earlier)
    assert found["trained_images"].tolist() == [[0] * 16, [0xAA] * 16, [0xBB] * 16]
    assert found["selected_images"].tolist() == [[0xCC] * 16]
    assert joined(own, own)["trained_images"].tolist() == [[0xBB] * 16, [0xAA] * 16]
    assert joined(own, TENSORS) == {}


def test_changed_images_are_those_that_are_other_ones_at_their_place():
    before = image_tensors(["bb" * 32, "aa" * 32, "dd" * 32], ["cc" * 32])
    swapped = image_tensors(["aa" * 32, "bb" * 32, "dd" * 32], ["ee" * 32])
    assert changed_images(before, before, "test") == changed_images(TENSORS, before, "test") == []
    assert changed_images(before, swapped, "test") == [
        "2 of 3 training images have other content than the run was trained on",
        "1 of 1 test image have other content than the run was selected by",
    ]


def test_of_a_checkpoint_with_sorted_images_those_count_that_it_lacks():
    """As older ones are, with every content once."""
    before = image_tensors(["aa" * 32, "bb" * 32, "dd" * 32], [])
    same = image_tensors(["dd" * 32, "aa" * 32, "bb" * 32, "aa" * 32], [])
    assert changed_images(before, same, "validation") == []
    told = "1 of 2 training images have other content than the run was trained on"
    assert changed_images(before, image_tensors(["ee" * 32, "bb" * 32], []), "validation") == [told]


def test_images_in_a_checkpoint_come_back_and_none_are_none(tmp_path):
    tensors = image_tensors(["ff" * 32, "00" * 32, "ff" * 32], [])
    assert tensors["trained_images"].tolist() == [[255] * 16, [0] * 16, [255] * 16]
    assert tensors["selected_images"].shape == (0, 16)
    save_checkpoint(Checkpoint(INFO, TENSORS | tensors), tmp_path / "best.safetensors")
    assert images_in(load_checkpoint(tmp_path).tensors) == images_in(tensors)
    assert images_in(TENSORS) == {}


def test_a_checkpoint_of_format_6_is_read_and_does_not_say_what_it_was_trained_on(tmp_path):
    later = ("selection", "training_images", "known_present", "known_absent", "learns_from_unknown")
    told = {name: value for name, value in asdict(INFO).items() if name not in later}
    write_tensors(tmp_path / "best.safetensors", TENSORS, {"run": json.dumps({**told, "format": 6})})
    info = load_checkpoint(tmp_path).info
    assert (info.learnable, info.not_learnable, info.selection) == (None, (), None)
    assert FORMAT == 9


@pytest.mark.parametrize(
    ("info", "tensors", "sentence"),
    [
        ({"known_present": (1,), "known_absent": (1,)}, {}, "known cells of 1 classes for 2"),
        ({"known_present": (1, -1)}, {}, r"known_present\.1: expected .*, got -1"),
        ({}, {"trained_images": torch.zeros(2, 16)}, r"trained_images are torch\.float32 of \(2, 16\)"),
        ({}, {"selected_images": torch.zeros(2, 15, dtype=torch.uint8)}, r"selected_images are .* of \(2, 15\)"),
    ],
)
def test_what_is_no_count_of_cells_and_no_digest_is_refused_in_one_line(tmp_path, info, tensors, sentence):
    save_checkpoint(Checkpoint(replace(INFO), TENSORS | tensors), tmp_path / "best.safetensors")
    if info:
        write_tensors(tmp_path / "best.safetensors", TENSORS, {"run": json.dumps({**asdict(INFO), **info})})
    with pytest.raises(RunError, match=sentence):
        load_checkpoint(tmp_path)


def test_a_class_is_learnable_from_a_present_cell_and_one_that_counts_as_absent():
    """Columns by hand: both; no absent; no present; nothing; no absent and no unknown either."""
    cells = np.array([[1, -1, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 0], [1, 1, 1]]).T
    present, absent = ((cells == state).sum(axis=0).tolist() for state in (1, -1))
    assert learnable(present, absent, 3, from_unknown=False) == (True, False, False, False, False)
    assert learnable(present, absent, 3, from_unknown=True) == (True, True, False, False, False)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"loss": "asl"}, ("red thing", "blue thing")),
        ({"loss": "an"}, ("blue thing",)),
        ({"loss": "an", "unknown_weight": 0}, ("red thing", "blue thing")),
        ({"loss": "em"}, ("blue thing",)),
    ],
)
def test_training_names_the_classes_that_cannot_be_learned_with_its_loss(flags, options, expected):
    small.without_cells(Path(flags["data"]), red_absent=True, blue_present=True)
    summary = train(make_config(flags={**flags, **options, "epochs": 1}))
    assert summary.not_learnable == load_checkpoint(summary.run).info.not_learnable == expected
    assert summary.classes == 3
