import pytest

from mlrpl_cli.core.heads.text_inputs import check_class_names
from mlrpl_cli.core.io.errors import ConfigError


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ([], "no class to recognise; give at least one"),
        (["dog", " "], r"class names must not be empty; number 1 \(counting from 0\) is"),
        (["dog", "Dog", "cat"], "class names must differ; given more than once: Dog"),
    ],
)
def test_class_names_that_cannot_be_are_told(classes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check_class_names(classes)
