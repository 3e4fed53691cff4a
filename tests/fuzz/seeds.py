"""Small valid inputs for each target, and words that its format knows.

Imports that the fuzzer is to follow are inside the functions.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

VOC_ANNOTATION = (
    b"<annotation><folder>VOC2007</folder><object><name>dog</name><difficult>0</difficult><part><name>head</name>"
    b"</part></object><object><name>cat</name><difficult>1</difficult></object></annotation>"
)
CVAT = (
    b"<annotations><version>1.1</version><meta><task><labels><label><name>dog</name></label></labels></task></meta>"
    b'<image name="a.jpg" subset="train"><tag label="dog"/></image><image name="b.jpg"><box label="cat"/></image>'
    b"</annotations>"
)
TASKS = (
    b'[{"id": 1, "annotations": [{"result": [{"value": {"choices": ["dog", "cat"]}, "from_name": "labels", "type": '
    b'"choices"}], "was_cancelled": false}, {"result": []}], "data": {"image": "/data/upload/1/0123abcd-a.jpg", '
    b'"split": "train"}}, {"id": 2, "annotations": [], "data": {"image": "/data/local-files/?d=c/b.jpg"}}]'
)
TASKS_MIN = (
    b'[{"image": "http://h/a.jpg", "id": 1, "choice": "dog", "annotator": 1, "annotation_id": 1}, {"image": "b.jpg", '
    b'"id": 2, "choice": {"choices": ["dog", "cat"]}}]'
)
TASKS_CSV = (
    b"image,id,choice,annotator,annotation_id,created_at,updated_at,lead_time\nhttp://h/a.jpg,1,dog,1,1,,,2.5\n"
    b'b.jpg,2,"{""choices"": [""dog"", ""cat""]}",1,2,,,\nb.jpg,2,,2,3,,,\nc.jpg,3,,,,,,\n'
)
_XML = (
    VOC_ANNOTATION,
    b'<?xml version="1.0" encoding="UTF-8"?>\n' + VOC_ANNOTATION,
    b'<!DOCTYPE annotation [<!ENTITY a "dog"><!ATTLIST object x CDATA "y">]><annotation><object><name>&a;</name>'
    b"</object></annotation>",
    "<annotation><object><name>dog</name></object></annotation>".encode("utf-16"),
    b'<?xml version="1.0" encoding="gb2312"?><!DOCTYPE annotation>\n' + VOC_ANNOTATION.replace(b"1", b"True"),
)
_CATEGORIES = [{"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}]


def _coco(*names: str) -> bytes:
    images = [{"id": number, "file_name": name} for number, name in enumerate(names, 3)]
    annotations = [{"id": 1, "image_id": 3, "category_id": 90, "iscrowd": 0}]
    return json.dumps({"images": images, "annotations": annotations, "categories": _CATEGORIES}).encode()


COCO_TRAIN = _coco("a.jpg")


def _lvis() -> bytes:
    """Two images with what was checked."""
    lists = ({"neg_category_ids": [1], "not_exhaustive_category_ids": [90]}, {"neg_category_ids": []})
    images = [
        {"id": number, "coco_url": f"http://host/train2017/{name}.jpg", **checked}
        for number, name, checked in zip((3, 4), "ab", lists, strict=True)
    ]
    return json.dumps({**json.loads(COCO_TRAIN), "images": images}).encode()


TABLES = (
    b"image,dog,cat\na.jpg,1,0\nb.jpg,?,yes\n",
    b"\xef\xbb\xbfimage;split;dog\r\na.jpg;train;1\r\nb.jpg;val;no\r\nc.jpg;test;\r\n",
    b'image\t"big dog"\na.jpg\t1\n./b.jpg\t-1\n',
)
_LONG = (b"image,label,confidence\na.jpg,dog,1\nb.jpg,cat,0\n", b"id\tlabel\tstate\na\tdog\tyes\na\tcat\t?\n")
_TAGS = (
    b"image,tags\na.jpg,dog|cat\nb.jpg,\n",
    b'image;labels;is_test\na;"[""dog"", ""cat""]";0\nb;[\'dog\'];1\n',
    b"Image Index,Finding Labels\na.jpg,Edema|Mass\nb.jpg,No Finding\n",
)
SHEET = (
    b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><dimension ref="A1:B3"/><sheetData>'
    b'<row r="1"><c r="A1" t="inlineStr"><is><t>image</t></is></c><c r="B1" t="inlineStr"><is><t>dog</t></is></c></row>'
    b'<row r="2"><c r="A2" t="inlineStr"><is><t>a.jpg</t></is></c><c r="B2"><v>1</v></c></row>'
    b'<row r="3"><c r="A3" t="inlineStr"><is><t>b.jpg</t></is></c><c r="B3" t="b"><v>0</v></c></row>'
    b"</sheetData></worksheet>"
)
OPEN_IMAGES = b"ImageID,Source,LabelName,Confidence\na,verification,/m/1,1\nb,verification,/m/2,0\n"
_FINDINGS = (
    b"No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,"
    b"Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices\n"
)
_CHEXPERT = b"Path,Sex," + _FINDINGS + b"a.jpg,Male" + b",1.0,,-1.0,0.0,1,,-1" * 2 + b"\nb.jpg,Male" + b",1" * 14
STUDIES = b"subject_id,study_id," + _FINDINGS + b"101,5" + b",0.0" * 14 + b"\n"
_SPLIT = b"dicom_id,study_id,subject_id,split\na,5,101,train\nb,5,101,test\nc,6,101,validate\n"
BOXES = (
    b'[{"image_id": "1", "positive_attributes": ["wet"], "negative_attributes": ["red"]}, {"image_id": 2, '
    b'"positive_attributes": [], "negative_attributes": ["wet"], "instance_bbox": [1.5, 2, 3, 4]}]'
)
INDICES = b'{"1.jpg": [0, 199], "2.jpg": [], "3.jpg": [7, 7]}'
FIFTYONE = (
    b'{"classes": ["dog", "cat"], "labels": {"a": 1, "b.jpg": [0, {"label": "cat", "confidence": 0.5}], "c": null}}',
    b'{"samples": [{"filepath": "a.jpg", "tags": ["train"], "x": {"_cls": "Classification", "label": "dog"}}, '
    b'{"filepath": "b.jpg", "tags": ["test"], "x": {"_cls": "Classifications", "classifications": [{"label": "cat"}]}}'
    b"]}",
)
_ROBOFLOW = (b"filename, dog, cat\na.jpg, 1, 0\nb.jpg, 0, 0\n", b"filename, dog, Unlabeled\na.jpg, 0, 1\n")
_LINES = (
    b'{"file_name": "a.jpg", "labels": ["dog", "cat"]}\n{"file_name": "b.jpg", "labels": []}\n',
    b'{"file_name": "./a.jpg", "tags": "dog|cat"}\n{"file_name": "b.jpg", "tags": null}\n',
)
_METADATA = (b'file_name,labels\na.jpg,"[""dog""]"\nb.jpg,\n', b"x_file_name;tag\na.jpg;dog\nb.jpg;cat|dog\n")
_CONFIGS = (
    b"epochs: 5\nlr: 1e-3\nmethod: baseline\nglove: null\n",
    b"seed: 0x10\ncontext_template: 'a photo of a'\nsemantics: glove\nglove: \"a\\tb\"\nviews: 0\n",
    b"{lr: .5, warmup: 0.1, cache_gib: .inf, run: 2001-01-01}\n",
    b"a: &a [1]\nb: *a\n<<: *a\nc: !!int 3\n",
)
_ASSIGNMENTS = (b"epochs=5", b"lr=1e-3", b"context_template=a photo of a", b"glove=[a, {b: c}]", b"seed=1:30:00")
_LOG = (
    b'{"epoch": 1, "loss": 0.5, "map": null, "split": "validation", "lr": 1e-3, "seconds": 1.0, '
    b'"images_per_second": 2.0}\n'
)
_RESULT = (
    b'{"key": "0123456789abcdef", "kind": "run", "method": "sarl+", "keep": 0.1, "seed": 0, "lr": 0.002, "epochs": 5, '
    b'"loss": "asl", "validation_map": 0.5, "learned_parameters": 7, "map": 0.4, "selected_map": 0.4, '
    b'"average_precision": [0.5, null]}\n'
)
SHAPES: dict[str, dict[str, list[int]]] = {
    "baseline": {"recognizer.log_scale": [], "recognizer.bias": [2], "text_features": [2, 4]},
    "linear": {
        "recognizer.log_scale": [],
        "recognizer.bias": [2],
        "recognizer.region_weight": [2, 4],
        "text_features": [2, 4],
    },
    "anchored": {
        "recognizer.texts": [2, 4],
        "recognizer.precision": [],
        "recognizer.score_mean": [2, 2],
        "recognizer.score_spread": [2, 2],
        "recognizer.content_mean": [3],
        "recognizer.content_spread": [],
        "recognizer.trust": [2, 2],
        "recognizer.weight": [3, 2],
        "recognizer.offset": [2],
        "text_features": [2, 4],
    },
    "sarl+": {
        "recognizer.members.0.log_scale": [],
        "recognizer.members.0.bias": [2],
        "recognizer.members.0.visual_head.semantics": [2, 4],
        "recognizer.members.0.visual_head.decoupling.score": [5],
        "recognizer.members.0.visual_head.decoupling.image_projection.weight": [5, 3],
        "recognizer.members.0.visual_head.decoupling.semantic_projection.weight": [5, 4],
        "recognizer.members.1.log_scale": [],
        "recognizer.members.1.bias": [2],
        "recognizer.members.1.region_weight": [2, 4],
        "text_features": [2, 4],
    },
}
"""Tensors of the smallest recognizers of two classes, by method."""
_WORDS = {
    "voc": b"<annotation> <object> <name> </name> <!DOCTYPE <!ENTITY <!ATTLIST &a; <![CDATA[ dog 000001",
    "coco": b'"images" "annotations" "categories" "id" "name" "file_name" "image_id" NaN ../ \\ud800',
    "lvis": b'"images" "annotations" "neg_category_ids" "coco_url" http://[ "1.0" %2e%2e/ \\ud800',
    "table_sheet": b"<row <c r= t= s= inlineStr <is> <t> <v> A1048576 XFD1 <f> <dimension <!DOCTYPE &a; 1e308",
    "table": b'image split train " \\ -1 unknown / ../ ; ,,,,',
    "folds": b'image id fold a.jpg ../ \\ -1 100 1.0 0 , ; " nan',
    "long": b'image label confidence yes no ? 0.5 , " ../',
    "tags": b"image tags Finding No dog|cat [ ] ' , ; \" ../",
    "openimages": b'ImageID Source LabelName Confidence /m/1 /m/2 , 0 1 0.5 " sep=',
    "chexpert": b'Path subject_id study_id dicom_id split train validate Edema -1.0 , " ../',
    "vaw": b'"image_id" "positive_attributes" "negative_attributes" "wet" "red" 1 { } [ ] NaN \\ud800',
    "cvat": b"<annotations> <meta> <label> <name> <image <tag <box label= name= subset= <!DOCTYPE &a; dog",
    "labelstudio": b'"data" "image" "annotations" "result" "choices" "was_cancelled" /data/upload/ ?d= \\ud800',
    "nuswide": b"a.jpg b.jpg 1 0 -1 \\ / ../ \xff",
    "vg": b'"1.jpg" 2.jpg [ ] 0 199 200 -1 true NaN \\ud800 ../',
    "answers": b"present absent unsure train test CREATE TABLE VIEW TRIGGER a.jpg ../ \x00 \x01 \xff SQLite",
    "review": b'"person" "answers" "tokens" "token" "row" "column" "state" "present" "p" null true 1e9 -1 \\ud800',
    "fiftyone": b'"classes" "labels" "samples" "filepath" "tags" "_cls" "Classifications" "label" null data/a \\ud800',
    "roboflow": b'filename Unlabeled a.jpg , 1 0 " ../',
    "imagefolder": b'"file_name" "labels" file_name tags | [ ] { null " ../ \\ud800',
    "config": b"epochs glove : - &a *a << !!int ? 0x .inf 2001-01-01 [ {",
    "assignment": b"= epochs glove seed *a &a !! 0x 1:30 [ {",
    "manifest": b'"kind" "sha256" "classes" "options" "counts" "image_root" null ../ \\ud800 test, int8 (1,)',
    "archive": b"ustar PK\x01\x02 PK\x03\x04 PK\x05\x06 path= ../ \x80\x00\x00\x00",
    "glove": b"cat stop sign nan inf 1e308 0",
    "checkpoint": b'"dtype" "shape" "data_offsets" __metadata__ "mlrpl" "F32" "BOOL" "sha256" -1 [] null',
    "backbone": b'"dtype" "shape" "F32" "I8" visual. module. "weight_map" "model_cfg" "clip" "hidden_act" 0 -1 [] null',
    "": b'{ } [ ] null 1 -1 NaN "key" "epoch"',
}
"""Pieces of each format, by how the names of its targets begin."""


def words(target: str) -> tuple[bytes, ...]:
    """Pieces of the format that `target` reads, for mutations."""
    return next(tuple(listed.split()) for prefix, listed in _WORDS.items() if target.startswith(prefix))


@cache
def seeds(target: str) -> tuple[bytes, ...]:
    """Inputs for `target`, the first of them one that it accepts."""
    return tuple(_SEEDS[target]())


def checkpoint_metadata() -> dict[str, Any]:
    """What the checkpoint of the seeds says of itself."""
    from dataclasses import asdict

    return asdict(_checkpoint().info)


@cache
def checkpoint_key() -> str:
    """Under which name a checkpoint's file keeps what it says of itself."""
    from mlrpl_cli.core.io.tensorfiles import open_tensors

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "best.safetensors"
        path.write_bytes(seeds("checkpoint")[0])
        (key,) = open_tensors(path).metadata
        return key


