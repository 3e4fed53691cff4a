"""Inputs that once raised, hung, grew without bound or were accepted as what they are not. All are refused now."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
from typing import Any

from tests.fuzz.seeds import COCO_TRAIN, manifest_content, seeds

DEEP = 20_000
"""Far more than Python's recursion allows."""


def _coco(**changes: Any) -> bytes:
    """COCO annotations with the first entry of some lists changed."""
    content = json.loads(COCO_TRAIN)
    content["images"][0]["file_name"] = "b.jpg"
    for key, values in changes.items():
        content[key][0].update(values)
    return json.dumps(content).encode()


def _lvis(**changes: Any) -> bytes:
    """LVIS annotations with the first image changed."""
    content = json.loads(seeds("lvis")[0])
    content["images"][0].update(changes)
    return json.dumps(content).encode()


def _manifest(**changes: Any) -> bytes:
    return json.dumps({**manifest_content(), **changes}).encode()


def _npy(header: bytes) -> bytes:
    """An array file with this header and one cell."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\x01"


def _shape(*sides: int) -> bytes:
    return repr({"descr": "|i1", "fortran_order": False, "shape": sides}).encode() + b"\n"


def _tar_entry(kind: bytes, size: int, data: bytes = b"") -> bytes:
    info = tarfile.TarInfo("a")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT) + data.ljust(-len(data) % 512 + len(data), b"\0")


def _zip_with(method: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("zeros", bytes(1 << 20), method)
    return stream.getvalue()


FOUND: dict[str, tuple[str, bytes]] = {
    "voc: an attribute that the document type repeats in every element": (
        "voc_annotation",
        b'<!DOCTYPE a [<!ATTLIST o x CDATA "%s">]><annotation>%s</annotation>' % (b"A" * 2000, b"<o/>" * 2000),
    ),
    "voc: an id that no file can be called by": ("voc_image_set", b"000001\n" + b"a" * 300 + b"\n"),
    "voc: an id with a null byte": ("voc_image_set", b"000001\na\0b\n"),
    "coco: a class named by a number": ("coco", _coco(categories={"name": 7})),
    "coco: a class named by nothing": ("coco", _coco(categories={"name": None})),
    "coco: a class named by half a character": ("coco", _coco(categories={"name": "\ud800"})),
    "coco: a category whose id is true": ("coco", _coco(categories={"id": True}, annotations={"category_id": True})),
    "coco: a file name with a null byte": ("coco", _coco(images={"file_name": "a\0/b.jpg"})),
    "coco: a folder that is too long": ("coco", _coco(images={"file_name": "a" * 300 + "/b.jpg"})),
    "coco: half a character in a file name": ("coco", _coco(images={"file_name": "\ud800/b.jpg"})),
    "coco: lists in lists": ("coco", b"[" * DEEP),
    "lvis: a URL of half an address": ("lvis", _lvis(coco_url="http://[/a.jpg")),
    "lvis: a list that is text": ("lvis", _lvis(neg_category_ids="12")),
    "lvis: an id in a list that is a list": ("lvis", _lvis(neg_category_ids=[[1]])),
    "lvis: an id of no number": ("lvis", _lvis(id=float("nan"))),
    "lvis: lists in lists": ("lvis", b"[" * DEEP),
    "table: a workbook that says it spans several disks": (
        "table_workbook",
        b"PK\x06\x07" + struct.pack("<IQI", 0, 8, 5) + b"PK\x05\x06" + bytes(18),
    ),
    "table: a class with a null byte": ("table", b"image,do\0g\na.jpg,1\n"),
    "table: a folder that is too long": ("table", b"image,dog\n" + b"a" * 300 + b"/b.jpg,1\n"),
    "table: a name of a hundred thousand characters": ("table", b"image," + b"d" * 100_000 + b"\na.jpg,1\n"),
    "table: a cell of a hundred thousand characters": ("table", b"image,dog\na.jpg," + b"d" * 100_000 + b"\n"),
    "config: lists in lists": ("config", b"epochs: " + b"[" * DEEP),
    "config: mappings in mappings": ("config", b"{" * 1000),
    "config: values of values": (
        "config",
        b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
        b"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\nepochs: *d\n",
    ),
    "config: a value inside itself": ("config", b"data: &a [*a]\n"),
    "config: merged values": ("config", b"a: &a {x: 1}\nb: &b {<<: [*a, *a]}\n<<: [*b, *b]\n"),
    "config: a number without digits": ("config", b"epochs: !!int ''\n"),
    "config: a boolean that is none": ("config", b"epochs: !!bool x\n"),
    "config: a time that is none": ("config", b"epochs: !!timestamp x\n"),
    "config: a number of too many digits": ("config", b"epochs: 0x" + b"f" * 4000 + b"\n"),
    "config: a key of too many digits": ("config", b"? 0x" + b"f" * 4000 + b"\n: 1\n"),
    "config: a number in base 60": ("config", b"epochs: 1" + b":1" * 30_000 + b"\n"),
    "config: thousands of unknown options": ("config", b"".join(b"option%d: 1\n" % n for n in range(4000))),
    "config: a path with a null byte": ("config", b'data: "a\\0b"\n'),
    "config: half a character": ("config", b'data: "\\ud800"\n'),
    "config: a list for text": ("config", b"data: [a]\n"),
    "config: a day for text": ("config", b"run: 2001-01-01\n"),
    "assignment: lists in lists": ("assignment", b"epochs=" + b"[" * DEEP),
    "assignment: a number without digits": ("assignment", b"epochs=!!int ''"),
    "assignment: a list for text": ("assignment", b"data=[a]"),
    "manifest: lists in lists": ("manifest", b"[" * DEEP),
    "manifest: a class that is a number": ("manifest_fields", _manifest(classes=[1, 2])),
    "manifest: classes that are text": ("manifest_fields", _manifest(classes="ab")),
    "manifest: a class that is a list": ("manifest_fields", _manifest(classes=[["a"], "b"])),
    "manifest: options that are a list": ("manifest_fields", _manifest(options=[])),
    "manifest: a data set that is a number": ("manifest_fields", _manifest(dataset=3)),
    "manifest: a checksum that is nothing": ("manifest_fields", _manifest(mask_sha256=None)),
    "manifest: an image folder that is too long": ("manifest_fields", _manifest(image_root="a" * 300)),
    "manifest: an image outside its folder": (
        "manifest_images",
        b"split,image\ntrain,a.jpg\nvalidation,../b.jpg\ntrain,c.jpg\ntest,d.jpg\n",
    ),
    "manifest: an image with a null byte": (
        "manifest_images",
        b"split,image\ntrain,a.jpg\nvalidation,b\0.jpg\ntrain,c.jpg\ntest,d.jpg\n",
    ),
    "manifest: a row of one cell": ("manifest_images", b"split,image\ntrain\nvalidation,b\ntrain,c\ntest,d\n"),
    "manifest: a split of another name": (
        "manifest_images",
        b"split,image\ntrain,a\nvalidation,b\ntrain,c\ntest,d\nother,e\n",
    ),
    "manifest: labels of a shape that memory cannot hold": ("manifest_labels", _npy(_shape(1 << 40, 1 << 20))),
    "manifest: labels of a shape below nothing": ("manifest_labels", _npy(_shape(-4, -2))),
    "manifest: labels whose header is no Python": ("manifest_labels", _npy(b"{'descr': '|i1', 'shape': ((\n")),
    "manifest: labels whose header is deep": ("manifest_labels", _npy(b"(" * 9000)),
    "manifest: labels that are an archive": ("manifest_labels", _zip_with(zipfile.ZIP_STORED)),
    "answers: a layout that SQLite tells of in no UTF-8": (
        "answers",
        seeds("answers")[0].replace(b"answers_keep BEFORE", b"answers_keep BEF\xd5RE"),
    ),
    "archive: long names of long names": ("archive", _tar_entry(tarfile.GNUTYPE_LONGNAME, 1, b"a") * 2000),
    "archive: a header as large as it says": ("archive", _tar_entry(tarfile.XHDTYPE, 1 << 32)),
    "archive: a size below nothing": ("archive", _tar_entry(tarfile.REGTYPE, -512)),
    "archive: a member without a name": ("archive", _zip_with(zipfile.ZIP_STORED).replace(b"zeros", b"\0eros")),
    "glove: no number": ("glove", b"cat nan 1\nstop 1 1\nsign 1 1\n"),
    "glove: a number that float32 cannot hold": ("glove", b"cat 1e300 1\nstop 1 1\nsign 1 1\n"),
    "glove: words alone": ("glove", b"cat\nstop\nsign\n"),
    "glove: a line without an end": ("glove", b"cat " + b"1 " * (1 << 20)),
    "checkpoint: about nothing": ("checkpoint_metadata", b"null"),
    "checkpoint: about lists in lists": ("checkpoint_metadata", b"[" * DEEP),
    "run log: lists in lists": ("run_log", b"[" * DEEP + b"\n"),
    "run log: a row that is a number": ("run_log", b"1\n"),
    "sweep results: lists in lists": ("sweep_results", b"[" * DEEP + b"\n"),
    "sweep results: a row that is a list": ("sweep_results", b"[]\n"),
}
