"""A run is measured on what it has not seen, which is found out by content."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.config import make_config
from mlrpl_cli.core.evaluation.evaluate import Evaluation, as_dict, evaluate
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.prepared.folder import read_prepared, write_manifest
from mlrpl_cli.core.runs.checkpoint import load_checkpoint, save_checkpoint
from mlrpl_cli.core.runs.trained_on import IMAGE_TENSORS
from mlrpl_cli.core.training.train import train
from tests import small
from tests.reference import average_precision


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message):
        self.said.append(message)

    warn = note


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Trained on images 0 to 23; of 24 to 35 the odd ones selected, and the even ones test."""
    folder = tmp_path_factory.mktemp("trained")
    return train(make_config(flags=small.write_training(folder, epochs=1))).run


def measured(run: Path, data: Path | None = None, split: str = "test", **options) -> tuple[Evaluation, list[str]]:
    notes = Notes()
    found = evaluate(EvaluationOptions(run, data=data, split=split, workers=0, device="cpu", **options), notes)
    return found, notes.said


def with_split(run: Path, folder: Path, splits: dict[int, str]) -> Path:
    """The same images under other names in a new folder; those that `splits` does not name are test images."""
    prepared = read_prepared(run.parent / "prepared")
    names = tuple(f"{row}-renamed.png" for row in range(len(prepared.images)))
    folder.mkdir()
    for old, new in zip(prepared.images, names, strict=True):
        (folder / new).write_bytes((prepared.image_root / old).read_bytes())
    new_splits = tuple(splits.get(row, "test") for row in range(len(names)))
    labels = prepared.full_labels
    told = {"observed_labels": labels, "splits": new_splits, "images": names}
    write_manifest(folder, replace(prepared, folder=folder, image_root=folder, **told))
    return folder


def test_images_that_the_run_has_not_seen_are_all_measured_without_a_word(run):
    found, said = measured(run)
    assert (found.images, found.seen.trained_on, found.seen.selected_on, said) == (6, 0, 0, [])


def test_test_images_that_it_saw_under_another_name_are_left_out_of_every_figure(run, tmp_path):
    """All 36 are test images: what is left are those six whose figures the run's own test has."""
    found, said = measured(run, with_split(run, tmp_path / "anew", {}))
    own, _ = measured(run)
    np.testing.assert_array_equal(found.probabilities, own.probabilities)
    np.testing.assert_array_equal(found.metrics.average_precision, own.metrics.average_precision)
    assert (found.images, found.seen.trained_on, found.seen.selected_on) == (6, 24, 6)
    assert said == [
        "24 of 36 test images were training images of this run and 6 of 36 test images selected its best epoch: "
        "left out of every figure"
    ]
    told = as_dict(found)
    assert (told["images"], told["trained_on"], told["selected_on"]) == (6, 24, 6)


def test_when_all_were_trained_on_nothing_is_measured(run, tmp_path):
    new = with_split(run, tmp_path / "anew", dict.fromkeys(range(20, 36), "train"))
    with pytest.raises(RunError, match=r"nothing is left to measure in .*: 20 of 20 test images were training"):
        measured(run, new)


def test_of_validation_images_those_that_selected_are_measured(run, tmp_path):
    new = with_split(run, tmp_path / "anew", dict.fromkeys(range(10, 36), "validation"))
    found, said = measured(run, new, "validation")
    assert (found.images, found.seen.trained_on, found.seen.selected_on) == (12, 14, 6)
    assert said == ["14 of 26 validation images were training images of this run: left out of every figure"]


def test_training_images_are_measured_when_they_are_asked_for(run):
    found, said = measured(run, split="train")
    assert (found.images, found.seen.trained_on, said) == (24, 24, [])


def test_a_run_that_was_told_to_select_by_test_is_measured_there_and_it_is_told(run, tmp_path):
    flags = {"data": str(run.parent / "prepared"), "backbone": str(run.parent / "clip.safetensors"), **small.OPTIONS}
    flags |= {"run": str(tmp_path / "run"), "epochs": 1, "selection": "test"}
    found, said = measured(train(make_config(flags=flags)).run)
    assert (found.images, found.seen.selected_on) == (6, 6)
    assert said == ["the best epoch was selected by 6 of these test images: its figures are optimistic"]
    assert measured(tmp_path / "run", checkpoint="last")[1] == []