def checkpoint_tensors() -> dict[str, Tensor]:
    """The tensors of the checkpoint of the seeds."""
    return dict(_checkpoint().tensors)


def write_prepared_folder(folder: Path) -> Path:
    """Four images of two classes, as `prepare` writes them."""
    import numpy as np

    from mlrpl_cli.core.prepared.folder import Prepared, write_manifest

    full = np.array([[1, -1], [-1, 1], [1, 0], [-1, -1]], dtype=np.int8)
    observed = np.array([[1, 0], [0, 1], [0, 0], [-1, -1]], dtype=np.int8)
    prepared = Prepared(
        folder=folder,
        dataset="table",
        classes=("cat", "dög"),
        image_root=folder,
        images=("a.jpg", 'b, "c".jpg', "d\ne.jpg", "f.jpg"),
        splits=("train", "validation", "train", "test"),
        full_labels=full,
        observed_labels=observed,
        options={"keep": 0.5, "seed": 0, "reading": {"seed": 0}},
        mask_sha256="0" * 64,
    )
    write_manifest(folder, prepared)
    return folder


@cache
def _prepared_files() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        write_prepared_folder(Path(folder))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


_FOLDED = b"split,image,fold\ntrain,images/0.png,0\ntrain,images/1.png,1\ntest,images/2.png,\n"


