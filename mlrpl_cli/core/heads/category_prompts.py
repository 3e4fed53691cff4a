"""Category-specific prompts: a learned context for each class, or one for all (method.md, part 4).

[v_1 … v_M, the words of the name, "."] goes, between the tokenizer's special tokens, through the frozen text encoder.
Axes: C classes, M context tokens, T tokens in a prompt, W text width, E joint embedding.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from mlrpl_cli.core.backbones.tokens import pad_tokens
from mlrpl_cli.core.heads.class_semantics import TEMPLATE
from mlrpl_cli.core.heads.text_heads import TextHead
from mlrpl_cli.core.heads.text_inputs import TextInputs
from mlrpl_cli.core.io.errors import ConfigError, first_few
from mlrpl_cli.core.labels.classes import readable

CONTEXT_STD = 0.02


class PromptedText(TextHead):
    """Text features of learnable prompts through the frozen text encoder, those of the first learner first."""

    def __init__(
        self,
        inputs: TextInputs,
        learners: Sequence[str] = ("prompts",),
        per_class: bool = True,
        template: str | None = None,
    ) -> None:
        """The `template` is what contexts start as where `config.context_template` does not say; None draws them."""
        super().__init__(None)
        for name in learners:
            self.add_module(name, PromptLearner(inputs, per_class, template))
        self.text_encoder = inputs.text_encoder

    def forward(self) -> Tensor:
        learners = [module for module in self.children() if isinstance(module, PromptLearner)]
        return self.text_encoder(torch.cat([one() for one in learners]), torch.cat([one.end for one in learners]))


context_per_class = PromptedText
"""A learned context for each class."""
shared_context = partial(PromptedText, per_class=False)
"""One learned context for all classes."""
context_from_template = partial(PromptedText, template=TEMPLATE.format("").strip())
"""A learned context for each class, which starts as "a photo of a"."""
pair_per_class = partial(PromptedText, learners=("positive", "negative"))
"""A positive and a negative learned context for each class → (2C, E), the positive ones first."""


class PromptLearner(nn.Module):
    """Prompts whose M context vectors (C or 1, M, W) are learned: one context for every class, or one for all of them.

    They are drawn from N(0, 0.02) or start as the words of a template, which then decide M: `config.context_template`,
    or else that of the method.
    """

    words: Tensor
    """(C, T-M, W) the special tokens, the words and the full stop, frozen."""

    def __init__(self, inputs: TextInputs, per_class: bool, template: str | None = None) -> None:
        """Raises ConfigError naming every class whose name is too long for the text encoder."""
        super().__init__()
        config, encoder, tokenize = inputs.config, inputs.text_encoder, inputs.tokenize
        if (template := config.context_template or template) is None:
            drawn = torch.empty(len(inputs.classes) if per_class else 1, config.context_tokens, encoder.width)
            self.context = nn.Parameter(drawn.normal_(std=CONTEXT_STD, generator=inputs.generator))
        else:
            tokens = tokenize([template])[0]
            words = torch.tensor(tokens[tokenize.leading : len(tokens) - tokenize.trailing], dtype=torch.long)
            self.context = nn.Parameter(encoder.embed(words).repeat(len(inputs.classes) if per_class else 1, 1, 1))
        count, limit = self.context.shape[1], encoder.context_length
        rows = tokenize([f"{readable(name)}." for name in inputs.classes])
        if long := [name for name, row in zip(inputs.classes, rows, strict=True) if len(row) + count > limit]:
            raise ConfigError(
                f"prompts must fit {limit} tokens, {count} of them context; too long: {first_few(long)}; "
                "shorten the names or lower context_tokens"
            )
        ids, last = pad_tokens(rows)
        self.end = last + count  # not a buffer: the text encoder reads it, and reading from a GPU would stop it
        self.leading = tokenize.leading
        self.register_buffer("words", encoder.embed(ids), persistent=False)

    def forward(self) -> Tensor:
        """Prompt embeddings (C, T, W), T the length of the longest prompt; `end` (C,) says where each one stops."""
        before, after = self.words[:, : self.leading], self.words[:, self.leading :]
        return torch.cat([before, self.context.expand(len(self.words), -1, -1), after], dim=1)
