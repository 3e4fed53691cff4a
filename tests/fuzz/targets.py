"""Every reader of files that others make, as a function of bytes: `TARGETS`.

A target writes the bytes where its reader looks for them and calls the reader's public function. What the reader
refuses is an MlrplError and leaves the target as that; any other exception is a finding, and so is an accepted result
that is not what the reader's docstring promises. Imports are inside the functions: most readers need no torch.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlrpl_cli.core.labels.records import Format, Records
    from mlrpl_cli.core.prepared.folder import Prepared

LONGEST_MESSAGE = 20_000
"""Characters: a few names of 1,000 for each kind of problem."""
IN_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Where Linux keeps files in memory: fuzzing writes thousands of small ones a second."""
GLOVE_CLASSES = ("cat", "stop sign")
MANIFEST, IMAGES, LABELS = "manifest.json", "images.csv", "labels_full.npy"
PROPOSALS = "proposals.npy"


def accepts(name: str, data: bytes) -> bool:
    """Whether the target `name` accepts `data`. Raises whatever it should not have raised."""
    from mlrpl_cli.core.io.errors import MlrplError

    message = None
    try:
        TARGETS[name](data)
    except MlrplError as error:
        message = str(error)
    assert message is None or 0 < len(message) <= LONGEST_MESSAGE, f"a message of {len(message or '')} characters"
    return message is None


def voc_annotation(data: bytes) -> None:
    """One annotation of three."""
    root = _voc_release()
    with _instead(root / "Annotations" / "000001.xml", data):
        _read_voc(root)


def voc_image_set(data: bytes) -> None:
    """The list of training images."""
    root = _voc_release()
    with _instead(root / "ImageSets" / "Main" / "trainval.txt", data):
        _read_voc(root)


def coco(data: bytes) -> None:
    """The annotations of the test images, beside good ones of the training images."""
    from mlrpl_cli.core.labels.formats.coco.coco import Coco

    root = _coco_release()
    (root / "annotations" / "instances_val2017.json").write_bytes(data)
    _read(Coco(root=root))


def lvis(data: bytes) -> None:
    """A file of LVIS beside three images, for which every reader says whether it is its own."""
    from mlrpl_cli.core.io.errors import ConfigError
    from mlrpl_cli.core.labels.formats.coco.lvis import Lvis
    from mlrpl_cli.core.labels.formats.registry import recognise

    root = _folder("lvis")
    _touch(root, "a.jpg", "b.jpg", "c.jpg")
    (root / "labels.json").write_bytes(data)
    with suppress(ConfigError):
        recognise(root / "labels.json")
    _read(Lvis(root=root / "labels.json"))


def table(data: bytes) -> None:
    """A CSV of a column per class beside three images."""
    from mlrpl_cli.core.labels.formats.tabular.table import Table

    _read(Table(root=_table_file("table.csv", data)))


def table_of_test(data: bytes) -> None:
    """The table of test images beside a good one of training images."""
    from mlrpl_cli.core.labels.formats.tabular.table import Table
    from tests.fuzz.seeds import TABLES

    path = _table_file("test.csv", data)
    (path.parent / "train.csv").write_bytes(TABLES[0])
    _read(Table(root=path.parent))


def table_parquet(data: bytes) -> None:
    """A Parquet file of a column per class."""
    from mlrpl_cli.core.labels.formats.tabular.table import Table

    _read(Table(root=_table_file("table.parquet", data)))


def table_workbook(data: bytes) -> None:
    """An XLSX file of a column per class."""
    from mlrpl_cli.core.labels.formats.tabular.table import Table

    _read(Table(root=_table_file("table.xlsx", data)))


def table_sheet(data: bytes) -> None:
    """The only sheet of an XLSX file that is right otherwise."""
    from tests.fuzz.seeds import workbook

    table_workbook(workbook(data))


def long(data: bytes) -> None:
    """A table of a row per image and label."""
    from mlrpl_cli.core.labels.formats.tabular.long import Long

    _read(Long(root=_table_file("long.csv", data), unlisted="unknown"))


