"""What `review` needs before anybody can answer: the file of answers, a run, and what is learned from."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlrpl_cli.core.curation.cross_fitting import parts_of
from mlrpl_cli.core.curation.ground import ground_of
from mlrpl_cli.core.export.writing import name_of
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.io.reading import path_from
from mlrpl_cli.core.labels.answers.reading import read_answers
from mlrpl_cli.core.labels.answers.records import LONGEST_PERSON, DataSet, is_text
from mlrpl_cli.core.labels.answers.store import AnswerStore
from mlrpl_cli.core.labels.states import UNKNOWN
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.review.desk import Desk
from mlrpl_cli.core.review.learner import Material, material_of
from mlrpl_cli.core.review.options import ANSWERS, SUFFIX, ReviewOptions
from mlrpl_cli.core.runs.contents import digests_of, numbered
from mlrpl_cli.core.runs.folder import load_config
from mlrpl_cli.core.runs.options import asked_config
from mlrpl_cli.core.training.train import train

FORMAT, ZERO_SHOT = "answers", "zero-shot"
RUN_SUFFIX = ".zero-shot"
SOMEBODY = "somebody"


def answers_path(options: ReviewOptions, prepared: Prepared) -> Path:
    """Where answers go: of a folder that was prepared from answers, into the same file."""
    if options.answers is not None:
        return options.answers
    if root := _root_of(prepared):
        return root
    return ANSWERS / f"{name_of(prepared.folder)}{SUFFIX}"


def zero_shot_run(options: ReviewOptions, prepared: Prepared, answers: Path, progress: Progress) -> Path:
    """A run beside the answers that has learned nothing, for its backbone. Raises as `train` does."""
    run = answers.with_name(answers.name + RUN_SUFFIX)
    asked = {
        "method": ZERO_SHOT,
        "epochs": 1,
        "views": 1,
        "data": str(prepared.folder),
        "run": str(run),
        "device": options.device,
    }
    named = {"backbone": options.backbone, "workers": options.workers}
    given = asked | {name: value for name, value in named.items() if value is not None}
    config = asked_config(None, given)
    told = f"of {config.backbone}" if config.backbone else "of the backbone that train takes by default"
    progress.note(f"no run is named: it starts with the zero-shot scores {told}")
    return train(config, _Bars(progress), fresh=True).run


class _Bars(Silent):
    """How far a training is, and nothing of what it comes to: nothing is learned."""

    def __init__(self, progress: Progress) -> None:
        self.task = progress.task  # type: ignore[method-assign]


def learned_from(prepared: Prepared, desk: Desk, options: ReviewOptions, run: Path, progress: Progress) -> Material:
    """The reviewed images by the backbone of a run. Raises RunError for one that does not fit."""
    ground = ground_of(prepared, desk.rows, options, run, progress)
    digests = digests_of(prepared, desk.rows, load_config(run).cache, options.workers)
    return material_of(ground, parts_of(numbered(digests), len(prepared.classes)), desk.given != UNKNOWN)


@contextmanager
def desk_of(
    path: Path,
    prepared: Prepared,
    person: str | None,
    disagreements: str,
    progress: Progress | None = None,
) -> Iterator[Desk]:
    """The desk over a file of answers, made if it is not there; without a `person`, pages ask who answers.

    Raises DataError as `AnswerStore.open`, and for a folder that was prepared from the file but has other images or
    classes by now.
    """
    kept = data = data_set_of(prepared)
    if is_from(prepared, path):
        kept = _of_file(path, data)
        data = replace(data, given=np.where(data.given != UNKNOWN, kept.given, UNKNOWN).astype(np.int8))
    with AnswerStore.open(path, kept) as store:
        desk = Desk(data, store, person or user(), disagreements, asks=person is None)
        if not len(desk.rows):
            raise DataError(f"{prepared.folder} has no training or validation image to review; add images")
        if store.was_about is not None and progress is not None:
            told = f"{path} was about {store.was_about}, and is about {prepared.folder} now"
            progress.warn(f"{told}: {store.count} answers stand, {store.gone} are about what is gone")
        yield desk


def data_set_of(prepared: Prepared) -> DataSet:
    """What is answered about: a folder with the labels that may be seen."""
    named = (prepared.classes, prepared.image_root, prepared.images, prepared.splits)
    return DataSet(*named, prepared.observed_labels, source=prepared.folder)


def is_from(prepared: Prepared, path: Path) -> bool:
    """Whether a folder was prepared from the file of answers at `path`."""
    root = _root_of(prepared)
    return root is not None and path.exists() and root.exists() and path.samefile(root)


def _of_file(path: Path, data: DataSet) -> DataSet:
    """What a file of answers is about, which `data` was prepared from: the labels of `data` have the answers in them.

    Nothing of the file is replaced, since a folder may hide labels or leave classes out. Raises DataError for a folder
    whose rows and columns are not those of the file.
    """
    found = read_answers(path)[0]
    if (found.images, found.classes) != (data.images, data.classes):
        told = f"{data.source} was prepared from {path} but has other images or classes"
        advice = f"review {found.source}, which the file is about, or name another file with --answers"
        raise DataError(f"{told}; {advice}")
    return found


def _root_of(prepared: Prepared) -> Path | None:
    """The file of answers that a folder was prepared from."""
    root = prepared.options.get("reading", {}).get("root")
    return path_from(prepared.folder, root) if prepared.dataset == FORMAT and isinstance(root, str) else None


def user() -> str:
    """Whoever this process runs for."""
    with suppress(Exception):  # without a name on the system it depends on the system what is raised
        if is_text(name := getpass.getuser(), LONGEST_PERSON):
            return name
    return SOMEBODY
