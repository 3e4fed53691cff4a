"""open_clip's text towers, taking token embeddings: learned contexts go through them like words.

Axes: C texts, T tokens of a text, L the tower's context length, W text width, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mlrpl_cli.core.backbones.backbone import TextTower
from mlrpl_cli.core.backbones.open_clip.library import kind_of
from mlrpl_cli.core.io.errors import WeightsError

TRANSFORMER, HUGGING_FACE = "open_clip.TextTransformer", "open_clip.HFTextEncoder"
READ_AT_END = ("argmax", "eos")
"""Pools that take the last token of a text: of all ids, the highest, or the first that is `eos_id`."""


class CausalText(TextTower):
    """A causal transformer that is read out at each text's last token: nothing behind that is computed."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module
        self.width, self.context_length = module.width, module.context_length

    def forward(self, embeddings: Tensor, end: Tensor) -> Tensor:
        text, length = self.module, int(end.max()) + 1
        x = embeddings[:, :length] + text.positional_embedding[:length]
        x = text.transformer(x.to(text.positional_embedding.dtype), attn_mask=text.attn_mask[:length, :length])
        x = text.ln_final(x[torch.arange(len(x), device=x.device), end.to(x.device)])
        return _at_least_float32(_projected(text.text_projection, x))

    def embed(self, ids: Tensor) -> Tensor:
        return self.module.token_embedding(ids.to(self.module.token_embedding.weight.device))


class PaddedText(TextTower):
    """Any other tower, through its own code: texts filled up to its context length, embeddings put in place of words.

    What it reads off the ids (which are padding, where a text ends) it reads off stand-ins: `any_id` for a text's
    tokens, `end_id` for its last one, and `padding` behind that.
    """

    padding: Tensor

    def __init__(self, module: Any, padding: Sequence[int]) -> None:
        """`padding` holds the ids that a text is filled up with, one for each of the L places."""
        super().__init__()
        self.module, self.context_length = module, len(padding)
        self.words = _words(module)
        self.given = Given()
        _put_words(module, self.given)
        self.width = self.words.weight.shape[1]
        self.any_id, self.end_id = _stand_ins(module)
        self.register_buffer("padding", torch.tensor(padding), persistent=False)

    def forward(self, embeddings: Tensor, end: Tensor) -> Tensor:
        end = end.to(embeddings.device)
        places = torch.arange(self.context_length, device=embeddings.device)
        ids = torch.full((len(end), self.context_length), self.any_id, device=embeddings.device)
        ids = torch.where(places == end[:, None], self.end_id, ids)
        return self._through(embeddings, torch.where(places > end[:, None], self.padding, ids), end)

    def encode_tokens(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """With the ids themselves, since a word's id may be that of padding."""
        rows = [[*row, *self.padding[len(row) :].tolist()] for row in tokens]
        ids = torch.tensor(rows, device=self.padding.device)
        end = torch.tensor([len(row) - 1 for row in tokens], device=self.padding.device)
        return self._through(self.embed(ids), ids, end)

    def embed(self, ids: Tensor) -> Tensor:
        return self.words(ids.to(self.words.weight.device))

    def _through(self, embeddings: Tensor, ids: Tensor, end: Tensor) -> Tensor:
        """The tower on `ids` (C, L), whose words up to `end` are `embeddings` (C, T, W), T ≤ L."""
        padded = self.words(self.padding).expand(len(ids), -1, -1).to(embeddings.dtype)
        filled = torch.cat([embeddings, padded[:, embeddings.shape[1] :]], dim=1)
        within = torch.arange(self.context_length, device=ids.device) <= end[:, None]
        self.given.embeddings = torch.where(within[..., None], filled, padded)
        try:
            encoded = self.module(ids)
        finally:
            self.given.embeddings = None
        return _at_least_float32(encoded[0] if isinstance(encoded, tuple) else encoded)


class Given(nn.Module):
    """Stands in for a table of word embeddings and gives what was put there, whatever the ids."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings: Tensor | None = None

    def forward(self, ids: Tensor) -> Tensor:
        assert self.embeddings is not None, "the text tower is given embeddings, not ids"
        return self.embeddings


def text_tower(module: Any, padding: Sequence[int]) -> TextTower:
    """The tower over a text module of open_clip. Raises WeightsError for a form that is not known here."""
    kind = kind_of(module)
    if kind not in (TRANSFORMER, HUGGING_FACE):
        raise WeightsError(f"its text tower, {kind}, is neither {TRANSFORMER} nor {HUGGING_FACE}")
    if kind == TRANSFORMER and module.pool_type == "none":
        raise WeightsError("its text tower's pool_type is 'none', which gives no text vector; choose another backbone")
    return CausalText(module) if is_causal(module) else PaddedText(module, padding)


def check_end(module: Any, tokenize: Callable[[Sequence[str]], list[list[int]]]) -> None:
    """Raise WeightsError where the tower would look for the end of a text elsewhere than the tokenizer puts it."""
    if kind_of(module) != TRANSFORMER or module.cls_emb is not None or module.pool_type not in READ_AT_END:
        return
    for row in tokenize(["", "a photo of a dog"]):
        ids = torch.tensor(row)
        read = ids.argmax() if module.pool_type == "argmax" else (ids == module.eos_id).int().argmax()
        if int(read) != len(row) - 1:
            raise WeightsError(
                f"its text tower reads a text at token {int(read)} of {row}, not at its last one; "
                "expected a tokenizer whose end token is the one that pool_type and eos_id say"
            )


def is_causal(module: Any) -> bool:
    """Whether a text module of open_clip sees nothing behind a text's last token, and is read out there."""
    if kind_of(module) != TRANSFORMER or module.attn_mask is None or module.cls_emb is not None:
        return False
    return module.pool_type in READ_AT_END


def _words(module: Any) -> Any:
    hugging_face = kind_of(module) == HUGGING_FACE
    return module.transformer.get_input_embeddings() if hugging_face else module.token_embedding


def _put_words(module: Any, words: nn.Module) -> None:
    if kind_of(module) == HUGGING_FACE:
        module.transformer.set_input_embeddings(words)
    else:
        module.token_embedding = words


def _stand_ins(module: Any) -> tuple[int, int]:
    """Ids of no word that is padding, of which the second is read as the end of a text where the tower looks for it."""
    if kind_of(module) == HUGGING_FACE:
        other = next(number for number in range(2) if number != module.config.pad_token_id)
        return other, other
    special = {module.pad_id, module.eos_id}
    other = next(number for number in range(3) if number not in special)
    return other, module.eos_id if module.pool_type == "eos" else module.vocab_size - 1


def _projected(projection: Any, x: Tensor) -> Tensor:
    if projection is None:
        return x
    return projection(x) if isinstance(projection, nn.Linear) else x @ projection


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