def tags(data: bytes) -> None:
    """A table with all labels of an image in a cell."""
    from mlrpl_cli.core.labels.formats.tabular.tags import Tags

    _read(Tags(root=_table_file("tags.csv", data), unlisted="absent"))


def openimages(data: bytes) -> None:
    """A file of human labels beside three images and the names of classes."""
    from mlrpl_cli.core.labels.formats.published.openimages import OpenImages

    root = _folder("openimages")
    _touch(root, "a.jpg", "b.jpg", "c.jpg")
    (root / "class-descriptions.csv").write_text("/m/1,Dog\n/m/2,Cat\n")
    (root / "labels.csv").write_bytes(data)
    OpenImages.recognise(root / "labels.csv")
    _read(OpenImages(root=root / "labels.csv"))


def openimages_machine(data: bytes) -> None:
    """A file of machine labels beside good human ones."""
    from mlrpl_cli.core.labels.formats.published.openimages import OpenImages
    from mlrpl_cli.core.labels.proposals import PROPOSAL, kept
    from tests.fuzz.seeds import OPEN_IMAGES

    root = _folder("openimages_machine")
    _touch(root, "a.jpg", "b.jpg")
    (root / "labels.csv").write_bytes(OPEN_IMAGES)
    (root / "machine.csv").write_bytes(data)
    records, proposals = _read(OpenImages(root=root / "labels.csv", machine_labels=root / "machine.csv"))
    assert proposals is not None
    assert proposals.dtype == PROPOSAL
    assert (records.full_labels == 0).sum() >= len(kept(proposals, records, records))


def openimages_descriptions(data: bytes) -> None:
    """The names of classes beside good labels."""
    from mlrpl_cli.core.labels.formats.published.openimages import OpenImages
    from tests.fuzz.seeds import OPEN_IMAGES

    root = _folder("openimages_descriptions")
    _touch(root, "a.jpg", "b.jpg")
    (root / "labels.csv").write_bytes(OPEN_IMAGES)
    (root / "class-descriptions.csv").write_bytes(data)
    _read(OpenImages(root=root / "labels.csv"))


def chexpert(data: bytes) -> None:
    """Findings by image."""
    from mlrpl_cli.core.labels.formats.published.chexpert import CheXpert

    root = _folder("chexpert")
    _touch(root, "a.jpg", "b.jpg", "c.jpg")
    (root / "train.csv").write_bytes(data)
    CheXpert.recognise(root)
    _read(CheXpert(root=root, uncertain="present", blank="unknown"))


def chexpert_studies(data: bytes) -> None:
    """Which images the studies of MIMIC-CXR-JPG have, beside good findings."""
    from mlrpl_cli.core.labels.formats.published.chexpert import CheXpert
    from tests.fuzz.seeds import STUDIES

    root = _folder("chexpert_studies")
    (root / "files/p10/p101/s5").mkdir(parents=True, exist_ok=True)
    _touch(root, "files/p10/p101/s5/a.jpg", "files/p10/p101/s5/b.jpg")
    (root / "mimic-cxr-2.0.0-chexpert.csv").write_bytes(STUDIES)
    (root / "mimic-cxr-2.0.0-split.csv").write_bytes(data)
    _read(CheXpert(root=root, uncertain="present", blank="unknown"))


def vaw(data: bytes) -> None:
    """Boxes, beside the names of attributes."""
    from mlrpl_cli.core.labels.formats.published.vaw import Vaw

    root = _folder("vaw")
    _touch(root, "1.jpg", "2.jpg")
    (root / "attribute_index.json").write_text('{"wet": 0, "red": 1}')
    (root / "train.json").write_bytes(data)
    _read(Vaw(root=root))


def vaw_index(data: bytes) -> None:
    """The names of attributes, beside good boxes."""
    from mlrpl_cli.core.labels.formats.published.vaw import Vaw
    from tests.fuzz.seeds import BOXES

    root = _folder("vaw_index")
    _touch(root, "1.jpg", "2.jpg")
    (root / "attribute_index.json").write_bytes(data)
    (root / "train.json").write_bytes(BOXES)
    _read(Vaw(root=root))


