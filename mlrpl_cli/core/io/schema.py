"""What pydantic finds, in one line of our words: each wrong field once, what it takes and what it got."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, PlainValidator, TypeAdapter, ValidationError, WithJsonSchema

from mlrpl_cli.core.io.errors import did_you_mean, one_line
from mlrpl_cli.core.io.reading import short, shown

Model = TypeVar("Model")

LONGEST_TEXT = 2000
"""Characters of a field that is text; a path is the longest."""
UNKNOWN_SHOWN = 10
"""Unknown fields that are named with advice; finding advice takes a while."""
_WORDS = {"integer": "a whole number", "number": "a number", "string": "text", "array": "a list", "object": "a mapping"}


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


def validated(model: type[Model], values: Any) -> Model:
    """`values`, a JSON object, as a pydantic model or dataclass. Raises ValueError, which tells all that is wrong."""
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, got {shown(values)}")
    try:
        return model(**values)
    except ValidationError as error:
        raise ValueError("; ".join(sentences(error, model).values())) from error


def sentences(error: ValidationError, model: type) -> dict[str, str]:
    """A sentence for each field that `error` is about, by its name: first those that `model` lacks, with advice."""
    fields = fields_of(model)
    unknown: dict[str, str] = {}
    wrong: dict[str, str] = {}
    more = 0
    for each in error.errors(include_url=False, include_context=False):
        place = each["loc"] or (str(each["input"]),)  # a name beyond UTF-8 has no place: it is the input
        name = ".".join(map(str, place))
        if place[0] in fields:
            got = "nothing" if each["type"] == "missing" else shown(each["input"])
            wrong[name] = f"{name}: expected {expected(_at(fields, place))}, got {got}"
        elif len(unknown) < UNKNOWN_SHOWN:
            unknown[name] = f"unknown option '{short(name)}'; {did_you_mean(name, fields)}"
        else:
            more += 1
    if more:
        unknown[""] = f"{more} more unknown options"
    return unknown | wrong


def fields_of(model: type) -> dict[str, dict[str, Any]]:
    """Each field of a pydantic model or dataclass as JSON schema has it: type, range, choices, default, description."""
    return TypeAdapter(model).json_schema()["properties"]


def expected(field: Mapping[str, Any]) -> str:
    """What a field takes: "a whole number from 1 to 74", "a number of at least 0", "one of clip, glove", "text"."""
    field = field.get("anyOf", [field])[0]  # the other one is null
    if "enum" in field or "const" in field:
        return f"one of {', '.join(field.get('enum') or [field['const']])}"
    words = _WORDS[field["type"]]
    if "maximum" in field:
        return f"{words} from {_plain(field['minimum'])} to {_plain(field['maximum'])}"
    return f"{words} of at least {_plain(field['minimum'])}" if "minimum" in field else words


def read_rows(path: Path, model_of: Callable[[dict[str, Any]], type]) -> list[dict[str, Any]]:
    """The rows of a file of JSON objects, one a line; none for a file that is not there.

    An unfinished last line, of a process that was killed, is left out. Raises ValueError, which names the first line
    that is not an object as `model_of` says, and all that is wrong in it.
    """
    rows: list[dict[str, Any]] = []
    if not path.is_file():
        return rows
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            if line.endswith("\n"):
                rows.append(_row(line, len(rows) + 1, model_of))
    return rows


def _row(line: str, number: int, model_of: Callable[[dict[str, Any]], type]) -> dict[str, Any]:
    try:
        row = json.loads(line)
        validated(model_of(row) if isinstance(row, dict) else dict, row)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected a JSON object a line, got in line {number}: {one_line(error)}") from error
    return row


def _at(fields: Mapping[str, Any], place: Sequence[int | str]) -> dict[str, Any]:
    """The schema of a field, or of an item in it."""
    field = fields[str(place[0])]
    for _ in place[1:]:
        field = field.get("anyOf", [field])[0].get("items", field)
    return field


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


EXPECTED = {
    "string_type": "text",
    "path_type": "a path",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "literal_error": "{expected}",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "missing": "a value",
}
"""Kind of error → what is put after "expected"; a kind that is not listed keeps pydantic's words."""


def problems(error: ValidationError) -> list[tuple[str, str, str]]:
    """Pydantic's name of the kind, the field (dotted inside another) and "expected …, got …", for everything wrong."""
    found = error.errors(include_url=False)
    return [(each["type"], ".".join(map(str, each["loc"])), _sentence(each)) for each in found]


def fitting(check: Callable[[Any], bool], expected: str) -> AfterValidator:
    """For `Annotated`: a value has to pass `check` too, else `expected` stands in the sentence."""

    def checked(value: Any) -> Any:
        if not check(value):
            raise ValueError(expected)
        return value

    return AfterValidator(checked)


def _sentence(found: Mapping[str, Any]) -> str:
    pydantic_words = found["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    context = {name: value for name, value in found.get("ctx", {}).items() if name != "error"}
    words = EXPECTED.get(found["type"])
    expected = pydantic_words if words is None else words.format(**context).replace("'", "")
    return f"expected {expected}, got {'nothing' if found['type'] == 'missing' else shown(found['input'])}"
