"""What annotation files of the form of COCO's instances say: COCO's own, those of many tools, and LVIS's.

What a category without annotation means they do not share: their readers say it. The form:
https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import contextlib
import io
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from mlrpl_cli.core.io.errors import DataError, Problems, one_line
from mlrpl_cli.core.io.progress import track
from mlrpl_cli.core.io.reading import GIB, is_file_name, is_name, read_json, short, shown
from mlrpl_cli.core.labels.formats.coco.annotation_files import LISTS, AnnotationFile
from mlrpl_cli.core.labels.marks import NOWHERE, Marks
from mlrpl_cli.core.labels.records import Reading

if TYPE_CHECKING:
    import numpy as np

Identifier = int | str
Categories = dict[Identifier, tuple[str, object]]
"""Name and supercategory by id."""
MOST_BYTES = 4 * GIB
"""Of an annotation file: nine times the largest of COCO, four times that of LVIS."""
FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (is_name, "names of categories that are text"),
    "file_name": (is_file_name, "a file_name that a file can have"),
    "coco_url": (lambda value: isinstance(value, str), "a coco_url that is text"),
}
"""What an entry's field has to be."""
_KEPT = frozenset(
    (*FIELDS, *LISTS, "id", "supercategory", "image_id", "category_id", "images", "annotations", "categories")
)
_TRIED, _DEEPEST = 5, 16
_NUMBER = re.compile(r"(-?\d{1,18})(?:\.0*)?")


class Part(NamedTuple):
    """What one annotation file says, by the rows of its images."""

    file: AnnotationFile
    way: _Way
    """How its entries lead to images."""
    categories: Categories
    sample: object
    """The file_name of its first image."""
    rows: np.ndarray
    shown: dict[Identifier, np.ndarray]
    """Rows of the images with an annotation of a category, once for each annotation."""
    listed: dict[str, dict[Identifier, np.ndarray]]
    """Rows of the images that have a category in one of LISTS; a list that no image has is not there."""


def read_files(
    files: Iterable[AnnotationFile], marks: Marks, reading: Reading, keys: Sequence[str] = ("file_name", "coco_url")
) -> list[Part]:
    """What annotation files say, their images made rows of `marks`; without those that cannot be read, a problem each.

    Images are called what the first of `keys` says, if there is such an image, else what the second does.
    """
    files = list(files)
    listed = track(reading.progress, files, "reading annotations", len(files), "files")
    parts = [part for file in listed if (part := _read(file, marks, reading.problems, keys))]
    for file, way in ((part.file, part.way) for part in parts):
        if way.place != file.places[0]:
            reading.notes.append(f"the images of {file.path.name} are in {way.place or 'the root'}")
        if way.dropped and way.key == "file_name":
            reading.notes.append(f"file_name of {file.path.name} begins with {way.dropped} folders that are left out")
    return parts


def _read(file: AnnotationFile, marks: Marks, problems: Problems, keys: Sequence[str]) -> Part | None:
    name = file.path.name
    try:
        # Outlines are most of a file, and are dropped as soon as they are parsed.
        data = read_json(file.path, MOST_BYTES, lambda entry: {key: entry[key] for key in entry if key in _KEPT})
        return _to_part(data, file, marks, problems, keys)
    except FileNotFoundError:
        problems.add("annotation files are missing", name)
    except UnicodeDecodeError:
        problems.add("annotation files are no UTF-8 text", name)
    except KeyError as error:
        problems.add("annotation files lack a key", f"{name}: {error}")
    except (OSError, ValueError, TypeError, AttributeError, DataError) as error:
        problems.add("annotation files cannot be read", f"{name}: {one_line(error)}")
    return None


def _to_part(data: Any, file: AnnotationFile, marks: Marks, problems: Problems, keys: Sequence[str]) -> Part:
    if not isinstance(data, dict):
        raise TypeError(f"annotation file format is {type(data).__name__}, expected an object with images")
    for key in ("categories", "images", "annotations"):
        _check_entries(data[key], key)
    categories = _categories(data["categories"], file.path.name, problems)
    way = _way(data["images"][:_TRIED], file.places, keys, marks)
    row_of = _images(data["images"], file, way, marks, problems)
    if not data["images"] or not categories:
        problems.add("annotation files have no images or no categories", file.path.name)
    shown_in = _index(data["annotations"], row_of, categories, file.path.name, problems)
    listed = {key: _listed(data["images"], key, row_of, categories, file.path.name, problems) for key in LISTS}
    sample = data["images"][0].get("file_name") if data["images"] else None
    given = {key: found for key, found in listed.items() if found is not None}
    return Part(file, way, categories, sample, _rows(row_of.values()), shown_in, given)


def _check_entries(entries: Any, key: str) -> None:
    if not isinstance(entries, list):
        raise TypeError(f"expected a list as {key}, got {shown(entries)}")
    if other := [entry for entry in entries if not isinstance(entry, dict)]:
        raise TypeError(f"expected objects in {key}, got {shown(other[0])}")


def _categories(entries: Any, file: str, problems: Problems) -> Categories:
    found: Categories = {}
    for entry in entries:
        identifier, name = _identifier(entry["id"]), " ".join(_checked(entry, "name").split())
        if found.setdefault(identifier, (name, entry.get("supercategory")))[0] != name:
            problems.add("category ids or names are repeated", f"{shown(identifier)} in {file}")
    return found


