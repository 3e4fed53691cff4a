"""open_clip's modules, built without random weights and filled from a state dict under its names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mlrpl_cli.core.backbones import filling
from mlrpl_cli.core.backbones.features import resize_positions
from mlrpl_cli.core.backbones.open_clip.library import open_clip, vision_of
from mlrpl_cli.core.backbones.openai.architectures import VISUAL, StateDict
from mlrpl_cli.core.io.errors import MlrplError, WeightsError, one_line

M = TypeVar("M", bound=nn.Module)

TEXT = "text."
POSITIONS, POOL_POSITIONS = "positional_embedding", "attnpool.positional_embedding"
OUTSIDE = (VISUAL, TEXT, "text_decoder.", "logit_scale", "logit_bias")
"""What the names of a whole model begin with; of a plain CLIP, all others are the text tower's."""
UNTRAINED = {"timm_model_pretrained": False}
UNTRAINED_TEXT = {"hf_model_pretrained": False}


def empty_visual(model: Mapping[str, Any], image_size: int | None = None) -> Any:
    """The image tower of a model_cfg, its tensors on the meta device. Raises WeightsError when it cannot be built."""
    return _empty("image tower", lambda: _visual(model, image_size))


def empty_text(model: Mapping[str, Any]) -> Any:
    """The text tower of a model_cfg, its tensors on the meta device. Raises WeightsError when it cannot be built."""
    return _empty("text tower", lambda: _text(model))


def visual_state(state: StateDict) -> dict[str, Tensor]:
    """The image tower's own tensors, in float32."""
    return {name.removeprefix(VISUAL): _float(tensor) for name, tensor in state.items() if name.startswith(VISUAL)}


def text_state(state: StateDict) -> dict[str, Tensor]:
    """The text tower's own tensors, in float32; those of a plain CLIP have no prefix."""
    plain = {name: tensor for name, tensor in state.items() if not name.startswith(OUTSIDE)}
    own = {name.removeprefix(TEXT): tensor for name, tensor in state.items() if name.startswith(TEXT)} or plain
    return {name: _float(tensor) for name, tensor in own.items() if not name.endswith("position_ids")}


def fill(module: M, state: StateDict, tower: str) -> M:
    """`filling.fill` of open_clip's `tower`."""
    advice = "; give the configuration that they belong to"
    return filling.fill(module, state, f"the weights are of another {tower}", advice)


def resized_state(state: StateDict, visual: Any) -> dict[str, Tensor]:
    """The tensors of an image tower with its table of positions resized to the grid of open_clip's `visual`.

    As open_clip does it (bicubic, antialiased), and for a ResNet's attention pool, where it does not, as ours are.
    """
    resized = {VISUAL + name: tensor for name, tensor in state.items()}
    if POSITIONS in state:
        holder = nn.Module()
        holder.visual = visual
        open_clip().model.resize_pos_embed(resized, holder)
    elif POOL_POSITIONS in state:
        side = visual.image_size // 32
        resized[VISUAL + POOL_POSITIONS] = resize_positions(state[POOL_POSITIONS], (side, side))
    return {name.removeprefix(VISUAL): tensor for name, tensor in resized.items()}


def random_state(model: Mapping[str, Any], seed: int, text: bool = True) -> dict[str, Tensor]:
    """An untrained model's tensors, the same for the same seed, to try a pipeline where no weights can be had."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        towers = {VISUAL: _visual(model), **({TEXT: _text(model)} if text else {})}
    return {prefix + name: tensor for prefix, tower in towers.items() for name, tensor in tower.state_dict().items()}


def _visual(model: Mapping[str, Any], image_size: int | None = None) -> Any:
    vision = {**vision_of(model), **UNTRAINED}
    if image_size is not None and not vision.get("timm_model_name"):
        vision["image_size"] = image_size
    return open_clip().model._build_vision_tower(model["embed_dim"], vision, model.get("quick_gelu", False))


def _text(model: Mapping[str, Any]) -> Any:
    if name := model["text_cfg"].get("hf_model_name"):
        _need_transformers(name)
    words = {**model["text_cfg"], **UNTRAINED_TEXT}
    return open_clip().model._build_text_tower(model["embed_dim"], words, model.get("quick_gelu", False))


def _empty(tower: str, build: Callable[[], M]) -> M:
    """What `build` gives, without its random weights where it can be built so: they would only be overwritten."""
    try:
        return _built(build)
    except MlrplError:
        raise
    except Exception as error:  # whatever the libraries raise for a configuration that they do not know
        told = f"{type(error).__name__}: {one_line(error)}"
        raise WeightsError(f"its {tower} cannot be built from its configuration: {told[:300]}") from error


def _built(build: Callable[[], M]) -> M:
    """With weights on the meta device and tables that are no weights computed; timm's hybrid towers run once while they
    are built, so all of them has to be there; Swin computes a table where its weights are, so none of it can.
    """
    from accelerate import init_empty_weights

    for place in (init_empty_weights(include_buffers=False), torch.device("meta")):
        with suppress(RuntimeError), place, NotFilled():
            module = build()
            tables = dict(module.named_buffers())
            if not any(tables[name].is_meta for name in tables.keys() - module.state_dict().keys()):
                return module
    with torch.random.fork_rng(devices=[]):
        return build()


class NotFilled(TorchFunctionMode):
    """On the meta device nothing is filled with values: what would be done for nothing takes most of building."""

    names = frozenset(
        ("uniform_", "normal_", "erfinv_", "mul_", "div_", "add_", "sub_", "clamp_", "copy_", "fill_", "zero_")
    )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in self.names and args and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def _need_transformers(name: str) -> None:
    from importlib.util import find_spec

    if find_spec("transformers") is None:
        raise WeightsError(f"its text tower '{name}' needs transformers; run pip install 'mlrpl[hub]'")


def _float(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
