"""Slow, obvious numpy versions of the formulas, written from the equations and from nothing of the package."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def semantic_attention(
    grid: np.ndarray, semantics: np.ndarray, u: np.ndarray, v: np.ndarray, score: np.ndarray
) -> np.ndarray:
    """a_bc = softmax_p( Σ_k score_k tanh((U f_bp)_k (V x_c)_k) ), one position at a time → (B, C, P)."""
    batch, positions, _ = grid.shape
    attention = np.zeros((batch, len(semantics), positions))
    for b in range(batch):
        for c in range(len(semantics)):
            scores = [score @ np.tanh((u @ grid[b, p]) * (v @ semantics[c])) for p in range(positions)]
            exponents = np.exp(np.array(scores) - max(scores))
            attention[b, c] = exponents / exponents.sum()
    return attention


def bilinear_scores(image: np.ndarray, semantics: np.ndarray, score: np.ndarray) -> np.ndarray:
    """ã_bpc = Σ_k score_k tanh(image_bpk semantics_ck), one product at a time → (B, P, C)."""
    return np.array([[[score @ np.tanh(region * row) for row in semantics] for region in grid] for grid in image])


def published_attention(
    grid: np.ndarray, semantics: np.ndarray, u: np.ndarray, v: np.ndarray, p: np.ndarray, w: np.ndarray, biases: tuple
) -> np.ndarray:
    """The published form h = P tanh((U f) ⊙ (V x)) + b, ã = w h + b', with its output matrix and both biases."""
    inner, outer = biases
    attention = np.zeros((len(grid), len(semantics), grid.shape[1]))
    for b, image in enumerate(grid):
        for c, vector in enumerate(semantics):
            scores = np.array([w @ (p @ np.tanh((u @ f) * (v @ vector)) + inner) + outer for f in image])
            exponents = np.exp(scores - scores.max())
            attention[b, c] = exponents / exponents.sum()
    return attention


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def fused_attention(joint: np.ndarray, semantics: np.ndarray, temperature: float) -> np.ndarray:
    """a_bc = softmax_p( cos(g_bp, x_c) / τ ) → (B, C, P)."""
    return np.array([[_softmax(unit(image) @ x / temperature) for x in unit(semantics)] for image in joint])


