"""Every wrapping that a checkpoint comes in, and what is refused, in one line each."""

import argparse
import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mlrpl_cli.core.backbones.files import reading
from mlrpl_cli.core.backbones.files.reading import open_weights, read_state
from mlrpl_cli.core.io.errors import WeightsError

STATE = {
    "visual.conv1.weight": torch.arange(12.0).reshape(2, 3, 1, 2),
    "visual.proj": torch.ones(2, 2),
    "token_embedding.weight": torch.eye(3),
    "text_projection": torch.zeros(2, 2),
    "logit_scale": torch.tensor(2.0),
}


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in STATE.items()}


def same(left, right) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


WRAPPED = {
    "plain": STATE,
    "state_dict": {"state_dict": STATE, "epoch": 3},
    "model_state_dict": {"model_state_dict": STATE, "epoch": 3},
    "model": {"model": STATE},
    "DeepSpeed": {"module": STATE, "dp_world_size": 8},
    "nested": {"checkpoint": {"weights": {"model": STATE}}},
    "data parallel": prefixed("module."),
    "compiled": prefixed("_orig_mod."),
    "compiled and parallel": prefixed("module._orig_mod."),
    "compiled inside": {name.replace("visual.", "visual._orig_mod."): tensor for name, tensor in STATE.items()},
    "Lightning": {"state_dict": prefixed("model."), "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}]},
    "one prefix of any kind": prefixed("net.clip.backbone."),
    "with its optimizer": {"model": STATE, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}},
    "with its command line": {"state_dict": STATE, "args": argparse.Namespace(lr=0.1), "best": np.float64(0.5)},
}


