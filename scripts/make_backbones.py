"""Write the tables of docs/backbones.md: python scripts/make_backbones.py

Small random models of every family, beside open_clip's own modules on the same weights. Takes a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from mlrpl_cli.core.backbones.backbone import Backbone, ImageTower, TextTower
from mlrpl_cli.core.backbones.open_clip.library import open_clip
from mlrpl_cli.core.backbones.open_clip.pools import MeanPool
from mlrpl_cli.core.backbones.open_clip.towers import ClassTokenTower, PooledTower
from mlrpl_cli.core.backbones.openai.vit import VisionTransformer
from mlrpl_cli.core.backbones.tokens import pad_tokens
from scripts.backbone_identities import (
    difference,
    encode,
    images_of,
    mean_of_joint,
    one_position,
    pooled_projections,
    pooled_values,
    values_under_mask,
)
from scripts.small_backbones import MODELS, TEXTS, backbone_of, library_model, lively_state, model_cfg

PAGE = Path(__file__).parents[1] / "docs" / "backbones.md"
START, END = "<!-- tables -->", "<!-- end of tables -->"
WORDS = ["a photo of a traffic light.", "dog"]
SMALL = 1e-4
"""A difference below it is one of rounding."""
UNDER_MASK = "values: the last block under an identity mask"
POOLED = "pooled by its own attention: the vector"
PROJECTED = "pooled by its own attention: the vector before its norm or MLP"
MEAN = "its mean: the vector"
ONE = "of one position: the vector"


def main() -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{START}\n{tables()}\n{END}{after}", encoding="utf-8")


@torch.no_grad()
def tables() -> str:
    """Two tables in Markdown: image towers and text towers."""
    library = open_clip()  # before timm: see there
    import timm

    versions = f"open_clip {library.__version__}, timm {timm.__version__}, torch {torch.__version__}"
    images = (
        "| image tower | its vector | through | grid | the grid's identity | difference |\n|---|---|---|---|---|---|\n"
    )
    texts = "| text tower | its vector | gradient of the embeddings |\n|---|---|---|\n"
    return f"With {versions}.\n\n{images}" + "\n".join(image_rows()) + f"\n\n{texts}" + "\n".join(text_rows())


def image_rows() -> Iterator[str]:
    """Of each family: the largest difference of the vector, which module, D channels, the identity that holds."""
    for family in MODELS:
        model = model_cfg(family)
        state = lively_state(model)
        backbone = backbone_of(model, state)
        size = backbone.rule.size
        images, tower = images_of(size), backbone.image_tower(size)
        vector = difference(tower(images).pooled, encode(model, state, images))
        through = "open_clip" if isinstance(tower, ClassTokenTower | PooledTower) else "ours"
        what, told = identity(backbone, tower, images, model, state)
        side = size // backbone.rule.stride
        yield f"| {family} | {vector:.0e} | {through} | {side} x {side} x {backbone.channels} | {what} | {told:.0e} |"


def identity(
    backbone: Backbone, tower: ImageTower, images: Tensor, model: dict, state: dict[str, Tensor]
) -> tuple[str, float]:
    """The identity that holds for a tower's joint grid, and how far from it the grid is."""
    if isinstance(tower, ClassTokenTower | VisionTransformer):
        return UNDER_MASK, values_under_mask(model, state, backbone, images)
    if not isinstance(tower, PooledTower):
        tower = _as_the_library_has_it(backbone, model, state)
    if isinstance(tower.pool, MeanPool):
        mean = mean_of_joint(backbone, images)
        return (MEAN, mean) if mean < SMALL else (ONE, one_position(backbone))
    pooled = pooled_values(tower, images)
    return (POOLED, pooled) if pooled < SMALL else (PROJECTED, pooled_projections(tower, images))


def text_rows() -> Iterator[str]:
    """Of each family: the largest difference of the vectors, and of a slope from a finite difference in float64."""
    for family in TEXTS:
        model = model_cfg("ViT, mean", family)
        state = lively_state(model)
        backbone = backbone_of(model, state)
        rows, tower = backbone.tokenizer(WORDS), backbone.text_tower()
        length = model["text_cfg"]["context_length"]
        padded = torch.tensor([row + [0] * (length - len(row)) for row in rows])
        expected = library_model(model, state).encode_text(padded)
        expected = expected[0] if isinstance(expected, tuple) else expected
        yield f"| {family} | {difference(tower.encode_tokens(rows), expected):.0e} | {slope_error(tower, rows):.0e} |"


@torch.enable_grad()
def slope_error(tower: TextTower, rows: list[list[int]], step: float = 1e-5) -> float:
    """How far the gradient along a random direction is from the central difference, as a share of it."""
    tower, generator = tower.double(), torch.Generator().manual_seed(4)
    ids, end = pad_tokens(rows)
    embeddings = tower.embed(ids).detach().requires_grad_()
    direction = torch.randn(embeddings.shape, generator=generator, dtype=torch.float64)
    weights = torch.randn(tower(embeddings, end).shape, generator=generator, dtype=torch.float64)
    (tower(embeddings, end) * weights).sum().backward()
    assert embeddings.grad is not None
    ahead, behind = (tower(embeddings.detach() + sign * step * direction, end) for sign in (1, -1))
    slope = ((ahead - behind) * weights).sum() / (2 * step)
    return difference((embeddings.grad * direction).sum(), slope)


def _as_the_library_has_it(backbone: Backbone, model: dict, state: dict[str, Tensor]) -> PooledTower:
    """open_clip's module of a ResNet that goes through ours: what is compared is the same."""
    from mlrpl_cli.core.backbones.open_clip.towers import image_tower

    tower = image_tower(library_model(model, state).visual, "values")
    assert isinstance(tower, PooledTower)
    return tower.eval()


if __name__ == "__main__":
    main()
