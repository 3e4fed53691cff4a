"""How an option is declared: by the fields of the class that takes it, or here, for those that several commands share.

`None` always means "not given"; the default then comes from the configuration or from the run itself.
"""

from __future__ import annotations

import csv
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from mlrpl_cli.commands import console
from mlrpl_cli.core.io.schema import METAVAR, expected, fields_of, flag

Command = Callable[..., None]
FEW_OWNERS = 6
"""Help names the data sets that share a flag when there are not more."""
DEFAULT = "Default: "
"""What follows it in the description of a field is taken where the field is None."""
KINDS: Mapping[str, tuple[type, str | None]] = {
    **{"integer": (int, "N"), "number": (float, "X"), "string": (str, "TEXT")},
    **{"path": (Path, "PATH"), "boolean": (bool, None)},
}
"""JSON schema's type or format of a field → what the command line makes of its flag, and what help calls the value."""


def option(metavar: str | None, help: str, *flags: str, default: object = None, **more: Any) -> Any:
    """A Typer option, called like its parameter unless `flags` name it; `more` is what else Typer takes.

    `default` is what help says of it, in words; Typer's own brackets say nothing where the default is not given.
    """
    told = help if default is None else f"{help} Default: {default}."
    return typer.Option(*flags, metavar=metavar, help=told, show_default=False, **more)


def several(kind: type, metavar: str, help: str, *flags: str, **more: Any) -> Any:
    """An option for "a, b": (kind("a"), kind("b")), each once, or a usage error for what `kind` does not take.

    A name with a comma is written in double quotes.
    """

    def parse(text: str) -> tuple:
        try:
            parts = next(csv.reader([text], skipinitialspace=True), [])
            return tuple(dict.fromkeys(kind(part.strip()) for part in parts if part.strip()))
        except (ValueError, csv.Error) as error:
            raise typer.BadParameter(f"expected values as {metavar}, got '{text}'") from error

    return option(metavar, help, *flags, parser=parse, **more)


def with_flags(
    kinds: Mapping[str, type], choices: Mapping[str, Iterable[str]] | None = None
) -> Callable[[Command], Command]:
    """Give a command a flag for each field of some pydantic classes that it has not itself; `**given` gets those given.

    The classes fill in their own defaults and check what they get. `kinds` are {"": class}, or data sets and their
    formats: a flag of one format is listed under it, and one that several share stands among the general ones.
    Help lists the `choices` of a field. A field that is a mapping has no flag.
    """
    owners: dict[str, dict[str, Mapping[str, Any]]] = {}
    for owner, kind in kinds.items():
        for name, field in fields_of(kind).items():
            if field.get("type") != "object":
                owners.setdefault(name, {})[owner] = _chosen_from(field, (choices or {}).get(name))

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        *own, _ = signature.parameters.values()
        flags = [_flag(name, fields) for name, fields in owners.items() if name not in signature.parameters]
        names = {parameter.name for parameter in flags}

        @wraps(command)
        def called(**values: Any) -> None:
            command(**{name: value for name, value in values.items() if value is not None or name not in names})

        called.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
        return called

    return decorate


def with_voice(command: Command) -> Command:
    """Give a command --quiet and --verbose, and let it speak as they say."""
    signature = inspect.signature(command, eval_str=True)
    asked = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet)

    @wraps(command)
    def called(quiet: bool, verbose: bool, **values: Any) -> None:
        if quiet and verbose:
            raise typer.BadParameter("--quiet and --verbose were both given")
        console.speak(quiet, verbose)
        command(**values)

    added = [asked, asked.replace(name="verbose", annotation=Verbose)]
    called.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *added])  # type: ignore[attr-defined]
    return called


def _chosen_from(field: Mapping[str, Any], choices: Iterable[str] | None) -> Mapping[str, Any]:
    """A field with the names that it takes, which its class does not know."""
    if choices is None:
        return field
    first, *others = field.get("anyOf", [field])
    return {**field, "anyOf": [{**first, "enum": list(choices)}, *others]}


def _flag(name: str, fields: Mapping[str, Mapping[str, Any]]) -> inspect.Parameter:
    """A flag whose default is None: not given."""
    meanings = {owner: _meaning(field) for owner, field in fields.items()}
    (owner, field), *others = fields.items()
    default, field = field.get("default"), field.get("anyOf", [field])[0]
    help, _, told = meanings[owner].partition(f" {DEFAULT}")
    if len(set(meanings.values())) > 1:
        help = "; ".join(f"{owner}: {meaning}" for owner, meaning in meanings.items())
    elif 1 < len(fields) <= FEW_OWNERS:
        help += f" ({', '.join(fields)})"
    help = f"{help if len(set(meanings.values())) > 1 else help[0].upper() + help[1:]}."
    more = {
        "default": default if type(default) in (str, int, float) else told or None,
        "rich_help_panel": f"Options of --dataset {owner}" if owner and not others else None,
    }
    kind: type = tuple
    if field["type"] == "array":
        declared = several(str, "A,B", help, flag(name), **more)
    else:
        kind, metavar = KINDS[field.get("format", field["type"])]
        metavar = "NAME" if "enum" in field else field.get(METAVAR, metavar)
        declared = option(metavar, help, flag(name), **more)
    parameter = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
    return parameter.replace(annotation=Annotated[kind | None, declared])


def _meaning(field: Mapping[str, Any]) -> str:
    """What a field means, what it takes if that is not all of its type, and then what is taken without it."""
    meaning, sign, default = " ".join(field["description"].split()).partition(DEFAULT)
    return f"{_with_range(meaning.strip().rstrip('.'), field)} {sign}{default.rstrip('.')}".strip()


def _with_range(meaning: str, field: Mapping[str, Any]) -> str:
    """`meaning`, and what the field takes where that is narrower than its type and not said yet."""
    match field.get("anyOf", [field])[0]:
        case {"enum": choices} if all(choice in meaning for choice in choices):
            return meaning
        case {"enum": _} | {"minimum": _} | {"exclusiveMinimum": _}:
            return f"{meaning} ({expected(field)})"
    return meaning


Data = Annotated[Path | None, option("FOLDER", "Prepared folder.", default="the newest below ./prepared")]
Classes = Annotated[tuple | None, several(str, "A,B", "Only these classes.", default="all")]
Device = Annotated[str | None, option("NAME", "cpu, cuda, or auto for CUDA where there is one.", default="auto")]
Precision = Annotated[
    str | None, option("NAME", "float32, bf16 or auto: what the frozen encoders compute in.", default="auto")
]
Config = Annotated[Path | None, option("FILE", "YAML file of training options; flags override it.")]
Assignments = Annotated[list[str] | None, option("KEY=VALUE", "Any training option by its name; repeatable.", "--set")]
PreparedOfRun = Annotated[
    Path | None,
    typer.Argument(metavar="PREPARED", help="Prepared folder. Default: the one that the run was trained on."),
]
Json = Annotated[bool, option(None, "Print the result as JSON on stdout instead of tables.", "--json")]
Quiet = Annotated[bool, option(None, "Say only warnings and errors beside the result.", "--quiet", "-q")]
Verbose = Annotated[bool, option(None, "Say more of what is being done.", "--verbose", "-v")]
