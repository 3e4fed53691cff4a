"""`review`: what is needed is read and bound, the server runs until it is told to end, and answers stay."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.curation.cross_fitting import parts_of
from mlrpl_cli.core.curation.filled import warn_of_filled
from mlrpl_cli.core.curation.ground import ground_of
from mlrpl_cli.core.export.writing import name_of
from mlrpl_cli.core.io.errors import ConfigError, DataError
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.io.reading import path_from
from mlrpl_cli.core.labels.answers.reading import read_answers
from mlrpl_cli.core.labels.answers.records import LONGEST_PERSON, DataSet, check_person, is_text
from mlrpl_cli.core.labels.answers.store import AnswerStore
from mlrpl_cli.core.labels.states import UNKNOWN
from mlrpl_cli.core.prediction.predictor import Predictor
from mlrpl_cli.core.prepared.folder import Prepared, newest_prepared, read_prepared
from mlrpl_cli.core.review.desk import Desk
from mlrpl_cli.core.review.options import ANSWERS, SUFFIX, ReviewOptions
from mlrpl_cli.core.runs.checkpoint import load_checkpoint
from mlrpl_cli.core.runs.contents import digests_of, numbered
from mlrpl_cli.core.runs.folder import load_config
from mlrpl_cli.core.runs.options import asked_config
from mlrpl_cli.core.runs.provenance import Provenance, of_run
from mlrpl_cli.core.training.train import train

FORMAT, ZERO_SHOT = "answers", "zero-shot"
RUN_SUFFIX = ".zero-shot"
SOMEBODY = "somebody"


@dataclass(frozen=True)
class Opened:
    """A server that listens."""

    data: Path
    """The prepared folder."""
    run: Path
    """Whose backbone describes the images."""
    answers: Path
    """The file that answers go to."""
    url: str
    """The page; whoever has it may answer."""
    images: int
    """Training and validation images, which are reviewed."""
    classes: int
    open_cells: int
    """Unknown ones, answers counted as known."""
    stands: int
    """Answers that are in the file already."""


@dataclass(frozen=True)
class Closed:
    """What a server leaves behind."""

    answers: Path
    stands: int
    """Answers in the file that were not taken back."""


def review(
    options: ReviewOptions, opened: Callable[[Opened, Provenance], object], progress: Progress | None = None
) -> Closed:
    """Serve the page until Ctrl-C or SIGTERM; `opened` is told when it can be opened.

    Raises ConfigError where the extra "web" is not installed or the port is taken, RunError for a run that does not
    fit, and DataError for data without an image to review, and for a file that is none of answers, of another data set,
    or in use by another server.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise ConfigError("review needs starlette and uvicorn; pip install 'mlrpl[web]'") from error
    from mlrpl_cli.core.review.address import address
    from mlrpl_cli.core.review.learner import learner, subject_of
    from mlrpl_cli.core.review.pictures import Pictures
    from mlrpl_cli.core.review.server import make_app
    from mlrpl_cli.core.review.teaching import Teacher

    progress = progress or Silent()
    person = options.person or _user()
    check_person(person)
    prepared = read_prepared(options.data or newest_prepared())
    warn_of_filled(prepared, progress)
    path = answers_path(options, prepared)
    with _store(path, prepared) as (store, data):
        desk = Desk(data, store, person, options.disagreements)
        if not len(desk.rows):
            raise DataError(f"{prepared.folder} has no training or validation image to review; add images")
        run = options.run or zero_shot_run(options, prepared, path, progress)
        paths = prepared.paths(np.arange(len(prepared.images)))
        ground = ground_of(prepared, desk.rows, options, run, progress)
        digests = digests_of(prepared, desk.rows, load_config(run).cache, options.workers)
        subject = subject_of(ground, parts_of(numbered(digests), len(data.classes)), desk.given != UNKNOWN)
        del ground
        load = partial(Predictor.from_run, run, options.checkpoint, options.device)
        pictures = Pictures(paths, prepared.allow_truncated, load)
        with suppress(KeyboardInterrupt), address(path, options.port) as place, learner(subject) as learns:
            app = make_app(desk, pictures, Teacher(desk, learns), place.secret)
            server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="on"))
            unknown = int((desk.labels().states == UNKNOWN).sum())
            counts = (len(desk.rows), len(data.classes), unknown, store.count)
            found = Opened(prepared.folder, run, path, place.url, *counts)
            opened(found, of_run(run, load_checkpoint(run, options.checkpoint).info, prepared))
            server.run(sockets=[place.bound])
        return Closed(path, store.count)


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
    progress.note(f"no run is named: it starts with the zero-shot scores of {options.backbone or TrainConfig.backbone}")
    return train(asked_config(None, given), _Bars(progress), fresh=True).run


class _Bars(Silent):
    """How far a training is, and nothing of what it comes to: nothing is learned."""

    def __init__(self, progress: Progress) -> None:
        self.task = progress.task  # type: ignore[method-assign]


@contextmanager
def _store(path: Path, prepared: Prepared) -> Iterator[tuple[AnswerStore, DataSet]]:
    """The file of answers, made if it is not there, and what it is about."""
    given = prepared.observed_labels
    if _root_of(prepared) == path and path.is_file():
        given = read_answers(path)[0].given  # what it was prepared from has the answers among its labels
    data = DataSet(
        prepared.classes, prepared.image_root, prepared.images, prepared.splits, given, source=prepared.folder
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with AnswerStore.open(path, data) as store:
        yield store, data


def _root_of(prepared: Prepared) -> Path | None:
    """The file of answers that a folder was prepared from."""
    root = prepared.options.get("reading", {}).get("root")
    return path_from(prepared.folder, root) if prepared.dataset == FORMAT and isinstance(root, str) else None


def _user() -> str:
    with suppress(Exception):  # without a name on the system it depends on the system what is raised
        if is_text(name := getpass.getuser(), LONGEST_PERSON):
            return name
    return SOMEBODY
