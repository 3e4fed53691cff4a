"""One annotation of VOC's form: the objects of an image, in XML of any encoding."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml import DefusedXmlException

from mlrpl_cli.core.io.errors import DataError, Problems, one_line
from mlrpl_cli.core.io.reading import KIB, MIB, open_file, short, shown
from mlrpl_cli.core.io.xml import XmlParser

MOST_OF_AN_ANNOTATION = 4 * MIB
"""Bytes: some 20,000 objects in an image; the published ones have 50."""
DIFFICULT = {
    **dict.fromkeys(("1", "true", "yes", "y"), True),
    **dict.fromkeys(("", "0", "false", "no", "n", "none", "unspecified"), False),
}
"""What tools write into `difficult`, in any case; numbers such as 1.0 are read too."""
Objects = tuple[tuple[str, bool], ...]
"""(class name, difficult) of each object of an image."""
MISSING: Objects = (("", False),)
"""The objects of an annotation that is not there."""
_DECLARED = re.compile(rb"(?:\xef\xbb\xbf)?<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_DECODED = {
    **dict.fromkeys(("gb2312", "gbk", "gb18030"), "gb18030"),  # the last holds the others, which are often named for it
    **{name: name for name in ("utf-8", "hz", "big5", "big5hkscs", "cp950", "cp932", "cp949", "johab", "euc_kr")},
    **{name: name for name in ("shift_jis", "shift_jis_2004", "shift_jisx0213", "euc_jp", "iso2022_jp", "iso2022_kr")},
}
"""Encodings that the XML parser does not know, and the one to read them with."""
_ROOT = re.compile(r"<annotation[\s/>]")


def looks_like(path: Path) -> bool:
    """Whether a file begins as an annotation does."""
    try:
        with open_file(path) as stream:
            start = stream.read(4 * KIB)
    except (OSError, DataError):
        return False
    encoding = "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "latin-1"
    return bool(_ROOT.search(start.decode(encoding, errors="ignore")))


def read_objects(path: Path, problems: Problems) -> Objects:
    """The objects of an image; none, and a problem, when the file cannot be read, MISSING where there is none."""
    try:
        root = _parsed(path)
    except FileNotFoundError:
        problems.add("annotations are missing", path.name)
        return MISSING
    except DefusedXmlException:
        problems.add("annotations are no readable XML", f"{path.name}: a document type is not allowed")
    except (ParseError, ValueError, LookupError, OSError, DataError) as error:
        problems.add("annotations are no readable XML", f"{path.name}: {one_line(error)}")
    else:
        if root.tag == "annotation":
            # Only children of the object itself: a <part> of a person has a <name> too.
            return tuple(_object(element, path.name, problems) for element in root.findall("object"))
        problems.add("annotations are XML of another kind", f"{path.name}: <{short(root.tag)}>")
    return ()


def _parsed(path: Path) -> Element:
    with open_file(path, MOST_OF_AN_ANNOTATION) as stream:
        data = stream.read()
    parser, declared = XmlParser(target=TreeBuilder()), _DECLARED.match(data)
    encoding = _DECODED.get(codecs.lookup(declared[1].decode()).name) if declared else None
    parser.feed(data.decode(encoding) if encoding else data)
    return parser.close()


def _object(element: Element, file: str, problems: Problems) -> tuple[str, bool]:
    name, text = (" ".join((element.findtext(tag) or "").split()) for tag in ("name", "difficult"))
    if not name:
        problems.add("objects have no name", file)
    try:
        state = DIFFICULT.get(text.lower())
        return name, bool({0.0: False, 1.0: True}[float(text)] if state is None else state)
    except (KeyError, ValueError):
        problems.add("objects have a difficult that is neither 0 nor 1", f"{shown(text)} in {file}")
        return name, False
