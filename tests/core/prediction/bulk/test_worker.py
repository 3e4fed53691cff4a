"""What a worker begins with and tells; without Ray."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mlrpl_cli import __version__
from mlrpl_cli.core.cluster.connection import Folder, _check_room, cause_of
from mlrpl_cli.core.io.errors import ConfigError, DataError, OutOfMemoryError, RunError, WeightsError
from mlrpl_cli.core.prediction.bulk import job
from mlrpl_cli.core.prediction.bulk.containers import Item
from mlrpl_cli.core.prediction.bulk.destination import Destination
from mlrpl_cli.core.prediction.bulk.listing import Listing, Part, Sources, write_listing
from mlrpl_cli.core.prediction.bulk.options import BulkOptions
from mlrpl_cli.core.prediction.bulk.tables import Writer
from mlrpl_cli.core.prediction.bulk.worker import Loading, Worker
from mlrpl_cli.core.prediction.images import Prediction, Unreadable
from tests.small import Heard

ABOUT: dict[str, Any] = {
    "mlrpl": __version__,
    "classes": ["a", "b"],
    "thresholds": [0.25, None],
    "calibration": [[1.0, 0.0]],
    "checkpoint_sha256": "c",
    "backbone_sha256": "b",
}


def result(*probabilities: float) -> Prediction:
    return Prediction(Path("x"), np.array(probabilities, np.float32), np.ones((1, 2, 2), np.float32))


def table(content: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(content))


def test_a_threshold_decides_as_a_plain_predict_does() -> None:
    """0.7 as a float32 is 0.699999988, which is not above 0.7; 0.1 is 0.100000001, which is above 0.1."""
    for number in (0.7, 0.1):
        done = Writer({}, number, maps=False).written(["x"], [result(number)])
        expected = "yes" if float(np.float32(number)) > number else "no"
        assert table(done.predictions)["decisions"].to_pylist() == [[expected]]


def test_maps_may_be_more_numbers_than_32_bits_count() -> None:
    done = Writer({}, None, maps=True).written(["x"], [result(0.5)])
    schema = table(done.predictions).schema
    assert schema.field("maps").type == schema.field("probabilities").type == pa.large_list(pa.float32())


def test_another_version_of_mlrpl_is_told_with_the_machine() -> None:
    loading = Loading(BulkOptions(), None, {**ABOUT, "mlrpl": "0.0"}, "cpu", 1)
    with pytest.raises(RunError, match=rf"has mlrpl {__version__}, and the command is of 0\.0; install that there"):
        Worker().load(loading)


def test_a_folder_that_relative_paths_need_is_told_where_a_machine_has_it_not(tmp_path: Path) -> None:
    before, nowhere = os.getcwd(), str(tmp_path / "nowhere")
    Folder(nowhere).enter()
    with pytest.raises(RunError, match=r"cannot enter .*nowhere, from which the images' paths lead: No such file"):
        Folder(nowhere, needed=True).enter()
    assert os.getcwd() == before


@pytest.mark.parametrize(
    "error", [RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), MemoryError()]
)
def test_no_memory_in_a_worker_is_the_line_of_a_plain_predict(error: Exception) -> None:
    class Large:
        def predict_images(self, *arguments: object) -> Iterator[Prediction]:
            yield result(0.5)
            raise error

    worker = Worker()
    worker.predictor, worker.options, worker.threads = Large(), BulkOptions(), 1  # type: ignore[assignment]
    worker.writer = Writer({}, None, maps=False)
    with pytest.raises(
        OutOfMemoryError, match=r"^out of memory: .*; lower --batch-size or --ray-workers, or free some"
    ):
        worker.predict(Part(0, [Item("a.png"), Item("b.png")]))


class FailedError(Exception):
    """What Ray raises."""

    def __init__(self, cause: object) -> None:
        super().__init__("ray::Worker.predict() (pid=1)\n  File x\nKeyError: 'a'")
        self.cause = cause


def test_what_a_worker_raises_is_one_line() -> None:
    ours = WeightsError("NaN")
    assert cause_of(FailedError(ours)) is ours
    for cause, told in (
        (BrokenPipeError("a\nb"), "a worker failed: BrokenPipeError: a b"),
        (ValueError("a\nb"), "a worker failed: ValueError: a b"),
        (None, "a worker failed: KeyError: 'a'"),
    ):
        assert isinstance(cause_of(FailedError(cause)), RunError)
        assert str(cause_of(FailedError(cause))) == told


def test_a_machine_that_reads_no_image_of_a_part_that_the_command_reads_is_named(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    items = [Item(str(image)), Item(str(tmp_path / "b.png"))]
    job._check_seen(items, "host", None)
    image.write_bytes(b"no image")
    job._check_seen(items, "host", None)
    Image.new("RGB", (4, 4)).save(image)
    with pytest.raises(
        DataError, match=r"^host can read no image of a part, and this machine reads .*a\.png; give each"
    ):
        job._check_seen(items, "host", None)


def test_a_part_tells_its_machine_and_how_many_failed() -> None:
    done = Writer({}, None, maps=False).written(["x"], [Unreadable(Path("x"), "no")])
    assert (done.images, done.failed) == (1, 1)
    assert done.machine


class Nodes:
    """A Ray of two machines."""

    def nodes(self) -> list[dict[str, Any]]:
        told = [(True, {"CPU": 4.0}), (True, {"CPU": 2.0, "GPU": 1.0}), (False, {"CPU": 64.0, "GPU": 8.0})]
        return [{"Alive": alive, "Resources": resources} for alive, resources in told]


def test_what_can_never_be_placed_is_an_error_here_and_a_note_on_a_cluster() -> None:
    class Notes(Heard):
        def note(self, message: str) -> None:
            self.warnings.append(message)

    heard = Notes()
    for cpus, gpus in ((4, 0), (2, 1)):
        _check_room(Nodes(), cpus, gpus, True, heard)
    with pytest.raises(ConfigError, match="Ray finds no 4 CPUs and 1 GPU on this machine; lower --ray-threads"):
        _check_room(Nodes(), 4, 1, True, heard)
    assert not heard.warnings
    _check_room(Nodes(), 5, 0, False, heard)
    assert heard.warnings == ["no machine of the cluster has 5 CPUs, which each worker takes; waiting for one"]


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Listing, Sources]:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (4, 4)).save("a.png")
    sources = Sources(["a.png"], None, Heard())
    return write_listing(tmp_path / "listing", sources.items(), 2), sources


@pytest.mark.parametrize(
    ("options", "about"),
    [
        ({"threshold": 0.5}, {}),
        ({"maps": True}, {}),
        ({"column": "photo"}, {}),
        ({"batch_size": 16}, {}),
        ({"part_images": 4096}, {}),
        ({}, {"mlrpl": "0.0"}),
        ({}, {"classes": ["a", "c"]}),
        ({}, {"thresholds": [0.5, None]}),
        ({}, {"calibration": None}),
        ({}, {"checkpoint_sha256": "d"}),
        ({}, {"backbone_sha256": "d"}),
    ],
)
def test_a_job_goes_on_with_the_same_run_thresholds_and_options_alone(tmp_path, listed, options, about) -> None:
    destination = Destination(str(tmp_path / "out"))
    with destination.held():
        destination.agree(job._record(BulkOptions(), ABOUT, *listed))
        destination.agree(job._record(BulkOptions(device="cpu", ray_workers=3), ABOUT, *listed))
        (changed,) = (*options, *about)
        with pytest.raises(DataError, match=f"was begun otherwise: {changed}(_sha256)? was "):
            destination.agree(job._record(BulkOptions(**options), {**ABOUT, **about}, *listed))


def test_a_job_of_relative_paths_goes_on_in_its_folder_alone(tmp_path, listed, monkeypatch) -> None:
    destination = Destination(str(tmp_path / "out"))
    with destination.held():
        destination.agree(job._record(BulkOptions(), ABOUT, *listed))
        monkeypatch.chdir("/")
        with pytest.raises(DataError, match=r"was begun otherwise: folder was '.*', not '/'; go on"):
            destination.agree(job._record(BulkOptions(), ABOUT, *listed))


def test_thousands_of_classes_fit_in_a_record(tmp_path, listed) -> None:
    destination = Destination(str(tmp_path / "out"))
    many = {
        **ABOUT,
        "classes": [f"class {n} " + "x" * 100 for n in range(20_000)],
        "thresholds": [0.123456789] * 20_000,
    }
    with destination.held():
        for _ in range(2):
            destination.agree(job._record(BulkOptions(), many, *listed))
    assert (tmp_path / "out" / "job.json").stat().st_size < 2000
