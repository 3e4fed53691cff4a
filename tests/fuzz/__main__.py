"""Coverage-guided fuzzing of the readers: `python -m tests.fuzz TARGET --seconds 60`, or `all`.

Each target runs in a process of its own, so that one that hangs or takes too much memory is a finding like any other.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.seeds import seeds, words
from tests.fuzz.targets import IN_MEMORY, TARGETS, accepts

HANG_SECONDS, MEMORY_MIB, LONGEST_INPUT, REASON = 10, 2048, 4096, 4000
STARTING = 120
"""Seconds beside those of fuzzing after which a process that does not end is ended."""
TIMED_OUT = "timed out"
PROGRAM = ("-m", "tests.fuzz")
INSTRUMENTED = ("mlrpl_cli", "yaml", "defusedxml", "pycocotools", "tarfile", "zipfile", "csv", "numpy.lib")
"""What the fuzzer sees the branches of, as far as it is Python."""


@dataclass(frozen=True)
class Report:
    """What fuzzing one target came to."""

    target: str
    ended: int | str
    """Exit code of its process, below zero for a signal, or TIMED_OUT."""
    executions: int
    seconds: int
    coverage: int
    """Edges of the Python code that were reached."""
    crashes: tuple[Path, ...]
    """Inputs that raised, hung or took too much memory."""
    log: str
    """What the fuzzer printed."""

    @property
    def failed(self) -> bool:
        return bool(self.crashes) or self.ended != 0 or not self.executions

    @property
    def reason(self) -> str:
        """The traceback of what was found, or the end of what the fuzzer printed."""
        start = self.log.find("=== Uncaught Python exception")
        return self.log[-REASON:] if start < 0 else self.log[start : start + REASON]


def main(arguments: Sequence[str] | None = None) -> int:
    """1 when anything was found or could not be run, 2 when there is nothing to fuzz with, else 0."""
    asked = _parse(arguments)
    if importlib.util.find_spec("atheris") is None:
        advice = "pip install atheris, which has wheels for Linux with Python 3.11 to 3.13"
        print(f"fuzzing needs atheris, which is not installed; {advice}", file=sys.stderr)
        return 2
    if asked.child is not None:
        _run_here(asked.target, asked.child)
    failed = False
    for target in TARGETS if asked.target == "all" else [asked.target]:
        report = fuzz(target, asked.seconds)
        failed |= report.failed
        print(_line(report), flush=True)
        if report.failed:
            print(report.reason, file=sys.stderr)
    return int(failed)


def fuzz(target: str, seconds: int, program: Sequence[str] = PROGRAM, starting: int = STARTING) -> Report:
    """Fuzz one target in a child process. Inputs that were found stay in a temporary folder, which they name."""
    found = Path(tempfile.mkdtemp(prefix="mlrpl-fuzz-found-"))
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as scratch:
        corpus, dictionary = Path(scratch) / "corpus", Path(scratch) / "words"
        corpus.mkdir()
        for number, seed in enumerate(seeds(target)):
            (corpus / str(number)).write_bytes(seed)
        dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in words(target)))
        options = [
            str(corpus),
            f"-dict={dictionary}",
            f"-max_total_time={seconds}",
            f"-timeout={HANG_SECONDS}",
            f"-rss_limit_mb={_peak_mib() + MEMORY_MIB}",
            f"-max_len={max(LONGEST_INPUT, *map(len, seeds(target)))}",
            f"-artifact_prefix={found}/{target}-",
            "-print_final_stats=1",
        ]
        ended, log = _run([sys.executable, *program, target, "--child", *options], seconds + starting)
    crashes = tuple(sorted(found.iterdir()))
    if not crashes:
        found.rmdir()
    return _report(target, ended, log, crashes)


def _peak_mib() -> int:
    """The most memory that this process has had, in MiB: on Linux a child starts with it as its own peak, which is what
    the fuzzer's limit is of.
    """
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=["all", *TARGETS], help="which reader")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _run_here(target: str, options: Sequence[str]) -> None:
    """Fuzz in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        for seed in seeds(target):  # targets import what they need when they are called
            accepts(target, seed)
    atheris.Setup([sys.argv[0], *options], lambda data: accepts(target, data) and None)
    atheris.Fuzz()


def _run(command: Sequence[str], timeout: int) -> tuple[int | str, str]:
    """How a command ended, and all that it printed."""
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, timeout=timeout, check=False)
            ended: int | str = done.returncode
        except subprocess.TimeoutExpired:
            ended = TIMED_OUT
        output.seek(0)
        return ended, output.read().decode(errors="replace")


def _report(target: str, ended: int | str, log: str, crashes: tuple[Path, ...]) -> Report:
    def last(pattern: str) -> int:
        return int((re.findall(pattern, log) or ["0"])[-1])

    executions = last(r"stat::number_of_executed_units: (\d+)") or last(r"#(\d+)\s")
    seconds = last(r"runs in (\d+) second")
    return Report(target, ended, executions, seconds, last(r"cov: (\d+)"), crashes, log)


def _line(report: Report) -> str:
    found = ", ".join(map(str, report.crashes)) or ("none" if report.executions else "the fuzzer did not run")
    return (
        f"{report.target}: {report.executions} executions in {report.seconds} s, coverage {report.coverage}, "
        f"crashes: {found}" + (f"; it ended with {report.ended}" if report.ended else "")
    )


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    sys.exit(main())
