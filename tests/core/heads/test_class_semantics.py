import numpy as np
import pytest
import torch

from mlrpl_cli.core.heads.class_semantics import centred, glove_features
from mlrpl_cli.core.io.errors import ConfigError

CLASSES = ("dog", "traffic light")


def test_centred_vectors_are_what_sets_each_class_apart():
    """Three unit vectors around one direction: centred they are the corners of a triangle, -1/2 between any two."""
    corners = torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]])
    vectors = torch.cat([0.1 * corners, torch.ones(3, 1)], dim=1)
    apart = centred(torch.nn.functional.normalize(vectors, dim=1))
    torch.testing.assert_close(apart @ apart.T, 1.5 * torch.eye(3) - 0.5)


@pytest.mark.parametrize("vectors", [[[0.6, 0.8]], [[0.6, 0.8], [0.8, 0.6]]])
def test_one_or_two_classes_keep_their_vectors(vectors):
    torch.testing.assert_close(centred(torch.tensor(vectors)), torch.tensor(vectors))


def test_glove_vectors_are_averaged_over_words_and_unit_length(tmp_path):
    file = tmp_path / "glove.txt"
    file.write_text("dog 3 4\ntraffic 1 0\nlight 0 1\nunused 9 9\n")
    expected = [[0.6, 0.8], [0.5**0.5, 0.5**0.5]]
    np.testing.assert_allclose(glove_features(CLASSES, file), expected, rtol=1e-6)


def test_a_name_that_glove_has_as_one_word_is_taken_so_and_lines_that_are_no_vectors_are_skipped(tmp_path):
    file = tmp_path / "glove.txt"
    file.write_text("pottedplant 3 4\npotted name@host.com 1 2\nplant 0 1\n")
    np.testing.assert_allclose(glove_features(["pottedplant"], file), [[0.6, 0.8]], rtol=1e-6)


def test_words_that_glove_lacks_are_named(tmp_path):
    file = tmp_path / "glove.txt"
    file.write_text("dog 3 4\ntraffic 1 0\n")
    with pytest.raises(ConfigError, match=r"lacks words of these classes: traffic light"):
        glove_features(CLASSES, file)
