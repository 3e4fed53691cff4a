"""The figures of a run, with a stand-in for the network."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.prediction.predictor import Prediction, Predictor, Unreadable
from mlrpl_cli.core.reports import run_figures
from mlrpl_cli.core.reports.options import FigureOptions
from mlrpl_cli.core.reports.run_figures import draw_run


class Encoder:
    image_size = 32


class StandIn:
    """A predictor that says what it has looked at; images called `bad…` cannot be read."""

    classes = tuple("abc")
    encoder = Encoder()
    class_index = Predictor.class_index
    info = SimpleNamespace(allow_truncated=False)

    def __init__(self) -> None:
        self.looked_at: list[str] = []

    def predict_files(self, paths, batch_size, workers):
        for path in paths:
            self.looked_at.append(path.name)
            if path.name.startswith("bad"):
                yield Unreadable(path, "no image")
            else:
                yield Prediction(path, np.array([0.1, 0.3, 0.2], np.float32), np.ones((3, 2, 2), np.float32))


@pytest.fixture
def predictor(monkeypatch) -> StandIn:
    found = StandIn()
    monkeypatch.setattr(run_figures.Predictor, "from_run", lambda *_: found)
    return found


def make_images(folder: Path, names: list[str]) -> tuple[str, ...]:
    folder.mkdir()
    for name in names:
        Image.new("RGB", (40, 40)).save(folder / name)
    return tuple(str(folder / name) for name in names)


def test_figures_and_unreadable_images_are_told_as_they_come(predictor, tmp_path):
    """Nothing is read before it is its turn, and a figure is written as soon as it is full."""
    names = ["bad.png", *(f"{n}.png" for n in range(9)), "bad2.png"]
    drawn = draw_run(FigureOptions(tmp_path, images=make_images(tmp_path / "in", names)), Silent())
    assert next(drawn).path.name == "bad.png"
    assert predictor.looked_at == names[:1]
    first = next(drawn)
    assert first == tmp_path / "figures" / "attention-1.png"
    assert first.is_file()
    assert predictor.looked_at == names[:9]
    bad, second = drawn
    assert (bad.path.name, second.name) == ("bad2.png", "attention-2.png")


def test_more_classes_than_a_figure_has_room_for_are_refused(predictor, tmp_path):
    predictor.classes = tuple(f"c{n}" for n in range(1000))
    with pytest.raises(ConfigError, match="room for 190 classes an image, not 1000; lower --top-k"):
        next(draw_run(FigureOptions(tmp_path, top_k=5000), Silent()))