def cvat(data: bytes) -> None:
    """An export of CVAT beside three images."""
    from mlrpl_cli.core.labels.formats.tools.cvat import Cvat

    root = _folder("cvat")
    _touch(root, "a.jpg", "b.jpg", "c.jpg")
    (root / "annotations.xml").write_bytes(data)
    Cvat.recognise(root)
    _read(Cvat(root=root, unlisted="unknown"))


def labelstudio(data: bytes) -> None:
    """An export of Label Studio beside three images."""
    from mlrpl_cli.core.labels.formats.tools.labelstudio import LabelStudio

    root = _folder("labelstudio")
    _touch(root, "a.jpg", "b.jpg", "c.jpg")
    (root / "tasks.json").write_bytes(data)
    LabelStudio.recognise(root / "tasks.json")
    _read(LabelStudio(root=root / "tasks.json", unlisted="absent", disagreement="unknown"))


def labelstudio_csv(data: bytes) -> None:
    """The same as CSV, below its header."""
    from tests.fuzz.seeds import TASKS_CSV

    labelstudio(TASKS_CSV.partition(b"\n")[0] + b"\n" + data)


def nuswide(data: bytes) -> None:
    """A list of images, which is the file of their labels too."""
    from mlrpl_cli.core.labels.formats.published.nuswide import NusWide

    root = _folder("nuswide")
    _touch(root, "a.jpg", "1", "0")
    for name in ("TrainImagelist.txt", "Labels_sky_Train.txt"):
        (root / name).write_bytes(data)
    for name, text in (("TestImagelist.txt", ""), ("Labels_sky_Test.txt", ""), ("Concepts81.txt", "sky\n")):
        (root / name).write_text(text)
    NusWide.recognise(root)
    _read(NusWide(root=root))


def vg(data: bytes) -> None:
    """Indices by image, beside good lists and names."""
    root = _vg_release()
    (root / "vg_category_200_labels_index.json").write_bytes(data)
    _read_vg(root)


def vg_list(data: bytes) -> None:
    """The list of training images, beside good indices."""
    from tests.fuzz.seeds import INDICES

    root = _vg_release()
    (root / "vg_category_200_labels_index.json").write_bytes(INDICES)
    with _instead(root / "train_list_500.txt", data):
        _read_vg(root)


def fiftyone(data: bytes) -> None:
    """labels.json, or a file of samples, beside a description of the data set."""
    from mlrpl_cli.core.labels.formats.tools.fiftyone import FiftyOne

    root = _folder("fiftyone")
    _touch(root, "a.jpg", "b.jpg", "c.jpg")
    (root / "labels.json").write_bytes(data)
    (root / "metadata.json").write_text('{"default_classes": ["dog"]}')
    FiftyOne.recognise(root)
    _read(FiftyOne(root=root, unlisted="absent"))


def answers(data: bytes) -> None:
    """A file of answers beside its images."""
    from mlrpl_cli.core.labels.answers.reading import read_answers
    from mlrpl_cli.core.labels.answers.records import STATES
    from mlrpl_cli.core.labels.formats.tools.answers import Answers

    root = _folder("answers")
    _touch(root, "a.jpg", "b.jpg", "c.jpg")
    path = root / "answers.sqlite"
    path.write_bytes(data)
    Answers.recognise(path)
    records, _ = _read(Answers(root=path, images=root, disagreements="majority"))
    about, standing = read_answers(path)
    assert (about.images, about.classes) == (records.images, records.classes)
    assert all(answer.state in STATES and answer.person and answer.token for answer in standing)
    assert all(answer.row in range(len(about.images)) for answer in standing)
    assert all(answer.column in range(len(about.classes)) for answer in standing)


def review(data: bytes) -> None:
    """What a page, or something else, sends to the server of `mlrpl review`; nothing but an answer changes the file."""
    from mlrpl_cli.core.io.errors import DataError

    client, store = _review()
    replies = []
    for path in ("answers", "undo"):
        before = store.count
        replies.append(reply := client.post(path, data))
        assert reply.status in (200, 400, 413), reply
        assert list(reply.told) == ["error"] or reply.told["answers"] == store.count
        assert reply.status == 200 or store.count == before
    if all(reply.status != 200 for reply in replies):
        raise DataError(replies[0].told["error"])


