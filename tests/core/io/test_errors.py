import pytest

from mlrpl_cli.core.io.errors import in_words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (109, "109 bytes"),
        (1023, "1023 bytes"),
        (3500, "3.42 KiB"),
        (270 * 2**20, "270 MiB"),
        (2.5 * 2**40, "2560 GiB"),
    ],
)
def test_sizes_in_words(size: float, words: str) -> None:
    assert in_words(size) == words
