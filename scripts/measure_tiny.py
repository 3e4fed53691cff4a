"""Measure tiny without training: test mAP on scenes by its text features, with the name at the start or far behind.

    python -m scripts.measure_tiny [FILE]

FILE is what `scripts.pretrain_tiny` wrote; by default, the file that ships. Seed 0 of scenes is for choices, seed 1 for
results. Axes: N images, C classes, M words or vectors before the name, W text width, E joint embedding.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlrpl_cli.core.backbones.backbone import CLIP_RULE
from mlrpl_cli.core.backbones.files.reading import read_state
from mlrpl_cli.core.backbones.openai.architectures import build_image_encoder, build_text_encoder
from mlrpl_cli.core.backbones.openai.text import TextEncoder
from mlrpl_cli.core.backbones.openai.tokenizer import tokenize
from mlrpl_cli.core.backbones.tiny import INITIAL_STD, TINY_PATH, unpack_token_embedding
from mlrpl_cli.core.backbones.tokens import pad_tokens
from mlrpl_cli.core.evaluation.metrics import average_precisions, mean_of_classes
from mlrpl_cli.core.labels.formats.scenes import FIRST_TEST_INDEX
from mlrpl_cli.core.labels.states import ABSENT, PRESENT
from mlrpl_cli.core.scenes.rendering import SCENE_CLASSES, render_scene
from scripts.captions import FILLER

DRAWS, AT_A_TIME = 3, 50


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure tiny on scenes, without training.")
    parser.add_argument("file", nargs="?", type=Path, default=TINY_PATH, help="what scripts.pretrain_tiny wrote")
    parser.add_argument("--scenes-seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=400, help="test images")
    given = parser.parse_args()
    state = unpack_token_embedding(read_state(given.file))
    print(f"{given.images} test scenes of seed {given.scenes_seed}, torch {torch.__version__}")
    print("| prompt | mAP |")
    print("|---|---|")
    for prompt, value in measure(state, given.scenes_seed, given.images):
        print(f"| {prompt} | {100 * value:.1f} |", flush=True)


@torch.no_grad()
def measure(state: dict[str, Tensor], seed: int, images: int) -> Iterator[tuple[str, float]]:
    """Each form of prompt and the mAP of its cosine similarities; a mean where the words before the name are drawn."""
    pooled, labels = encode_scenes(state, seed, images)
    text, random = build_text_encoder(state), np.random.RandomState(0)

    def score(texts: Tensor) -> float:
        cosines = torch.nn.functional.cosine_similarity(pooled[:, None], texts[None], dim=-1)
        return mean_of_classes(average_precisions(cosines.numpy(), labels))

    def written(before: str, after: str = "") -> float:
        return score(text.encode_tokens(tokenize([f"{before}{name}{after}" for name in SCENE_CLASSES])))

    yield "a photo of a NAME", written("a photo of a ")
    yield "NAME.", written("", ".")
    for count in (4, 16):
        draws = [written(" ".join(random.choice(FILLER, count)) + " ", ".") for _ in range(DRAWS)]
        yield f"{count} filler words, NAME.", float(np.mean(draws))
    yield "16 random vectors, NAME.", float(np.mean([score(behind_vectors(text, 16, random)) for _ in range(DRAWS)]))


def encode_scenes(state: dict[str, Tensor], seed: int, images: int) -> tuple[Tensor, np.ndarray]:
    """The pooled vectors (N, E) of the first test scenes, and their labels (N, C)."""
    visual = build_image_encoder(state)
    pooled: list[Tensor] = []
    labels: list[np.ndarray] = []
    for first in range(0, images, AT_A_TIME):
        scenes = [render_scene(seed, FIRST_TEST_INDEX + n) for n in range(first, min(first + AT_A_TIME, images))]
        pixels = torch.from_numpy(np.stack([scene.pixels for scene in scenes])).permute(0, 3, 1, 2)
        pooled.append(visual(CLIP_RULE.normalize(pixels)).pooled)
        labels.extend(np.where(scene.present, PRESENT, ABSENT) for scene in scenes)
    return torch.cat(pooled), np.stack(labels).astype(np.int8)


def behind_vectors(text: TextEncoder, count: int, random: np.random.RandomState) -> Tensor:
    """(C, E): the names behind `count` vectors each, drawn as the methods draw their context tokens."""
    ids, end = pad_tokens(tokenize([f"{name}." for name in SCENE_CLASSES]))
    words = text.embed(ids)  # (C, T, W)
    drawn = random.standard_normal((len(words), count, text.width)) * INITIAL_STD
    contexts = torch.from_numpy(drawn.astype(np.float32))
    return text(torch.cat([words[:, :1], contexts, words[:, 1:]], dim=1), end + count)


if __name__ == "__main__":
    main()