@cache
def _review() -> tuple[Any, Any]:
    """A server without a socket, and its answers."""
    import numpy as np

    from mlrpl_cli.core.labels.answers.records import DataSet
    from mlrpl_cli.core.labels.answers.store import AnswerStore
    from mlrpl_cli.core.review.desk import Desk
    from mlrpl_cli.core.review.serving.pictures import Pictures
    from mlrpl_cli.core.review.serving.server import make_app
    from tests.core.review.asking import SECRET, Client, Idle, no_predictor

    root, images = _folder("review"), ("a.jpg", "b.jpg", "c.jpg")
    given = np.zeros((3, 2), np.int8)
    data = DataSet(("cat", "dog"), root, images, ("train", "validation", "test"), given, root)
    store = AnswerStore.open(root / "answers.sqlite", data)
    pictures = Pictures([root / name for name in images], False, no_predictor)
    return Client(make_app(Desk(data, store, "ann", "unknown"), pictures, Idle(), SECRET)), store


def roboflow(data: bytes) -> None:
    """A table of classes."""
    from mlrpl_cli.core.labels.formats.tools.roboflow import Roboflow

    root = _folder("roboflow")
    _touch(root, "a.jpg", "b.jpg", "c.jpg")
    (root / "_classes.csv").write_bytes(data)
    Roboflow.recognise(root)
    _read(Roboflow(root=root))


def imagefolder(data: bytes) -> None:
    """Metadata of images as JSON lines."""
    _imagefolder("metadata.jsonl", data)


def imagefolder_csv(data: bytes) -> None:
    """Metadata of images as CSV."""
    _imagefolder("metadata.csv", data)


def image(data: bytes) -> None:
    """An image of any kind: what the check calls broken is not decoded, and what is decoded is RGB."""
    from mlrpl_cli.core.images.check import check_files
    from mlrpl_cli.core.images.decode import open_image
    from mlrpl_cli.core.io.progress import Silent

    folder = _folder("image")
    (folder / "a").write_bytes(data)
    broken = check_files(folder, ["a"], True, Silent()).broken
    decoded = open_image(folder / "a", allow_truncated=True)
    assert decoded.mode == "RGB"
    assert not broken, "what is decoded is not broken"


def config(data: bytes) -> None:
    """A configuration file."""
    from mlrpl_cli.core.config import make_config, write_yaml

    path = _folder("config") / "config.yaml"
    path.write_bytes(data)
    made = make_config(path)
    write_yaml(made, path)
    assert make_config(path) == made, "what was written reads back"


def assignment(data: bytes) -> None:
    """What follows --set."""
    from mlrpl_cli.core.config import given_options, make_config

    make_config(flags=given_options([data.decode(errors="surrogateescape")]))


def manifest(data: bytes) -> None:
    """The manifest of a prepared folder, and what an update takes from it."""
    from mlrpl_cli.core.prepared.folder import is_prepared, options_of, read_prepared
    from mlrpl_cli.core.prepared.job import recorded

    folder = _prepared_folder()
    (folder / MANIFEST).write_bytes(data)
    assert is_prepared(folder) or options_of(folder) is None
    prepared = read_prepared(folder)
    _check_prepared(prepared)
    assert recorded(prepared).out == folder


