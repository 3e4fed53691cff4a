"""Class names as CLIP reads them."""

from __future__ import annotations

import pytest

from mlrpl_cli.core.labels.classes import says_nothing


@pytest.mark.parametrize(
    "name", ["747", "-1", "2024-01-05", "2024-01-05 00:00:00", "5-Jan", "Mar-01", "symptom___1", "class_3", "NaN"]
)
def test_numbers_dates_and_codes_say_nothing(name: str) -> None:
    assert says_nothing(name)


@pytest.mark.parametrize("name", ["cat", "T-800", "Boeing 747", "classroom", "tv monitor", "May", "Übung", "犬"])
def test_words_say_something(name: str) -> None:
    assert not says_nothing(name)