def manifest_content() -> dict[str, Any]:
    """The manifest of `write_prepared_folder`."""
    return json.loads(_prepared_files()["manifest.json"])


@cache
def _checkpoint() -> Any:
    """A checkpoint of the smallest recognizer."""
    import torch

    from mlrpl_cli.core.runs.checkpoint import Checkpoint, RunInfo
    from mlrpl_cli.core.runs.trained_on import image_tensors

    info = RunInfo(
        method="baseline",
        classes=("cat", "dog"),
        dataset="table",
        data="prepared",
        mask_sha256="0" * 64,
        data_sha256="0" * 64,
        backbone="tiny",
        fingerprint="0" * 64,
        image_size=64,
        precision="float32",
        epoch=1,
        best_epoch=1,
        best_map=0.5,
        selection="validation",
        training_images=3,
        known_present=(1, 0),
        known_absent=(1, 2),
    )
    tensors = {name: torch.zeros(shape) for name, shape in SHAPES["baseline"].items()}
    return Checkpoint(info, tensors | image_tensors(["00" * 32, "ff" * 32], []))


_ANSWERS = (
    "INSERT INTO about VALUES ('image_root', CAST('/images' AS BLOB)), ('source', CAST('/prepared' AS BLOB))",
    "INSERT INTO classes VALUES (1, 'cat', 0), (2, 'dog', 1), (3, 'bird', NULL)",
    "INSERT INTO images VALUES (1, CAST('a.jpg' AS BLOB), 'train', 0, x'01ff'), "
    "(2, CAST('b.jpg' AS BLOB), 'test', 1, x'0000'), (3, CAST('c.jpg' AS BLOB), 'train', NULL, x'')",
    "INSERT INTO answers VALUES (1, 't1', 1, 2, 'present', NULL, 'ann', '2026-01-01T00:00:00.000+00:00', 0.5), "
    "(2, 't2', 2, 1, 'absent', NULL, 'bob', '2026-01-01T00:00:01.000+00:00', NULL), "
    "(3, 't3', 2, 3, 'unsure', NULL, 'ann', '2026-01-01T00:00:02.000+00:00', 1.0), "
    "(4, NULL, 1, 2, NULL, 1, 'ann', '2026-01-01T00:00:03.000+00:00', NULL)",
)


