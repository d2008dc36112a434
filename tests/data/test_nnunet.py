"""Data sets of nnU-Net are read as they are, and what is missing in them is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from segadv_monai.data import datalist, identity_of, labelled_cases, labels_of, sections_of
from segadv_monai.protocols import DataError

LABELS = {"background": 0, "organ": 1, "lesion": 5}


def version_2(
    root: Path, names: list[str], channels: int = 1, ending: str = ".nii.gz", **changes: Any
) -> Path:
    for name in names:
        for channel in range(channels):
            touched(root / "imagesTr" / f"{name}_{channel:04d}{ending}")
        touched(root / "labelsTr" / f"{name}{ending}")
    content = {
        "channel_names": {str(channel): "MRI" for channel in range(channels)},
        "labels": LABELS,
        "numTraining": len(names),
        "file_ending": ending,
    }
    return described(root, {**content, **changes})


def version_1(root: Path, names: list[str], channels: int, **changes: Any) -> Path:
    for name in names:
        for channel in range(channels):
            touched(root / "imagesTr" / f"{name}_{channel:04d}.nii.gz")
        touched(root / "labelsTr" / f"{name}.nii.gz")
    content = {
        "name": "old",
        "modality": {str(channel): "MRI" for channel in range(channels)},
        "labels": {"0": "background", "1": "organ"},
        "numTraining": len(names),
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names],
    }
    return described(root, {**content, **changes})


def described(root: Path, content: dict[str, Any]) -> Path:
    root.mkdir(exist_ok=True)
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def touched(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def all_cases(root: Path) -> list[dict[str, Any]]:
    both = datalist(root) + datalist(root, "validation")
    return sorted(both, key=lambda case: case["label"])


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        datalist(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_one_channel_is_one_path(tmp_path: Path, ending: str) -> None:
    version_2(tmp_path, list("abcde"), ending=ending)
    assert all_cases(tmp_path) == [
        {
            "image": str(tmp_path / f"imagesTr/{n}_0000{ending}"),
            "label": str(tmp_path / f"labelsTr/{n}{ending}"),
        }
        for n in "abcde"
    ]
    assert labels_of(tmp_path) == {0: "background", 1: "organ", 5: "lesion"}
    assert sections_of(tmp_path) == ["training", "validation"]
    assert len(labelled_cases(tmp_path, 0.5)) == 2


def test_the_channels_of_a_case_are_a_list_and_names_with_a_number_do_not_clash(tmp_path: Path) -> None:
    version_2(tmp_path, ["a", "a_0000", "b"], channels=2)
    names = [[Path(path).name for path in case["image"]] for case in all_cases(tmp_path)]
    assert names == [[f"{name}_000{channel}.nii.gz" for channel in range(2)] for name in ("a", "a_0000", "b")]


def test_the_colours_of_a_picture_lie_in_one_file(tmp_path: Path) -> None:
    version_2(tmp_path, list("ab"), ending=".png", channel_names={"0": "R", "1": "G", "2": "B"})
    assert all_cases(tmp_path)[0]["image"] == str(tmp_path / "imagesTr/a_0000.png")


def test_paths_that_the_description_names_are_taken(tmp_path: Path) -> None:
    given = {
        name: {"images": [f"x/{name}_t1.nii", f"y/{name}.nii"], "label": f"z/{name}.nii"} for name in "ab"
    }
    version_2(tmp_path, [], channels=2, dataset=given, numTraining=2)
    first = all_cases(tmp_path)[0]
    assert first["image"] == [str(tmp_path / "x/a_t1.nii"), str(tmp_path / "y/a.nii")]
    assert first["label"] == str(tmp_path / "z/a.nii")


def test_a_value_of_several_regions_has_the_name_of_the_smallest(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
    version_2(tmp_path, list("ab"), labels=labels)
    assert labels_of(tmp_path) == {0: "background", 1: "whole", 2: "core", 3: "enhancing", 4: "ignore"}


def test_the_test_images_are_a_list_without_labels(tmp_path: Path) -> None:
    version_2(tmp_path, list("ab"))
    touched(tmp_path / "imagesTs" / "c_0000.nii.gz")
    assert datalist(tmp_path, "test") == [{"image": str(tmp_path / "imagesTs/c_0000.nii.gz")}]


def test_the_set_is_known_again_wherever_it_lies_and_not_after_a_change(tmp_path: Path) -> None:
    one, other = (version_2(tmp_path / name, list("abcde")) for name in ("one", "other"))
    changed = version_2(tmp_path / "changed", list("abcdf"))
    told = [identity_of(root).partition(" ")[2] for root in (one, other, changed)]
    assert told[0] == told[1] != told[2]
    assert told[0].startswith("(4 training, 1 validation ")


def test_a_missing_channel_is_named(tmp_path: Path) -> None:
    version_2(tmp_path, list("ab"), channels=2)
    (tmp_path / "imagesTr" / "b_0001.nii.gz").unlink()
    assert "imagesTr/b: there are the channels 0000, and channel_names of dataset.json has 2" in refusal(
        tmp_path
    )


def test_a_channel_too_many_is_named(tmp_path: Path) -> None:
    version_2(tmp_path, list("ab"))
    touched(tmp_path / "imagesTr" / "b_0001.nii.gz")
    assert "imagesTr/b: there are the channels 0000, 0001, and channel_names" in refusal(tmp_path)


def test_an_image_without_label_and_a_label_without_image_are_named(tmp_path: Path) -> None:
    version_2(tmp_path, list("ab"))
    (tmp_path / "labelsTr" / "b.nii.gz").unlink()
    assert f"b has an image but no label in {tmp_path / 'labelsTr'}" in refusal(tmp_path)
    touched(tmp_path / "labelsTr" / "b.nii.gz")
    (tmp_path / "imagesTr" / "a_0000.nii.gz").unlink()
    assert f"a has a label but no image in {tmp_path / 'imagesTr'}" in refusal(tmp_path)


def test_a_set_that_was_not_unpacked_to_its_end_is_named(tmp_path: Path) -> None:
    version_2(tmp_path, list("ab"), numTraining=3)
    assert "declares 3 training cases and there are 2: fetch the others" in refusal(tmp_path)


@pytest.mark.parametrize("value", ["1", -1, 1.5, True, [], [1, "2"], None])
def test_a_label_without_values_is_named(tmp_path: Path, value: Any) -> None:
    version_2(tmp_path, list("ab"), labels={"background": 0, "lesion": value})
    with pytest.raises(DataError, match="the label 'lesion' has no whole values from 0 on"):
        labels_of(tmp_path)


@pytest.mark.parametrize("entry", [7, {"images": "a.nii", "label": "b.nii"}, {"images": ["a.nii"]}])
def test_a_case_of_the_description_that_is_none_is_named(tmp_path: Path, entry: Any) -> None:
    version_2(tmp_path, [], dataset={"a": entry})
    assert "a of dataset is no {" in refusal(tmp_path)


def test_a_case_of_the_description_with_too_few_channels_is_named(tmp_path: Path) -> None:
    version_2(tmp_path, [], channels=2, dataset={"a": {"images": ["a.nii"], "label": "b.nii"}})
    assert "a of dataset has 1 images, channel_names has 2" in refusal(tmp_path)


# --- version 1


def test_the_channels_of_version_1_are_found(tmp_path: Path) -> None:
    version_1(tmp_path, ["a", "a_0000", "b"], 2, test=["./imagesTs/c.nii.gz"])
    for channel in range(2):
        touched(tmp_path / "imagesTs" / f"c_{channel:04d}.nii.gz")
    names = [[Path(path).name for path in case["image"]] for case in all_cases(tmp_path)]
    assert names == [[f"{name}_000{channel}.nii.gz" for channel in range(2)] for name in ("a", "a_0000", "b")]
    assert datalist(tmp_path, "test") == [
        {"image": [str(tmp_path / f"imagesTs/c_000{channel}.nii.gz") for channel in range(2)]}
    ]
    assert labels_of(tmp_path) == {0: "background", 1: "organ"}


def test_one_channel_of_version_1_is_one_path(tmp_path: Path) -> None:
    version_1(tmp_path, list("ab"), 1)
    assert all_cases(tmp_path)[0]["image"] == str(tmp_path / "imagesTr/a_0000.nii.gz")


def test_a_missing_channel_of_version_1_is_named(tmp_path: Path) -> None:
    version_1(tmp_path, list("ab"), 2)
    (tmp_path / "imagesTr" / "b_0001.nii.gz").unlink()
    assert "b_0001.nii.gz: the channel is not there; modality of dataset.json has 2" in refusal(tmp_path)


def test_a_set_of_the_decathlon_itself_keeps_its_paths(tmp_path: Path) -> None:
    version_1(tmp_path, list("ab"), 1)
    for name in "ab":
        image = tmp_path / "imagesTr" / f"{name}_0000.nii.gz"
        image.rename(image.with_name(f"{name}.nii.gz"))
    assert all_cases(tmp_path)[0]["image"] == str(tmp_path / "imagesTr/a.nii.gz")
