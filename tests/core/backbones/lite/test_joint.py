"""The fit of the joint space, and the file that keeps it."""

import numpy as np
import pytest
import torch

from mlrpl_cli.core.backbones.lite import joint

LABELS = [(f"thing {number}", f"what thing {number} is") for number in range(40)]


def encode(texts):
    """A drawn unit vector for each text, by the text alone."""
    rows = [torch.randn(8, generator=torch.Generator().manual_seed(sum(map(ord, text)) * len(text))) for text in texts]
    return torch.nn.functional.normalize(torch.stack(rows).double(), dim=-1)


def test_the_fit_is_kernel_pca_of_the_labels():
    """numpy in steps: H K H of the keys' kernel, its eigenvectors by size, the largest entry of each positive."""
    space = joint.fit(encode, LABELS, temperature=0.5, embed_dim=5)
    embedded = (encode([f"a photo of a {name}" for name, _ in LABELS]) + encode([told for _, told in LABELS])).numpy()
    embedded /= np.linalg.norm(embedded, axis=1, keepdims=True)
    keys = embedded - embedded.mean(axis=0)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    centring = np.eye(len(keys)) - 1 / len(keys)
    values, vectors = np.linalg.eigh(centring @ np.exp((keys @ keys.T - 1) / 0.5) @ centring)
    expected = vectors[:, np.argsort(-values)[:5]]
    expected *= np.sign(expected[np.abs(expected).argmax(axis=0), range(5)])
    np.testing.assert_allclose(space.mean, embedded.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(space.keys, keys, atol=1e-6)
    np.testing.assert_allclose(space.basis, expected, atol=1e-6)


def test_what_all_labels_share_is_in_no_column():
    space = joint.fit(encode, LABELS, embed_dim=10)
    torch.testing.assert_close(space.basis.sum(dim=0), torch.zeros(10), rtol=0, atol=1e-5)
    torch.testing.assert_close(space.basis.T @ space.basis, torch.eye(10), rtol=0, atol=1e-5)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MLRPL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(joint, "EMBED_DIM", 5)
    return tmp_path / "cache"


def fitted(labels=LABELS):
    """The space, and how often texts were encoded for it."""
    calls = []

    def counting(texts):
        calls.append(texts)
        return encode(texts)

    return joint.cached_fit(labels, lambda: counting), len(calls)


def same(first, second):
    return all(torch.equal(vars(first)[name], vars(second)[name]) for name in vars(first))


def test_the_fit_is_made_once_and_the_same_bytes_again(cache):
    first, encoded = fitted()
    (file,) = cache.glob("lite-*")
    content = file.read_bytes()
    again, encoded_again = fitted()
    assert (encoded, encoded_again) == (2, 0)
    assert same(first, again)
    file.unlink()
    fitted()
    assert file.read_bytes() == content


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: content[:-1] + b"?"])
def test_a_damaged_file_is_made_again(cache, damage):
    first, _ = fitted()
    (file,) = cache.glob("lite-*")
    content = file.read_bytes()
    file.write_bytes(damage(content))
    again, encoded = fitted()
    assert encoded == 2
    assert same(first, again)
    assert file.read_bytes() == content


def test_other_labels_have_a_file_of_their_own(cache):
    fitted()
    _, encoded = fitted([*LABELS[:-1], ("thing 39", "something else")])
    assert encoded == 2
    assert len(list(cache.glob("lite-*"))) == 2


def test_where_nothing_can_be_kept_the_fit_is_made_each_time(tmp_path, cache):
    cache.write_text("a file where the folder would be")
    first, encoded = fitted()
    again, encoded_again = fitted()
    assert (encoded, encoded_again) == (2, 2)
    assert same(first, again)
