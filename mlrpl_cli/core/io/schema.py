"""What pydantic finds wrong, in the words of this package: where, what was expected, what was got."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import AfterValidator, ValidationError

from mlrpl_cli.core.io.reading import shown

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
