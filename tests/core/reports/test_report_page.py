"""A run and a sweep as one file: what it holds, that it asks for nothing, and that a name is never markup."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.curation.check_options import CheckOptions
from mlrpl_cli.core.curation.correcting import check_labels
from mlrpl_cli.core.decisions.after_training import train_and_decide
from mlrpl_cli.core.decisions.measured import measure
from mlrpl_cli.core.evaluation.evaluate import evaluate
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.io.errors import ConfigError, DataError, RunError, printable
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.states import ABSENT, UNKNOWN
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared, write_manifest
from mlrpl_cli.core.reports.html import run as page_of_a_run
from mlrpl_cli.core.reports.html.gallery import (
    MOST_CELLS,
    QUALITY,
    THUMBNAIL,
    Cell,
    Group,
    first_of_each_class,
    jpeg_uri,
    pictures,
)
from mlrpl_cli.core.reports.html.options import ReportOptions
from mlrpl_cli.core.reports.html.page import render_html
from mlrpl_cli.core.reports.html.report import write_report
from mlrpl_cli.core.runs.folder import DECISIONS, HELD_OUT
from tests import small

pytestmark = pytest.mark.usefixtures("one_thread")

HOSTILE = (
    "</script><script>alert(1)</script>",
    '" onload="alert(1)',
    "{{ 7 * 7 }}' <img src=http://x.test/a onerror=b>",
)
IMAGE = "images/\"><img src=x onerror=alert(1)>&amp;'.png"
LOADING = ("src", "href", "srcset", "action", "data", "poster", "formaction", "background", "xlink:href", "ping")


class Reader(HTMLParser):
    """What a browser makes of a page: its tags with their attributes, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, str] = {}
        self.said = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {attrs}"
        self.tags.append((tag, dict(attrs)))

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] in ("script", "style") and self.tags[-1][0] not in self.raw:
            self.raw[self.tags[-1][0]] = data
        else:
            self.said += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def shape(self) -> list[tuple[str, list[str]]]:
        """Tags and the names of their attributes, whatever these say."""
        return [(tag, list(attributes)) for tag, attributes in self.tags]


def check_alone(text: str) -> Reader:
    """Fails for a page that asks for anything, or runs any other script than ours."""
    page = Reader(text)
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        for name in LOADING:
            if name in attributes:
                start = "#" if tag == "a" else "data:image/"
                assert (attributes[name] or "").startswith(start), (tag, attributes[name])
    tags = [tag for tag, _ in page.tags]
    assert not {"link", "iframe", "object", "embed", "base", "form", "audio", "video", "use", "image"} & set(tags)
    assert (tags.count("script"), tags.count("style")) == (1, 1)
    assert "url(" not in page.raw["style"]
    assert "@import" not in page.raw["style"]
    (policy,) = [meta["content"] for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert (policy or "").startswith("default-src 'none'; img-src data:; ")
    for name in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(page.raw[name].encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}';" in (policy or "")
    identities = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(identities)) == len(identities)
    targets = [(of["href"] or "")[1:] for of in page.of("a")]
    assert set(targets) <= set(identities)
    return page


def renamed(folder: Path) -> Prepared:
    """The small data with hostile classes and an image of a hostile name, which is a test image."""
    prepared = read_prepared(small.write_prepared(folder, images=72))
    place = max(row for row, split in enumerate(prepared.splits) if split == "test")
    (folder / prepared.images[place]).rename(folder / IMAGE)
    images = tuple(IMAGE if row == place else name for row, name in enumerate(prepared.images))
    prepared = replace(prepared, classes=HOSTILE, images=images)
    write_manifest(folder, prepared)
    return read_prepared(folder)


def trained(place: Path, prepared: Path, **more: Any) -> Path:
    made = small.write_training(place, epochs=1) | {"data": str(prepared), "method": "linear", "loss": "asl"}
    return train_and_decide(TrainConfig(**{**made, **more})).run


def options(run: Path, **more: Any) -> ReportOptions:
    return ReportOptions(run=run, device="cpu", workers=0, **more)


def report(run: Path, **more: Any) -> tuple[Any, str]:
    written = write_report(options(run, **more))
    return written, written.path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> tuple[Prepared, Path]:
    folder = tmp_path_factory.mktemp("place")
    prepared = renamed(folder / "data")
    return prepared, trained(folder, prepared.folder)


@pytest.fixture(scope="module")
def made(place) -> tuple[Any, str]:
    return report(place[1])


def test_a_page_asks_for_nothing_and_its_names_are_text(place, made):
    written, text = made
    page = check_alone(text)
    assert all(printable(name) in page.said for name in HOSTILE)
    assert any(picture.get("alt") == IMAGE for picture in page.of("img"))
    assert written.path == place[1] / "report.html"
    assert written.bytes == len(text.encode())
    assert not written.page.errors


