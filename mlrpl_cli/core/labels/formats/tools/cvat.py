"""CVAT: tags of images, in the XML that it calls "CVAT for images 1.1".

Its documentation (https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat/): a `<tag>` says a label of the whole
image, shapes such as `<box>` show where one is, and `<meta>` lists the labels of the task. What it means that an
image has no tag of a label is not said.
"""

from __future__ import annotations

import codecs
import os
import posixpath
from collections import Counter
from pathlib import Path
from typing import ClassVar
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException

from mlrpl_cli.core.io.errors import DataError, agreeing, counted, first_few, one_line
from mlrpl_cli.core.io.reading import GIB, KIB, beginning_of, leads_outside, open_file, short
from mlrpl_cli.core.io.xml import XmlParser
from mlrpl_cli.core.labels.marks import NOWHERE, Marks
from mlrpl_cli.core.labels.own import Tagged
from mlrpl_cli.core.labels.records import SPLIT_NAMES, Reading, Records
from mlrpl_cli.core.labels.states import PRESENT

FILE = "annotations.xml"
"""What CVAT calls the file in the archives that it exports."""
SHAPES = ("box", "polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton")
_MOST_BYTES = 8 * GIB
_DEEPEST = 12
_BEGINNING, _BLOCK = 4 * KIB, 256 * KIB
_EXPORT = 'export the task as "CVAT for images 1.1"'


class Cvat(Tagged):
    """Tags and shapes of images; subsets called train, validation and test are the splits."""

    holds: ClassVar[str] = f"an XML file that CVAT exported for images, or the folder with its {FILE}"

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        path = _file(root)
        return f"{path.name} has the XML element <annotations> of CVAT" if _looks_like(path) else None

    def read(self, reading: Reading) -> Records:
        """Images in the order of the file, classes in that of its `<meta>`, those without any tag among them.

        A label is present where a tag or a shape has it; what is not listed is what `unlisted` says.
        Raises DataError, naming everything found at once, for wrong data.
        """
        path = _file(self.root)
        unlisted = self.otherwise(path, reading, "tags")
        marks = Marks(self.image_root(path), reading)
        file = _Contents(path, marks, reading)
        try:
            _parse(path, XmlParser(file), reading)
        except FileNotFoundError as error:
            raise DataError(f"there is no {path}; name the XML file that CVAT exported with --root") from error
        except DefusedXmlException as error:
            raise DataError(f"{path} is no readable XML: a document type is not allowed; {_EXPORT}") from error
        except (ParseError, ValueError, LookupError, OSError) as error:
            raise DataError(f"{path} is no readable XML: {one_line(error)}; {_EXPORT}") from error
        file.tell()
        return self.records(marks, reading, unlisted, path)


def _parse(path: Path, parser: XmlParser, reading: Reading) -> None:
    size = os.stat(path).st_size
    with open_file(path, _MOST_BYTES) as stream, reading.progress.task(f"reading {path.name}", size, "bytes") as task:
        while block := stream.read(_BLOCK):
            parser.feed(block)
            task.advance(len(block))
    parser.close()


class _Contents:
    """What a file says, element by element as the parser comes to it: nothing of them stays in memory."""

    def __init__(self, path: Path, marks: Marks, reading: Reading) -> None:
        self._path, self._marks, self._reading = path, marks, reading
        self._depth, self._inside = 0, list[str]()
        """The first tags from the root to where the parser is: no more, since files can nest without end."""
        self._text: list[str] | None = None
        self._label: dict[str, str] = {}
        self._subset: str | None = None
        """Of the whole task."""
        self._image = ""
        self._row = NOWHERE
        self._shapes, self._subsets, self._times = Counter[str](), Counter[str](), Counter[int]()

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """What the parser calls for <tag>. Raises DataError for XML of another kind."""
        if not self._inside and tag != "annotations":
            raise DataError(f"{self._path} is XML of another kind, <{short(tag)}>; {_EXPORT}")
        self._depth += 1
        if self._depth > _DEEPEST:
            return
        self._inside.append(tag)
        if self._inside[1:] == ["track"]:
            raise DataError(f"{self._path} has tracks of a video; {_EXPORT}")
        if self._inside[1:] == ["image"]:
            self._start_image(attributes)
        elif self._inside[1:-1] == ["image"] and (tag == "tag" or tag in SHAPES):
            self._tag(tag, attributes.get("label"))
        elif self._inside[1:2] == ["meta"]:
            self._text = []
            if tag == "label":
                self._label = {}

    def data(self, text: str) -> None:
        """What the parser calls for text."""
        if self._text is not None:
            self._text.append(text)

    def end(self, tag: str) -> None:
        """What the parser calls for </tag>. The points of a skeleton have a <parent> and are no labels of images."""
        self._depth -= 1
        if self._depth >= _DEEPEST:
            return
        inside, text = self._inside[1:], "".join(self._text or ()).strip()
        self._inside.pop()
        self._text = None
        if inside[:1] != ["meta"]:
            return
        if inside[-2:-1] == ["label"] and tag in ("name", "parent"):
            self._label[tag] = text
        elif tag == "label" and self._label.keys() == {"name"}:
            self._marks.label(self._label["name"])
        elif inside == ["meta", "task", "subset"]:
            self._subset = text

    def close(self) -> None:
        """What the parser calls last."""

    def _start_image(self, attributes: dict[str, str]) -> None:
        self._image, self._row = attributes.get("name", ""), NOWHERE
        name = self._image
        if not name:
            self._reading.problems.add("images have no name", f"id {short(attributes.get('id', '?'))}")
            return
        subset = attributes.get("subset") or self._subset or ""
        split = SPLIT_NAMES.get(subset.lower())
        if subset and split is None:
            self._subsets[subset] += 1
        places = (name, posixpath.join("images", name), posixpath.join("images", subset, name))
        inside = () if leads_outside(name) else places
        found = next((place for place in inside if self._marks.has(place)), name)
        self._row = self._marks.image(found, split)
        self._times[self._row] += 1

    def _tag(self, tag: str, label: str | None) -> None:
        if label is None:
            self._reading.problems.add("tags have no label", f"<{tag}> in {short(self._image)}")
            return
        self._marks.mark(self._row, self._marks.label(label), PRESENT)
        if tag != "tag":
            self._shapes[tag] += 1

    def tell(self) -> None:
        """Say what was found out."""
        notes = self._reading.notes
        if shapes := self._shapes:
            told = first_few(f"{count} {tag}" for tag, count in shapes.most_common())
            notes.append(f"labels of shapes count as present, too: {told}")
        if self._subsets:
            told = first_few(
                f"{short(name)} ({counted(count, 'image')})" for name, count in self._subsets.most_common()
            )
            notes.append(f"subsets that are no split are left to --test-fraction: {told}")
        if again := sum(row >= 0 and count > 1 for row, count in self._times.items()):
            notes.append(agreeing(again, "images are listed several times: tags are put together"))


def _file(root: Path) -> Path:
    return root / FILE if os.path.isdir(root) else root


def _looks_like(path: Path) -> bool:
    start = beginning_of(path, _BEGINNING)
    text = start.decode("utf-16" if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "latin-1", "ignore")
    return "<annotations>" in text and any(f"<{tag}" in text for tag in ("version>1", "meta>", "image "))