def answers_file(*statements: str, page: int = 512) -> bytes:
    """A file of answers about two images and two classes, after some more `statements`; pages have so many bytes."""
    import sqlite3
    from contextlib import closing

    from mlrpl_cli.core.labels.answers.database import APPLICATION, SCHEMA, VERSION

    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(Path(folder) / "answers")) as connection:
        kind = f"PRAGMA application_id = {APPLICATION}", f"PRAGMA user_version = {VERSION}"
        for statement in (f"PRAGMA page_size = {page}", *kind, *SCHEMA, *_ANSWERS, *statements):
            connection.execute(statement)
        connection.commit()
        return (Path(folder) / "answers").read_bytes()


def _held_out() -> Any:
    """Scores of six images and two classes."""
    import numpy as np

    from mlrpl_cli.core.runs.decided.scores import VALIDATION, HeldOut

    labels = np.array([[1, -1], [-1, 1], [1, 0], [-1, -1], [0, 1], [1, -1]], np.int8)
    return HeldOut("0" * 64, VALIDATION, np.arange(6), labels, labels.astype(np.float32) - 0.5)


def _held_out_file() -> bytes:
    from mlrpl_cli.core.runs.decided.scores import write_held_out
    from mlrpl_cli.core.runs.folder import HELD_OUT

    with tempfile.TemporaryDirectory() as folder:
        write_held_out(Path(folder), {"best": _held_out(), "last": _held_out()})
        return (Path(folder) / HELD_OUT).read_bytes()