@pytest.mark.parametrize("wrapped", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_checkpoint_is_unwrapped(wrapped, zipped, tmp_path):
    torch.save(wrapped, tmp_path / "clip.pt", _use_new_zipfile_serialization=zipped)
    assert same(read_state(tmp_path / "clip.pt"), STATE)
    assert open_weights(tmp_path / "clip.pt").notes == ()


@pytest.mark.parametrize("prefix", ["", "module.", "model._orig_mod."])
def test_safetensors_are_read_whatever_stands_in_front_of_their_names(prefix, tmp_path):
    save_file(prefixed(prefix), tmp_path / "clip.safetensors")
    assert same(read_state(tmp_path / "clip.safetensors"), STATE)


def test_of_safetensors_only_what_is_wanted_is_read(tmp_path, monkeypatch):
    save_file(STATE, tmp_path / "clip.safetensors")
    asked = []

    class Opened:
        def __init__(self, path, framework):
            self.file = safe_open(path, framework=framework)

        def __enter__(self):
            self.file = self.file.__enter__()
            return self

        def __exit__(self, *what):
            return self.file.__exit__(*what)

        def __getattr__(self, name):
            return getattr(self.file, name)

        def get_tensor(self, name):
            asked.append(name)
            return self.file.get_tensor(name)

    safe_open = reading.safe_open
    monkeypatch.setattr(reading, "safe_open", Opened)
    weights = open_weights(tmp_path / "clip.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in weights.on_meta().items()} == {
        name: tuple(tensor.shape) for name, tensor in STATE.items()
    }
    assert asked == []
    weights.read(lambda name: name.startswith("visual."))
    assert asked == ["visual.conv1.weight", "visual.proj"]


def write_shards(folder, names=("model-1-of-2.safetensors", "model-2-of-2.safetensors")):
    image, text = (
        {name: tensor for name, tensor in STATE.items() if name.startswith("visual.") is wanted}
        for wanted in (True, False)
    )
    places = {}
    for file, part in zip(names, (image, text), strict=True):
        save_file(part, folder / file) if file.endswith("safetensors") else torch.save(part, folder / file)
        places |= dict.fromkeys(part, file)
    return places


@pytest.mark.parametrize("names", [("a.safetensors", "b.safetensors"), ("a.bin", "b.bin")])
@pytest.mark.parametrize("whole", [True, False], ids=["folder", "index"])
def test_a_sharded_checkpoint_is_read(names, whole, tmp_path):
    index = tmp_path / ("model.safetensors.index.json" if "a.safe" in names[0] else "pytorch_model.bin.index.json")
    index.write_text(json.dumps({"weight_map": write_shards(tmp_path, names)}))
    assert same(read_state(tmp_path if whole else index), STATE)


def test_an_index_that_is_not_of_its_files_is_refused(tmp_path):
    index, places = tmp_path / "model.safetensors.index.json", write_shards(tmp_path)
    cases = {
        "names 1 of 3 files that are not beside it": {**places, "other": "gone.safetensors"},
        "files outside its folder": {**places, "other": "../gone.safetensors"},
        r"names 1 tensors that its files do not hold \(other\)": {**places, "other": "model-1-of-2.safetensors"},
    }
    for expected, content in cases.items():
        index.write_text(json.dumps({"weight_map": content}))
        with pytest.raises(WeightsError, match=expected):
            open_weights(index)
    for content in ("{}", "[]", '{"weight_map": 3}', "{"):
        index.write_text(content)
        with pytest.raises(WeightsError, match="not a readable checkpoint"):
            open_weights(index)


def test_two_models_in_one_file_are_refused_with_how_to_take_one_out(tmp_path):
    ema = {name: tensor + 1 for name, tensor in STATE.items()}
    torch.save({"model": STATE, "ema": ema}, tmp_path / "clip.pt")
    with pytest.raises(WeightsError, match=r"holds several models \(under model, under ema\); save the one") as told:
        open_weights(tmp_path / "clip.pt")
    advice = str(told.value).rpartition("save the one you mean: ")[2]
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        exec(advice, {"torch": torch})
    finally:
        os.chdir(here)
    assert same(read_state(tmp_path / "one.pt"), ema)


def test_two_models_side_by_side_are_refused_with_how_to_take_one_out(tmp_path, monkeypatch):
    torch.save({**prefixed("student."), **prefixed("teacher.")}, tmp_path / "clip.pt")
    with pytest.raises(WeightsError, match=r"several models \(named student\.…, named teacher\.…\)") as told:
        open_weights(tmp_path / "clip.pt")
    monkeypatch.chdir(tmp_path)
    exec(str(told.value).rpartition("save the one you mean: ")[2], {"torch": torch})
    assert same(read_state(tmp_path / "one.pt"), STATE)


def test_tensors_outside_the_model_are_left_out_and_told(tmp_path):
    torch.save({**prefixed("clip."), "head.weight": torch.ones(2)}, tmp_path / "clip.pt")
    weights = open_weights(tmp_path / "clip.pt")
    assert same(weights.read(), STATE)
    assert weights.notes == (f"{tmp_path / 'clip.pt'}: tensors beside the CLIP are not used (head.weight)",)


def test_openais_three_sizes_are_a_mark_and_no_weights(tmp_path):
    sizes = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}
    torch.save({**STATE, **sizes}, tmp_path / "clip.pt")
    weights = open_weights(tmp_path / "clip.pt")
    assert weights.openai
    assert same(weights.read(), STATE)
    torch.save({**STATE, "context_length": torch.tensor(1)}, tmp_path / "clip.pt")
    assert not open_weights(tmp_path / "clip.pt").openai