def manifest_fields(data: bytes) -> None:
    """A manifest whose kind, version and checksums are right whatever else it says."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(content, dict):
        manifest(json.dumps({**content, **_right(_prepared_folder())}).encode())


def manifest_images(data: bytes) -> None:
    """The list of images of a prepared folder, its checksum right."""
    _beside_manifest(IMAGES, data)


def manifest_labels(data: bytes) -> None:
    """The published labels of a prepared folder, their checksum right."""
    _beside_manifest(LABELS, data)


def manifest_proposals(data: bytes) -> None:
    """The proposals of a prepared folder, their checksum right."""
    from mlrpl_cli.core.prepared.folder import read_prepared, read_proposals
    from tests.fuzz.seeds import manifest_content

    folder = _prepared_folder()
    (folder / PROPOSALS).write_bytes(data)
    right = _right(folder)
    right["sha256"][PROPOSALS] = hashlib.sha256(data).hexdigest()
    counted = {"train": 1, "validation": 0, "test": 0}
    (folder / MANIFEST).write_text(json.dumps({**manifest_content(), **right, "proposals": counted}))
    assert len(read_proposals(read_prepared(folder))) == 1


def archive(data: bytes) -> None:
    """A tar, plain or compressed, or a zip."""
    from mlrpl_cli.core.labels.sources import extract

    path, out = _folder("archive") / "archive", _folder("unpacked")
    shutil.rmtree(out)
    out.mkdir()
    path.write_bytes(data)
    try:
        extract(path, out)
    finally:
        beside = {entry.name for entry in out.parent.iterdir()}
        assert out.parent.name.startswith("mlrpl-fuzz-"), "nothing is unpacked beside the folder"
        assert beside <= {entry.split("/")[0] for entry in _FOLDERS}
    assert all(not entry.is_symlink() and (entry.is_file() or entry.is_dir()) for entry in out.rglob("*"))


def checkpoint(data: bytes) -> None:
    """A checkpoint of a run."""
    run = _folder("checkpoint")
    (run / "best.safetensors").write_bytes(data)
    _rebuild(run)


def checkpoint_metadata(data: bytes) -> None:
    """What a checkpoint says of itself, its tensors good and its checksum right."""
    from mlrpl_cli.core.io.tensorfiles import write_tensors
    from tests.fuzz.seeds import checkpoint_key, checkpoint_tensors

    run = _folder("checkpoint_metadata")
    write_tensors(run / "best.safetensors", checkpoint_tensors(), {checkpoint_key(): data.decode(errors="replace")})
    _rebuild(run)


def checkpoint_shapes(data: bytes) -> None:
    """A checkpoint's method and the shapes of its tensors as JSON, all else good and its checksum right."""
    import torch

    from mlrpl_cli.core.io.tensorfiles import write_tensors
    from tests.fuzz.seeds import checkpoint_key
    from tests.fuzz.seeds import checkpoint_metadata as about

    try:
        content = json.loads(data)
        method, shapes = content["method"], _small_shapes(content["shapes"])
    except (ValueError, RecursionError, TypeError, LookupError):
        return
    run = _folder("checkpoint_shapes")
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    write_tensors(run / "best.safetensors", tensors, {checkpoint_key(): json.dumps({**about(), "method": method})})
    _rebuild(run)


def backbone_file(data: bytes) -> None:
    """A safetensors file that is a backbone."""
    _decide("clip.safetensors", data)


def backbone_pickle(data: bytes) -> None:
    """A checkpoint of PyTorch that is a backbone."""
    _decide("clip.pt", data)


def backbone_config(data: bytes) -> None:
    """A configuration of transformers or open_clip beside a CLIP of transformers."""
    from tests.fuzz.seeds import clip_file

    (_folder("backbone_config") / "config.json").write_bytes(data)
    _decide("clip.safetensors", clip_file(), "backbone_config")


def backbone_index(data: bytes) -> None:
    """The index of a CLIP that lies in several files."""
    from tests.fuzz.seeds import clip_file, clip_sizes

    (_folder("backbone_index") / "a.safetensors").write_bytes(clip_file())
    (_folder("backbone_index") / "config.json").write_text(json.dumps(clip_sizes()))
    _decide("model.safetensors.index.json", data, "backbone_index")


def run_log(data: bytes) -> None:
    """metrics.jsonl of a run."""
    from mlrpl_cli.core.runs.folder import read_log

    run = _folder("run_log")
    (run / "metrics.jsonl").write_bytes(data)
    assert all(isinstance(row, dict) for row in read_log(run))


def run_decisions(data: bytes) -> None:
    """decisions.json of a run: what is read is of its classes and gives probabilities."""
    import numpy as np

    from mlrpl_cli.core.runs.decided.decisions import read_decisions

    run = _folder("run_decisions")
    (run / "decisions.json").write_bytes(data)
    for one in read_decisions(run).values():
        logits = np.zeros((1, len(one.thresholds)))
        assert one.probabilities(logits).shape == one.verdicts(logits).shape == logits.shape