def _decisions() -> bytes:
    from mlrpl_cli.core.decisions.of_run import decision
    from mlrpl_cli.core.runs.decided.decisions import write_decisions
    from mlrpl_cli.core.runs.decided.objective import Objective
    from mlrpl_cli.core.runs.folder import DECISIONS

    with tempfile.TemporaryDirectory() as folder:
        write_decisions(Path(folder), ("cat", "dog"), {"last": decision(_held_out(), Objective(), 0)})
        return (Path(folder) / DECISIONS).read_bytes()


def _checkpoint_file() -> bytes:
    from mlrpl_cli.core.runs.checkpoint import save_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(_checkpoint(), Path(folder) / "best.safetensors")
        return (Path(folder) / "best.safetensors").read_bytes()


def clip_sizes() -> dict[str, Any]:
    """A configuration of transformers of a CLIP whose tensors have a few values."""
    tower = {"hidden_size": 4, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**tower, "vocab_size": 5, "max_position_embeddings": 6, "eos_token_id": 4}
    vision = {**tower, "image_size": 4, "patch_size": 2}
    return {"model_type": "clip", "projection_dim": 3, "text_config": text, "vision_config": vision}


@cache
def _clip_state() -> dict[str, Tensor]:
    """A CLIP of `clip_sizes` under transformers' names."""
    import torch

    block = {f"{name}.{kind}": (4,) for name in ("layer_norm1", "layer_norm2") for kind in ("weight", "bias")}
    for part in ("q", "k", "v", "out"):
        block |= {f"self_attn.{part}_proj.weight": (4, 4), f"self_attn.{part}_proj.bias": (4,)}
    block |= {"mlp.fc1.weight": (8, 4), "mlp.fc1.bias": (8,), "mlp.fc2.weight": (4, 8), "mlp.fc2.bias": (4,)}
    towers = ("text_model", "vision_model")
    shapes = {f"{tower}.encoder.layers.0.{name}": shape for tower in towers for name, shape in block.items()}
    norms = ("text_model.final_layer_norm", "vision_model.pre_layrnorm", "vision_model.post_layernorm")
    shapes |= {f"{norm}.{kind}": (4,) for norm in norms for kind in ("weight", "bias")}
    shapes |= {
        **{"logit_scale": (), "text_projection.weight": (3, 4), "visual_projection.weight": (3, 4)},
        "text_model.embeddings.token_embedding.weight": (5, 4),
        "text_model.embeddings.position_embedding.weight": (6, 4),
        "vision_model.embeddings.class_embedding": (4,),
        "vision_model.embeddings.patch_embedding.weight": (4, 3, 2, 2),
        "vision_model.embeddings.position_embedding.weight": (5, 4),
    }
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


