"""What no single file tells: leaks, repeats, volumes unlike the rest, labels that nobody has."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from segadv_monai.data import DataReport, check_dataset
from segadv_monai.protocols import DataError

NAMES = "abcde"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGADV_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for i, name in enumerate(NAMES):
        put(tmp_path, name, np.diag([1.0, 1, 2, 1]), seed=i)
    entries = [{"image": f"{name}.nii", "label": f"{name}_label.nii"} for name in NAMES]
    labels = {"0": "background", "1": "liver"}
    content = {"labels": labels, "training": entries[:3], "validation": entries[3:]}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    return tmp_path


def put(root: Path, name: str, affine: NDArray[Any], *, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=(4, 5, 6)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(noise, affine), root / f"{name}.nii")
    nibabel.save(nibabel.Nifti1Image((noise > 0).astype(np.uint8), affine), root / f"{name}_label.nii")


def copy(root: Path, source: str, target: str) -> None:
    (root / target).write_bytes((root / source).read_bytes())


def looked_at(root: Path, **arguments: Any) -> DataReport:
    return check_dataset(str(root), spatial_dims=3, in_channels=1, **arguments)


def only(report: DataReport, severity: Any) -> str:
    (finding,) = report.findings
    assert finding.severity == severity
    return finding.message


def test_a_set_of_equals_gives_no_finding(dataset: Path) -> None:
    assert looked_at(dataset).findings == ()


def test_an_image_of_training_in_validation_stops_the_run(dataset: Path) -> None:
    """Keeps D5."""
    copy(dataset, "b.nii", "e.nii")
    expected = r"e\.nii of validation is the same image as .*b\.nii of training: .* or set allow_shared\.$"
    with pytest.raises(DataError, match=expected):
        looked_at(dataset)
    looked_at(dataset, sections=["validation"])


def test_it_may_be_allowed(dataset: Path) -> None:
    """Keeps D5."""
    copy(dataset, "b.nii", "e.nii")
    assert "e.nii of validation is the same image" in only(looked_at(dataset, allow_shared=True), "warning")


def test_an_image_twice_in_one_section_is_a_warning(dataset: Path) -> None:
    copy(dataset, "a.nii", "c.nii")
    assert only(looked_at(dataset), "warning").endswith("a.nii of training are the same image.")


def test_two_images_with_one_channel_in_common_are_two(dataset: Path) -> None:
    content = json.loads((dataset / "dataset.json").read_text())
    content["training"][0]["image"] = ["a.nii", "b.nii"]
    content["training"][1]["image"] = ["a.nii", "c.nii"]
    del content["training"][2]
    (dataset / "dataset.json").write_text(json.dumps(content))
    report = check_dataset(str(dataset), sections=["training"], spatial_dims=3, in_channels=2)
    assert report.findings == ()


def test_a_spacing_far_from_the_rest_is_a_warning(dataset: Path) -> None:
    put(dataset, "b", np.diag([1.0, 1, 6.1, 1]), seed=9)
    message = only(looked_at(dataset), "warning")
    assert "b.nii has the spacing 1 x 1 x 6.1 mm, far from the set's median 1 x 1 x 2 mm" in message


def test_a_spacing_within_three_times_the_rest_is_none(dataset: Path) -> None:
    put(dataset, "b", np.diag([1.0, 0.4, 5.9, 1]), seed=9)
    assert looked_at(dataset).findings == ()


def test_spacings_are_compared_along_the_body_and_not_along_the_array(dataset: Path) -> None:
    turned = np.array([[0, 0, 1.0, 0], [0, 1, 0, 0], [8, 0, 0, 0], [0, 0, 0, 1]])
    put(dataset, "b", turned, seed=9)
    messages = [finding.message for finding in looked_at(dataset).of("warning")]
    assert any("spacing 1 x 1 x 8 mm" in message for message in messages)


def test_an_orientation_unlike_the_rest_is_a_warning(dataset: Path) -> None:
    put(dataset, "b", np.diag([-1.0, -1, 2, 1]), seed=9)
    message = only(looked_at(dataset), "warning")
    assert "b.nii is stored as LPS, most of the set as RAS: the config must turn them alike" in message


def test_a_label_that_nobody_has_is_a_warning(dataset: Path) -> None:
    content = json.loads((dataset / "dataset.json").read_text())
    content["labels"]["2"] = "spleen"
    (dataset / "dataset.json").write_text(json.dumps(content))
    assert only(looked_at(dataset), "warning") == "label 2 (spleen) occurs in no case."


def test_empty_labels_are_counted(dataset: Path) -> None:
    for name in "bd":
        empty = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.diag([1.0, 1, 2, 1]))
        nibabel.save(empty, dataset / f"{name}_label.nii")
    assert only(looked_at(dataset), "notice") == "2 of 5 labels are empty: they hold 0 alone."


# --- unlabelled cases


def without_labels(root: Path, *names: str) -> Path:
    content = json.loads((root / "dataset.json").read_text())
    content["unlabelled"] = [{"image": f"{name}.nii"} for name in names]
    (root / "dataset.json").write_text(json.dumps(content))
    return root


SECTIONS = ("training", "validation", "unlabelled")


def test_unlabelled_images_are_read_and_counted(dataset: Path) -> None:
    put(dataset, "f", np.diag([1.0, 1, 2, 1]), seed=9)
    for known in (0, 6):
        report = looked_at(without_labels(dataset, "f"), sections=SECTIONS)
        assert report.cases == {"training": 3, "validation": 2, "unlabelled": 1}
        assert report.findings == ()
        assert "f.nii" in report.hashes
        assert "f_label.nii" not in report.hashes
        assert report.known == known


def test_an_unlabelled_image_that_is_damaged_or_in_validation_stops_the_run(dataset: Path) -> None:
    """Keeps D1, D5."""
    copy(dataset, "e.nii", "f.nii")
    with pytest.raises(DataError, match=r"f\.nii of unlabelled is the same image as .*e\.nii of validation"):
        looked_at(without_labels(dataset, "f"), sections=SECTIONS)
    (dataset / "f.nii").write_bytes((dataset / "e.nii").read_bytes()[:-9])
    with pytest.raises(DataError, match=r"f\.nii"):
        looked_at(dataset, sections=SECTIONS)