def model(data: bytes) -> None:
    """A file of `predict --model`: what is accepted predicts."""
    import numpy as np

    from mlrpl_cli.core.prediction.model_file import ModelPredictor

    path = _folder("model") / "model.onnx"
    path.write_bytes(data)
    predictor = ModelPredictor.from_file(path)
    size = predictor.input[0]
    assert predictor.predict(np.zeros((1, size, size, 3), np.uint8))["decisions"].shape == (1, len(predictor.classes))


def model_properties(data: bytes) -> None:
    """What a model file says of itself, as one JSON object: what is read is written the same."""
    from mlrpl_cli.core.prediction.model_info import info_of

    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(content, dict):
        info = info_of({name: json.dumps(value) for name, value in content.items()})
        assert info_of(info.properties()) == info
        assert len(info.thresholds) == len(info.classes) > 0


def held_out(data: bytes) -> None:
    """held_out.safetensors of a run."""
    import numpy as np

    from mlrpl_cli.core.runs.decided.scores import read_held_out

    run = _folder("held_out")
    (run / "held_out.safetensors").write_bytes(data)
    for one in read_held_out(run).values():
        assert one.labels.shape == one.logits.shape == (len(one.rows), one.logits.shape[1])
        assert np.isfinite(one.logits).all()


def sweep_results(data: bytes) -> None:
    """results.jsonl of a sweep."""
    from mlrpl_cli.core.sweep.results import read_results

    path = _folder("sweep_results") / "results.jsonl"
    path.write_bytes(data)
    assert all(isinstance(row, dict) for row in read_results(path))


def folds(data: bytes) -> None:
    """The folds of a sweep, of the images of a prepared folder."""
    from mlrpl_cli.core.prepared.folder import read_prepared
    from mlrpl_cli.core.sweep.folds.assignment import folds_of

    prepared = read_prepared(_folds_of_a_sweep())
    path = _folder("folds") / "folds.csv"
    path.write_bytes(data)
    found = folds_of(prepared, path)
    assert found.shape == (len(prepared.images),)
    assert len(set(found.tolist()) - {-1}) >= 2
    assert -1 <= found.min() <= found.max() <= 99


def glove(data: bytes) -> None:
    """Word vectors in GloVe's text format."""
    from mlrpl_cli.core.heads.class_semantics import glove_features

    path = _folder("glove") / "glove.txt"
    path.write_bytes(data)
    features = glove_features(GLOVE_CLASSES, path)
    assert len(features) == len(GLOVE_CLASSES)
    assert ((features.norm(dim=-1) - 1).abs() < 1e-2).all()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "voc_annotation": voc_annotation,
    "voc_image_set": voc_image_set,
    "coco": coco,
    "lvis": lvis,
    "table": table,
    "table_of_test": table_of_test,
    "table_parquet": table_parquet,
    "table_workbook": table_workbook,
    "table_sheet": table_sheet,
    "long": long,
    "tags": tags,
    "openimages": openimages,
    "openimages_machine": openimages_machine,
    "openimages_descriptions": openimages_descriptions,
    "chexpert": chexpert,
    "chexpert_studies": chexpert_studies,
    "vaw": vaw,
    "vaw_index": vaw_index,
    "cvat": cvat,
    "labelstudio": labelstudio,
    "labelstudio_csv": labelstudio_csv,
    "nuswide": nuswide,
    "vg": vg,
    "vg_list": vg_list,
    "fiftyone": fiftyone,
    "answers": answers,
    "review": review,
    "roboflow": roboflow,
    "imagefolder": imagefolder,
    "imagefolder_csv": imagefolder_csv,
    "image": image,
    "config": config,
    "assignment": assignment,
    "manifest": manifest,
    "manifest_fields": manifest_fields,
    "manifest_images": manifest_images,
    "manifest_labels": manifest_labels,
    "manifest_proposals": manifest_proposals,
    "archive": archive,
    "glove": glove,
    "checkpoint": checkpoint,
    "checkpoint_metadata": checkpoint_metadata,
    "checkpoint_shapes": checkpoint_shapes,
    "backbone_file": backbone_file,
    "backbone_pickle": backbone_pickle,
    "backbone_config": backbone_config,
    "backbone_index": backbone_index,
    "run_log": run_log,
    "run_decisions": run_decisions,
    "model_properties": model_properties,
    **({"model": model} if all(map(find_spec, ("onnx", "onnxruntime"))) else {}),  # of the extra onnx
    "held_out": held_out,
    "sweep_results": sweep_results,
    "folds": folds,
}

