"""Whatever bytes a reader is given, it accepts them as documented or refuses them in one message.

Seconds here; minutes, with the coverage-guided fuzzer, in the slow tier.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlrpl_cli.core.config import TrainConfig
from tests.fuzz import __main__ as driver
from tests.fuzz.found import FOUND
from tests.fuzz.seeds import seeds, words
from tests.fuzz.targets import TARGETS, accepts

QUICK, LONG = 50, 4000
"""Examples of each property."""
SLOW_SECONDS = 20
"""Of coverage-guided fuzzing of each target."""
JSON_TARGETS = (
    "coco",
    "lvis",
    "vaw",
    "vaw_index",
    "labelstudio",
    "vg",
    "fiftyone",
    "review",
    "manifest",
    "manifest_fields",
    "checkpoint_metadata",
    "checkpoint_shapes",
    "backbone_config",
    "backbone_index",
    "run_log",
    "run_decisions",
    "model_properties",
    "sweep_results",
)
needs_atheris = pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")

Strategy = st.SearchStrategy[bytes]

odd_texts = st.sampled_from(
    ["", " ", "../x", "/", "a\x00b", "\ud800", "\udcff", "a" * 300, "ä" * 200, "-1", "nan", "="]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | odd_texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def check(target: str, strategy: Strategy, examples: int) -> None:
    """Feed a target with what `strategy` makes, the same every time."""

    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def run(data: bytes) -> None:
        with not_hanging():
            accepts(target, data)

    run()


@contextmanager
def not_hanging() -> Iterator[None]:
    """Raises TimeoutError where an input takes longer than the fuzzer lets it."""

    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"an input takes more than {driver.HANG_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(driver.HANG_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@st.composite
def mutated(draw: st.DrawFn, target: str) -> bytes:
    """A seed with some bytes changed, cut out, put in or repeated, or its end cut off."""
    data = draw(st.sampled_from(seeds(target)))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 20)))
        middle = draw(
            st.sampled_from([b"", data[start:end] * 3, *words(target)])
            | st.binary(min_size=end - start, max_size=end - start)
            | st.binary(max_size=8)
        )
        data = data[:start] + middle + (b"" if draw(st.integers(0, 5)) == 0 else data[end:])
    return data


@st.composite
def changed_json(draw: st.DrawFn, target: str) -> bytes:
    """A valid document with a value somewhere in it replaced, taken out or put twice."""
    content = json.loads(draw(st.sampled_from(seeds(target))).split(b"\n{")[0])
    for _ in range(draw(st.integers(1, 3))):
        content = _changed(draw, content)
    return json.dumps(content).encode() + draw(st.sampled_from([b"", b"\n"]))


def _changed(draw: st.DrawFn, content: Any) -> Any:
    if not isinstance(content, dict | list) or not content or draw(st.integers(0, 5)) == 0:
        return draw(values)
    if isinstance(content, list):
        place = draw(st.integers(0, len(content) - 1))
        middle = draw(st.sampled_from([[], [content[place]] * 2, [...]]))
        changed = [_changed(draw, content[place])] if middle == [...] else middle
        return [*content[:place], *changed, *content[place + 1 :]]
    key = draw(st.sampled_from(sorted(content)))
    rest = {name: value for name, value in content.items() if name != key}
    return rest if draw(st.integers(0, 5)) == 0 else {**rest, key: _changed(draw, content[key])}


tags = st.sampled_from(
    [
        *("annotation", "object", "name", "difficult", "part", "a", "object x='1'"),
        *("annotations", "meta", "label", "image name='a.jpg'", "image", "tag label='dog'", "tag", "box label=''"),
    ]
)
xml_texts = st.sampled_from(
    ["dog", "person", "1", " ", "&amp;", "&#0;", "&lt;", "&a;", "]]>", "ä", "x" * 99, "<!-- -->"]
)


def _element(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda tag, inside: f"<{tag}>{''.join(inside)}</{tag.split()[0]}>", tags, st.lists(children, max_size=4)
    )


xml_trees = st.builds(
    lambda head, inside, codec: f"{head}<annotation>{''.join(inside)}</annotation>".encode(codec),
    st.sampled_from(["", "<?xml version='1.0'?>", "<?xml version='1.0' encoding='utf-7'?>", "<!DOCTYPE annotation>"]),
    st.lists(st.recursive(xml_texts, _element, max_leaves=12), max_size=4),
    st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]),
)


def _table(rows: list[list[str]], delimiter: str, codec: str) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter).writerows([["image", "split", "dog"], *rows])
    return stream.getvalue().encode(codec, "surrogatepass")


cells = st.sampled_from(["a.jpg", "b.jpg", "./c.jpg", "train", "test", "1", "0", "?", "-1", 'a"b', "a\nb"]) | odd_texts
tables = st.builds(
    _table,
    st.lists(st.lists(cells, min_size=2, max_size=4), max_size=5),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)

option_keys = st.sampled_from([*asdict(TrainConfig()), "<<", "epoch", "="]) | st.text(max_size=4)
yaml_values = st.recursive(
    scalars | st.dates() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(option_keys, inner, max_size=3),
    max_leaves=6,
)
yaml_texts = st.sampled_from(
    [
        "*a",
        "&a 1",
        "!!int ''",
        "!!timestamp x",
        "!!binary a",
        "!!set {a}",
        "0x_",
        "1:1:1",
        "[[[[",
        "? a",
        "|\n  a",
        "...",
    ]
)
written_yaml = st.builds(
    lambda content, flow: yaml.safe_dump(content, default_flow_style=flow, allow_unicode=True).encode(
        "utf-8", "replace"
    ),
    st.dictionaries(option_keys, yaml_values, max_size=4),
    st.sampled_from([None, True, False]),
)
typed_yaml = st.builds(
    lambda pairs: "\n".join(f"{key}: {value}" for key, value in pairs).encode(errors="replace"),
    st.lists(st.tuples(option_keys, yaml_texts), max_size=4),
)

PROPERTIES: dict[str, tuple[str, Callable[[], Strategy]]] = {
    **{f"{target}, bytes changed": (target, lambda target=target: mutated(target)) for target in TARGETS},
    **{f"{target}, values changed": (target, lambda target=target: changed_json(target)) for target in JSON_TARGETS},
    "voc_annotation, trees": ("voc_annotation", lambda: xml_trees),
    "cvat, trees": ("cvat", lambda: xml_trees.map(lambda data: data.replace(b"annotation>", b"annotations>"))),
    "table, grids": ("table", lambda: tables),
    "config, written": ("config", lambda: written_yaml),
    "config, typed": ("config", lambda: typed_yaml),
    "assignment, typed": ("assignment", lambda: typed_yaml),
}


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_reader_accepts_or_refuses(name: str) -> None:
    target, strategy = PROPERTIES[name]
    check(target, strategy(), QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROPERTIES)
def test_a_reader_accepts_or_refuses_thousands(name: str) -> None:
    target, strategy = PROPERTIES[name]
    check(target, strategy(), LONG)


@pytest.mark.parametrize("target", TARGETS)
def test_the_first_seed_is_accepted(target: str) -> None:
    assert accepts(target, seeds(target)[0])


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_is_refused(name: str) -> None:
    assert not accepts(*FOUND[name])


@needs_atheris
def test_the_fuzzer_runs() -> None:
    report = driver.fuzz("assignment", 2)
    assert not report.failed, report.reason
    assert report.coverage > 100


@needs_atheris
@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_the_fuzzer_finds_nothing(target: str) -> None:
    report = driver.fuzz(target, SLOW_SECONDS)
    assert not report.failed, f"{report.crashes}\n{report.reason}"


@pytest.mark.parametrize(
    ("program", "ended"),
    [
        ("import os; print('#100 DONE', flush=True); os.kill(os.getpid(), 9)", -9),
        ("print('#100 DONE'); raise SystemExit(77)", 77),
        ("import time; print('#100 DONE', flush=True); time.sleep(60)", driver.TIMED_OUT),
    ],
)
def test_a_fuzzer_that_does_not_end_well_is_a_finding(program: str, ended: int | str) -> None:
    report = driver.fuzz("assignment", 0, program=("-c", program), starting=3)
    assert report.ended == ended
    assert report.executions == 100
    assert report.failed


def test_without_atheris_the_fuzzer_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert driver.main(["config"]) == 2
    assert capsys.readouterr().err.startswith("fuzzing needs atheris, which is not installed; ")
