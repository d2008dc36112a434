"""What the Decathlon's own sets lack is made up for in a way that can be repeated, and is told."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from segadv_monai.data import check_dataset, datalist, labels_of
from segadv_monai.protocols import DataError

NAMES = [f"case_{i:02d}" for i in range(12)]
# Test indices of scikit-learn's KFold(5, shuffle=True, random_state=12345) for 12 cases.
FOLDS = [[0, 3, 8], [7, 10, 11], [6, 9], [1, 4], [2, 5]]


def written(root: Path, names: list[str] = NAMES, **changes: Any) -> Path:
    content: dict[str, Any] = {
        "labels": {"0": "background", "1": "organ"},
        "numTraining": len(names),
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names],
    }
    (root / "dataset.json").write_text(json.dumps({**content, **changes}))
    return root


def names_of(root: Path, section: str) -> list[str]:
    return [Path(case["label"]).name.removesuffix(".nii.gz") for case in datalist(root, section)]


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        datalist(root, "validation")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_validation_cases_are_those_of_the_first_fold_of_nnunet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As scikit-learn's ``KFold(5, shuffle=True, random_state=12345)`` draws them from the sorted names."""
    caplog.set_level(logging.INFO, "segadv_monai")
    written(tmp_path, NAMES[::-1])
    assert sorted(names_of(tmp_path, "validation")) == [NAMES[i] for i in FOLDS[0]]
    assert sorted(names_of(tmp_path, "training")) == sorted({*NAMES} - {NAMES[i] for i in FOLDS[0]})
    (line,) = caplog.messages
    assert "has no validation list: 3 of its 12 cases are it, fold 0 of the 5 that nnU-Net draws" in line


@pytest.mark.parametrize("fold", range(5))
def test_another_fold_can_be_chosen(tmp_path: Path, fold: int) -> None:
    written(tmp_path, fold=fold)
    assert names_of(tmp_path, "validation") == [NAMES[i] for i in FOLDS[fold]]


def test_few_cases_make_fewer_folds(tmp_path: Path) -> None:
    written(tmp_path, NAMES[:2])
    assert len(names_of(tmp_path, "validation")) == len(names_of(tmp_path, "training")) == 1
    assert "chooses the fold 2: give one from 0 to 1" in refusal(written(tmp_path, NAMES[:2], fold=2))


def test_a_single_case_is_not_divided(tmp_path: Path) -> None:
    assert "has no cases under 'validation'" in refusal(written(tmp_path, NAMES[:1]))
    assert len(datalist(tmp_path)) == 1


def test_a_set_with_a_validation_list_or_of_ones_own_is_left_as_it_is(tmp_path: Path) -> None:
    cases = [{"image": "a.nii", "label": "a_label.nii"}]
    written(tmp_path, validation=cases)
    assert names_of(tmp_path, "training") == NAMES
    written(tmp_path)
    content = json.loads((tmp_path / "dataset.json").read_text())
    del content["numTraining"]
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    assert names_of(tmp_path, "training") == NAMES
    assert "has no cases under 'validation'" in refusal(tmp_path)


# --- splits_final.json


def split(root: Path, content: Any) -> None:
    (root / "splits_final.json").write_text(content if isinstance(content, str) else json.dumps(content))


def test_the_splits_of_nnunet_are_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "segadv_monai")
    folds = [{"train": NAMES[2:11], "val": NAMES[:2]}, {"train": NAMES[:6], "val": NAMES[6:]}]
    split(written(tmp_path), folds)
    assert names_of(tmp_path, "validation") == NAMES[:2]
    assert names_of(tmp_path, "training") == NAMES[2:11]
    assert caplog.messages == [
        f"{tmp_path} has no validation list: 2 cases are it, by fold 0 of splits_final.json"
    ]
    written(tmp_path, fold=1)
    assert names_of(tmp_path, "validation") == NAMES[6:]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "is not valid JSON"),
        ({}, "has 0 folds, and fold 0 is chosen"),
        ([{"train": NAMES[:6]}], "fold 0 is no {"),
        ([{"train": NAMES[:6], "val": [7]}], "fold 0 is no {"),
        ([[1]], "fold 0 is no {"),
        ([{"train": NAMES[:6], "val": ["gone"]}], "names gone, and there is no such case"),
        ([{"train": NAMES[:6], "val": NAMES[5:]}], "has case_05 in train and in val of fold 0"),
    ],
)
def test_splits_that_cannot_be_are_named(tmp_path: Path, content: Any, message: str) -> None:
    split(written(tmp_path), content)
    assert f"splits_final.json {message}" in refusal(tmp_path).replace("json: ", "json ")


# --- forms of the Decathlon


def test_the_test_cases_may_be_strings(tmp_path: Path) -> None:
    written(tmp_path, test=["./imagesTs/a.nii.gz", {"image": "b.nii.gz"}])
    paths = [case["image"] for case in datalist(tmp_path, "test")]
    assert paths == [str(tmp_path / "imagesTs/a.nii.gz"), str(tmp_path / "b.nii.gz")]


def test_labels_may_be_a_list_of_names(tmp_path: Path) -> None:
    assert labels_of(written(tmp_path, labels=["background", "liver", "spleen"])) == {
        0: "background",
        1: "liver",
        2: "spleen",
    }


def test_a_list_of_one_file_is_that_file(tmp_path: Path) -> None:
    written(tmp_path, training=[{"image": ["a.nii"], "label": ["b.nii"]}], validation=[])
    assert datalist(tmp_path) == [{"image": str(tmp_path / "a.nii"), "label": str(tmp_path / "b.nii")}]


def test_other_files_of_a_case_get_their_paths_too(tmp_path: Path) -> None:
    (tmp_path / "mask.nii").touch()
    case = {"image": "a.nii", "label": "b.nii", "mask": "mask.nii", "age": 7, "site": "x", "note": "n" * 999}
    (found,) = datalist(written(tmp_path, training=[case], validation=[]))
    assert found["mask"] == str(tmp_path / "mask.nii")
    assert (found["age"], found["site"]) == (7, "x")


@pytest.mark.parametrize("name", ["hippocampus", "brain_tumour", "camvid"])
def test_real_sets_are_left_as_they_are(shared_data: Path, name: str) -> None:
    content = json.loads((shared_data / name / "dataset.json").read_text())
    for section in ("training", "validation"):
        assert len(datalist(shared_data / name, section)) == len(content[section])


def test_a_set_of_nnunet_passes_the_check(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGADV_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "Dataset004_Hippocampus"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for number, case in enumerate(datalist(shared_data / "hippocampus")[:6]):
        (root / "imagesTr" / f"case{number}_0000.nii.gz").symlink_to(case["image"])
        (root / "labelsTr" / f"case{number}.nii.gz").symlink_to(case["label"])
    labels = {"background": 0, "anterior": 1, "posterior": 2}
    content = {"channel_names": {"0": "MRI"}, "labels": labels, "numTraining": 6, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(content))
    report = check_dataset(str(root), spatial_dims=3, in_channels=1)
    assert report.cases == {"training": 4, "validation": 2}
    assert report.of("error") == []