def forgetful(run: Path, folder: Path) -> Path:
    """The run with a checkpoint that does not say its images, as those of format 6."""
    old = load_checkpoint(run)
    tensors = {name: tensor for name, tensor in old.tensors.items() if name not in IMAGE_TENSORS}
    save_checkpoint(replace(old, tensors=tensors), folder / "best.safetensors")
    return folder


def test_a_run_that_does_not_say_its_images_is_measured_on_all_of_its_own_data_and_it_is_told(run, tmp_path):
    found, said = measured(forgetful(run, tmp_path))
    assert (found.images, found.seen.trained_on, found.seen.selected_on) == (6, None, None)
    assert said == [
        f"{tmp_path} does not say which images it was trained on, so all are measured; train again with this mlrpl to "
        "have them left out"
    ]


def test_a_run_that_does_not_say_its_images_is_not_measured_on_data_that_were_prepared_anew(run, tmp_path):
    prepared, old = read_prepared(run.parent / "prepared"), forgetful(run, tmp_path)
    other = with_split(run, tmp_path / "anew", {})
    with pytest.raises(RunError) as caught:
        measured(old, other)
    assert str(caught.value) == (
        f"{old} does not say which images it was trained on, and {other} has other images, splits or labels than it "
        "was trained with: its training images cannot be left out of a figure; give the data it was trained on with "
        "--data, or train again with this mlrpl"
    )
    labels = prepared.full_labels.copy()
    try:
        prepared.full_labels[:] = prepared.observed_labels
        write_manifest(prepared.folder, prepared)
        with pytest.raises(RunError, match="has other images, splits or labels than it was trained with"):
            measured(old)
        assert measured(run)[1] == []  # other labels of images that it has not seen say nothing wrong
    finally:
        prepared.full_labels[:] = labels
        write_manifest(prepared.folder, prepared)
    assert measured(old, prepared.folder)[0].images == 6


def test_a_class_that_could_not_be_learned_is_told_beside_its_figures(run, tmp_path):
    """The mAP counts it, as the protocol has it, and map_learnable does not: by the slow reference."""
    data = small.write_prepared(tmp_path / "prepared")
    small.without_cells(data, blue_present=True)
    flags = {"data": str(data), "backbone": str(run.parent / "clip.safetensors"), **small.OPTIONS, "epochs": 1}
    found, _ = measured(train(make_config(flags={**flags, "run": str(tmp_path / "run")})).run)
    prepared = read_prepared(data)
    shown = prepared.full_labels[prepared.rows("test")] == 1
    aps = [average_precision(found.probabilities[:, c], shown[:, c]) for c in range(3)]
    told = as_dict(found)
    assert (told["map"], told["map_learnable"]) == pytest.approx((np.mean(aps), np.mean(aps[:2])))
    assert told["not_learnable"] == found.not_learnable == ["blue thing"]
    assert [entry["learnable"] for entry in told["classes"]] == [True, True, False]


def test_requirements_are_judged_by_the_figures_that_are_told(run):
    wanted = ("map>=0", "ap[red thing]<=1", "op>=0", "or>=0", "of1>=0", "cp>=0", "cr>=0", "cf1_of_means>=0")
    found, _ = measured(run, require=(*wanted, "cf1_mean_of_f1>=0", "map_learnable>1"))
    told = as_dict(found)
    at = told["at_threshold"]
    expected = [told["map"], told["classes"][0]["ap"], at["op"], at["or_"], at["of1"], at["cp"], at["cr"]]
    expected += [at["cf1_of_means"], at["cf1_mean_of_f1"], told["map_learnable"]]
    assert [judged["value"] for judged in told["requirements"]] == expected
    assert [judged["met"] for judged in told["requirements"]] == [True] * 9 + [False]


def test_a_figure_that_is_not_known_fails_its_requirement_and_says_why(run, tmp_path):
    old = load_checkpoint(run)
    info = replace(old.info, known_present=None, known_absent=None)
    save_checkpoint(replace(old, info=info), tmp_path / "best.safetensors")
    found, _ = measured(tmp_path, require=("map_learnable<=1",))
    assert not found.requirements[0].met
    assert found.requirements[0].sentence == (
        "required map_learnable<=1, got not known: the run does not say which classes could be learned"
    )