def test_names_do_not_reach_the_script(place, made, tmp_path):
    """The script of a page of hostile names is that of any other page."""
    other = trained(tmp_path, small.write_prepared(tmp_path / "data"))
    assert Reader(made[1]).raw["script"] == Reader(report(other)[1]).raw["script"]


def test_the_same_run_gives_the_same_bytes(place, made, tmp_path):
    assert report(place[1], out=tmp_path / "again.html")[1] == made[1]


def test_figures_are_those_of_eval(place, made):
    found = evaluate(EvaluationOptions(place[1], device="cpu", workers=0))
    page, decided = Reader(made[1]), measure(found)
    sortable = [cell["data-value"] for cell in page.of("td") if "data-value" in cell]
    assert f"{100 * found.metrics.mean_average_precision:.1f}" in page.said
    assert set(map(str, found.metrics.average_precision.tolist())) <= set(sortable)
    assert decided.errors_after is not None
    assert set(map(str, decided.errors_after.tolist())) <= set(sortable)
    assert decided.at_thresholds is not None
    assert f"{100 * decided.at_thresholds.of1:.1f}" in page.said
    assert f"{decided.before.brier:.4f}" in page.said


def test_tables_can_be_sorted_and_say_of_each_column_how(made):
    tables = made[1].split('<table class="sortable"')[1:]
    assert len(tables) >= 3
    for table in tables:
        head, body = table.split("</thead>")[0], table.split("<tbody>")[1].split("</tbody>")[0]
        assert 'data-kind="number"' in head
        columns = head.count("<th ")
        rows = body.split("<tr>")[1:]
        assert rows
        assert {row.count("<td") + row.count("<th") for row in rows} == {columns}


def test_pictures_are_jpegs_of_each_group_and_the_page_is_whole_without_a_script(made):
    written, text = made
    page = Reader(text)
    items = [item for item in page.of("li") if "data-class" in item]
    assert len(items) == sum(written.page.pictures.values()) > 0
    assert not [item for item in items if "hidden" in item]
    uris = [(picture["src"] or "") for picture in page.of("img") if "loading" in picture]
    assert len(uris) == 2 * len(items)
    for uri in uris[:4]:
        with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")))) as picture:
            assert picture.format == "JPEG"
            assert max(picture.size) <= THUMBNAIL
    assert set(written.page.pictures) == {"sure-right", "sure-wrong", "unsure"}


def test_thumbnails_of_noise_fill_no_more_than_fifteen_megabytes():
    """Nothing takes more bytes as JPEG: four groups of them, two a cell."""
    noise = np.random.RandomState(0).randint(0, 256, (THUMBNAIL, THUMBNAIL, 3)).astype(np.uint8)
    assert 4 * MOST_CELLS * 2 * len(jpeg_uri(Image.fromarray(noise))) < 12_000_000, QUALITY


def test_a_group_has_the_first_of_each_class_before_any_second():
    strength = np.array([[9.0, np.nan, 1.0], [8.0, 2.0, np.nan], [7.0, np.nan, np.nan]])
    assert first_of_each_class(strength, 3) == [(0, 0), (1, 1), (0, 2)]
    assert first_of_each_class(strength, 4) == [(0, 0), (1, 0), (1, 1), (0, 2)]
    assert first_of_each_class(np.full((2, 2), np.nan)) == []


def test_label_errors_are_shown_where_scores_are_there_or_asked_for(place, tmp_path):
    prepared, run = place
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("cross_fitted*", "report.html"))
    without, text = report(tmp_path / "run")
    assert "label-errors" not in without.page.pictures
    assert "Likely label errors are not shown" in text
    found = check_labels(CheckOptions(run=tmp_path / "run", data=prepared.folder, device="cpu", workers=0))
    known = len(found.checked.right)
    page, text = report(tmp_path / "run")
    assert page.page.pictures["label-errors"] == min(MOST_CELLS, known)
    assert f"right with p {found.checked.right[0]:.2f}" in text
    for path in (tmp_path / "run").glob("cross_fitted*"):
        path.unlink()
    assert report(tmp_path / "run", check=True)[1] == text


def test_an_image_that_cannot_be_read_is_told_and_the_others_are_shown(place, tmp_path):
    prepared, run = place
    shutil.copytree(prepared.folder, tmp_path / "data")
    moved = read_prepared(tmp_path / "data")
    (tmp_path / "data" / moved.images[1]).write_bytes(b"none")
    cells = tuple(Cell(row, 0, "said of it") for row in (0, 1, 2))
    shown, unreadable = pictures([Group("key", "title", "told", cells, 3)], moved, options(run), Silent())
    assert [one.plain is None for one in shown["key"]] == [False, True, False]
    assert [one.path.name for one in unreadable] == [Path(moved.images[1]).name]


