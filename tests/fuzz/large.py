"""Files of a few megabytes in the shapes that cost a reader most: `python -m tests.fuzz.large NAME`.

Prints how much the file holds, and how much memory reading it took at most beyond what reading a small one had left, in
bytes. Linux only.
"""

from __future__ import annotations

import io
import json
import re
import resource
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from mlrpl_cli.core.labels.formats.tabular.dialect import MOST_COLUMNS
from tests.fuzz.seeds import (
    COCO_TRAIN,
    CVAT,
    OPEN_IMAGES,
    SHEET,
    STUDIES,
    TASKS,
    TASKS_CSV,
    answers_file,
    manifest_content,
    parquet,
    seeds,
    workbook,
)
from tests.fuzz.targets import accepts

SIZE = 2 << 20
MOST_MEMORY = 4 << 30
"""That a reader without a bound may take before it is stopped."""
ROWS = 200_000
HOLDS = {"Parquet of one image": ROWS * len("a.jpg,1\n"), "Parquet of lists": ROWS * len('a.jpg,"[1, 2]"\n')}
"""What files that are packed hold as text, in bytes, by name; others are what they hold."""
TOP_LEVEL = ("images", "annotations", "categories")


def _filled(start: bytes, piece: bytes, end: bytes = b"") -> bytes:
    """`piece` repeated until the whole is about SIZE bytes."""
    return start + piece * ((SIZE - len(start) - len(end)) // len(piece)) + end


def _numbered(start: bytes, piece: bytes, length: int) -> bytes:
    """`piece` with another number each time, some `length` bytes long, until the whole is about SIZE bytes."""
    return start + b"".join(piece % number for number in range(SIZE // length))


def _sequence(count: int) -> str:
    """SQL: the numbers from 0."""
    return f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {count - 1})"


def _answers(image: str, class_: str, person: str = "'a'") -> str:
    """SQL that adds answers, each of which takes some 50 bytes."""
    rows = f"SELECT i, {image}, {class_}, 'absent', {person}, '2026-01-01' FROM n"
    return f"INSERT INTO answers (token, image, class, state, person, at) {_sequence(SIZE // 50)} {rows}"


_IMAGES = (
    f"INSERT INTO images (name, split, position, given) {_sequence(SIZE // 30)} "
    "SELECT CAST(printf('%x', i) AS BLOB), 'test', i + 2, x'0101' FROM n"
)


def _many_classes(count: int) -> tuple[str, str]:
    """SQL that makes classes of which the images know nothing."""
    return (
        f"INSERT INTO classes (name, position) {_sequence(count)} SELECT i, i + 2 FROM n",
        f"UPDATE images SET given = zeroblob({count + 2}) WHERE id < 3",
    )


def _json(key: str, piece: bytes, content: dict[str, object]) -> bytes:
    """A JSON object with a list of many `piece` under `key`, last."""
    start = json.dumps({**{name: value for name, value in content.items() if name != key}, key: []}).encode()
    return _filled(start.removesuffix(b"]}") + piece, b"," + piece, b"]}")


def _tar() -> bytes:
    info = tarfile.TarInfo("a")
    return _filled(b"", info.tobuf(tarfile.GNU_FORMAT), bytes(1024))


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number in range(SIZE // 90):
            archive.writestr(zipfile.ZipInfo(f"{number}"), b"")
    return stream.getvalue()


def _safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def _labels() -> bytes:
    header = repr({"descr": "|i1", "fortran_order": False, "shape": (SIZE, 1)}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(SIZE)


COCO = json.loads(COCO_TRAIN)
LVIS = json.loads(seeds("lvis")[0])
LARGE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "annotation of empty elements": (
        "voc_annotation",
        lambda: _filled(b"<annotation>", b"<o/>", b"</annotation>"),
    ),
    "annotation of objects": (
        "voc_annotation",
        lambda: _filled(b"<annotation>", b"<object><name>dog</name></object>", b"</annotation>"),
    ),
    "annotation of elements in elements": (
        "voc_annotation",
        lambda: b"<annotation>" + b"<o>" * (SIZE // 7) + b"</o>" * (SIZE // 7) + b"</annotation>",
    ),
    "annotation of attributes": (
        "voc_annotation",
        lambda: b"<annotation " + b" ".join(b'a%d=""' % n for n in range(SIZE // 11)) + b"/>",
    ),
    "annotation without an end": ("voc_annotation", lambda: _filled(b"<annotation>", b"<")),
    "image set of empty lines": ("voc_image_set", lambda: _filled(b"000001", b"\n")),
    "image set of one name": ("voc_image_set", lambda: _filled(b"", b"000001\n")),
    "image set of images that are not there": (
        "voc_image_set",
        lambda: _numbered(b"", b"%06d\n", 7),
    ),
    "image set of words": ("voc_image_set", lambda: _filled(b"", b"a ")),
    **{
        f"COCO, {key} of {piece.decode()}": ("coco", lambda key=key, piece=piece: _json(key, piece, COCO))
        for key in TOP_LEVEL
        for piece in (b"[]", b"{}", b"1", b'{"id":1}')
    },
    "COCO of one image": (
        "coco",
        lambda: _json("images", b'{"id":3,"file_name":"b.jpg"}', COCO),
    ),
    "COCO of one annotation": (
        "coco",
        lambda: _json("annotations", b'{"id":1,"image_id":3,"category_id":90}', COCO),
    ),
    "LVIS of one annotation": ("lvis", lambda: _json("annotations", b'{"image_id":3,"category_id":90}', LVIS)),
    "LVIS of one list": (
        "lvis",
        lambda: _json(
            "images", b'{"id":3,"coco_url":"/a.jpg","neg_category_ids":[' + b",".join([b"1"] * 9999) + b"]}", LVIS
        ),
    ),
    "LVIS of categories": ("lvis", lambda: _json("categories", b'{"id":1,"name":"a"}', LVIS)),
    "table of empty rows": ("table", lambda: _filled(b"image,dog\n", b"\n")),
    "table of empty cells": ("table", lambda: _filled(b"image,dog\na.jpg", b",")),
    "table of empty classes": ("table", lambda: _filled(b"image", b",", b"\na.jpg,1\n")),
    "table of classes": (
        "table",
        lambda: b"image," + b",".join(b"%d" % n for n in range(SIZE // 8)) + b"\na.jpg" + b",1" * (SIZE // 8) + b"\n",
    ),
    "table of as many columns as may be": (
        "table",
        lambda: _filled(
            b"image" + b"".join(b",%d" % n for n in range(1, MOST_COLUMNS)) + b"\n",
            b"a.jpg" + b",1" * (MOST_COLUMNS - 1) + b"\n",
        ),
    ),
    "table of test images of other columns": ("table_of_test", lambda: _filled(b"image,dog", b",a", b"\na.jpg,1\n")),
    "table of test images of one image": ("table_of_test", lambda: _filled(b"image,dog,cat\n", b"a.jpg,1,1\n")),
    "Parquet of one image": ("table_parquet", lambda: parquet({"image": ["a.jpg"] * ROWS, "dog": [1] * ROWS})),
    "Parquet of lists": ("table_parquet", lambda: parquet({"image": ["a.jpg"] * ROWS, "dog": [[1, 2]] * ROWS})),
    "sheet of a cell far off": (
        "table_sheet",
        lambda: SHEET.replace(b"</sheetData>", b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'),
    ),
    "sheet of many rows": ("table_sheet", lambda: _filled(SHEET[:-24], b"<row/>", SHEET[-24:])),
    "sheet of many cells": ("table_sheet", lambda: _filled(SHEET[:-30], b"<c><v>1</v></c>", SHEET[-30:])),
    "workbook of one byte": (
        "table_workbook",
        lambda: workbook(SHEET.replace(b"a.jpg", b"a" * SIZE), zipfile.ZIP_DEFLATED),
    ),
    "long of one image": ("long", lambda: _filled(b"image,label\n", b"a.jpg,dog\n")),
    "long of labels that differ": (
        "long",
        lambda: _numbered(b"image,label\n", b"a,%d\n", 9),
    ),
    "tags of one image": ("tags", lambda: _filled(b"image,tags\n", b"a.jpg,dog|cat\n")),
    "tags that differ": ("tags", lambda: _numbered(b"image,tags\n", b"a,%d|b\n", 11)),
    "tags in one cell": ("tags", lambda: _filled(b'image,tags\na,"[', b"'a',", b']"\n')),
    "table of short rows": ("table", lambda: _filled(b"image,dog\n", b"a,1\n")),
    "table of quotes": ("table", lambda: _filled(b'image,dog\n"', b'""')),
    "rows of one image": ("openimages", lambda: _filled(OPEN_IMAGES, b"a,v,/m/1,1\n")),
    "rows of images that are not there": (
        "openimages",
        lambda: _numbered(OPEN_IMAGES, b"%d,v,/m/1,1\n", 16),
    ),
    "rows of classes that are not described": (
        "openimages",
        lambda: _numbered(OPEN_IMAGES, b"a,v,%d,1\n", 13),
    ),
    "rows of confidences": (
        "openimages",
        lambda: _numbered(OPEN_IMAGES, b"a,v,/m/1,.%d\n", 18),
    ),
    "machine labels of one image": ("openimages_machine", lambda: _filled(OPEN_IMAGES, b"a,m,/m/1,.5\n")),
    "machine labels of other images": (
        "openimages_machine",
        lambda: _numbered(OPEN_IMAGES, b"%d,v,/m/1,1\n", 16),
    ),
    "machine labels of confidences": (
        "openimages_machine",
        lambda: _numbered(OPEN_IMAGES, b"a,v,/m/1,.%d\n", 18),
    ),
    "short rows of labels": ("openimages", lambda: _filled(OPEN_IMAGES, b"a\n")),
    "descriptions of one class": ("openimages_descriptions", lambda: _filled(b"/m/1,Dog\n", b"/m/2,Cat\n")),
    "descriptions of commas": ("openimages_descriptions", lambda: _filled(b"/m/1,Dog\n", b",")),
    "descriptions of classes": (
        "openimages_descriptions",
        lambda: b"".join(b"/m/%d,%d\n" % (n, n) for n in range(SIZE // 16)),
    ),
    "findings of one image": (
        "chexpert",
        lambda: _filled(STUDIES.replace(b"subject_id,study_id", b"Path,Sex"), b"a.jpg,F" + b",1" * 14 + b"\n"),
    ),
    "studies of one image": (
        "chexpert_studies",
        lambda: _filled(b"dicom_id,study_id,subject_id,split\n", b"a,5,101,train\n"),
    ),
    "boxes of nothing": ("vaw", lambda: _filled(b"[1", b",{}", b"]")),
    "boxes of lists": ("vaw", lambda: _filled(b"[1", b",[]", b"]")),
    "boxes of one image": (
        "vaw",
        lambda: _filled(b"[1", b',{"image_id":1,"positive_attributes":["wet"],"negative_attributes":["red"]}', b"]"),
    ),
    "index of attributes": ("vaw_index", lambda: b"{" + b",".join(b'"%d":1' % n for n in range(SIZE // 11)) + b"}"),
    "CVAT's images": ("cvat", lambda: _filled(CVAT[:-14], b'<image name="a.jpg"/>', CVAT[-14:])),
    "CVAT's tags": ("cvat", lambda: _filled(CVAT[:-14] + b'<image name="a.jpg">', b"<tag/>", b"</image>" + CVAT[-14:])),
    "CVAT's elements in elements": (
        "cvat",
        lambda: b"<annotations>" + b"<o>" * (SIZE // 7) + b"</o>" * (SIZE // 7) + b"</annotations>",
    ),
    "tasks of nothing": ("labelstudio", lambda: _filled(b"[1", b",{}", b"]")),
    "tasks of lists": ("labelstudio", lambda: _filled(b"[1", b",[]", b"]")),
    "tasks of one image": (
        "labelstudio",
        lambda: _filled(TASKS[:-1], b',{"id":1,"annotations":[{"result":[]}],"data":{"image":"a.jpg"}}', b"]"),
    ),
    "tasks of images that are not there": (
        "labelstudio",
        lambda: TASKS[:-1] + b"".join(b',{"data":{"image":"%d.jpg"}}' % n for n in range(SIZE // 33)) + b"]",
    ),
    "tasks of choices": (
        "labelstudio",
        lambda: _filled(
            b'[{"data":{"image":"a.jpg"},"annotations":[{"result":[1',
            b',{"type":"choices","value":{"choices":["a"]}}',
            b"]}]}]",
        ),
    ),
    "annotations of one image": ("labelstudio_csv", lambda: _filled(b"", b"a.jpg,,,,1,,,\n")),
    "annotations of images that are not there": (
        "labelstudio_csv",
        lambda: _numbered(b"", b"%d.jpg,,,,1,,,\n", 18),
    ),
    "annotations of choices that differ": (
        "labelstudio_csv",
        lambda: _numbered(TASKS_CSV, b"a,1,%d,1,1,,,\n", 18),
    ),
    "annotations of cells that are lists": (
        "labelstudio_csv",
        lambda: _filled(b"", b"a.jpg,," + b"[[]]" * 9 + b",,1,,,\n"),
    ),
    "list of images that are not there": ("nuswide", lambda: _numbered(b"", b"%d\n", 7)),
    "indices of images": ("vg", lambda: b"{" + b",".join(b'"%d":[]' % n for n in range(SIZE // 12)) + b"}"),
    "indices of one image": ("vg", lambda: _filled(b'{"1.jpg":[0', b",0", b"]}")),
    "list of one image": ("vg_list", lambda: _filled(b"", b"1.jpg\n")),
    "labels of one image": ("fiftyone", lambda: _filled(b'{"classes":["a"],"labels":{"a":[0', b",0", b"]}}")),
    "labels of nothing": ("fiftyone", lambda: _filled(b'{"classes":["a"],"labels":{"a":[0', b",{}", b"]}}")),
    "samples of nothing": ("fiftyone", lambda: _filled(b'{"samples":[1', b",{}", b"]}")),
    "labels of images that are not there": (
        "fiftyone",
        lambda: b'{"classes":["a"],"labels":{' + b",".join(b'"%d":0' % n for n in range(SIZE // 11)) + b"}}",
    ),
    "answers to one cell": ("answers", lambda: answers_file(_answers("1", "2"))),
    "answers of many people": ("answers", lambda: answers_file(_answers("1", "2", "i"))),
    "answers to many cells": (
        "answers",
        lambda: answers_file(*_many_classes(SIZE // 160), _answers("2", f"4 + i % {SIZE // 160}")),
    ),
    "answers about many images": ("answers", lambda: answers_file(_IMAGES)),
    "answers about many classes": ("answers", lambda: answers_file(*_many_classes(40_000))),
    "answers about a large image": (
        "answers",
        lambda: answers_file(f"UPDATE images SET given = zeroblob({SIZE}) WHERE id = 1"),
    ),
    "answers of one long name": (
        "answers",
        lambda: answers_file(f"UPDATE classes SET name = printf('%.{SIZE}c', 'x') WHERE id = 1"),
    ),
    "table of one image": ("roboflow", lambda: _filled(b"filename,dog\n", b"a.jpg,1\n")),
    "table of what is no label": ("roboflow", lambda: _filled(b"filename,dog\n", b"a.jpg,x\n")),
    "metadata of one image": ("imagefolder", lambda: _filled(b"", b'{"file_name":"a.jpg","labels":["dog"]}\n')),
    "metadata of nothing": ("imagefolder", lambda: _filled(b'{"file_name":"a.jpg","labels":[]}\n', b"{}\n")),
    "metadata of labels": (
        "imagefolder",
        lambda: _filled(b'{"file_name":"a.jpg","labels":["a"', b',"a"', b"]}\n"),
    ),
    "metadata without labels": ("imagefolder_csv", lambda: _filled(b"file_name,labels\n", b"a,\n")),
    "manifest of lists": ("manifest", lambda: _json("other", b"[]", {})),
    "manifest of classes": ("manifest_fields", lambda: _json("classes", b'"a"', manifest_content())),
    "manifest of options": (
        "manifest_fields",
        lambda: json.dumps({**manifest_content(), "options": {str(n): [] for n in range(SIZE // 14)}}).encode(),
    ),
    "list of images, empty": ("manifest_images", lambda: _filled(b"split,image\n", b"\n")),
    "list of images, one": ("manifest_images", lambda: _filled(b"split,image\n", b"test,a\n")),
    "list of images, commas": ("manifest_images", lambda: _filled(b"split,image\n", b",")),
    "labels": ("manifest_labels", _labels),
    "tar of empty members": ("archive", _tar),
    "zip of empty members": ("archive", _zip),
    "vectors of one word": ("glove", lambda: _filled(b"", b"cat 1\n")),
    "vectors of one line": ("glove", lambda: _filled(b"cat", b" 1", b"\n")),
    "checkpoint of tensors": (
        "checkpoint",
        lambda: _safetensors(
            b"{"
            + b",".join(b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % n for n in range(SIZE // 58))
            + b"}"
        ),
    ),
    "checkpoint of lists": ("checkpoint", lambda: _safetensors(_json("__metadata__", b"[]", {}))),
    "checkpoint about lists": ("checkpoint_metadata", lambda: _json("classes", b"[]", {})),
    "run log of nothing": ("run_log", lambda: _filled(b"", b"{}\n")),
    "sweep results of nothing": ("sweep_results", lambda: _filled(b"", b"{}\n")),
    "sweep results of lists": ("sweep_results", lambda: _json("key", b"[]", {}) + b"\n"),
    "folds of one image": ("folds", lambda: _filled(b"image,fold\n", b"a,1\n")),
    "folds of images that are not there": ("folds", lambda: _numbered(b"image,fold\nf.jpg,0\n", b"%06d,1\n", 9)),
    "folds that are no numbers": ("folds", lambda: _filled(b"image,fold\n", b"a,b\n")),
    "configuration of lists": ("config", lambda: b"epochs: [" + b"[]," * 20_000 + b"]"),
    "configuration of options": ("config", lambda: b"".join(b"a%d: 1\n" % n for n in range(6_000))),
    "configuration that is too long": ("config", lambda: _filled(b"", b"epochs: 1\n")),
}


def main(name: str) -> None:
    target, build = LARGE[name]
    data = build()
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    accepts(target, seeds(target)[0])  # loads what the reader needs
    # Not getrusage's: a process begins with the most that the one which started it had.
    Path("/proc/self/clear_refs").write_text("5")  # the most begins anew from what there is
    before = _kibibytes("VmHWM")
    accepts(target, data)
    print(HOLDS.get(name, len(data)), 1024 * (_kibibytes("VmHWM") - before))


def _kibibytes(name: str) -> int:
    (line,) = re.findall(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(line)


if __name__ == "__main__":
    main(sys.argv[1])
