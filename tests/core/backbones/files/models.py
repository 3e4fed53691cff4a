"""Small CLIPs of open_clip's and transformers' own classes, with weights large enough that every part matters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from mlrpl_cli.core.backbones.open_clip.library import open_clip, torchvision_operators

VOCABULARY, LENGTH, SIZE, PATCH = 49408, 12, 32, 8


def trained_like(module: Any, seed: int = 0) -> Any:
    """The module with weights that move every activation: those of an untrained one hide most differences."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in module.parameters():
            scale = 1.5 * tensor.shape[-1] ** -0.5 if tensor.ndim > 1 else 0.3
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale + (tensor.ndim == 1))
    return module.eval()


def clip_config(
    vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None, **model: Any
) -> dict[str, Any]:
    """A model_cfg of open_clip of OpenAI's form but GELU, changed as is said."""
    vision = {"layers": 2, "width": 128, "patch_size": PATCH, "image_size": SIZE, **(vision or {})}
    words = {"context_length": LENGTH, "vocab_size": VOCABULARY, "width": 64, "heads": 1, "layers": 2, **(text or {})}
    return {"embed_dim": 24, "vision_cfg": vision, "text_cfg": words, **model}


def clip(config: dict[str, Any]) -> Any:
    """open_clip's own model of a configuration."""
    return trained_like(open_clip().CLIP(**config))


def write_folder(folder: Path, model: Any, config: dict[str, Any], preprocess: dict[str, Any] | None = None) -> Path:
    """What open_clip writes for the hub."""
    folder.mkdir(exist_ok=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    content = {"model_cfg": config, "preprocess_cfg": preprocess or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    return folder


def transformers_model(kind: str, folder: Path, vision: dict[str, Any], text: dict[str, Any]) -> Any:
    """A CLIPModel or SiglipModel, saved by transformers itself; `kind` is "CLIP" or "Siglip"."""
    torchvision_operators()
    import transformers

    sizes = {"hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 2, "num_attention_heads": 3}
    words = {"hidden_size": 32, "intermediate_size": 70, "num_hidden_layers": 2, "num_attention_heads": 2}
    words |= {"max_position_embeddings": LENGTH, "vocab_size": VOCABULARY, "bos_token_id": 49406, "eos_token_id": 49407}
    own = {"projection_dim": 24} if kind == "CLIP" else {}
    words |= {} if kind == "CLIP" else {"projection_size": 48}
    config = getattr(transformers, f"{kind}Config")(
        vision_config={**sizes, "image_size": SIZE, "patch_size": PATCH, **vision}, text_config={**words, **text}, **own
    )
    model = trained_like(getattr(transformers, f"{kind}Model")(config))
    model.save_pretrained(folder)
    return model


def images(size: int = SIZE) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).norm() / expected.norm())
