"""The pre-training of tiny: captions, what is true of what, the loss and the log; and how a file is measured."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mlrpl_cli.core.backbones.openai.architectures import build_text_encoder
from mlrpl_cli.core.backbones.openai.tokenizer import tokenize
from mlrpl_cli.core.backbones.tiny import INITIAL_STD, tiny_state
from mlrpl_cli.core.labels.states import PRESENT
from mlrpl_cli.core.scenes.pen import COLOURS
from mlrpl_cli.core.scenes.rendering import SCENE_CLASSES
from scripts.captions import CAPTIONED, FILLER, KINDS, THING, caption, render_captioned
from scripts.measure_tiny import behind_vectors, encode_scenes, measure
from scripts.pretrain_tiny import build, contrastive_loss, learning_rate, pre_train, train
from scripts.tiny_options import Log, Options
from scripts.tiny_pairs import EPOCHS, TERMS, augment, batches, lengthen, load_pairs

PROMPT = 16
"""The context tokens that the methods put between the start token and a class's name by default."""


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretraining")
    small = {"images": 24, "steps": 4, "batch_size": 12, "chunk": 6, "size": 64, "small_size": 32}
    return replace(Options(), out=folder / "tiny.safetensors", log=folder / "log.jsonl", work=folder, **small)


@pytest.fixture(scope="module")
def pairs(options):
    return load_pairs(options, Log(options))


def test_captions_name_classes_or_only_their_kinds_in_several_forms():
    shown = [render_captioned(0, index)[1] for index in range(200)]
    captions = [caption(0, index, 1, described) for index, described in enumerate(shown)]
    named = [sum(name in each for name in SCENE_CLASSES) for each in captions]
    assert set(named) == {0, 1, 2}
    vague = [each for each, count in zip(captions, named, strict=True) if not count]
    assert all(any(word in each for word in (THING, *KINDS.values())) for each in vague)
    assert any(each.startswith("a photo of a ") for each in captions)
    assert any(each.endswith(".") for each in captions)
    assert any("red" in each for each in captions)


def test_an_image_has_another_caption_in_another_epoch():
    shown = [("mug", "red"), ("fish", "blue")]
    captions = {caption(0, 0, epoch, shown) for epoch in range(1, 9)}
    assert len(captions) > 4
    assert captions == {caption(0, 0, epoch, shown) for epoch in range(1, 9)}


def test_filler_words_are_one_token_each_and_say_nothing_of_an_image():
    assert len(set(FILLER)) == len(FILLER) > 100
    assert {len(row) for row in tokenize(FILLER)} == {3}
    telling = {word for term in (*SCENE_CLASSES, *KINDS.values(), THING, *COLOURS) for word in term.split()}
    assert not telling & set(FILLER)


def test_filler_stands_before_a_caption_and_moves_it_past_the_context_tokens(options):
    random, row = np.random.RandomState(0), [7, 8, 9]
    rows = [lengthen(row, [1, 2, 3], options, random) for _ in range(2000)]
    assert all(each[0] == 7 and each[-2:] == [8, 9] and set(each[1:-2]) <= {1, 2, 3} for each in rows)
    lengths = np.array([len(each) - len(row) for each in rows])
    assert abs((lengths > 0).mean() - options.filler_share) < 4 * 0.5 / 2000**0.5
    assert set(range(PROMPT + 1)) < set(lengths)


def test_a_caption_is_true_of_an_image_whose_own_caption_implies_all_its_terms(pairs, options):
    """In words: each term of the caption is one of the own caption's, or the kind of one of them."""
    shown = [render_captioned(0, n, replace(CAPTIONED, image_size=64))[1] for n in range(options.images)]
    captions = [caption(0, n, 1, described) for n, described in enumerate(shown)]
    kinds = {**dict.fromkeys(SCENE_CLASSES, THING), **KINDS}
    order = np.random.RandomState(1).permutation(options.images)
    text = {tuple(tokenize([each])[0]): each for each in captions}
    for number, batch in enumerate(batches(pairs, replace(options, filler_share=0.0), 1)):
        rows = [
            [pairs.tokens[i] for i in ids[: end + 1]] for ids, end in zip(batch.ids.tolist(), batch.end, strict=True)
        ]
        described = [terms(text[tuple(row)]) for row in rows]
        for n, truths in zip(np.sort(order[12 * number :][:12]), batch.true.bool().tolist(), strict=True):
            own = terms(captions[n])
            implied = own | {kinds[name] for name in own & set(kinds)}
            assert truths == [each <= implied for each in described]


def terms(text: str) -> set[str]:
    return {term for term in TERMS if term in text}