class Payload:
    """Pickled, it says to make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    ("write", "needed"),
    [
        (lambda path, mark: torch.save(torch.nn.Linear(1, 1), path), r"the code of torch\.nn\.modules\.linear\.Linear"),
        (lambda path, mark: torch.save({"state_dict": STATE, "hook": Payload(mark)}, path), "the code of io.open"),
        (lambda path, mark: path.write_bytes(pickle.dumps({"state_dict": Payload(mark)})), "more than tensors"),
        (
            lambda path, mark: torch.save(Payload(mark), path, _use_new_zipfile_serialization=False),
            "the code of io.open",
        ),
    ],
    ids=["a whole module", "beside a state dict", "pickle.dump", "legacy"],
)
def test_a_pickle_with_code_stays_closed_and_what_to_do_is_told(write, needed, tmp_path):
    path, mark = tmp_path / "clip.pt", tmp_path / "it-ran"
    write(path, mark)
    with pytest.raises(WeightsError, match=rf"needs {needed}, so it stays closed: .*torch\.save\(model\.state_dict\("):
        open_weights(path)
    assert not mark.exists()


def test_an_adapter_beside_the_weights_is_refused_with_what_to_do(tmp_path):
    torch.save({**STATE, "visual.proj.lora_A.default.weight": torch.ones(2)}, tmp_path / "clip.pt")
    with pytest.raises(WeightsError, match=r"holds an adapter .*merge_and_unload"):
        open_weights(tmp_path / "clip.pt")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"fc.weight": torch.ones(1)}, r"holds no CLIP: no tensor is called visual\..*, got fc\.weight"),
        ({"visual.conv1.weight": torch.ones(1)}, "holds an image encoder without its text encoder"),
        ([1, 2], "holds no state dict"),
        ({}, "holds no state dict"),
    ],
)
def test_what_is_no_clip_is_told(content, expected, tmp_path):
    torch.save(content, tmp_path / "clip.pt")
    with pytest.raises(WeightsError, match=expected):
        open_weights(tmp_path / "clip.pt")


def test_a_quantised_checkpoint_is_told():
    with pytest.raises(WeightsError, match=r"x\.pt: visual\.proj is stored as torch\.int8, expected floating point"):
        reading.check_floating("x.pt", {**STATE, "visual.proj": torch.ones(2, dtype=torch.int8)})


@pytest.mark.parametrize("name", ["clip.safetensors", "clip.pt"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused_by_name(name, kept, tmp_path):
    path = tmp_path / name
    save_file(STATE, path) if name.endswith("safetensors") else torch.save(STATE, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(WeightsError, match=rf"{name} is not a readable checkpoint, or only part of one"):
        open_weights(path)


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(WeightsError, match=r"pipe\.pt is a folder, a pipe or a device"):
        open_weights(tmp_path / "pipe.pt")
    with pytest.raises(WeightsError, match=r"gone\.pt is not there"):
        open_weights(tmp_path / "gone.pt")


def test_of_a_folder_the_known_name_is_taken_or_the_only_file(tmp_path):
    with pytest.raises(WeightsError, match=r"expected one file of weights .*, got none"):
        open_weights(tmp_path)
    torch.save(STATE, tmp_path / "mine.pth")
    assert open_weights(tmp_path).path.name == "mine.pth"
    torch.save(STATE, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match=r"got 2 \(mine\.pth, other\.ckpt\); give the path of the file"):
        open_weights(tmp_path)
    save_file(STATE, tmp_path / "model.safetensors")
    assert open_weights(tmp_path).path.name == "model.safetensors"
    save_file(STATE, tmp_path / "open_clip_model.safetensors")
    assert open_weights(tmp_path).path.name == "open_clip_model.safetensors"


def test_what_is_read_does_not_change_with_its_file(tmp_path):
    torch.save(STATE, tmp_path / "clip.pt")
    tensors = read_state(tmp_path / "clip.pt")
    with (tmp_path / "clip.pt").open("r+b") as stream:
        stream.write(bytes((tmp_path / "clip.pt").stat().st_size))
    assert same(tensors, STATE)


def test_a_tensor_with_and_without_its_wrappers_name_is_refused(tmp_path):
    state = STATE
    torch.save({**state, **{f"_orig_mod.{name}": 2 * tensor for name, tensor in state.items()}}, tmp_path / "two.pt")
    with pytest.raises(WeightsError, match="it holds tensors twice, once under the name of a wrapper"):
        read_state(tmp_path / "two.pt")
