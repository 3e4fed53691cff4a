"""Where images come from and results go: folders, Parquet files and tars, on disk and on S3 (moto's server)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from mlrpl_cli.core.images.find import find_images
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.prediction.bulk.destination import Destination
from mlrpl_cli.core.prediction.bulk.options import BulkOptions
from tests.cluster.conftest import BATCH, Work, ends, write_images

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server of this machine's own."""
    own = ROOT / ".venv-moto" / "bin" / "moto_server"
    program = os.environ.get("MLRPL_MOTO") or (str(own) if own.exists() else shutil.which("moto_server"))
    if program is None:
        pytest.skip("there is no moto_server: `make ray-test` installs it, or name it in MLRPL_MOTO")
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("w") as stream:
        process = subprocess.Popen([program, "-H", "127.0.0.1", "-p", "0"], stdout=stream, stderr=stream)
    limit = time.monotonic() + 60
    while "Running on " not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < limit
        time.sleep(0.1)
    yield log.read_text().partition("Running on ")[2].split()[0]
    process.kill()
    process.wait()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[fs.S3FileSystem]:
    """A bucket with images in a folder, in a tar and in a Parquet file; the environment says how it is reached."""
    environment = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": server}
    for name, value in {**environment, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    system = fs.S3FileSystem(endpoint_override=server, allow_bucket_creation=True, allow_bucket_deletion=True)
    system.create_dir("bucket")
    yield system
    system.delete_dir_contents("bucket")
    system.delete_dir("bucket")


def write_containers(work: Work, folder: Path) -> Path:
    """The images of `work` below `folder`, in three forms: twelve files, twelve in a tar, and the rest in Parquet."""
    paths = find_images([str(work.images)])
    (folder / "files").mkdir(parents=True)
    for path in paths[:12]:
        shutil.copy(path, folder / "files")
    with tarfile.open(folder / "shard-0.tar", "w") as tar:
        for path in paths[12:24]:
            tar.add(path, path.name)
    rows = {"photo": [path.read_bytes() for path in paths[24:]], "id": range(len(paths) - 24)}
    pq.write_table(pa.table(rows), folder / "table.parquet", row_group_size=10)
    return folder


def probabilities(table: pa.Table) -> np.ndarray:
    return np.array(table["probabilities"].to_pylist(), np.float32)


def plain(predictor, work: Work, *parts: tuple[int, int]) -> np.ndarray:
    """What a plain prediction says of the images from one to another, in batches that begin anew with each part."""
    paths = find_images([str(work.images)])
    told = [predictor.predict_files(paths[start:end], BATCH, workers=1) for start, end in parts]
    return np.array([result.probabilities for results in told for result in results])


def test_files_tars_and_parquet_of_one_folder_are_predicted_alike(work, predictor, finishing, tmp_path):
    source = write_containers(work, tmp_path / "mixed")
    code, out, err = ends(finishing(work.start("--maps", source=source)))
    assert code == 0, err
    assert out == f"predictions of 60 images: {work.out}/predictions\n"
    table = work.table()
    np.testing.assert_array_equal(probabilities(table), plain(predictor, work, (0, 12), (12, 24), (24, 60)))
    names = table["image"].to_pylist()
    assert names[0] == f"{source}/files/00000.png"
    assert names[12] == f"{source}/shard-0.tar:00012.png"
    assert names[24] == f"{source}/table.parquet:0"
    about = json.loads(table.schema.metadata[b"mlrpl"])
    assert about["classes"] == list(predictor.classes)
    assert about["backbone_sha256"] == predictor.encoder.fingerprint
    maps = np.array(table["maps"].to_pylist(), np.float32).reshape(60, 3, *about["maps"])
    (first, *_) = predictor.predict_files(find_images([str(work.images)])[:BATCH], BATCH)
    np.testing.assert_array_equal(maps[0], first.attention)


def test_images_on_s3_go_to_s3_and_a_stopped_job_goes_on_there(work, predictor, finishing, bucket, tmp_path):
    local = write_containers(work, tmp_path / "mixed")
    fs.copy_files(str(local), "bucket/in put", source_filesystem=fs.LocalFileSystem(), destination_filesystem=bucket)
    with bucket.open_output_stream("bucket/in put/zz broken.png") as stream:
        stream.write(b"no image")
    asked = "--out", "s3://bucket/out"
    code, out, err = ends(finishing(work.start(*asked, source="s3://bucket/in%20put")))
    assert code == 1, err
    assert out == "predictions of 60 images: s3://bucket/out/predictions\n"
    table = pq.read_table("bucket/out/predictions", filesystem=bucket)
    np.testing.assert_array_equal(probabilities(table), plain(predictor, work, (0, 12), (12, 24), (24, 60)))
    assert table["image"][0].as_py() == "s3://bucket/in%20put/files/00000.png"
    (broken,) = pq.read_table("bucket/out/errors", filesystem=bucket).to_pylist()
    assert broken["image"] == "s3://bucket/in%20put/zz%20broken.png"
    assert broken["reason"] == f"cannot read {broken['image']}: it is not an image of a known format"
    bucket.delete_file("bucket/out/predictions/part-00002.parquet")
    code, _, err = ends(finishing(work.start(*asked, "--skip-bad", source="s3://bucket/in%20put")))
    assert code == 0, err
    again = pq.read_table("bucket/out/predictions", filesystem=bucket)
    assert again.equals(table)
    code, _, err = ends(finishing(work.start(*asked, source="s3://bucket/in%20put/files/*.png")))
    assert code == 1
    assert "s3://bucket/out was begun otherwise: images was 61, not 12; " in err


def test_a_failure_before_a_job_begins_leaves_nothing_on_s3_and_one_after_it_everything(bucket):
    """And a bucket that is not there is one line."""
    destination = Destination("s3://bucket/new/out")
    with pytest.raises(KeyError), destination.held():
        raise KeyError
    assert "bucket/new/out" not in [
        info.path for info in bucket.get_file_info(fs.FileSelector("bucket", recursive=True))
    ]
    with pytest.raises(KeyError), destination.held():
        destination.agree({"images": 1})
        raise KeyError
    assert bucket.get_file_info("bucket/new/out/job.json").type == fs.FileType.File
    with pytest.raises(DataError, match="cannot write s3://nosuch/out: "), Destination("s3://nosuch/out").held():
        raise AssertionError


def test_a_backbone_alone_predicts_too_and_a_threshold_decides(run, finishing, tmp_path):
    images, out = write_images(tmp_path / "images", 10), tmp_path / "out"
    work = Work(run, images, out)
    backbone = run.parent / "clip.safetensors"
    command = ["--backbone", backbone, "--classes", "red thing, blue thing", "--threshold", 0.5]
    arguments = work.arguments(*command)
    del arguments[arguments.index("--run") : arguments.index("--run") + 2]
    work = type("Alone", (Work,), {"arguments": lambda self, *more, source=None: arguments})(run, images, out)
    code, _, err = ends(finishing(work.start()))
    assert code == 0, err
    found = probabilities(work.table())
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert work.table()["decisions"].to_pylist() == np.where(found > 0.5, "yes", "no").tolist()


def test_a_part_is_a_whole_number_of_batches() -> None:
    assert BulkOptions(batch_size=32).images_of_a_part == 512
    assert BulkOptions(batch_size=48).images_of_a_part == 528
    assert BulkOptions(batch_size=48, part_images=1).images_of_a_part == 48
