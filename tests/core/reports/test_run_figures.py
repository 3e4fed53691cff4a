"""The figures of a run, with a stand-in for the network."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mlrpl_cli.core.io.errors import ConfigError, DataError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.prediction.images import Prediction, Unreadable
from mlrpl_cli.core.prediction.predictor import Predictor
from mlrpl_cli.core.reports import run_figures
from mlrpl_cli.core.reports.names import picture_name
from mlrpl_cli.core.reports.options import FigureOptions
from mlrpl_cli.core.reports.run_figures import Shown, draw_run


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
        self.learnable: tuple[bool, ...] | None = None
        self.notice: str | None = None

    def predict_files(self, paths, batch_size, workers):
        for path in paths:
            self.looked_at.append(path.name)
            if path.name.startswith("bad"):
                yield Unreadable(path, "no image")
            else:
                scores, attention = np.array([0.1, 0.3, 0.2], np.float32), np.ones((3, 2, 2), np.float32)
                yield Prediction(path, scores, attention, self.learnable)


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


def test_titles_are_of_the_most_probable_or_the_chosen_classes_and_say_what_could_not_be_learned(predictor):
    predictor.learnable = (True, False, True)
    (result,) = predictor.predict_files([Path("x.png")], 1, 0)
    maps, titles = Shown(predictor, [], 2).of(result)
    assert (maps.shape, titles) == ((2, 2, 2), ["b 0.30 (could not be learned)", "c 0.20"])
    assert Shown(predictor, [0], 2).of(result)[1] == ["a 0.10"]
    predictor.learnable = None
    (result,) = predictor.predict_files([Path("x.png")], 1, 0)
    assert Shown(predictor, [1], 2).of(result)[1] == ["b 0.30"]


def test_each_image_has_a_picture_of_its_own_whatever_others_are_called(predictor, tmp_path):
    paths = [*make_images(tmp_path / "a", ["x.png", "x.bmp", "bad.png"]), *make_images(tmp_path / "b", ["x.png"])]
    options = FigureOptions(tmp_path, out=tmp_path / "out", images=tuple(paths), each=True)
    drawn = list(draw_run(options, Silent()))
    assert [type(one) for one in drawn].count(Unreadable) == 1
    pictures = [one for one in drawn if isinstance(one, Path)]
    assert len(set(pictures)) == 3
    assert sorted(pictures) == sorted((tmp_path / "out").iterdir())
    assert {Image.open(picture).size[0] for picture in pictures} == {2 * 1600 + 20}
    before = {picture: picture.read_bytes() for picture in pictures}
    assert [one for one in draw_run(options, Silent()) if isinstance(one, Path)] == pictures
    assert {picture: picture.read_bytes() for picture in pictures} == before


@pytest.mark.parametrize("content", [b"notes", None])
def test_a_file_that_is_no_picture_of_ours_is_not_replaced(predictor, tmp_path, content):
    images = make_images(tmp_path / "in", ["x.png"])
    foreign = tmp_path / "out" / picture_name(Path(images[0]))
    foreign.parent.mkdir()
    foreign.write_bytes(content or Path(images[0]).read_bytes())
    before = foreign.read_bytes()
    with pytest.raises(DataError, match="is there and mlrpl did not draw it; name another folder with --out"):
        list(draw_run(FigureOptions(tmp_path, out=foreign.parent, images=images, each=True), Silent()))
    assert foreign.read_bytes() == before


def test_a_picture_of_its_own_has_room_for_fewer_classes(predictor, tmp_path):
    predictor.classes = tuple(f"c{n}" for n in range(1000))
    with pytest.raises(ConfigError, match="room for 23 classes an image, not 24; lower --top-k"):
        next(draw_run(FigureOptions(tmp_path, top_k=24, each=True), Silent()))
