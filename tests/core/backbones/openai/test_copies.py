"""The hub's copies of OpenAI's checkpoints, from a local server that answers as the hub does."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save

from mlrpl_cli.core.backbones.backbone import BackboneOptions
from mlrpl_cli.core.backbones.files.reading import open_weights
from mlrpl_cli.core.backbones.open_clip.library import open_clip
from mlrpl_cli.core.backbones.openai import copies, published
from mlrpl_cli.core.backbones.openai.architectures import (
    Architecture,
    ImageArchitecture,
    TextArchitecture,
    random_state,
)
from mlrpl_cli.core.backbones.openai.assembly import assemble
from mlrpl_cli.core.backbones.openai.copies import COPIES, FILE, fetch_from_hub
from mlrpl_cli.core.backbones.openai.family import FAMILY
from mlrpl_cli.core.io.errors import WeightsError

REVISION = "0123456789abcdef" * 2 + "01234567"
STATE = {"visual.proj": torch.arange(4.0).reshape(2, 2), "token_embedding.weight": torch.eye(2)}
CONTENT = save(STATE)
SMALL = Architecture(ImageArchitecture((1,), 64, 8, 64, 32), TextArchitecture(64, 1, 8))


class Hub(BaseHTTPRequestHandler):
    """`/ORG/NAME/resolve/REVISION/FILE`: a redirect to another host, with what is listed of the content."""

    asked: list[str]
    content, listed = CONTENT, hashlib.sha256(CONTENT).hexdigest()

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, whole):
        self.asked.append(f"{self.command} {self.path}")
        if self.path == "/content":
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.content)))
            self.end_headers()
            if whole:
                self.wfile.write(self.content)
        elif self.path.split("/")[1:4] == [*COPIES["ViT-B/32"].split("/"), "resolve"]:
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/content")
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("X-Linked-Etag", f'"{self.listed}"')
            self.send_header("X-Linked-Size", str(len(self.content)))
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.send_error(404)

    def log_message(self, *what):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    handler = type("Handler", (Hub,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield handler
    server.shutdown()
    server.server_close()


def test_a_copy_is_fetched_once_with_its_revision_and_verified(server, tmp_path):
    copy = fetch_from_hub("ViT-B/32", tmp_path / "cache")
    assert (copy.revision, copy.sha256) == (REVISION, server.listed)
    assert copy.path.read_bytes() == CONTENT
    assert {name: tensor.tolist() for name, tensor in open_weights(copy.path).read().items()} == {
        name: tensor.tolist() for name, tensor in STATE.items()
    }
    assert any(f"resolve/{REVISION}/{FILE}" in asked for asked in server.asked), (
        "the revision that was listed is asked for"
    )
    before = list(server.asked)
    assert fetch_from_hub("ViT-B/32", tmp_path / "cache") == copy
    assert server.asked == before


def test_another_content_than_the_hub_lists_is_refused(server, tmp_path):
    server.listed = "0" * 64
    with pytest.raises(WeightsError, match="gave another file than expected: its sha256 is"):
        fetch_from_hub("ViT-B/32", tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_copy_that_changed_on_the_disk_is_refused(server, tmp_path):
    copy = fetch_from_hub("ViT-B/32", tmp_path)
    copy.path.write_bytes(CONTENT[:-1] + b"\1")
    with pytest.raises(WeightsError, match=r"is not what .* should give: its sha256 is .*; remove it"):
        fetch_from_hub("ViT-B/32", tmp_path)


def test_a_server_that_lists_no_hash_is_refused(server, tmp_path):
    server.listed = "5d41402abc4b2a76b9719d911017c592"
    with pytest.raises(WeightsError, match=r"lists no SHA-256 and revision of the file; download http.* elsewhere"):
        fetch_from_hub("ViT-B/32", tmp_path)


def test_a_repository_that_is_not_there_is_told_with_what_to_do(server, tmp_path):
    with pytest.raises(WeightsError, match=r"cannot fetch http.*resnet50_clip.*; download .* --backbone-config openai"):
        fetch_from_hub("RN50", tmp_path)


def test_what_open_clip_has_downloaded_is_taken(server, tmp_path, monkeypatch):
    """Where the hub's cache keeps a file: snapshots/REVISION/FILE, a link to blobs/SHA-256."""
    root = tmp_path / "hub" / f"models--{COPIES['ViT-B/32'].replace('/', '--')}"
    for folder in ("blobs", f"snapshots/{REVISION}", "refs"):
        (root / folder).mkdir(parents=True)
    (root / "blobs" / server.listed).write_bytes(CONTENT)
    (root / "snapshots" / REVISION / FILE).symlink_to(root / "blobs" / server.listed)
    (root / "refs" / "main").write_text(REVISION)
    copy = fetch_from_hub("ViT-B/32", tmp_path / "cache")
    assert copy == (root / "snapshots" / REVISION / FILE, REVISION, server.listed)
    assert server.asked == []


def test_the_repositories_are_those_that_open_clip_takes():
    names = {"ViT-L/14@336px": "ViT-L-14-336"}
    for name, repository in COPIES.items():
        known = open_clip().get_pretrained_cfg(names.get(name, name.replace("/", "-")), "openai")
        assert known["hf_hub"] == f"{repository}/"
    assert copies.FILE == open_clip().constants.HF_SAFE_WEIGHTS_NAME


@pytest.fixture
def _unreachable(monkeypatch, tmp_path):
    """OpenAI's address answers nothing, and the cache is empty."""
    monkeypatch.setenv("MLRPL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(published, "published_url", lambda name: f"http://127.0.0.1:9/{name.replace('/', '-')}.pt")


@pytest.mark.usefixtures("_unreachable")
def test_openais_name_falls_back_to_the_hub_to_the_same_features(server, tmp_path):
    """The copy has float32 values where the archive has the same in float16: one fingerprint."""
    half = {name: tensor.half() for name, tensor in random_state(SMALL, seed=0).items() if tensor.is_floating_point()}
    server.content = save({name: tensor.float() for name, tensor in half.items()})
    server.listed = hashlib.sha256(server.content).hexdigest()
    backbone = FAMILY.load(BackboneOptions("ViT-B/32"))
    assert backbone.fingerprint == assemble(BackboneOptions("ViT-B/32"), half).fingerprint
    assert (backbone.record["revision"], backbone.record["sha256"]) == (REVISION, server.listed)
    before = list(server.asked)
    assert FAMILY.load(BackboneOptions("ViT-B/32", recorded=backbone.record)).fingerprint == backbone.fingerprint
    assert server.asked == before, "a copy that is there is taken without asking"
    (kept,) = (tmp_path / "cache").glob("*.safetensors")
    kept.write_bytes(save({**half, "logit_scale": torch.tensor(1.0)}))
    with pytest.raises(WeightsError, match=r"is not what .* should give: its sha256"):
        FAMILY.load(BackboneOptions("ViT-B/32"))


@pytest.mark.usefixtures("_unreachable", "server")
def test_where_neither_can_be_had_both_are_told():
    with pytest.raises(
        WeightsError, match=r"cannot fetch http://127.*RN50\.pt.*: cannot fetch http.*/timm/resnet50_clip"
    ):
        FAMILY.load(BackboneOptions("RN50"))
