"""The rendered data set: the same bytes everywhere, and scenes as their options promise."""

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score

from mlrpl_cli.core.backbones.backbone import CLIP_RULE
from mlrpl_cli.core.backbones.openai.architectures import build_image_encoder, build_text_encoder
from mlrpl_cli.core.backbones.openai.tokenizer import tokenize
from mlrpl_cli.core.backbones.tiny import TINY_PATH, tiny_state
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.formats import scenes as scenes_format
from mlrpl_cli.core.labels.formats.scenes import FIRST_TEST_INDEX, Scenes, object_masks
from mlrpl_cli.core.labels.records import Reading
from mlrpl_cli.core.labels.states import ABSENT, PRESENT
from mlrpl_cli.core.scenes import canvas as drawing
from mlrpl_cli.core.scenes.objects import OBJECTS
from mlrpl_cli.core.scenes.pen import Pen, RandomStream
from mlrpl_cli.core.scenes.rendering import ALIKE, SCENE_CLASSES, SceneOptions, render_scene
from scripts.captions import caption, render_captioned

GOLDEN_SCENES = "ce06cd48b768a87db825dbebdbfd9504930b6f72db73d839ae3d6651f3147745"
GOLDEN_CAPTIONED = "375581f9c483ecd0f7aba5dace59d0afa1791e8efecdde3a2e8f73512b38b9ec"


@pytest.fixture(scope="module")
def rendered():
    return [render_scene(0, index) for index in range(150)]


def test_scenes_have_the_same_pixels_on_every_machine():
    digest = hashlib.sha256()
    for index in (0, 1, 2, 3, FIRST_TEST_INDEX):
        scene = render_scene(0, index)
        states = np.where(scene.present, PRESENT, ABSENT).astype(np.int8)
        digest.update(scene.pixels.tobytes() + states.tobytes() + np.packbits(scene.masks).tobytes())
    assert digest.hexdigest() == GOLDEN_SCENES


def test_captioned_images_have_the_same_pixels_and_captions_on_every_machine():
    digest = hashlib.sha256()
    for index in range(20):
        pixels, shown = render_captioned(0, index)
        captions = [caption(0, index, epoch, shown) for epoch in (1, 2)]
        digest.update(pixels.tobytes() + "\n".join(captions).encode())
    assert digest.hexdigest() == GOLDEN_CAPTIONED


def test_the_docs_say_the_checksums_of_what_ships():
    page = (Path(__file__).parents[3] / "docs" / "tiny.md").read_text(encoding="utf-8")
    for checksum in (GOLDEN_SCENES, GOLDEN_CAPTIONED, hashlib.sha256(TINY_PATH.read_bytes()).hexdigest()):
        assert checksum in page


def test_object_masks_are_those_of_the_scenes_and_cover_the_present_classes():
    """Rendered again from the file names alone, every fourth pixel of the full masks."""
    names = ["images/train/00003.png", "images/test/00000.png"]
    rows, columns, masks = object_masks(names, 0, ("mug", "car", "flower"))
    found = {(row, column): mask for row, column, mask in zip(rows, columns, masks, strict=True)}
    for row, index in enumerate((3, FIRST_TEST_INDEX)):
        scene = render_scene(0, index)
        for column, name in enumerate(("mug", "car", "flower")):
            whole = scene.masks[SCENE_CLASSES.index(name)]
            assert ((row, column) in found) == scene.present[SCENE_CLASSES.index(name)]
            if (row, column) in found:
                np.testing.assert_array_equal(found[row, column], whole[2::4, 2::4])


@pytest.mark.parametrize("name", ["images/test/photo.png", "test/../../00000.png", "00000.png", "test/00000.png\n"])
def test_only_scenes_have_object_masks(name):
    with pytest.raises(DataError, match=r"^expected scenes, as test/00000.png, got "):
        object_masks([name], 0, ("mug",))
    with pytest.raises(DataError, match=r"^expected classes of scenes, got '?walrus"):
        object_masks(["test/00000.png"], 0, ("mug", "walrus"))


def test_classes_that_look_alike_are_classes_each_once():
    alike = [name for pair in ALIKE for name in pair]
    assert set(alike) < set(SCENE_CLASSES)
    assert len(alike) == len(set(alike))


def test_seed_and_index_each_make_another_scene():
    first = render_scene(0, 0).pixels
    assert not np.array_equal(first, render_scene(0, 1).pixels)
    assert not np.array_equal(first, render_scene(1, 0).pixels)


def test_shapes_types_and_states(rendered):
    scene = rendered[0]
    assert scene.pixels.shape == (256, 256, 3)
    assert scene.pixels.dtype == np.uint8
    assert scene.present.dtype == bool
    assert scene.masks.shape == (len(SCENE_CLASSES), 256, 256)
    assert set(np.unique([scene.present for scene in rendered])) == {False, True}


def test_a_class_is_present_exactly_where_its_mask_has_pixels(rendered):
    for scene in rendered:
        np.testing.assert_array_equal(scene.masks.any(axis=(1, 2)), scene.present)
        assert scene.masks.sum(axis=0).max() <= 1  # a pixel shows one object


