"""`review`: what is needed is read and bound, the server runs until it is told to end, and answers stay."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mlrpl_cli.core.curation.filled import warn_of_filled
from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.labels.answers.records import check_person
from mlrpl_cli.core.prediction.predictor import Predictor
from mlrpl_cli.core.prepared.folder import newest_prepared, read_prepared
from mlrpl_cli.core.review.beginning import answers_path, desk_of, learned_from, zero_shot_run
from mlrpl_cli.core.review.options import ReviewOptions
from mlrpl_cli.core.runs.checkpoint import load_checkpoint
from mlrpl_cli.core.runs.provenance import Provenance, of_run


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
    from mlrpl_cli.core.review.learner import learner
    from mlrpl_cli.core.review.serving.address import address
    from mlrpl_cli.core.review.serving.pictures import Pictures
    from mlrpl_cli.core.review.serving.server import make_app
    from mlrpl_cli.core.review.teaching import Teacher

    progress = progress or Silent()
    if options.person is not None:
        check_person(options.person)
    if options.run is not None and options.backbone is not None:
        raise ConfigError("--backbone is for a start without a run; leave out --backbone or --run")
    prepared = read_prepared(options.data or newest_prepared())
    warn_of_filled(prepared, progress)
    if prepared.folds is not None:
        progress.warn("a file of answers keeps no folds: give --folds again to the mlrpl prepare that reads it")
    path = answers_path(options, prepared)
    with (
        desk_of(path, prepared, options.person, options.disagreements, progress) as desk,
        address(path, options.port, prepared.sha256) as place,
    ):
        run = options.run or zero_shot_run(options, prepared, path, progress)
        info = load_checkpoint(run, options.checkpoint).info
        material = learned_from(prepared, desk, options, run, progress)
        load = partial(Predictor.from_run, run, options.checkpoint, options.device)
        pictures = Pictures(prepared.paths(np.arange(len(prepared.images))), prepared.allow_truncated, load)
        with suppress(KeyboardInterrupt), learner(material) as learns:
            app = make_app(desk, pictures, Teacher(desk, learns), place.secret)
            server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, lifespan="on"))
            counts = (len(desk.rows), len(info.classes), desk.state()["open"], desk.store.count)
            opened(Opened(prepared.folder, run, path, place.url, *counts), of_run(run, info, prepared))
            server.run(sockets=[place.bound])
        return Closed(path, desk.store.count)
