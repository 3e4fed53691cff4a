"""Registries that packages of other people add to: small made-up ones, installed by hand."""

import sys

import pytest

from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.io.registry import Registry
from tests.plugins import install


def registry() -> Registry:
    return Registry("thing", "mlrpl.things", {"ours": "json:dumps", "gone": "json:undumps"}, reserved={"kept"})


def test_names_are_ours_and_then_those_of_installed_packages_and_listing_imports_nothing(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, {"mlrpl.things": {"theirs": "things_of_theirs:THING"}}, things_of_theirs="THING = 5")
    things = registry()
    assert list(things) == ["ours", "gone", "theirs"]
    assert len(things) == 3
    assert "theirs" in things
    assert "things_of_theirs" not in sys.modules
    assert things.load("theirs") == 5
    assert (things.owner("ours"), things.owner("theirs")) == ("mlrpl", "made-up 1.5")


def test_a_package_that_goes_takes_its_names_along(tmp_path, monkeypatch):
    with monkeypatch.context() as inside:
        install(tmp_path, inside, {"mlrpl.things": {"theirs": "things_of_theirs:THING"}}, things_of_theirs="THING = 5")
        assert "theirs" in registry()
    assert "theirs" not in registry()


@pytest.mark.parametrize(
    ("name", "source", "told"),
    [
        ("zzz", "", "no thing is called 'zzz'; known: ours, gone, theirs"),
        (
            "ours",
            "THING = 5",
            "thing 'ours' is claimed by mlrpl, made-up 1.5; uninstall all but one, or rename it there",
        ),
        ("kept", "THING = 5", "thing 'kept' is claimed by mlrpl, made-up 1.5; uninstall all but one"),
        (
            "gone",
            "",
            "thing 'gone' of mlrpl cannot be loaded from 'json:undumps': AttributeError: .*; correct its entry$",
        ),
        (
            "theirs",
            "import nothing_like_it",
            "ModuleNotFoundError: .*'nothing_like_it'; update or uninstall made-up 1.5$",
        ),
        ("theirs", "", "thing 'theirs' of made-up 1.5 cannot be loaded from 'broken:THING': AttributeError: "),
        ("theirs", "raise SystemExit(3)", "cannot be loaded from 'broken:THING': SystemExit: 3; update or uninstall"),
        ("theirs", "x = = 1", "cannot be loaded from 'broken:THING': SyntaxError: "),
    ],
)
def test_a_name_that_cannot_be_loaded_is_told_in_one_sentence_that_names_whose_it_is(
    tmp_path, monkeypatch, name, source, told
):
    claimed = name if name in ("ours", "kept") else "theirs"
    install(tmp_path, monkeypatch, {"mlrpl.things": {claimed: "broken:THING"}}, broken=source)
    with pytest.raises(ConfigError, match=told) as raised:
        registry().load(name)
    assert "\n" not in str(raised.value)


def test_a_name_that_two_packages_claim_is_neither(tmp_path, monkeypatch):
    for name in ("one", "other"):
        place = tmp_path / name
        place.mkdir()
        install(place, monkeypatch, {"mlrpl.things": {"theirs": f"{name}:THING"}}, name, **{name: "THING = 1"})
    with pytest.raises(ConfigError, match=r"thing 'theirs' is claimed by (one|other) 1.5, (one|other) 1.5; uninstall"):
        registry().load("theirs")
    assert registry().load("ours")


def test_an_entry_of_ours_that_tests_or_programs_add_is_an_entry(monkeypatch):
    things = registry()
    monkeypatch.setitem(things, "added", "json:loads")
    assert things.load("added")("[1]") == [1]
