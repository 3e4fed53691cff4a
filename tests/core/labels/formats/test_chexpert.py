"""CheXpert and MIMIC-CXR-JPG: cells by hand under every policy, places, splits, and everything wrong at once."""

from __future__ import annotations

import gzip
from functools import partial
from pathlib import Path

import pytest

from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.labels.formats.published.chexpert import FINDINGS, CheXpert
from mlrpl_cli.core.labels.formats.registry import recognise
from mlrpl_cli.core.labels.records import UNASSIGNED
from tests.core.labels.formats.reading import problem, read, reading_of

_read = partial(read, CheXpert, uncertain="unknown", blank="unknown")
_problem = partial(problem, CheXpert, uncertain="unknown", blank="unknown")
HEADER = ",".join(("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *FINDINGS))
SHOWN = ("No Finding", "Cardiomegaly", "Edema", "Support Devices")


def _row(path: str, **cells: str) -> str:
    told = {name.replace("_", " "): cell for name, cell in cells.items()}
    return ",".join((path, "Female", "68", "Frontal", "AP", *(told.get(finding, "0.0") for finding in FINDINGS)))


TRAIN = {
    "train/patient00001/study1/view1_frontal.jpg": {"No_Finding": "1.0", "Cardiomegaly": "", "Edema": "-1.0"},
    "train/patient00002/study2/view1_frontal.jpg": {"Cardiomegaly": "1.0", "Edema": "0.0", "Support_Devices": "-1"},
}
VALID = {"valid/patient64541/study1/view1_frontal.jpg": {"Cardiomegaly": "1", "Edema": "0"}}
NAMES = (*TRAIN, *VALID)


def _release(root: Path, prefix: str = "CheXpert-v1.0-small/") -> Path:
    for file, rows in (("train.csv", TRAIN), ("valid.csv", VALID)):
        text = "\n".join([HEADER, *(_row(prefix + path, **cells) for path, cells in rows.items())])
        root.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text + "\n")
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize("uncertain", ["unknown", "present", "absent"])
@pytest.mark.parametrize("blank", ["unknown", "absent"])
def test_cells_under_every_policy(tmp_path: Path, uncertain: str, blank: str) -> None:
    """The table by hand, u for a cell of -1 and b for a blank one."""
    u, b = ({"unknown": 0, "present": 1, "absent": -1}[policy] for policy in (uncertain, blank))
    expected = {"No Finding": [1, -1, -1], "Cardiomegaly": [b, 1, 1], "Edema": [u, -1, -1]}
    expected |= {"Support Devices": [-1, u, -1], "Fracture": [-1, -1, -1]}
    root = _release(tmp_path / "CheXpert-v1.0-small")
    assert recognise(root) == ("chexpert", "train.csv has the findings of CheXpert")
    records, reading = reading_of(CheXpert, root, uncertain=uncertain, blank=blank)
    assert records.classes == FINDINGS
    assert records.images == NAMES
    assert records.splits == ("train", "train", "validation")
    for name, cells in expected.items():
        assert records.full_labels[:, FINDINGS.index(name)].tolist() == cells, name
    assert reading.unlisted == f"{blank}: --blank"
    assert reading.notes == [f"uncertain cells, of -1, are {uncertain}: 2"]


def test_without_a_policy_it_asks_for_what_the_cells_need(tmp_path: Path) -> None:
    root = _release(tmp_path)
    message = problem(CheXpert, root)
    assert message == (
        f"{root} has 2 uncertain cells, of -1, and 1 blank ones, which papers read differently: choose --uncertain "
        "unknown, present or absent for cells of -1, and --blank unknown or absent for findings that are not mentioned"
    )
    assert "--blank" not in problem(CheXpert, root, blank="absent")
    assert "--uncertain" not in problem(CheXpert, root, uncertain="absent")
    assert reading_of(CheXpert, root / "valid.csv")[0].splits == ("validation",)
    with pytest.raises(ConfigError, match="has 1 uncertain cells, of -1, and 0 blank ones"):
        reading_of(CheXpert, root, classes=["Edema"])


@pytest.mark.parametrize("folder", ["CheXpert-v1.0-small", "renamed"])
@pytest.mark.parametrize("prefix", ["CheXpert-v1.0-small/", "", "CheXpert-v1.0-small\\"])
def test_names_are_found_wherever_the_release_lies(tmp_path: Path, folder: str, prefix: str) -> None:
    root = _release(tmp_path / folder, prefix)
    records = _read(root)
    assert (records.image_root, records.images) == (root, NAMES)
    (root / "tables").mkdir()
    (root / "train.csv").rename(root / "tables" / "train.csv")
    assert _read(root / "tables", images=root).images == NAMES[:2]


def test_the_release_around_the_images_may_be_named(tmp_path: Path) -> None:
    root = _release(tmp_path / "CheXpert-v1.0-small")
    records = _read(root, images=tmp_path)
    assert records.images == tuple(f"CheXpert-v1.0-small/{name}" for name in NAMES)


def test_a_file_of_another_name_says_no_split_and_warns(tmp_path: Path) -> None:
    root = _release(tmp_path)
    (root / "train.csv").rename(root / "subset.csv")
    records, reading = reading_of(CheXpert, root / "subset.csv", uncertain="absent", blank="absent")
    assert set(records.splits) == {UNASSIGNED}
    assert "so that a patient may be in train and test" in reading.notes[0]


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    root = _release(tmp_path, "")
    rows = [_row(NAMES[0], Edema="maybe"), _row(NAMES[0], Edema="2"), _row("train/gone.jpg"), "a,b", _row("")]
    header = HEADER.replace("Fracture", "Fractures")
    (root / "train.csv").write_text("\n".join([header, *rows]))
    message = _problem(root)
    for part in (
        "2 cells of train.csv are none of 1, 0, -1 and blank (row 2 'Edema': 'maybe', row 3 'Edema': '2')",
        "1 finding has no column in train.csv (Fracture)",
        "1 image is listed twice",
        "1 image is missing (train/gone.jpg)",
        "1 row does not have the header's 19 cells (row 5: 2)",
        "1 name is none that a file can have (an empty one)",
        "--images",
    ):
        assert part in message, message


STUDIES = {("10000032", "50414267"): {"Edema": "1.0"}, ("11000011", "51000011"): {"Edema": "", "Cardiomegaly": "-1.0"}}
DICOMS = (
    ("02aa804e", "50414267", "10000032", "train"),
    ("174413ec", "50414267", "10000032", "train"),
    ("2a2277a9", "51000011", "11000011", "test"),
    ("e084de3b", "59999999", "10000032", "validate"),
)


def _mimic(root: Path, packed: bool = True) -> Path:
    found = sorted(FINDINGS)
    labels = [",".join(("subject_id", "study_id", *found))]
    labels += [",".join((*key, *(cells.get(name, "0.0") for name in found))) for key, cells in STUDIES.items()]
    splits = ["dicom_id,study_id,subject_id,split", *(",".join(row) for row in DICOMS)]
    for name, lines in (("chexpert", labels), ("split", splits)):
        text = "\n".join(lines).encode()
        path = root / f"mimic-cxr-2.0.0-{name}.csv{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(text) if packed else text)
    for image, study, subject, _ in DICOMS:
        path = root / f"files/p{subject[:2]}/p{subject}/s{study}/{image}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.mark.parametrize("packed", [True, False])
def test_mimic_has_a_row_for_each_image_of_a_study(tmp_path: Path, packed: bool) -> None:
    root = _mimic(tmp_path, packed)
    name = f"mimic-cxr-2.0.0-chexpert.csv{'.gz' if packed else ''}"
    assert recognise(root) == ("chexpert", f"{name} has the findings of CheXpert")
    records, reading = reading_of(CheXpert, root, uncertain="present", blank="absent")
    assert records.images == (
        "files/p10/p10000032/s50414267/02aa804e.jpg",
        "files/p10/p10000032/s50414267/174413ec.jpg",
        "files/p11/p11000011/s51000011/2a2277a9.jpg",
    )
    assert records.splits == ("train", "train", "test")
    assert records.classes == FINDINGS
    assert records.full_labels[:, FINDINGS.index("Edema")].tolist() == [1, 1, -1]
    assert records.full_labels[:, FINDINGS.index("Cardiomegaly")].tolist() == [-1, -1, 1]
    assert reading.notes[0] == f"images of studies that {name} does not have are left out: 1"
    assert _read(root / name, images=root / "files").images[0] == "p10/p10000032/s50414267/02aa804e.jpg"


def test_mimic_needs_its_split_file_and_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    root = _mimic(tmp_path, packed=False)
    path = root / "mimic-cxr-2.0.0-split.csv"
    text = path.read_text()
    path.write_text(text.replace("train", "other") + "\n../../x,51000011,11000011,test\n")
    (root / "mimic-cxr-2.0.0-chexpert.csv").open("a").write("\n11000011,51000011" + ",0" * 14)
    message = _problem(root)
    for part in (
        "2 splits of mimic-cxr-2.0.0-split.csv are none of train, validate, test ('other', 'other')",
        "1 study is listed twice (51000011)",
        "1 image is missing (files/p11/p11000011/s51000011/../../x.jpg)",
    ):
        assert part in message, message
    path.write_text(text.replace("dicom_id", "image"))
    assert f"{path} has no column dicom_id, only image, study_id, subject_id, split" in _problem(root)
    path.unlink()
    assert f"{root} needs mimic-cxr-2.0.0-split.csv beside mimic-cxr-2.0.0-chexpert.csv, which says" in _problem(root)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "has nothing in it"),
        (HEADER.encode(), "has a header and no rows"),
        (b"\0\1\2", "no UTF-8 text"),
        (HEADER.replace("Path", "File").encode() + b"\na" + b",0" * 18, "has no column subject_id, only File, Sex"),
        (HEADER.encode() + b'\n"a' + b",0" * 18, "a quote is never closed"),
    ],
)
def test_a_file_that_is_no_such_table(tmp_path: Path, data: bytes, part: str) -> None:
    (tmp_path / "train.csv").write_bytes(data)
    (tmp_path / "mimic-cxr-2.0.0-split.csv").write_bytes(b"dicom_id\na\n")
    assert part in _problem(tmp_path)


def test_missing_files_are_told_and_other_ones_not_recognised(tmp_path: Path) -> None:
    assert f"{tmp_path} has none of train.csv, valid.csv, test.csv, mimic-cxr-" in _problem(tmp_path)
    assert "cannot read" in _problem(tmp_path / "absent.csv")
    (tmp_path / "train.csv").write_text("image,Edema\na.jpg,1\n")
    for root in (tmp_path, tmp_path / "train.csv", tmp_path / "absent", Path("a" * 300)):
        assert CheXpert.recognise(root) is None
