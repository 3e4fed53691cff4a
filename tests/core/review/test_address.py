"""Where a server comes back after one that was killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlrpl_cli.core.review.address import SUFFIX, address


@pytest.mark.parametrize(("data", "same"), [("these", True), ("others", False)])
def test_the_secret_is_that_of_before_for_the_same_data_alone(tmp_path: Path, data: str, same: bool):
    """A page that is open speaks of rows, which may be other images of other data."""
    answers = tmp_path / "answers.sqlite"
    kept = tmp_path / (answers.name + SUFFIX)
    with address(answers, None, "these") as before:
        left = kept.read_bytes()
    assert not kept.exists()
    kept.write_bytes(left)  # as a server leaves it that is killed
    kept.chmod(0o600)
    with address(answers, None, data) as after:
        assert (after.secret == before.secret) == same