def test_two_to_eight_classes_an_image(rendered):
    counts = [scene.present.sum() for scene in rendered]
    assert min(counts) >= 2
    assert max(counts) == 8


def test_class_frequencies_are_unequal():
    """The rarest class is in about 10% of the images and the commonest in about 45%: within 3 standard errors."""
    share = np.mean([render_scene(1, index).present for index in range(300)], axis=0)
    assert 0.05 < share.min() < 0.16
    assert 0.36 < share.max() < 0.54


def test_an_object_keeps_its_share_visible():
    """Eight objects on one canvas: some are covered, none by more than half of its own pixels."""
    canvas = drawing.Canvas(RandomStream("test"), SceneOptions(minimum_visible=0.5, clutter=(0, 0)))
    random = RandomStream("test-objects")
    areas = {}
    for label, name in enumerate(SCENE_CLASSES[:8]):
        patch = drawing.draw_object(random, name, "red", "blue", 80, 30)
        if canvas.place(patch, label):
            areas[label] = (np.asarray(patch)[..., 3] >= 128).sum()
    masks = canvas.class_masks()
    assert len(areas) >= 4
    assert all(masks[label].sum() >= 0.5 * area for label, area in areas.items())
    assert any(masks[label].sum() < area for label, area in areas.items())  # something was covered


@pytest.mark.parametrize("name", SCENE_CLASSES)
def test_every_object_keeps_its_size(name):
    """The longer side of an object drawn at 80 px is between 60 and 112 px, turned or not."""
    for angle in (0, 30):
        pen = Pen(RandomStream(name, angle), 80, angle, 1.0, flip=False)
        OBJECTS[name](pen, (200, 40, 40), (40, 40, 200))
        assert 60 <= max(pen.patch().size) <= 112


def test_options_change_the_scene():
    calm = SceneOptions(clutter=(0, 0), foreground_clutter=(0, 0), noise=(0, 0), brightness=0.0)
    one = SceneOptions(class_counts=(1.0,), second_instance=0.0)
    assert render_scene(0, 0, one).present.sum() == 2
    assert not np.array_equal(render_scene(0, 0, calm).pixels, render_scene(0, 0).pixels)


def test_pre_training_shares_no_random_value_with_scenes():
    assert RandomStream("scenes", 0, 0).uniform(0, 1) != RandomStream("captioned", 0, 0).uniform(0, 1)


def test_written_scenes_are_the_rendered_ones(tmp_path):
    records = Scenes(train_images=3, test_images=2, scenes_seed=5).read(Reading(tmp_path, Silent()))
    assert records.images[0] == "images/train/00000.png"
    assert records.images[-1] == "images/test/00001.png"
    assert records.splits == ("train",) * 3 + ("test",) * 2
    assert records.classes == SCENE_CLASSES
    for name, labels, index in zip(
        records.images, records.full_labels, [0, 1, 2, FIRST_TEST_INDEX, FIRST_TEST_INDEX + 1], strict=True
    ):
        scene = render_scene(5, index)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / name)), scene.pixels)
        np.testing.assert_array_equal(labels, np.where(scene.present, PRESENT, ABSENT))


def test_the_number_of_workers_changes_no_byte(tmp_path, monkeypatch):
    for processes in (1, 2):
        monkeypatch.setattr(scenes_format.os, "cpu_count", lambda processes=processes: processes)
        Scenes(train_images=60, test_images=8).read(Reading(tmp_path / str(processes), Silent()))
    files = [
        {
            path.relative_to(tmp_path / str(processes)): path.read_bytes()
            for path in tmp_path.glob(f"{processes}/**/*.png")
        }
        for processes in (1, 2)
    ]
    assert len(files[0]) == 68
    assert all(first == second for first, second in pairwise(files))


def test_a_read_only_folder_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write"):
        Scenes(train_images=2, test_images=1).read(Reading(tmp_path / "file", Silent()))


def test_tiny_is_small_enough_for_the_package():
    visual = [tensor for name, tensor in tiny_state().items() if name.startswith("visual.")]
    assert TINY_PATH.stat().st_size <= 8_000_000
    assert 1_500_000 <= sum(tensor.numel() for tensor in visual) <= 2_500_000


def test_tiny_recognises_scenes_without_training():
    """Zero-shot mAP on 64 test scenes, against the same scores given to the scenes in another order."""
    state = tiny_state()
    visual, text = build_image_encoder(state), build_text_encoder(state)
    shown = [render_scene(0, FIRST_TEST_INDEX + index) for index in range(64)]
    pixels = torch.from_numpy(np.stack([scene.pixels for scene in shown])).permute(0, 3, 1, 2)
    present = np.stack([scene.present for scene in shown])
    with torch.no_grad():
        images = visual(CLIP_RULE.normalize(pixels)).pooled
        prompts = text.encode_tokens(tokenize([f"a photo of a {name}" for name in SCENE_CLASSES]))
    scores = torch.nn.functional.cosine_similarity(images[:, None], prompts[None], dim=-1).numpy()
    assert average_precision_score(present, scores) > 3 * average_precision_score(present, np.roll(scores, 1, axis=0))
