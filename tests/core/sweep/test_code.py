"""The fingerprint of a run's code: which changes make stored rows stale, and which do not."""

import sys

import pytest

from mlrpl_cli.core.runs import modules
from mlrpl_cli.core.sweep import code
from tests.plugins import install

PRESENT = code.code_sha256("sarl", "asl")


METHOD = '''"""{doc}"""
from theirs_package.helper import NUMBER  # {doc}
from mlrpl_cli.core.heads.published_methods import BASELINE
from dataclasses import replace
def recognizer(inputs, channels, embed_dim):
    """{doc}"""
    return {number}
THEIRS = replace(BASELINE, recognizer=recognizer)
'''


@pytest.mark.parametrize(
    ("doc", "number", "helper", "same"),
    [("more words", 1, 1, True), ("words", 2, 1, False), ("words", 1, 2, False)],
)
def test_the_fingerprint_of_code_is_of_what_computes_and_not_of_what_is_said_of_it(
    tmp_path, monkeypatch, doc, number, helper, same
):
    """Of a method of another package: its own module, and one that it imports."""
    found = []
    for place, values in (("before", ("words", 1, 1)), ("after", (doc, number, helper))):
        with monkeypatch.context() as inside:
            sources = {"theirs_package/method": METHOD.format(doc=values[0], number=values[1])}
            sources["theirs_package/helper"] = f"NUMBER = {values[2]}\n"
            install(tmp_path / place, inside, {"mlrpl.methods": {"theirs": "theirs_package.method:THEIRS"}}, **sources)
            code.code_sha256.cache_clear()
            found.append(code.code_sha256("theirs", "bce"))
    assert (found[0] == found[1]) is same


def test_the_fingerprint_covers_the_loop_the_loss_and_the_modules_of_heads_but_not_the_list_of_names():
    covered = code.code_modules("sarl", "asl")
    for name in ("methods", "recognizers", "visual_heads", "semantic_decoupling", "bilinear", "category_prompts"):
        assert f"mlrpl_cli.core.heads.{name}" in covered
    assert "mlrpl_cli.core.heads.registry" not in covered


@pytest.mark.parametrize(
    ("module", "counts"),
    [
        ("training.loop", True),
        ("training.assembly", True),
        ("sweep.worker", True),
        ("evaluation.metrics", True),
        ("features.batches", True),
        ("features.cache", True),
        ("features.filler", True),
        ("heads.losses", True),
        ("heads.registry", False),
        ("reports.figures", False),
    ],
)
def test_the_fingerprint_is_of_all_that_decides_a_figure_and_of_no_comment(monkeypatch, module, counts):
    source, name = modules.source_of, f"mlrpl_cli.core.{module}"

    def with_more(text: bytes) -> str:
        monkeypatch.setattr(modules, "source_of", lambda own: source(own) + (text if own == name else b""))
        code.code_sha256.cache_clear()
        return code.code_sha256("sarl", "asl")

    try:
        assert (with_more(b"\nMORE = 1\n") != PRESENT) is counts
        assert with_more(b"\n# more\n") == with_more(b'\n"""More."""\n') == PRESENT
    finally:
        code.code_sha256.cache_clear()


RECOGNIZER = """
def recognizer(inputs, channels, embed_dim, **options):
    return None
"""
ENTRY = """
from dataclasses import replace
from functools import partial
from importlib import import_module
from mlrpl_cli.core.heads.published_methods import BASELINE
"""
SOURCES = {
    "a partial whose function is in another module": {
        "lab_package/methods": f"{ENTRY}from .heads import recognizer\n"
        "THEIRS = replace(BASELINE, recognizer=partial(recognizer, temperature=NUMBER))\n",
        "lab_package/heads": RECOGNIZER,
    },
    "modules outside a package": {
        "lab_methods": f"{ENTRY}import lab_helper\n{RECOGNIZER}THEIRS = replace(BASELINE, recognizer=recognizer)\n",
        "lab_helper": "VALUE = NUMBER\n",
    },
    "a constant behind a factory": {
        "lab_methods": f"{ENTRY}from lab_factory import made\nVALUE = NUMBER\n"
        "THEIRS = replace(BASELINE, recognizer=made(VALUE))\n",
        "lab_factory": "def made(value):\n    def recognizer(*_):\n        return value\n    return recognizer\n",
    },
    "an argument that no import tells": {
        "lab_methods": f"{ENTRY}{RECOGNIZER}"
        "THEIRS = replace(BASELINE, recognizer=partial(recognizer, scale=import_module('lab_scales').scale))\n",
        "lab_scales": "def scale(x):\n    return NUMBER * x\n",
    },
    "what a closure holds": {
        "lab_methods": f"{ENTRY}scale = import_module('lab_scales').scale\ndef made(f):\n    return lambda *_: f\n"
        "THEIRS = replace(BASELINE, recognizer=made(scale))\n",
        "lab_scales": "def scale(x):\n    return NUMBER * x\n",
    },
    "a package's own __init__": {
        "lab_package/methods": f"{ENTRY}import lab_package\n{RECOGNIZER}"
        "THEIRS = replace(BASELINE, recognizer=recognizer)\n",
        "lab_package/__init__": "VALUE = NUMBER\n",
    },
}
"""NUMBER is the value that is changed; `install` lists the module of the entry point first."""