def _images(entries: Any, file: AnnotationFile, way: _Way, marks: Marks, problems: Problems) -> dict[Identifier, int]:
    """The row of each image by its id."""
    row_of: dict[Identifier, int] = {}
    name_of: dict[Identifier, str] = {}
    for entry in entries:
        identifier, name = _identifier(entry["id"]), way.name(entry)
        row = marks.image(name, file.split)
        if name_of.setdefault(identifier, name) != name:
            problems.add("image ids are repeated", f"{shown(identifier)} in {file.path.name}")
        row_of.setdefault(identifier, row)
    first = {row: identifier for identifier, row in reversed(row_of.items())}
    twice = (name_of[identifier] for identifier, row in row_of.items() if row != NOWHERE and first[row] != identifier)
    problems.extend("images are listed twice", (f"{short(name)} in {file.path.name}" for name in twice))
    return row_of


class _Way(NamedTuple):
    """From an entry of `images` to the name of its file."""

    key: str
    dropped: int
    """Leading folders of a URL, or of another machine, that are none below the images' root."""
    place: str

    def name(self, entry: Any) -> str:
        key = next((key for key in (self.key, "coco_url") if key in entry), "file_name")
        name = _checked(entry, key)
        dropped = self.dropped if key == self.key else 0
        if key == "coco_url" or dropped:
            path = unquote(urlsplit(name).path) if key == "coco_url" else name.replace("\\", "/")
            parts = path.lstrip("/").split("/")
            name = "/".join(parts[min(dropped, len(parts) - 1) :])
        return posixpath.join(self.place, name)


def _way(entries: Sequence[Any], places: Sequence[str], keys: Sequence[str], marks: Marks) -> _Way:
    """The first way that leads to one of the images `entries`: a file_name is first taken as it is."""
    ways = [_Way(key, dropped, place) for key in keys for dropped in range(_DEEPEST) for place in places]
    ways.sort(key=lambda way: way.key == "file_name" and way.dropped > 0)
    return next((way for way in ways if any(marks.has(way.name(entry)) for entry in entries)), ways[0])


def _index(
    annotations: Any,
    row_of: Mapping[Identifier, int],
    categories: Mapping[Identifier, Any],
    file: str,
    problems: Problems,
) -> dict[Identifier, np.ndarray]:
    """The rows of the images with an annotation of each category, as pycocotools finds them."""
    from pycocotools.coco import COCO  # takes longer to import than help to print

    kept: list[dict[str, Identifier]] = []
    for entry in annotations:
        image, category = _identifier(entry["image_id"]), _identifier(entry["category_id"])
        if image not in row_of:
            problems.add("annotations are of unknown images", f"{shown(entry['image_id'])} in {file}")
        if category not in categories:
            problems.add("annotations are of unknown categories", f"{shown(entry['category_id'])} in {file}")
        if image in row_of and category in categories:
            kept.append({"id": len(kept), "image_id": row_of[image], "category_id": category})
    index = COCO()
    index.dataset = {"annotations": kept, "categories": [{"id": identifier} for identifier in categories]}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints what it does
        index.createIndex()
    return {category: _rows(rows) for category, rows in index.catToImgs.items()}


def _listed(
    entries: Any,
    key: str,
    row_of: Mapping[Identifier, int],
    categories: Mapping[Identifier, Any],
    file: str,
    problems: Problems,
) -> dict[Identifier, np.ndarray] | None:
    """The rows of the images that have a category in their list `key`; None when no image has such a list."""
    lists = [(row_of[_identifier(entry["id"])], entry[key]) for entry in entries if key in entry]
    found: dict[Identifier, list[int]] = {}
    for row, listed in lists:
        if not isinstance(listed, list):
            raise TypeError(f"expected a list as {key}, got {shown(listed)}")
        for value in listed:
            if (category := _identifier(value)) in categories:
                found.setdefault(category, []).append(row)
            else:
                problems.add(f"categories in {key} are unknown", f"{shown(value)} in {file}")
    return {category: _rows(rows) for category, rows in found.items()} if lists else None


def _rows(rows: Iterable[int]) -> np.ndarray:
    import numpy as np

    return np.fromiter(rows, np.int32)


def _identifier(value: Any) -> Identifier:
    """An id as it is compared: 1, 1.0 and "1" are one. TypeError for a value that is none."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        raise TypeError(f"expected ids that are whole numbers or text, got {shown(value)}")
    number = _NUMBER.fullmatch(value.strip())
    plain = number is not None and str(int(number[1])) == number[1]  # "007" is text
    return int(number[1]) if number and plain else value.strip()


def _checked(entry: Any, key: str) -> Any:
    """entry[key]. TypeError for a value that a class or a file cannot have."""
    fits, expected = FIELDS[key]
    if not fits(entry[key]):
        raise TypeError(f"expected {expected}, got {shown(entry[key])}")
    return entry[key]


def mark_all(
    found: Mapping[Identifier, np.ndarray], state: int, columns: Mapping[Identifier, int], marks: Marks
) -> None:
    """Mark the rows of each category."""
    import numpy as np

    for identifier, rows in found.items():
        column = columns.get(identifier, NOWHERE)
        marks.extend(rows, np.full(len(rows), column), np.full(len(rows), state))
