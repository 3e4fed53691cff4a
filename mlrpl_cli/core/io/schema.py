"""What pydantic finds, in one line of our words: each wrong field once, what it takes and what it got."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import PlainValidator, TypeAdapter, ValidationError, WithJsonSchema

from mlrpl_cli.core.io.errors import did_you_mean, one_line
from mlrpl_cli.core.io.reading import short, shown

Model = TypeVar("Model")

LONGEST_TEXT = 2000
"""Characters of a field that is text; a path is the longest."""
UNKNOWN_SHOWN = 10
"""Unknown fields that are named with advice; finding advice takes a while."""
_WORDS = {
    **{"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "text"},
    **{"array": "a list", "object": "a mapping", "path": "a path"},
}
"""JSON schema's type or format → our words for it; another type is in our words already, by WithJsonSchema."""


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Path):
        raise ValueError
    text = str(value)
    if len(text) > LONGEST_TEXT or "\0" in text:
        raise ValueError
    os.fsencode(text)  # its UnicodeEncodeError is a ValueError
    return text


Text = Annotated[str, PlainValidator(_text), WithJsonSchema({"type": "string"})]
"""What a path can hold; numbers and paths may be meant as text. pydantic's own `str` takes no path beyond UTF-8."""
METAVAR = "metavar"
"""What help calls a value whose JSON schema has this key."""
Name = Annotated[Text, WithJsonSchema({"type": "string", METAVAR: "NAME"})]
FileName = Annotated[Text, WithJsonSchema({"type": "string", METAVAR: "FILE"})]
FolderName = Annotated[Text, WithJsonSchema({"type": "string", METAVAR: "FOLDER"})]
Folder = Annotated[Path, WithJsonSchema({"type": "string", "format": "path", METAVAR: "FOLDER"})]


def flag(name: str) -> str:
    """The flag of a command for the field of that name: "train_images" → "--train-images"."""
    return f"--{name.replace('_', '-')}"


def validated(model: type[Model], values: Any) -> Model:
    """`values`, a JSON object, as a pydantic model or dataclass. Raises ValueError, which tells all that is wrong."""
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, got {shown(values)}")
    try:
        return model(**values)
    except ValidationError as error:
        raise ValueError("; ".join(sentences(error, model).values())) from error


def problems(error: ValidationError, model: type) -> dict[str, str | None]:
    """Each wrong field (dotted inside another) → "expected …, got …"; None for one that `model` lacks."""
    fields = fields_of(model)
    found: dict[str, str | None] = {}
    for each in error.errors(include_url=False, include_context=False):
        place = each["loc"] or (str(each["input"]),)  # a name beyond UTF-8 has no place: it is the input
        got = "nothing" if each["type"] == "missing" else shown(each["input"])
        field = fields.get(str(place[0]), {})
        field = field.get("items", field) if len(place) > 1 else field
        found[".".join(map(str, place))] = f"expected {expected(field)}, got {got}" if field else None
    return found


def sentences(error: ValidationError, model: type) -> dict[str, str]:
    """A sentence for each field that `error` is about, by its name: first those that `model` lacks, with advice."""
    found = problems(error, model)
    unknown = [name for name, what in found.items() if what is None]
    told = {n: f"unknown option '{short(n)}'; {did_you_mean(n, fields_of(model))}" for n in unknown[:UNKNOWN_SHOWN]}
    if more := len(unknown[UNKNOWN_SHOWN:]):
        told[""] = f"{more} more unknown options"
    return told | {name: f"{name}: {what}" for name, what in found.items() if what is not None}


def fields_of(model: type) -> dict[str, dict[str, Any]]:
    """Each field of a pydantic model or dataclass as JSON schema has it: type, range, choices, default, description."""
    return TypeAdapter(model).json_schema()["properties"]


def expected(field: Mapping[str, Any]) -> str:
    """What a field takes: "a whole number from 1 to 74", "a number of at least 0", "one of clip, glove", "text"."""
    field = field.get("anyOf", [field])[0]  # the other one is null
    if "enum" in field or "const" in field:
        return f"one of {', '.join(field.get('enum') or [field['const']])}"
    kind = field.get("format", field.get("type", "object"))  # a class of its own has a reference instead
    words = _WORDS.get(kind, kind)
    match field:
        case {"minimum": low, "maximum": high}:
            return f"{words} from {low:.15g} to {high:.15g}"
        case {"exclusiveMinimum": low, "exclusiveMaximum": high}:
            return f"{words} between {low:.15g} and {high:.15g}"
        case {"minimum": low, "exclusiveMaximum": high}:
            return f"{words} from {low:.15g} to below {high:.15g}"
        case {"minimum": low}:
            return f"{words} of at least {low:.15g}"
    return words


def read_rows(path: Path, model_of: Callable[[dict[str, Any]], type]) -> list[dict[str, Any]]:
    """The rows of a file of JSON objects, one a line; none for a file that is not there.

    An unfinished last line, of a process that was killed, is left out. Raises ValueError, which names the first line
    that is not an object as `model_of` says, and all that is wrong in it.
    """
    rows: list[dict[str, Any]] = []
    if not path.is_file():
        return rows
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate((line for line in stream if line.endswith("\n")), 1):
            try:
                rows.append(row := json.loads(line))
                validated(model_of(row) if isinstance(row, dict) else dict, row)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"expected a JSON object a line, got in line {number}: {one_line(error)}") from error
    return rows