_FOLDERS: set[str] = set()


@cache
def _workspace() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="mlrpl-fuzz-", dir=IN_MEMORY))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _folder(name: str) -> Path:
    """One folder for each target, the same every time."""
    folder = _workspace() / name
    if name not in _FOLDERS:
        folder.mkdir()
        _FOLDERS.add(name)
    return folder


@contextmanager
def _instead(path: Path, data: bytes) -> Iterator[None]:
    """A file with other content for a while."""
    good = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(good)


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


@cache
def _voc_release() -> Path:
    from tests.fuzz.seeds import VOC_ANNOTATION

    root = _folder("VOC2007")
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    for identifier in ("000001", "000002", "000003"):
        (root / "JPEGImages" / f"{identifier}.jpg").touch()
        (root / "Annotations" / f"{identifier}.xml").write_bytes(VOC_ANNOTATION)
    (root / "ImageSets" / "Main" / "trainval.txt").write_text("000001\n000002\n")
    (root / "ImageSets" / "Main" / "test.txt").write_text("000003\n")
    return root


def _read_voc(root: Path) -> None:
    from mlrpl_cli.core.labels.formats.published.voc import Voc

    _read(Voc(root=root, difficult="unknown"))


@cache
def _coco_release() -> Path:
    from tests.fuzz.seeds import COCO_TRAIN

    root = _folder("coco")
    for name, images in (("train2017", ("a.jpg",)), ("val2017", ("b.jpg", "c.jpg")), ("annotations", ())):
        (root / name).mkdir()
        _touch(root / name, *images)
    (root / "annotations" / "instances_train2017.json").write_bytes(COCO_TRAIN)
    return root


@cache
def _vg_release() -> Path:
    root = _folder("vg")
    _touch(root, "1.jpg", "2.jpg", "3.jpg")
    (root / "train_list_500.txt").write_text("1.jpg\n2.jpg\n")
    (root / "test_list_500.txt").write_text("3.jpg\n")
    (root / "names").write_text("\n".join(map(str, range(200))))
    return root


def _read_vg(root: Path) -> None:
    from mlrpl_cli.core.labels.formats.published.vg import Vg200

    _read(Vg200(root=root, class_descriptions=root / "names"))


def _table_file(name: str, data: bytes) -> Path:
    """A table beside three images, for which every reader says whether it is its own."""
    from mlrpl_cli.core.io.errors import ConfigError
    from mlrpl_cli.core.labels.formats.registry import recognise

    path = _folder(f"{name}-and-images") / name
    _touch(path.parent, "a.jpg", "b.jpg", "c.jpg")
    path.write_bytes(data)
    with suppress(ConfigError):
        recognise(path)
    return path


def _imagefolder(name: str, data: bytes) -> None:
    from mlrpl_cli.core.labels.formats.tools.imagefolder import ImageFolder

    root = _folder(name)
    _touch(root, "a.jpg", "b.jpg", "c.jpg")
    (root / name).write_bytes(data)
    ImageFolder.recognise(root)
    _read(ImageFolder(root=root, unlisted="absent"))


@cache
def _prepared_folder() -> Path:
    from tests.fuzz.seeds import write_prepared_folder

    return write_prepared_folder(_folder("prepared"))


@cache
def _folds_of_a_sweep() -> Path:
    """A prepared folder that no other target writes into."""
    from tests.fuzz.seeds import write_prepared_folder

    return write_prepared_folder(_folder("prepared-with-folds"))


