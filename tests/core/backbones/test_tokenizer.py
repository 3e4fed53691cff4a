"""CLIP's tokenizer beside open_clip's own, and where it comes from."""

import importlib.util
import subprocess
import sys

import pytest

from mlrpl_cli.core.backbones.open_clip.library import open_clip
from mlrpl_cli.core.backbones.openai import tokenizer
from mlrpl_cli.core.backbones.openai.tokenizer import tokenize
from mlrpl_cli.core.io.errors import ConfigError

TEXTS = ["a photo of a traffic light.", "Café — naïve & more", ""]


@pytest.fixture
def _fresh():
    tokenizer._tokenizer.cache_clear()
    yield
    tokenizer._tokenizer.cache_clear()


def test_token_ids_are_open_clips_without_padding():
    padded = open_clip().tokenize(TEXTS).tolist()
    for row, expected in zip(tokenize(TEXTS), padded, strict=True):
        assert row == expected[: len(row)]
        assert not any(expected[len(row) :])


def test_a_text_that_is_too_long_is_named():
    with pytest.raises(ConfigError, match=r"^'cat cat .*' is 102 tokens long, CLIP takes 77; shorten it"):
        tokenize(["dog", "cat " * 100])


def test_tokenizing_imports_neither_package():
    """Both import torchvision and more, which takes seconds."""
    code = "import sys; from mlrpl_cli.core.backbones.openai.tokenizer import tokenize; print(tokenize(['dog']));"
    code += "print({'open_clip', 'clip', 'torchvision', 'timm'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[[49406, 1929, 49407]]\nset()\n"


@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize(("file", "expected"), [("simple_tokenizer.py", [[49406, 7, 49407]]), ("other.py", None)])
def test_openais_clip_comes_first_and_another_clip_is_passed_over(tmp_path, monkeypatch, file, expected):
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "__init__.py").write_text("raise ImportError('imported')")
    (tmp_path / "clip" / file).write_text("class SimpleTokenizer:\n    def encode(self, text):\n        return [7]\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert tokenize(["dog"]) == (expected or [[49406, 1929, 49407]])


@pytest.mark.usefixtures("_fresh")
def test_without_either_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"got neither; run pip install open-clip-torch$"):
        tokenize(["dog"])