@cache
def clip_file() -> bytes:
    """The same as safetensors."""
    from safetensors.torch import save

    return save(_clip_state())


def _marked() -> dict[str, Tensor]:
    """A CLIP of OpenAI's form that says so, under what training puts around it."""
    import torch

    from mlrpl_cli.core.backbones.openai.architectures import (
        SIZES,
        Architecture,
        ImageArchitecture,
        TextArchitecture,
        random_state,
    )

    smallest = Architecture(ImageArchitecture((1,), 64, 2, 1, 1), TextArchitecture(64, 1, 2, 2, 3))
    return {**random_state(smallest, 0), **{name: torch.tensor(1) for name in SIZES}}


def _safetensors_files() -> list[bytes]:
    from safetensors.torch import save

    return [save(_marked()), clip_file()]


def _pickles() -> list[bytes]:
    import torch

    found = []
    for zipped in (True, False):
        memory = io.BytesIO()
        wrapped = {"state_dict": {f"module.{name}": tensor for name, tensor in _marked().items()}, "epoch": 1}
        torch.save(wrapped, memory, _use_new_zipfile_serialization=zipped)
        found.append(memory.getvalue())
    return found


def _backbone_configs() -> list[bytes]:
    sizes = {"layers": 1, "width": 4}
    vision, words = {**sizes, "patch_size": 2, "image_size": 4, "mlp_ratio": 2}, {**sizes, "heads": 2, "mlp_ratio": 2}
    model = {"embed_dim": 3, "vision_cfg": vision, "text_cfg": {**words, "context_length": 6, "vocab_size": 5}}
    contents = (clip_sizes(), model, {"model_cfg": model, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}})
    return [json.dumps(content).encode() for content in contents]


def _shapes() -> list[bytes]:
    return [json.dumps({"method": method, "shapes": shapes}).encode() for method, shapes in SHAPES.items()]


def _archives() -> list[bytes]:
    from tarfile import PAX_FORMAT, USTAR_FORMAT

    plain = _tar(USTAR_FORMAT)
    packed = [gzip.compress(plain, mtime=0), bz2.compress(plain), lzma.compress(plain)]
    return [plain, _tar(PAX_FORMAT), _zip(), *packed]


def _tar(kind: int) -> bytes:
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=kind) as archive:
        long = "b" * 120 if kind == tarfile.PAX_FORMAT else "b"
        for name, data in (("kit/a.txt", b"one"), (long, b"two")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def _zip() -> bytes:
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("kit/a.txt"), b"one" * 50, zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo("b.txt"), b"two")
    return stream.getvalue()


def workbook(sheet: bytes, compression: int = 0) -> bytes:
    """An XLSX file with this one sheet, packed as zipfile's `compression` says."""
    import zipfile

    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
        f'<Override PartName="/xl/sheet.xml" ContentType="{kind}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}">'
        '<sheets><sheet name="labels" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{office}/worksheet" Target="sheet.xml"/></Relationships>',
        "xl/sheet.xml": sheet,
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return stream.getvalue()