def test_the_loss_is_the_cross_entropy_of_both_directions_with_uniform_targets(pairs, options):
    """In NumPy, from the encoders' own outputs with running batch norms; the chunks then change nothing."""
    torch.manual_seed(0)
    clip = build(options, pairs.tokens).eval()
    batch = next(batches(pairs, options, 1))
    with torch.no_grad():
        images = clip.visual(batch.images).pooled.double().numpy()
        texts = clip.text(clip.text.token_embedding(batch.ids), batch.end).double().numpy()
        losses = [contrastive_loss(clip, batch, chunk).item() for chunk in (5, 12)]
    images, texts = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (images, texts))
    logits, true = images @ texts.T / 0.07, batch.true.numpy()
    expected = 0.0
    for scores, target in ((logits, true), (logits.T, true.T)):
        share = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        expected += np.mean([-np.log(share[i][target[i] > 0]).mean() for i in range(len(scores))]) / 2
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_a_share_of_the_batches_is_smaller(options):
    pixels, random = np.zeros((2, 64, 64, 3), np.uint8), np.random.RandomState(0)
    sizes = [augment(pixels, options, random).shape[-1] for _ in range(500)]
    assert set(sizes) == {32, 64}
    assert abs(np.mean(np.equal(sizes, 32)) - options.small_share) < 4 * 0.5 / 500**0.5


def test_the_same_seed_writes_the_same_file_and_the_log_ends_with_its_checksum(options, tmp_path):
    for name in ("first", "second"):
        pre_train(replace(options, out=tmp_path / name, log=tmp_path / f"{name}.jsonl"))
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "first.jsonl").read_text().splitlines()]
    assert [line["what"] for line in lines] == ["start", "render", "captions", "step", "end"]
    assert lines[-1]["sha256"] == hashlib.sha256((tmp_path / "first").read_bytes()).hexdigest()
    clocks = [(line["seconds"], line["cpu_seconds"]) for line in lines]
    assert clocks == sorted(clocks)


def test_the_steps_that_the_clock_chose_repeat_its_run(options, tmp_path):
    """The clock is past from the third step on: 2 steps are 65% of 3."""
    clocked = replace(options, steps=0, out=tmp_path / "clocked", log=tmp_path / "clocked.jsonl")
    pairs, log = load_pairs(clocked, Log(clocked)), Clock(clocked)
    train(build(clocked, pairs.tokens), pairs, clocked, log)
    pre_train(replace(options, steps=3, out=tmp_path / "counted", log=tmp_path / "counted.jsonl"))
    assert [json.loads(line)["what"] for line in clocked.log.read_text().splitlines()] == ["start", "decay", "step"]
    assert (tmp_path / "clocked").read_bytes() == (tmp_path / "counted").read_bytes()


class Clock(Log):
    """At every look an hour later."""

    looks = 0

    @property
    def minutes(self) -> float:
        self.looks += 1
        return 60.0 * (self.looks - 1) if self.looks > 2 else 0.0


def test_the_learning_rate_rises_stays_and_falls_to_nothing():
    options = replace(Options(), learning_rate=1.0, warm_up=10, decay_share=0.5)
    rates = [learning_rate(step, 100, options) for step in range(101)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert set(rates[10:51]) == {1.0}
    assert rates[50:] == pytest.approx([1 - n / 50 for n in range(51)])
    assert [learning_rate(step, 0, options) for step in range(50)] == rates[:50]


def test_a_file_is_measured_as_the_text_features_of_its_prompts_score():
    """Of 40 scenes: every form of prompt, far above the share of present labels, which scores that say nothing have."""
    state = tiny_state()
    found = dict(measure(state, 0, 40))
    present = encode_scenes(state, 0, 40)[1] == PRESENT
    assert list(found) == [
        "a photo of a NAME", "NAME.", "4 filler words, NAME.", "16 filler words, NAME.", "16 random vectors, NAME.",
    ]  # fmt: skip
    assert all(2 * present.mean() < value <= 1 for value in found.values())


def test_vectors_before_a_name_count_as_tokens():
    """As many filler words, by their own embeddings in place of drawn vectors."""
    text = build_text_encoder(tiny_state())
    words = " ".join(FILLER[:16])
    ids = torch.tensor(tokenize([words])[0][1:-1])

    class Words:
        def standard_normal(self, shape):
            return np.broadcast_to(text.embed(ids).detach().numpy() / INITIAL_STD, shape)

    with torch.no_grad():
        expected = text.encode_tokens(tokenize([f"{words} {name}." for name in SCENE_CLASSES]))
        torch.testing.assert_close(behind_vectors(text, 16, Words()), expected, rtol=1e-4, atol=1e-5)


def test_the_page_says_the_defaults():
    page, default = (Path(__file__).parents[1] / "docs" / "tiny.md").read_text(encoding="utf-8"), Options()
    assert f"{default.images:,} images, batches of {default.batch_size}, one thread" in page
    assert f"as many steps as {default.minutes:.0f} minutes hold" in page
    assert (default.threads, default.steps, default.filler_share, default.small_share) == (1, 0, 0.5, 0.8)
    assert (EPOCHS, default.learning_rate) == (8, 2e-3)
    assert f"after {default.warm_up} steps and down to nothing over the last {default.decay_share:.0%}" in page
    assert f"up to {default.filler} words" in page
    assert f"resized to {default.small_size} px" in page
    assert f"{default.chunk} images at a time" in page
