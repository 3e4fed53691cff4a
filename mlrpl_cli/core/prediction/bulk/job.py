"""A job: all images of its sources, predicted part by part, whatever is stopped and lost on the way."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlrpl_cli.core.cluster.connection import Folder, check_cluster, room
from mlrpl_cli.core.images.decode import load_pixels
from mlrpl_cli.core.io.devices import choose_device
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.files import sha256_of_text
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.prediction.bulk.containers import Item, pictures
from mlrpl_cli.core.prediction.bulk.destination import Destination
from mlrpl_cli.core.prediction.bulk.listing import Listing, Sources, write_listing
from mlrpl_cli.core.prediction.bulk.options import BulkOptions
from mlrpl_cli.core.prediction.bulk.pool import Pool
from mlrpl_cli.core.prediction.bulk.worker import Loading, Worker, identity, load_predictor
from mlrpl_cli.core.runs.folder import newest_run


@dataclass(frozen=True)
class Outcome:
    """What a job came to, with what was done before it was started again."""

    images: int
    failed: int
    """How many of them could not be read."""
    parts: int
    done_before: int
    """Parts that were there already."""


def predict_many(
    sources: Sequence[str],
    options: BulkOptions,
    classes: tuple[str, ...] | None = None,
    progress: Progress | None = None,
    names: Iterable[str] | None = None,
) -> Outcome:
    """Predict the images of `sources` and write them to `options.out`, each once; what is written is not done again.

    `names` are those that the source "-" stands for, by default those of standard input. Raises ConfigError, DataError,
    RunError and WeightsError for what cannot be read, loaded, written or started, and where `options.out` was begun by
    a job of another run, of other images or with other options. What was finished until then stays.
    """
    progress = progress or Silent()
    options.check_engine()
    if options.run is not None or options.backbone is None:
        options = replace(options, run=Path(os.path.abspath(options.run or newest_run())))
    check_cluster(options.ray_address)
    if options.ray_address is None:
        choose_device(options.device)
    destination = Destination(str(options.out))
    with destination.held(), tempfile.TemporaryDirectory(prefix="mlrpl-") as scratch:
        about = _about(options, classes, progress)
        progress.note("listing the images")
        found = Sources(sources, options.column, progress, names, destination.wrote)
        listing = write_listing(Path(scratch) / "listing.parquet", found.items(), options.images_of_a_part)
        destination.agree(_record(options, about, listing, found))
        done = destination.done()
        if len(done) < listing.parts:
            folder = Folder(needed=found.relative)
            loading = Loading(options, classes, about, options.device, options.ray_threads or 1, folder)
            _predict(listing, done, loading, destination, progress)
        return Outcome(listing.images, destination.failed(), listing.parts, len(done))


def _predict(listing: Listing, done: set[int], loading: Loading, destination: Destination, progress: Progress) -> None:
    """Hand out the parts that are not done, and write each as it comes."""
    options = loading.options
    asked = options.ray_address, options.device, loading.threads, options.ray_workers
    with room(*asked, progress) as found:
        loading = replace(loading, device="cuda" if found.on_gpu else "cpu")
        pool = Pool(found.ray, Worker, min(found.workers, listing.parts - len(done)), found.each, progress)
        told = found.ray.put(loading)
        missing = (number for number in range(listing.parts) if number not in done)
        with progress.task("predicting", listing.images) as task:
            before = sum(listing.images_of(number) for number in done)
            task.advance(before)
            rate = _Rate(listing.images - before)
            for number, part in pool.run(
                missing,
                lambda worker: worker.load.remote(told),
                lambda worker, number: worker.predict.remote(listing.part(number)),
            ):
                if part.failed == part.images:
                    _check_seen(listing.part(number).items, part.machine, options.column)
                destination.write(number, part.predictions, part.errors)
                task.advance(part.images, **rate.after(part.images))


def _check_seen(items: Sequence[Item], machine: str, column: str | None) -> None:
    """Raise DataError where this machine reads the first of `items`, of which `machine` could read none."""
    (picture,) = pictures(items[:1], column)
    try:
        load_pixels(picture.fetch(), 1)
    except DataError:
        return
    raise DataError(
        f"{machine} can read no image of a part, and this machine reads {picture}; give each machine the images at the "
        "same paths, and start again"
    )


class _Rate:
    """How fast it goes since the first part came, before which workers start; and how long it takes at that rate."""

    def __init__(self, left: int) -> None:
        self.left, self.done, self.begun = left, 0, 0.0

    def after(self, images: int) -> dict[str, float]:
        """The figures once so many more are done."""
        self.left -= images
        if not self.begun:
            self.begun = time.monotonic()
            return {}
        self.done += images
        rate = self.done / max(time.monotonic() - self.begun, 1e-9)
        return {"images/s": rate, "minutes left": self.left / rate / 60}


def _about(options: BulkOptions, classes: tuple[str, ...] | None, progress: Progress) -> dict[str, Any]:
    """What each file says of where it comes from. The model goes again: this process predicts nothing."""
    from mlrpl_cli import __version__
    from mlrpl_cli.core.prediction.predictor import TrainedPredictor

    predictor = load_predictor(options, classes, "cpu")
    if predictor.notice:
        progress.warn(predictor.notice)
    told = {
        "mlrpl": __version__,
        **identity(predictor),
        "uncalibrated": list(predictor.uncalibrated),
        "learnable": None if predictor.learnable is None else list(predictor.learnable),
        "threshold": options.threshold,
        "maps": [predictor.encoder.grid_side] * 2 if options.maps else None,
    }
    if isinstance(predictor, TrainedPredictor):
        told |= {"data_sha256": predictor.info.data_sha256, "mask_sha256": predictor.info.mask_sha256}
    return told


def _record(options: BulkOptions, about: Mapping[str, Any], listing: Listing, sources: Sources) -> dict[str, Any]:
    """What has to be the same for a job to go on. The device and the number of workers may be others.

    Of what may be long it has a checksum.
    """
    long = ("classes", "thresholds", "calibration")
    return {
        "mlrpl": about["mlrpl"],
        **{f"{name}_sha256": sha256_of_text(json.dumps(about[name])) for name in long},
        **{name: about[name] for name in ("checkpoint_sha256", "backbone_sha256")},
        "column": options.column,
        "folder": os.getcwd() if sources.relative else None,
        "threshold": options.threshold,
        "maps": options.maps,
        "batch_size": options.batch_size,
        "part_images": options.images_of_a_part,
        "images": listing.images,
        "parts": listing.parts,
        "names_and_places_sha256": listing.sha256,
        "sizes_and_times_sha256": sources.states_sha256,
    }