def parquet(columns: dict[str, list[Any]]) -> bytes:
    """A Parquet file."""
    import pyarrow as pa
    from pyarrow import parquet as writer

    stream = io.BytesIO()
    writer.write_table(pa.table(columns), stream)
    return stream.getvalue()


def _parquet_files() -> list[bytes]:
    images = ["a.jpg", "b.jpg", "c.jpg"]
    nested = {"image": images, "split": ["train", "test", None], "dog": [True, None, False], "boxes": [[1], [], None]}
    return [parquet({"image": images, "dog": [1, 0, None]}), parquet(nested)]


def _proposals() -> tuple[bytes, ...]:
    import numpy as np

    from mlrpl_cli.core.labels.proposals import PROPOSAL

    memory = io.BytesIO()
    np.save(memory, np.array([(2, 1, 0.5)], PROPOSAL))
    return (memory.getvalue(),)


def _images() -> tuple[bytes, ...]:
    """One of each kind that has a decoder here."""
    from PIL import Image, features

    kinds, pictures = ["JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP", "JPEG2000"], []
    if features.check("avif"):
        kinds.append("AVIF")
    for kind in kinds:
        memory = io.BytesIO()
        Image.linear_gradient("L").resize((8, 8)).convert("RGB").save(memory, kind)
        pictures.append(memory.getvalue())
    with suppress(ImportError):
        from pillow_heif import from_pillow

        memory = io.BytesIO()
        from_pillow(Image.new("RGB", (16, 16))).save(memory)
        pictures.append(memory.getvalue())
    return tuple(pictures)


def _model_properties() -> dict[str, Any]:
    from mlrpl_cli.core.prediction.model_info import FORMAT

    told = {"image_size": 2, "mean": [0.5, 0.5, 0.5], "std": [1, 1, 1], "resampling": "bicubic", "channels": "RGB"}
    decided = {"thresholds": [0.5, None, 1], "objective": "f1", "calibrated": True, "uncalibrated": ["b"]}
    sums = dict.fromkeys(("run_sha256", "backbone_sha256", "data_sha256", "mask_sha256"), "0")
    flags = {"resizes": False, "allow_truncated": False, "precision": "float32", "learnable": [True, False, True]}
    made = {
        "method": "sarl",
        "epoch": 1,
        "backbone": "tiny",
        "licence": None,
        "seed": 0,
        "mlrpl": "0",
        "format": FORMAT,
    }
    return {"classes": ["a", "b", "c"], **told, **decided, **sums, **flags, **made, "format": FORMAT}


def _model_file() -> bytes:
    """Three classes, which are the mean red, green and blue of an image of 2 x 2 pixels."""
    from onnx import TensorProto, helper

    from mlrpl_cli.core.prediction.model_file import sealed

    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "sides"], ["probabilities"], keepdims=0),
        helper.make_node("Identity", ["probabilities"], ["raw"]),
        helper.make_node("Cast", ["raw"], ["decisions"], to=TensorProto.INT8),
        helper.make_node("Unsqueeze", ["raw", "grid"], ["attention"]),
    ]
    axes = [helper.make_tensor(name, TensorProto.INT64, [2], of) for name, of in (("sides", [1, 2]), ("grid", [2, 3]))]
    of = helper.make_tensor_value_info
    outputs = [of(name, TensorProto.FLOAT, ["batch", 3]) for name in ("probabilities", "raw")]
    outputs += [of("decisions", TensorProto.INT8, ["batch", 3]), of("attention", TensorProto.FLOAT, ["batch", 3, 1, 1])]
    given = [of("images", TensorProto.UINT8, ["batch", 2, 2, 3])]
    graph = helper.make_graph(nodes, "g", given, outputs, axes)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(proto, {name: json.dumps(value) for name, value in _model_properties().items()})
    return sealed(proto.SerializeToString())


