"""Where a server comes back after one that was killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.review.serving.address import SUFFIX, address


def test_a_secret_that_others_may_read_is_not_taken_again(tmp_path: Path):
    answers = tmp_path / "answers.sqlite"
    with address(answers, None, "these") as before:
        kept = tmp_path / (answers.name + SUFFIX)
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.chmod(0o640)
    with address(answers, None, "these") as after:
        assert after.secret != before.secret


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b'{"port": 0}', b"\xff", b'{"port": "1", "secret": 1, "data": "these"}']
)
def test_a_damaged_file_is_another_secret(tmp_path: Path, content: bytes):
    answers = tmp_path / "answers.sqlite"
    kept = tmp_path / (answers.name + SUFFIX)
    kept.write_bytes(content)
    kept.chmod(0o600)
    with address(answers, None, "these") as found:
        assert found.secret.encode() in kept.read_bytes()


def test_a_port_that_is_taken_is_told(tmp_path: Path):
    told = "cannot be had .*; name another with --port"
    with (
        address(tmp_path / "a.sqlite", None, "these") as first,
        pytest.raises(ConfigError, match=told),
        address(tmp_path / "b.sqlite", first.port, "these"),
    ):
        raise AssertionError("two servers have one port")


@pytest.mark.parametrize(("data", "same"), [("these", True), ("others", False)])
def test_the_secret_is_that_of_before_for_the_same_data_alone(tmp_path: Path, data: str, same: bool):
    """A page that is open speaks of rows, which may be other images of other data."""
    answers = tmp_path / "answers.sqlite"
    with address(answers, None, "these") as before:
        pass
    with address(answers, None, data) as after:
        assert (after.secret == before.secret) == same
