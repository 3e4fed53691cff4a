"""Pre-train tiny, the CLIP that ships with the package, on rendered captioned images.

    python -m scripts.pretrain_tiny

Axes: B images of a batch, U distinct captions of a batch, C scene classes, T tokens of a caption, E joint embedding.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from itertools import count

import safetensors.torch
import torch
from torch import Tensor, nn

from mlrpl_cli.core.backbones.openai.architectures import ImageArchitecture, TextArchitecture, openai_state
from mlrpl_cli.core.backbones.openai.resnet import ResNetEncoder
from mlrpl_cli.core.backbones.tiny import EMBEDDING, ROWS, SEED, VALUES, initial_token_embedding
from mlrpl_cli.core.io.files import atomic_file
from scripts.tiny_options import Log, Options, parse_options
from scripts.tiny_pairs import Batch, Pairs, batches, load_pairs

EMBED_DIM, TEXT_WIDTH = 256, 128
LOGGED = 100
"""Steps between two lines of the log."""
LARGEST_SCALE = math.log(100)  # as OpenAI clips the logit scale


class CLIP(nn.Module):
    """Both encoders and the logit scale, as OpenAI trains them together."""

    def __init__(self, image: ImageArchitecture, text: TextArchitecture) -> None:
        super().__init__()
        self.visual, self.text = image.build(), text.build()
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    pre_train(options)


def pre_train(options: Options) -> None:
    """Write the model and the log; the same options give the same model on the same machine."""
    log = Log(options)
    pairs = load_pairs(options, log)
    train(build(options, pairs.tokens), pairs, options, log)
    log.write("end", sha256=hashlib.sha256(options.out.read_bytes()).hexdigest())


def build(options: Options, tokens: list[int]) -> CLIP:
    """An untrained CLIP whose vocabulary is the tokens that the captions use."""
    image = ImageArchitecture((2, 2, 2, 2), 16, EMBED_DIM, options.size)
    text = TextArchitecture(TEXT_WIDTH, 3, EMBED_DIM, vocabulary=len(tokens))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        clip = CLIP(image, text)
        clip.text.token_embedding.weight.copy_(initial_token_embedding(TEXT_WIDTH, options.seed)[tokens])
        for name, parameter in clip.visual.named_parameters():
            if parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")
            elif name.startswith("layer") and name.endswith("bn3.weight"):
                nn.init.zeros_(parameter)  # every residual block starts as the identity
    return clip


def train(clip: CLIP, pairs: Pairs, options: Options, log: Log) -> None:
    """Contrastive training; the model is saved every epoch, and last when the learning rate has come down."""
    optimizer = torch.optim.AdamW(parameter_groups(clip, options.weight_decay), betas=(0.9, 0.98))
    clip.train()
    total, step, losses = options.steps, 0, []
    for epoch in count(1):
        for batch in batches(pairs, options, epoch):
            if not total and log.minutes >= options.minutes * (1 - options.decay_share):
                total = round(step / (1 - options.decay_share))
                log.write("decay", step=step, steps=total)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, total, options)
            optimizer.zero_grad()
            loss = contrastive_loss(clip, batch, options.chunk)
            loss.backward()
            nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                clip.logit_scale.clamp_(max=LARGEST_SCALE)
            losses.append(loss.item())
            step += 1
            if step % LOGGED == 0 or step == total:
                scale = round(clip.logit_scale.exp().item(), 2)
                log.write("step", step=step, epoch=epoch, loss=round(sum(losses) / len(losses), 4), scale=scale)
                losses.clear()
            if step == total:
                return save(clip, pairs.tokens, options)
        save(clip, pairs.tokens, options)


def learning_rate(step: int, total: int, options: Options) -> float:
    """Of the step that comes after `step` others: up linearly, level, and down linearly to 0 at `total`.

    Before the decay it does not depend on `total`, which is 0 as long as it is not known.
    """
    rate = options.learning_rate * min(1.0, (step + 1) / options.warm_up)
    left = (total - step) / max(1.0, total * options.decay_share) if total else 1.0
    return rate * min(1.0, left)


def contrastive_loss(clip: CLIP, batch: Batch, chunk: int) -> Tensor:
    """Symmetric cross entropy over cosine similarities, where a caption is right for every image it is true of.

    A caption is true of an image when the image's own caption says all that it says: "a mug" and "a pot" are no
    negatives of an image of a mug and a fish. The target is uniform over what is true, so one pair is CLIP's own loss.
    """
    pooled = torch.cat([encode_images(clip, images) for images in batch.images.split(chunk)])
    described = clip.text(clip.text.token_embedding(batch.ids), batch.end)
    pooled, described = (nn.functional.normalize(vectors, dim=-1) for vectors in (pooled, described))
    logits = clip.logit_scale.exp() * pooled @ described.T  # (B, U)
    return (cross_entropy(logits, batch.true) + cross_entropy(logits.T, batch.true.T)) / 2


def encode_images(clip: CLIP, images: Tensor) -> Tensor:
    """(B, 3, H, W) → (B, E), CLIP's pooled vectors, without the per-position outputs that training needs not."""
    assert isinstance(clip.visual, ResNetEncoder)
    pool = clip.visual.attnpool
    tokens = pool.tokens(clip.visual.feature_map(images))
    return pool.pool(tokens, pool.attention(tokens))


def cross_entropy(logits: Tensor, true: Tensor) -> Tensor:
    """Mean over rows of the cross entropy with a target that is uniform over the true columns."""
    target = true / true.sum(dim=1, keepdim=True)
    return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()


def parameter_groups(clip: CLIP, weight_decay: float) -> list[dict]:
    """Matrices and kernels decay; gains, biases, positions, token embeddings and the logit scale do not."""
    kept = ("token_embedding", "positional_embedding")
    decayed = [p for name, p in clip.named_parameters() if p.ndim > 1 and not any(k in name for k in kept)]
    chosen = {id(parameter) for parameter in decayed}
    rest = [parameter for parameter in clip.parameters() if id(parameter) not in chosen]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def save(clip: CLIP, tokens: list[int], options: Options) -> None:
    """Write the model in OpenAI's names and float16, with the rows of the token embedding that training saw."""
    state = openai_state(clip.visual, clip.text, clip.logit_scale)
    state = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    table = initial_token_embedding(TEXT_WIDTH, options.seed)
    table[tokens] = state[EMBEDDING]
    packed = pack_token_embedding({**state, EMBEDDING: table}, tokens, options.seed)
    stored = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous().clone()
        for name, tensor in packed.items()
    }
    with atomic_file(options.out) as temporary:
        safetensors.torch.save_file(stored, temporary, metadata={"format": "mlrpl-tiny"})


def pack_token_embedding(state: Mapping[str, Tensor], rows: Sequence[int], seed: int) -> dict[str, Tensor]:
    """Replace the embedding table by the `rows` that training changed; the others must still be as drawn."""
    packed = {name: tensor for name, tensor in state.items() if name != EMBEDDING}
    chosen = torch.tensor(sorted(set(rows)), dtype=torch.int32)
    values = state[EMBEDDING][chosen.long()]
    return {**packed, ROWS: chosen, VALUES: values, SEED: torch.tensor(seed)}


if __name__ == "__main__":
    main()
