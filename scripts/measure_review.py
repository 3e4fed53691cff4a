"""Measure how long it takes on the page of `mlrpl review` from a key press until the next question is painted.

    python -m scripts.measure_review PREPARED [RUN]

PREPARED is a folder such as `mlrpl prepare --dataset scenes --keep 0.3` makes, RUN a run on it. A headless Chromium
(the system's, or the program that MLRPL_CHROMIUM names; `pip install playwright`) presses Y, N and U, and the server
trains meanwhile, as it does after every few answers. A press begins with its event and ends in the frame after the one
in which the next image stands there whole. Of one class each press leads to another image; of what tells most it may
lead to another class of the same one.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from scripts.review_demo import served

PRESSES, PAUSE = 150, 120
"""Of each queue, and milliseconds between the end of one and the next."""
KEYS = "ynyu"
WATCH = """
window.took = [];
window.addEventListener("keydown", (event) => { // after the page itself has heard it
  const ends = () => {
    const image = document.querySelector("#one .frame img");
    const whole = image && image.complete && image.naturalWidth;
    if (!whole) requestAnimationFrame(ends);
    else requestAnimationFrame(() => requestAnimationFrame(() => {
      const training = document.querySelector("#learning").dataset.state !== "idle";
      window.took.push([performance.now() - event.timeStamp, training]);
    }));
  };
  ends();
});
"""


def main() -> None:
    program = os.environ.get("MLRPL_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if len(sys.argv) not in (2, 3) or program is None:
        sys.exit(f"{(__doc__ or '').strip()}\n\nThere has to be a Chromium; got {program}.")
    from playwright.sync_api import sync_playwright

    run = ("--run", *sys.argv[2:]) if sys.argv[2:] else ()
    with (
        tempfile.TemporaryDirectory() as place,
        served(Path(sys.argv[1]), Path(place) / "answers.sqlite", *run, errors=subprocess.DEVNULL) as told,
        sync_playwright() as driver,
    ):
        sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        page = driver.chromium.launch(executable_path=program, args=sandbox).new_page()
        page.add_init_script(WATCH)
        print(f"{os.cpu_count()} cores, {told['images']} images, {told['classes']} classes")
        for by in ("class", "suggested"):
            found = pressed(page, f"{told['url']}#mode=one&by={by}")
            print(f"{by}: {summary(found)}")


def pressed(page: Any, address: str) -> list[tuple[float, bool]]:
    """Of each press milliseconds, and whether the model was being trained."""
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector('#learning[data-state="idle"]', timeout=600_000)
    page.wait_for_selector("#one .frame img")
    for press in range(PRESSES):
        page.keyboard.press(KEYS[press % len(KEYS)])
        while page.evaluate("window.took.length") <= press:
            page.wait_for_timeout(5)
        page.wait_for_timeout(PAUSE)
    return [(float(took), training) for took, training in page.evaluate("window.took")]


def summary(found: list[tuple[float, bool]]) -> str:
    """Of all presses, and how many of them while the model was being trained."""
    took = sorted(each for each, _ in found)
    late, training = took[int(0.95 * len(took))], [each for each, of in found if of]
    while_training = (
        f"; {len(training)} while it was trained, median {statistics.median(training):.0f}" if training else ""
    )
    return f"{len(took)} presses, median {statistics.median(took):.0f} ms, 95% below {late:.0f} ms{while_training}"


if __name__ == "__main__":
    main()