def fingerprint(place, monkeypatch, sources, number, doc="", told=None, others=None) -> str:
    """The code of the method `theirs` of `sources`; `told` are files of the distribution's metadata, by name."""
    with monkeypatch.context() as inside:
        if others:
            install(place, inside, {}, "others", **others)
        written = {name: f'"""{doc}"""\n# {doc}\n{text}'.replace("NUMBER", number) for name, text in sources.items()}
        entry = next(iter(sources)).replace("/", ".")
        install(place, inside, {"mlrpl.methods": {"theirs": f"{entry}:THEIRS"}}, **written)
        for name, text in (told or {}).items():
            (place / "made_up-1.5.dist-info" / name).write_text(text)
        code.code_sha256.cache_clear()
        try:
            return code.code_sha256("theirs", "bce")
        finally:
            code.code_sha256.cache_clear()


@pytest.mark.parametrize("kind", SOURCES)
def test_a_change_of_what_a_method_of_a_package_is_made_of_counts_and_words_do_not(tmp_path, monkeypatch, kind):
    sources = SOURCES[kind]
    before = fingerprint(tmp_path / "before", monkeypatch, sources, "1")
    assert fingerprint(tmp_path / "other words", monkeypatch, sources, "1", "words") == before
    assert fingerprint(tmp_path / "other value", monkeypatch, sources, "2") != before


RECORD = "lab_methods.py,,\nlab_helper.py,,\n../../bin/lab,,\n"


@pytest.mark.parametrize("told", [{"RECORD": RECORD}, {"top_level.txt": "lab_methods\nlab_helper\n"}])
def test_among_other_distributions_the_modules_of_its_own_are_followed_and_no_others(tmp_path, monkeypatch, told):
    """As in site-packages, where all lie in one folder."""
    sources = dict(SOURCES["modules outside a package"])
    sources["lab_methods"] = f"import others_module\n{sources['lab_methods']}"
    found = [
        fingerprint(
            tmp_path / f"{n}", monkeypatch, sources, own, told=told, others={"others_module": f"VALUE = {other}\n"}
        )
        for n, (own, other) in enumerate((("1", 1), ("2", 1), ("1", 2)))
    ]
    assert found[0] != found[1]
    assert found[0] == found[2]


LOSS = """
def made(weight):
    def loss(logits, labels, known):
        return weight
    return loss
"""


def test_a_constant_in_the_module_of_a_loss_counts(tmp_path, monkeypatch):
    found = []
    for number in (1, 2):
        with monkeypatch.context() as inside:
            sources = {"loss_entry": f"from loss_factory import made\nloss = made({number})\n", "loss_factory": LOSS}
            install(tmp_path / f"{number}", inside, {"mlrpl.losses": {"heavy": "loss_entry:loss"}}, **sources)
            code.code_sha256.cache_clear()
            found.append(code.code_sha256("sarl", "heavy"))
    code.code_sha256.cache_clear()
    assert found[0] != found[1]


def test_no_module_is_imported_to_be_read(tmp_path, monkeypatch):
    """One that is imported inside a function may need what is not there, or take long."""
    lazy = f"{RECOGNIZER}    from lab_package.lazy.part import VALUE\n"
    sources = {
        "lab_package/methods": f"{ENTRY}{lazy}THEIRS = replace(BASELINE, recognizer=recognizer)\n",
        "lab_package/lazy": "raise RuntimeError(NUMBER)\n",
    }
    before = fingerprint(tmp_path / "before", monkeypatch, sources, "1")
    assert fingerprint(tmp_path / "after", monkeypatch, sources, "2") != before
    assert "lab_package.lazy" not in sys.modules