def dualcoop_logits(joint: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Log-odds of softmax over the pair (5 Σ_p a_p 20 s⁺_p, 5 Σ_p a_p 20 s⁻_p), a_p = softmax_p(20 s⁺_p) → (B, C)."""
    logits = np.zeros((len(joint), len(positive)))
    for b, image in enumerate(unit(joint)):
        for c, (plus, minus) in enumerate(zip(unit(positive), unit(negative), strict=True)):
            share = _softmax(20 * image @ plus)
            pair = _softmax(np.array([5 * share @ (20 * image @ plus), 5 * share @ (20 * image @ minus)]))
            logits[b, c] = math.log(pair[0] / pair[1])
    return logits


def linear_logits(joint: np.ndarray, weight: np.ndarray, scale: float, bias: np.ndarray) -> np.ndarray:
    """Σ_p softmax_p(z) z with z_p = scale w_c · ĝ_p + bias_c → (B, C)."""
    scores = [[scale * unit(image) @ w + b for w, b in zip(weight, bias, strict=True)] for image in joint]
    return np.array([[_softmax(z) @ z for z in image] for image in scores])


def _softmax(x: np.ndarray) -> np.ndarray:
    exponents = np.exp(x - x.max())
    return exponents / exponents.sum()


def partial_bce(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over known cells of -log p or -log(1-p)."""
    total, known = 0.0, 0
    for logit, label in zip(logits.flat, labels.flat, strict=True):
        if label == 0:
            continue
        known += 1
        p = sigmoid(logit)
        total -= math.log(p) if label == 1 else math.log(1 - p)
    return total / max(known, 1)


def partial_asl(
    logits: np.ndarray, labels: np.ndarray, gamma_negative: float, gamma_positive: float, margin: float
) -> float:
    """Mean over known cells of the asymmetric loss, cell by cell."""
    total, known = 0.0, 0
    for logit, label in zip(logits.flat, labels.flat, strict=True):
        if label == 0:
            continue
        known += 1
        p = sigmoid(logit)
        if label == 1:
            total -= (1 - p) ** gamma_positive * math.log(p)
        else:
            shifted = max(p - margin, 0)
            total -= shifted**gamma_negative * math.log(1 - shifted)
    return total / max(known, 1)


def assume_negative(logits: np.ndarray, labels: np.ndarray, weight: float) -> float:
    """Mean over all cells of -log p (present), -log(1-p) (absent) or -weight log(1-p) (unknown)."""
    total = 0.0
    for logit, label in zip(logits.flat, labels.flat, strict=True):
        p = sigmoid(logit)
        total -= math.log(p) if label == 1 else math.log(1 - p) * (weight if label == 0 else 1)
    return total / max(labels.size, 1)


def entropy_maximization(logits: np.ndarray, labels: np.ndarray, alpha: float) -> float:
    """Mean over all cells of -log p (present), -log(1-p) (absent) or alpha (log 2 - H(p)) (unknown)."""
    total = 0.0
    for logit, label in zip(logits.flat, labels.flat, strict=True):
        p = sigmoid(logit)
        if label == 0:
            total += alpha * (math.log(2) + p * math.log(p) + (1 - p) * math.log(1 - p))
        else:
            total -= math.log(p) if label == 1 else math.log(1 - p)
    return total / max(labels.size, 1)


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Mean over the positives of the precision at their rank, for scores without ties."""
    order = np.argsort(-scores)
    hits, precisions = 0, []
    for rank, index in enumerate(order, start=1):
        if positive[index]:
            hits += 1
            precisions.append(hits / rank)
    return sum(precisions) / len(precisions)


def precision_recall_points(scores: np.ndarray, positive: np.ndarray) -> list[tuple[float, float]]:
    """(recall, precision) after each rank, for scores without ties."""
    order, hits, points = np.argsort(-scores), 0, []
    for rank, index in enumerate(order, start=1):
        hits += bool(positive[index])
        points.append((hits / positive.sum(), hits / rank))
    return points


def interpolated_average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Mean over the positives of the best precision at their recall or any higher."""
    points = precision_recall_points(scores, positive)
    levels = [k / positive.sum() for k in range(1, int(positive.sum()) + 1)]
    return float(np.mean([max(p for r, p in points if r >= level - 1e-12) for level in levels]))


def eleven_point_average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """VOC 2007: mean of the best precision at recall ≥ 0, 0.1, … 1."""
    points = precision_recall_points(scores, positive)
    return float(np.mean([max((p for r, p in points if r >= k / 10 - 1e-12), default=0.0) for k in range(11)]))


def attention_pool(feature_map: np.ndarray, weights: dict[str, np.ndarray], heads: int) -> np.ndarray:
    """CLIP's attention pool of one image (D, H, W) → (E,), head by head, from OpenAI's description."""
    channels = feature_map.shape[0]
    grid = feature_map.reshape(channels, -1).T
    tokens = np.concatenate([grid.mean(0, keepdims=True), grid]) + weights["positional_embedding"]
    query = tokens[0] @ weights["q_proj.weight"].T + weights["q_proj.bias"]
    key = tokens @ weights["k_proj.weight"].T + weights["k_proj.bias"]
    value = tokens @ weights["v_proj.weight"].T + weights["v_proj.bias"]
    size, pooled = channels // heads, []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = key[:, part] @ query[part] / math.sqrt(size)
        share = np.exp(scores - scores.max())
        pooled.append((share / share.sum()) @ value[:, part])
    return np.concatenate(pooled) @ weights["c_proj.weight"].T + weights["c_proj.bias"]


def cubic_convolution(row: np.ndarray, x: float, a: float = -0.75) -> float:
    """Keys' cubic convolution of `row` at position x, the edges repeated."""

    def kernel(t: float) -> float:
        t = abs(t)
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0

    first = math.floor(x) - 1
    return sum(row[min(max(i, 0), len(row) - 1)] * kernel(x - i) for i in range(first, first + 4))


def hash_place(purpose: str, seed: int, key: str) -> float:
    """The first 16 hexadecimal digits of SHA-256 as a fraction of 2^64."""
    return int(hashlib.sha256(b"\0".join(map(str.encode, (purpose, str(seed), key)))).hexdigest()[:16], 16) / 2**64


def hash_split(image: str, group: str, said: str, test: float, validation: float, names_validation: bool) -> str:
    """The split of one image, from nothing but itself, by seeds 0; `said` is that of its group, else its own, or ""."""
    key = group or image
    if not said and hash_place("test", 0, key) < test:
        return "test"
    if said in ("test", "validation") or (said == "train" and names_validation):
        return said
    return "validation" if hash_place("validation", 0, key) < validation else "train"


def iterative_stratification(
    labels: Mapping[str, Mapping[str, int]],
    sizes: Mapping[str, int],
    classes: Sequence[str],
    fraction: float,
    seed: int,
) -> set[str]:
    """Sechidis et al. 2011, algorithm 1, for two subsets: the keys of `labels` that come to the one of `fraction`."""
    left = sorted(labels, key=lambda key: hash_place("test", seed, key))
    shares = {"rest": 1 - fraction, "taken": fraction}
    images = {name: share * sum(sizes.values()) for name, share in shares.items()}
    wanted = {
        (name, label): share * sum(own.get(label, 0) for own in labels.values())
        for name, share in shares.items()
        for label in classes
    }
    taken = set()

    def give(key: str, label: str | None) -> None:
        lacking = [(wanted["rest", label], wanted["taken", label])] if label else []
        chosen = "taken" if hash_place("test tie", seed, key) < fraction else "rest"
        for rest, other in (*lacking, (images["rest"], images["taken"])):
            if rest != other:
                chosen = "taken" if other > rest else "rest"
                break
        for name, count in labels[key].items():
            wanted[chosen, name] -= count
        images[chosen] -= sizes[key]
        left.remove(key)
        if chosen == "taken":
            taken.add(key)

    while left:
        counts = {label: sum(labels[key].get(label, 0) > 0 for key in left) for label in classes}
        rarest = min((label for label in classes if counts[label]), key=lambda label: counts[label], default=None)
        for key in [key for key in left if rarest is None or labels[key].get(rarest, 0)]:
            give(key, rarest)
    return taken


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def zero_shot_scores(
    pooled: np.ndarray, joint: np.ndarray, texts: np.ndarray, temperature: float
) -> tuple[np.ndarray, np.ndarray]:
    """cos(image, text) and Σ_p softmax_p(cos(g_p, t_c) / τ) cos(g_p, t_c), image by image and class by class."""
    of_image, of_regions = np.empty((2, len(pooled), len(texts)))
    for b in range(len(pooled)):
        for c in range(len(texts)):
            of_image[b, c] = _cosine(pooled[b], texts[c])
            cosines = np.array([_cosine(region, texts[c]) for region in joint[b]])
            shares = np.exp(cosines / temperature)
            of_regions[b, c] = (shares / shares.sum()) @ cosines
    return of_image, of_regions


def anchored_parts(point: np.ndarray, channels: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Trust (C, 2), weight (D, C) and offset (C,) of w, δ, ε, α, β in one vector."""
    weight, own_trust, own_offset, trust, offset = np.split(
        point, np.cumsum([channels * classes, classes * 2, classes, 2])
    )
    return trust + own_trust.reshape(classes, 2), weight.reshape(channels, classes), own_offset + offset


def anchored_objective(
    point: np.ndarray,
    scores: np.ndarray,
    content: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    of_weight: float,
    of_trust: float,
    of_bias: float,
    of_shared: float,
) -> float:
    """Weighted logistic loss of all cells and half the prior precision of every coordinate times its square."""
    (_, classes, _), channels = scores.shape, content.shape[1]
    trust, weight, offset = anchored_parts(point, channels, classes)
    logits = np.einsum("ncm,cm->nc", scores, trust) + content @ weight + offset
    w, own_trust, own_offset, shared = np.split(point, np.cumsum([channels * classes, classes * 2, classes]))
    prior = of_weight * w @ w + of_trust * own_trust @ own_trust + of_bias * own_offset @ own_offset
    prior += of_shared * shared @ shared
    return float((weights * np.logaddexp(0, -targets * logits)).sum() + prior / 2)
