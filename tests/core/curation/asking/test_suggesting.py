"""What is asked, how it is explained, and what is written."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from mlrpl_cli.core.config import OptionsError
from mlrpl_cli.core.curation.asking.options import FORMATS, STRATEGIES, SuggestOptions
from mlrpl_cli.core.curation.asking.suggesting import suggest
from mlrpl_cli.core.curation.asking.writing import HEADER
from mlrpl_cli.core.io.errors import ConfigError, DataError
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.labels.states import UNKNOWN
from mlrpl_cli.core.prepared.folder import read_prepared, write_manifest

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def options(asked_of, tmp_path):
    def made(**given) -> SuggestOptions:
        suffix = FORMATS[given.get("format", "table")]
        told = {"data": asked_of[0], "run": asked_of[1], "out": tmp_path / f"asked{suffix}", "budget": 6}
        return SuggestOptions(device="cpu", workers=0, **{**told, **given})

    return made


def cells_of(found) -> list[tuple[str, str]]:
    return [(one.image, cell.class_name) for one in found.asked for cell in one.cells]


@pytest.mark.parametrize("by", ["cell", "image"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_only_unknown_cells_of_images_that_are_no_test_images_are_asked(asked_of, options, strategy, by):
    prepared = read_prepared(asked_of[0])
    found = suggest(options(strategy=strategy, by=by, budget=1000))
    open_cells = (prepared.observed_labels == UNKNOWN) & (np.array(prepared.splits) != TEST)[:, None]
    expected = {(prepared.images[row], prepared.classes[column]) for row, column in np.argwhere(open_cells)}
    assert set(cells_of(found)) == expected
    assert len(cells_of(found)) == found.open_cells == len(expected)
    assert [one.rank for one in found.asked] == list(range(1, len(found.asked) + 1))
    assert f"--budget 1000 is more than there is to ask: all {len(found.asked)} {by}s are listed" in found.notes


@pytest.mark.parametrize("strategy", ["balanced", "value"])
def test_labels_that_are_hidden_have_no_say(asked_of, options, strategy, tmp_path):
    """All of them turned over, and those of test images: the file stays to the byte."""
    prepared = read_prepared(asked_of[0])
    hidden = (prepared.observed_labels == UNKNOWN) | (np.array(prepared.splits) == TEST)[:, None]
    full = np.where(hidden, -prepared.full_labels, prepared.full_labels).astype(np.int8)
    observed = np.where(prepared.observed_labels == UNKNOWN, UNKNOWN, full).astype(np.int8)
    other = tmp_path / "turned"
    other.mkdir()
    write_manifest(other, replace(prepared, folder=other, full_labels=full, observed_labels=observed))
    written = []
    for data in (asked_of[0], other):
        written.append(suggest(options(data=data, strategy=strategy), overwrite=True).path.read_bytes())
    assert written[0] == written[1]


def test_a_suggestion_says_what_is_known_and_what_it_would_settle(asked_of, options):
    prepared = read_prepared(asked_of[0])
    known = prepared.observed_labels[np.array(prepared.splits) != TEST]
    found = suggest(options())
    assert (found.strategy, found.by, len(found.asked)) == ("value", "cell", 6)
    for one in found.asked:
        (cell,) = one.cells
        column = prepared.classes.index(cell.class_name)
        assert (cell.present, cell.absent) == ((known[:, column] == 1).sum(), (known[:, column] == -1).sum())
        doubt = cell.probability * (1 - cell.probability)
        assert cell.information == pytest.approx(0.5 * np.log1p(doubt * cell.deviation**2))
        assert cell.deviation_after**-2 == pytest.approx(cell.deviation**-2 + doubt)  # precisions add up
        assert one.worth == pytest.approx(cell.information)
    worths = [one.worth for one in found.asked]
    assert worths == sorted(worths, reverse=True)
    assert {one.cells[0].because for one in found.asked} == {"doubtful", "little known"}


def test_an_image_is_worth_what_its_cells_are_by_its_cost(asked_of, options):
    found = suggest(options(by="image", image_cost=2, cell_cost=0.5))
    for one in found.asked:
        assert one.cost == 2 + 0.5 * len(one.cells)
        assert one.worth == pytest.approx(sum(cell.information for cell in one.cells) / one.cost)


def test_the_table_has_a_line_for_each_cell(asked_of, options):
    found = suggest(options(by="image"))
    with found.path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0])[: len(HEADER)] == HEADER
    assert [(row["image"], row["class"]) for row in rows] == cells_of(found)
    assert [float(row["probability"]) for row in rows] == pytest.approx(
        [cell.probability for one in found.asked for cell in one.cells], rel=1e-5
    )


def test_label_studio_gets_a_task_for_each_image_with_what_to_ask(asked_of, options):
    found = suggest(options(format="labelstudio", prefix="/data/", budget=9))
    tasks = json.loads(found.path.read_text())
    asked = dict[str, list[str]]()
    for image, name in cells_of(found):
        asked.setdefault(f"/data/{image}", []).append(name)
    assert [task["data"]["image"] for task in tasks] == list(asked)
    assert [sorted(task["data"]["ask"].split(", ")) for task in tasks] == [sorted(names) for names in asked.values()]
    assert all("predictions" in task for task in tasks)


def test_fiftyone_gets_what_to_ask_with_probabilities(asked_of, options):
    found = suggest(options(format="fiftyone"))
    written = json.loads(found.path.read_text())
    names, labels = written["classes"], written["labels"]
    told = {(image, names[each["label"]]): each["confidence"] for image, of in labels.items() for each in of}
    expected = {
        (str(Path(one.image).with_suffix("")), cell.class_name): cell.probability
        for one in found.asked
        for cell in one.cells
    }
    assert told == pytest.approx(expected, abs=1e-6)


def test_cvat_gets_the_images_with_what_is_known_or_probable(asked_of, options):
    prepared = read_prepared(asked_of[0])
    found = suggest(options(format="cvat", budget=9))
    probable = {(one.image, cell.class_name) for one in found.asked for cell in one.cells if cell.probability > 0.5}
    images = {one.image for one in found.asked}
    known = {
        (prepared.images[row], prepared.classes[column]) for row, column in np.argwhere(prepared.observed_labels == 1)
    }
    tags = {
        (image.get("name"), tag.get("label"))
        for image in ElementTree.parse(found.path).iter("image")
        for tag in image.iter("tag")
    }
    assert tags == probable | {pair for pair in known if pair[0] in images}


def test_classes_that_are_known_on_one_side_are_told(asked_of, options, tmp_path):
    prepared = read_prepared(asked_of[0])
    other, observed = tmp_path / "positives", prepared.observed_labels.copy()
    learning = np.array(prepared.splits) != TEST
    observed[learning] = np.where(observed[learning] > 0, 1, UNKNOWN)
    observed[learning, 0] = UNKNOWN
    other.mkdir()
    write_manifest(other, replace(prepared, folder=other, observed_labels=observed))
    found = suggest(options(data=other))
    told = "no known {} cell, and other classes' cells stand in: {}"
    assert "1 class has " + told.format("present", "red thing") in found.notes
    assert "3 classes have " + told.format("absent", ", ".join(prepared.classes)) in found.notes
    assert "no class has known cells of both kinds: probabilities are not calibrated" in found.notes


def test_what_cannot_be_is_told_before_anything_is_read_or_written(asked_of, options, tmp_path):
    data = asked_of[0]
    for given, told in {
        "strategy": ({"strategy": "margin"}, "no strategy is called 'margin'"),
        "format": ({"format": "coco", "out": None}, "no format is called 'coco'"),
        "start": ({"start": 0.1}, "--start is for --simulate; leave it out"),
        "costs": ({"image_cost": 1}, "--image-cost is for --by image"),
        "free": ({"by": "image", "image_cost": 0, "cell_cost": 0}, "an image has to cost something"),
        "suffix": ({"out": tmp_path / "asked.json"}, "expected a file that ends in .csv"),
    }.values():
        made = options(**{**given, "format": "table"}) if "format" not in given else None
        with pytest.raises((ConfigError, OptionsError), match=told):
            suggest(made or SuggestOptions(data=data, run=asked_of[1], **given))
    (tmp_path / "asked.csv").write_text("mine")
    with pytest.raises(DataError, match=r"asked.csv is there already; --overwrite replaces it"):
        suggest(options(data=data))
    with pytest.raises(DataError, match="is in the prepared folder"):
        suggest(options(data=data, out=data / "asked.csv"))
    assert (tmp_path / "asked.csv").read_text() == "mine"


def test_without_an_unknown_cell_there_is_nothing_to_ask(asked_of, options, tmp_path):
    prepared, other = read_prepared(asked_of[0]), tmp_path / "whole"
    other.mkdir()
    write_manifest(other, replace(prepared, folder=other, observed_labels=prepared.full_labels))
    with pytest.raises(DataError, match="has no unknown cell to ask of; prepare it with --keep below 1"):
        suggest(options(data=other))