_REVIEW = (
    b'{"person": "ann", "answers": [{"token": "t", "row": 0, "column": 1, "state": "present", "p": 0.5}]}',
    b'{"person": "ann", "tokens": ["t"]}',
    b'{"person": "bob", "answers": [{"token": "u", "row": 1, "column": 0, "state": "unsure", "p": null}]}',
)
_SEEDS = {
    "voc_annotation": lambda: _XML,
    "voc_image_set": lambda: (b"000001\n000002\n", b"000001  1\n\n000002 -1\n", b"../x\n"),
    "coco": lambda: (_coco("b.jpg", "c.jpg"), _coco("c.jpg")),
    "lvis": lambda: (_lvis(), b"\xef\xbb\xbf" + _lvis()),
    "table": lambda: TABLES,
    "table_of_test": lambda: (b"image,dog,cat\nc.jpg,1,0\n", *TABLES),
    "table_parquet": _parquet_files,
    "table_workbook": lambda: (workbook(SHEET),),
    "table_sheet": lambda: (SHEET,),
    "long": lambda: _LONG,
    "tags": lambda: _TAGS,
    "openimages": lambda: (OPEN_IMAGES, b"sep=;\n" + OPEN_IMAGES.replace(b",", b";"), OPEN_IMAGES + b'a,v,"/m/2",1'),
    "openimages_machine": lambda: (OPEN_IMAGES.replace(b"1,1", b"2,0.5"), OPEN_IMAGES + b"a,m,/m/2,1e-3\n"),
    "openimages_descriptions": lambda: (b"/m/1,Dog\n/m/2,Cat\n", b'LabelName,DisplayName\n/m/1,"Dog, wet"\n'),
    "chexpert": lambda: (_CHEXPERT,),
    "chexpert_studies": lambda: (_SPLIT,),
    "vaw": lambda: (BOXES,),
    "vaw_index": lambda: (b'{"wet": 1, "red": 0}',),
    "cvat": lambda: (CVAT, CVAT.decode().encode("utf-16")),
    "labelstudio": lambda: (TASKS, TASKS_MIN),
    "labelstudio_csv": lambda: (TASKS_CSV.partition(b"\n")[2], b"a.jpg,1,[7],,1,,,\n", b'"a.jpg",1,{,1,1,x,,\n'),
    "nuswide": lambda: (b"1\n0\n", b"a.jpg\r\n1\n", b"a\\b.jpg\n"),
    "vg": lambda: (INDICES,),
    "vg_list": lambda: (b"1.jpg\n2.jpg\n",),
    "fiftyone": lambda: FIFTYONE,
    "answers": lambda: (answers_file(), answers_file("DELETE FROM images WHERE id = 3", page=4096)),
    "review": lambda: _REVIEW,
    "roboflow": lambda: _ROBOFLOW,
    "imagefolder": lambda: _LINES,
    "imagefolder_csv": lambda: _METADATA,
    "image": _images,
    "config": lambda: _CONFIGS,
    "assignment": lambda: _ASSIGNMENTS,
    "manifest": lambda: (_prepared_files()["manifest.json"],),
    "manifest_fields": lambda: (_prepared_files()["manifest.json"],),
    "manifest_images": lambda: (_prepared_files()["images.csv"], _FOLDED),
    "manifest_labels": lambda: (_prepared_files()["labels_full.npy"],),
    "manifest_proposals": _proposals,
    "archive": _archives,
    "glove": lambda: (b"cat 1 2 3\nstop 0.5 0 0\nsign 0 -1e-1 2\n", b"cat 1\nstop 2\nsign nan\n, x 1\n"),
    "checkpoint": lambda: (_checkpoint_file(),),
    "checkpoint_metadata": lambda: (json.dumps(checkpoint_metadata()).encode(),),
    "checkpoint_shapes": _shapes,
    "backbone_file": _safetensors_files,
    "backbone_pickle": _pickles,
    "backbone_config": _backbone_configs,
    "backbone_index": lambda: (json.dumps({"weight_map": dict.fromkeys(_clip_state(), "a.safetensors")}).encode(),),
    "run_log": lambda: (_LOG, _LOG + _LOG[:20]),
    "run_decisions": lambda: (_decisions(),),
    "model_properties": lambda: (json.dumps(_model_properties()).encode(),),
    "model": lambda: (_model_file(),),
    "held_out": lambda: (_held_out_file(),),
    "sweep_results": lambda: (_RESULT,),
    "folds": lambda: (b"image,fold\na,0\nf.jpg,1\n", b'\xef\xbb\xbfid;fold\r\n"b, ""c""";0.0\r\na.jpg;12\r\n'),
}
