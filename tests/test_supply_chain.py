"""What is declared, what is pinned and what is listed say the same."""

import configparser
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PINNED, LOWEST = ROOT / "constraints.txt", ROOT / "constraints-lowest.txt"


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def versions(lines: Iterable[str], operator: str) -> dict[str, str]:
    """Name → version of lines such as `torch >= 2.5`; every line has to be one."""
    found = {}
    for line in lines:
        name, version = re.fullmatch(rf"([\w.-]+) *{operator} *([\w.]+)(?: *;.*)?", line).groups()
        found[normalized(name)] = version
    return found


def setup_cfg() -> configparser.ConfigParser:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return setup


def declared() -> dict[str, str]:
    """Lower bounds in setup.cfg, of what runs and of what tests."""
    setup = setup_cfg()
    text = setup["options"]["install_requires"] + setup["options.extras_require"]["dev"]
    return versions(text.strip().splitlines(), ">=")


def pins(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return versions((line for line in lines if not line.startswith("#")), "==")


def comparable(version: str) -> list[int]:
    parts = [int(part) for part in version.split(".")]
    while parts and not parts[-1]:
        parts.pop()
    return parts


@pytest.mark.parametrize("path", [PINNED, LOWEST], ids=lambda path: path.name)
def test_everything_that_is_declared_is_pinned_within_its_bounds(path):
    pinned = pins(path)
    below = {
        name: pinned.get(name)
        for name, bound in declared().items()
        if name not in pinned or comparable(pinned[name]) < comparable(bound)
    }
    assert not below


def test_the_lowest_pins_are_the_declared_bounds():
    pinned = pins(LOWEST)
    bounds = declared()
    assert {name: comparable(pinned[name]) for name in bounds} == {n: comparable(bound) for n, bound in bounds.items()}


def test_the_licences_of_exactly_what_is_pinned_are_listed():
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| ([\w.-]+) \| ([\d][\w.]*) \| \S.* \|$", page, re.MULTILINE))
    assert {normalized(name): version for name, version in listed.items()} == pins(PINNED)


def test_the_extra_openai_is_openais_own_clip():
    """It is on no package index, and another package is called so there."""
    extra = setup_cfg()["options.extras_require"]["openai"]
    assert extra.strip() == "clip @ git+https://github.com/openai/CLIP.git"