def test_a_run_without_decisions_says_so_and_has_no_unsure(place, tmp_path):
    shutil.copytree(place[1], tmp_path / "run", ignore=shutil.ignore_patterns(DECISIONS, HELD_OUT, "report.html"))
    written, text = report(tmp_path / "run")
    assert "unsure" not in written.page.pictures
    assert "nothing is calibrated and no threshold was chosen" in check_alone(text).said


def test_a_run_without_test_images_has_a_page(tmp_path):
    folder = small.write_folds(tmp_path / "data")
    written, text = report(trained(tmp_path, folder))
    said = check_alone(text).said
    assert "data has no test image, so that nothing is measured" in said
    assert "Cross-validated over 3 folds" in said
    assert (written.page.images, written.page.curves, written.page.pictures) == (0, 0, {})


def test_of_positives_alone_there_is_no_figure_and_it_is_said(tmp_path):
    written, text = report(trained(tmp_path, small.write_positives(tmp_path / "data")))
    said = check_alone(text).said
    assert "no test label says that a class is absent" in said
    assert "no curve" in said
    assert "nan" not in said.lower()
    assert written.page.curves == 0


def test_a_class_without_a_positive_is_named(tmp_path):
    folder = small.write_prepared(tmp_path / "data")
    prepared = read_prepared(folder)
    for labels in (prepared.full_labels, prepared.observed_labels):
        labels[:, 2] = np.where(labels[:, 2] == UNKNOWN, UNKNOWN, ABSENT)
    write_manifest(folder, prepared)
    written, text = report(trained(tmp_path, folder))
    said = check_alone(text).said
    assert "1 class has no known positive among the test images, so no figure counts them: blue thing" in said
    assert "could not be learned: blue thing" in said
    assert written.page.curves == 2


@pytest.mark.parametrize("content", [b"my notes", b"<html></html>"])
def test_a_file_of_another_program_is_replaced_only_when_asked(place, tmp_path, content):
    out = tmp_path / "notes.html"
    out.write_bytes(content)
    with pytest.raises(DataError, match="mlrpl did not write it; --overwrite replaces it, and --out names another"):
        write_report(options(place[1], out=out))
    assert out.read_bytes() == content
    write_report(options(place[1], out=out), overwrite=True)
    assert write_report(options(place[1], out=out)).bytes == out.stat().st_size


def test_what_is_no_file_is_not_replaced(place, tmp_path):
    with pytest.raises(DataError, match="is there and no regular file; name a file with --out"):
        write_report(options(place[1], out=tmp_path), overwrite=True)


def test_a_folder_that_is_neither_is_told(place, tmp_path):
    with pytest.raises(RunError, match=r"is neither a run nor a sweep .*; name a folder that `mlrpl train` or"):
        write_report(options(tmp_path))
    with pytest.raises(ConfigError, match="--folds is for a sweep"):
        write_report(options(place[1], folds=tmp_path / "folds.csv"))


@pytest.fixture(scope="module")
def harmless(place) -> tuple[dict[str, Any], list[tuple[str, list[str]]]]:
    """What the page of the run was filled in with, and the shape of the page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_of_a_run, "render_html", lambda template, values: values)
        values, _ = page_of_a_run.page_of_run(options(place[1]), place[1], Silent())
    assert isinstance(values, dict)
    return values, Reader(render_html(page_of_a_run.TEMPLATE, values)).shape


def with_names(values: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The same page of other names, wherever somebody else chooses one."""
    name = names[0]
    told = {kind: [replace(one, name=name) for one in values[kind]] for kind in ("rows", "curves", "cells")}
    told["confused"] = [replace(one, present=name, absent=names[1]) for one in values["confused"]]
    told["choices"] = [(column, name) for column, _ in values["choices"]]
    shown = values["pictures"].items()
    told["pictures"] = {key: [replace(one, image=names[2], name=name) for one in of] for key, of in shown}
    told["data"] = {**values["data"], "name": name, "unlisted": names[1], "mask_sha256": names[2]}
    told["settings"] = dict.fromkeys(values["settings"], names[1])
    told["notes"], told["name"] = [names[2] for _ in values["notes"]], name
    return {**values, **told}


text = st.text(st.characters() | st.sampled_from("<>&\"'/={}%#`\0\n\ud800\u202e"), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(text | st.sampled_from([*HOSTILE, "-->", "]]>", "</style>", "{% raw %}"]), min_size=3, max_size=3))
def test_whatever_names_are_the_page_has_the_same_tags_and_attributes(harmless, names):
    """And is UTF-8, whatever they hold."""
    values, shape = harmless
    filled = render_html(page_of_a_run.TEMPLATE, with_names(values, names))
    assert filled.encode()
    page = check_alone(filled)
    assert page.shape == shape
    assert printable(names[0]) in page.said
