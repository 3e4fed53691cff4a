import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import mlrpl_cli
from mlrpl_cli.core.io.errors import VERBS, Problems, agreeing, counted, in_words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (109, "109 bytes"),
        (1023, "1023 bytes"),
        (3500, "3.42 KiB"),
        (270 * 2**20, "270 MiB"),
        (2.5 * 2**40, "2560 GiB"),
    ],
)
def test_sizes_in_words(size: float, words: str) -> None:
    assert in_words(size) == words


def clauses() -> Iterator[str]:
    """What the package tells `Problems` and `agreeing`, as far as it stands in the call, with x for what is put in."""
    for path in Path(mlrpl_cli.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or len(node.args) != 2:
                continue
            called = ast.unparse(node.func)
            if called == "agreeing" or called.lower().endswith(("problems.add", "problems.extend")):
                told = node.args[called == "agreeing"]
                if isinstance(told, ast.Constant | ast.JoinedStr):
                    parts = told.values if isinstance(told, ast.JoinedStr) else [told]
                    yield "".join(part.value if isinstance(part, ast.Constant) else "x" for part in parts)


def test_every_clause_has_a_plural_noun_and_a_verb_that_agree_with_one() -> None:
    found = list(clauses())
    assert len(found) > 80
    for clause in found:
        if clause == "image names x":
            continue
        one = agreeing(1, clause).removeprefix("1 ").split(" ")
        differing = [pair for pair in zip(clause.split(" "), one, strict=True) if pair[0] != pair[1]]
        assert differing[0][0].endswith("s"), clause
        assert any(word in VERBS for word in clause.split(" ")), clause
        assert "cannot" in clause or any(VERBS.get(plural) == singular for plural, singular in differing), clause


def test_one_is_told_in_the_singular_and_more_in_the_plural() -> None:
    assert agreeing(1, "category ids or names are repeated") == "1 category id or name is repeated"
    assert agreeing(1, "boxes do not fit") == "1 box does not fit"
    assert agreeing(1, "class ids have two names") == "1 class id has two names"
    assert agreeing(0, "images are missing") == "0 images are missing"
    problems = Problems()
    problems.add("names of files are twice", "a")
    assert problems.summary() == "1 name of files is twice (a)"
    problems.add("names of files are twice", "b")
    assert problems.summary() == "2 names of files are twice (a, b)"
    assert [counted(1, "class"), counted(2, "class"), counted(2, "box"), counted(0, "cell")] == [
        "1 class",
        "2 classes",
        "2 boxes",
        "0 cells",
    ]