def _right(folder: Path) -> dict[str, Any]:
    """The kind, version and checksums of the files that are in a prepared folder now."""
    from mlrpl_cli.core.prepared.folder import KIND, VERSION

    names = (IMAGES, LABELS, "labels_observed.npy")
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    return {"kind": KIND, "version": VERSION, "sha256": sums}


def _beside_manifest(name: str, data: bytes) -> None:
    from tests.fuzz.seeds import manifest_content

    folder = _prepared_folder()
    with _instead(folder / name, data):
        manifest(json.dumps({**manifest_content(), **_right(folder)}).encode())


def _small_shapes(content: object) -> dict[str, list[int]]:
    """Shapes by name; those that are none, or of large tensors, or of names that no file holds, are left out."""
    named = content.items() if isinstance(content, dict) else ()
    return {name: shape for name, shape in named if _is_small_shape(shape) and name.isprintable()}


def _is_small_shape(shape: object) -> bool:
    if not isinstance(shape, list) or len(shape) > 4:
        return False
    return all(type(side) is int and 0 <= side <= 16 for side in shape)


def _decide(name: str, data: bytes, folder: str | None = None) -> None:
    """What a file of weights is decided to be, whose tensors have the shapes that were promised."""
    from mlrpl_cli.core.backbones.files.forms import decide
    from mlrpl_cli.core.backbones.files.huggingface.names import to_open_clip
    from mlrpl_cli.core.backbones.files.reading import open_weights
    from mlrpl_cli.core.backbones.files.sizes import differences, sizes_of_state

    path = _folder(folder or name) / name
    path.write_bytes(data)
    weights = open_weights(path)
    promised = to_open_clip(weights.on_meta())
    decided = decide(weights, promised, None)
    assert not differences(decided.architecture.model, sizes_of_state(promised))
    state = to_open_clip(weights.read())
    assert {name: tensor.shape for name, tensor in state.items()} == {n: t.shape for n, t in promised.items()}


def _rebuild(run: Path) -> None:
    from mlrpl_cli.core.runs.checkpoint import TrainedHead, load_checkpoint

    head = TrainedHead(load_checkpoint(run))
    assert head.text.ndim == 2
    assert all(isinstance(name, str) for name in head.info.classes)


def _read(source: Format) -> tuple[Records, Any]:
    """What a format makes of its files, which is what `Records` promises, and what machines propose."""
    from mlrpl_cli.core.io.progress import Silent
    from mlrpl_cli.core.labels.records import Reading

    reading = Reading(_workspace(), Silent())
    records = source.read(reading)
    _check_records(records)
    return records, reading.proposals


def _check_records(records: Records) -> None:
    """What `Records` promises, and that nothing leads outside."""
    import numpy as np

    from mlrpl_cli.core.io.reading import is_name, leads_outside
    from mlrpl_cli.core.labels.records import UNASSIGNED

    count = len(records.images)
    assert records.full_labels.shape == (count, len(records.classes))
    assert records.full_labels.dtype == np.int8
    assert np.isin(records.full_labels, (-1, 0, 1)).all()
    assert len(records.splits) == count == len(set(records.images))
    assert set(records.splits) <= {UNASSIGNED, "train", "validation", "test"}
    assert all(is_name(name) for name in records.classes)
    assert not any(leads_outside(name) for name in records.images)
    assert all((records.image_root / name).is_file() for name in records.images)


def _check_prepared(prepared: Prepared) -> None:
    """What `Prepared` promises, and that nothing leads outside."""
    import numpy as np

    from mlrpl_cli.core.io.reading import leads_outside

    shape = (len(prepared.images), len(prepared.classes))
    for labels in (prepared.full_labels, prepared.observed_labels):
        assert labels.shape == shape
        assert labels.dtype == np.int8
        assert np.isin(labels, (-1, 0, 1)).all()
    assert len(prepared.splits) == len(prepared.images)
    assert all(isinstance(name, str) for name in (*prepared.classes, prepared.dataset, prepared.mask_sha256))
    assert isinstance(prepared.options, dict)
    assert prepared.image_root.is_dir()
    assert not any(leads_outside(name) for name in prepared.images)
    assert sum(prepared.rows(split).size for split in ("train", "validation", "test")) == shape[0]
    assert len(prepared.sha256) == 64
