"""A job: all images of its sources, predicted part by part, whatever is stopped and lost on the way."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlrpl_cli.core.cluster.connection import SPARE_CPUS, cluster, resources, usable_cpus
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.prediction.bulk.destination import Destination
from mlrpl_cli.core.prediction.bulk.listing import Listing, items_of, write_listing
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
    options = replace(options, run=None if options.backbone else Path(os.path.abspath(options.run or newest_run())))
    about = _about(options, classes, progress)
    destination = Destination(str(options.out))
    with tempfile.TemporaryDirectory(prefix="mlrpl-") as scratch:
        progress.note("listing the images")
        found = items_of(sources, options.column, progress, names)
        listing = write_listing(Path(scratch) / "listing.parquet", found, options.images_of_a_part)
        with destination.held():
            destination.agree(_record(options, about, listing))
            done = destination.done()
            if len(done) < listing.parts:
                loading = Loading(options, classes, about, options.device, options.ray_threads or 1)
                _predict(listing, done, loading, destination, progress)
            return Outcome(listing.images, destination.failed(), listing.parts, len(done))


def _predict(listing: Listing, done: set[int], loading: Loading, destination: Destination, progress: Progress) -> None:
    """Hand out the parts that are not done, and write each as it comes."""
    options, threads = loading.options, loading.threads
    local = options.ray_workers or max(usable_cpus() // threads, 1)
    with cluster(options.ray_address, local * threads + SPARE_CPUS) as ray:
        cpus, gpus = resources(ray)
        on_gpu = options.device == "cuda" or (options.device == "auto" and gpus > 0)
        most = options.ray_workers or max(gpus if on_gpu else (cpus - SPARE_CPUS) // threads, 1)
        loading = replace(loading, device="cuda" if on_gpu else "cpu")
        each = {"num_cpus": threads, "num_gpus": int(on_gpu)}
        pool = Pool(ray, Worker, min(most, listing.parts - len(done)), each, progress)
        told = ray.put(loading)
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
                destination.write(number, part.predictions, part.errors)
                task.advance(part.images, **rate.after(part.images))


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
        **identity(predictor, options),
        "uncalibrated": list(predictor.uncalibrated),
        "learnable": None if predictor.learnable is None else list(predictor.learnable),
        "threshold": options.threshold,
        "maps": [predictor.encoder.grid_side] * 2 if options.maps else None,
    }
    if isinstance(predictor, TrainedPredictor):
        told |= {"data_sha256": predictor.info.data_sha256, "mask_sha256": predictor.info.mask_sha256}
    return told


def _record(options: BulkOptions, about: Mapping[str, Any], listing: Listing) -> dict[str, Any]:
    """What has to be the same for a job to go on. The device and the number of workers may be others."""
    same = ("classes", "thresholds", "calibration", "checkpoint_sha256", "backbone_sha256")
    return {
        **{name: about[name] for name in same},
        "threshold": options.threshold,
        "maps": options.maps,
        "batch_size": options.batch_size,
        "part_images": options.images_of_a_part,
        "images": listing.images,
        "parts": listing.parts,
        "listing_sha256": listing.sha256,
    }
