import json
from pathlib import Path
from typing import Any

import pytest

from segadv_monai.data import (
    datalist,
    identity_of,
    labelled_cases,
    labels_of,
    sections_of,
    unlabelled_cases,
)
from segadv_monai.protocols import ConfigError, DataError

CONTENT: dict[str, Any] = {
    "name": "toy",
    "labels": {"0": "background", "1": "lesion"},
    "training": [{"image": "./images/a.png", "label": "./labels/a.png"}],
    "validation": [{"image": "./images/b.png", "label": "./labels/b.png"}],
}


def written(directory: Path, **changes: Any) -> Path:
    content = {key: value for key, value in {**CONTENT, **changes}.items() if value is not None}
    (directory / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return directory


def one_line(caught: pytest.ExceptionInfo[DataError]) -> bool:
    return "\n" not in str(caught.value)


def test_a_data_set_has_absolute_paths_and_integer_labels(tmp_path: Path) -> None:
    written(tmp_path)
    assert labels_of(tmp_path) == {0: "background", 1: "lesion"}
    assert datalist(tmp_path) == [
        {"image": str(tmp_path / "images" / "a.png"), "label": str(tmp_path / "labels" / "a.png")}
    ]
    assert datalist(tmp_path, "validation")[0]["image"] == str(tmp_path / "images" / "b.png")


def test_a_relative_folder_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    assert datalist(tmp_path.name) == datalist(tmp_path)


def test_a_data_set_is_known_again_wherever_it_lies_and_not_after_a_change(tmp_path: Path) -> None:
    for name in ("here", "there", "changed"):
        (tmp_path / name).mkdir()
    here, there = written(tmp_path / "here"), written(tmp_path / "there")
    changed = written(tmp_path / "changed", training=CONTENT["validation"])
    assert identity_of(here) == identity_of(there) != identity_of(changed)
    assert identity_of(here).startswith("toy (1 training, 1 validation ")


def test_an_image_may_be_a_list_of_files_that_become_its_channels(tmp_path: Path) -> None:
    written(tmp_path, training=[{"image": ["a.nii.gz", "b.nii.gz"], "label": "c.nii.gz"}])
    assert datalist(tmp_path)[0]["image"] == [str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nii.gz")]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent: there is no such folder; set dataset_dir") as caught:
        datalist(str(tmp_path / "absent"))
    assert one_line(caught)


def test_a_folder_without_dataset_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no dataset\.json: write one") as caught:
        labels_of(tmp_path)
    assert one_line(caught)


@pytest.mark.parametrize("text", ['{"training": [', "", "\xff"])
def test_invalid_json_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"dataset\.json is not valid JSON .*: mend it") as caught:
        datalist(tmp_path)
    assert one_line(caught)


def test_json_that_is_no_object_is_named(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(DataError, match="holds a list: it must be an object"):
        datalist(tmp_path)


@pytest.mark.parametrize("value", [None, [], "case.png", {"image": "a"}])
def test_a_missing_or_empty_section_is_named_with_those_that_exist(tmp_path: Path, value: Any) -> None:
    written(tmp_path, validation=value)
    with pytest.raises(DataError, match=r"has no cases under 'validation': it has training; add") as caught:
        datalist(tmp_path, "validation")
    assert one_line(caught)
    assert len(datalist(tmp_path)) == 1


def test_a_file_without_any_section_is_named(tmp_path: Path) -> None:
    written(tmp_path, training=None, validation=None)
    with pytest.raises(DataError, match="it has no list of cases"):
        datalist(tmp_path, "test")


@pytest.mark.parametrize(
    ("entry", "missing"),
    [
        ({"image": "a.png"}, "no label"),
        ({"label": "a.png"}, "no image"),
        ({"image": None, "label": ""}, "no image and no label"),
        ({"image": [], "label": "a.png"}, "no image"),
        ({"image": [3], "label": "a.png"}, "no image"),
        ("a.png", "no image and no label"),
    ],
)
def test_an_entry_without_image_or_label_is_named_by_its_number(
    tmp_path: Path, entry: Any, missing: str
) -> None:
    written(tmp_path, training=[*CONTENT["training"], entry])
    with pytest.raises(DataError, match=f"entry 1 of 'training' has {missing}: give each case") as caught:
        datalist(tmp_path)
    assert one_line(caught)


@pytest.mark.parametrize(("labels", "wrong"), [({"0": "a", ">0": "b"}, "'>0'"), ({"skin": 0}, "'skin'")])
def test_label_keys_that_are_not_integers_are_named(tmp_path: Path, labels: Any, wrong: str) -> None:
    written(tmp_path, labels=labels)
    with pytest.raises(DataError, match=f"the keys of labels must be integers, got {wrong}: write") as caught:
        labels_of(tmp_path)
    assert one_line(caught)


@pytest.mark.parametrize("labels", [None, {}, ["background"]])
def test_missing_labels_are_named(tmp_path: Path, labels: Any) -> None:
    written(tmp_path, labels=labels)
    with pytest.raises(DataError, match=r"names no labels: write for example"):
        labels_of(tmp_path)


# --- semi-supervised sets

FIVE = [{"image": f"{name}.png", "label": f"{name}_label.png"} for name in "abcde"]


def names(cases: list[dict[str, Any]], key: str = "image") -> str:
    return "".join(Path(case[key]).stem for case in cases)


def test_the_first_cases_keep_their_labels_and_no_label_of_the_others_is_told(tmp_path: Path) -> None:
    """Keeps D10."""
    written(
        tmp_path, training=FIVE, unlabelled=[{"image": "f.png"}, {"image": "g.png", "label": "g_label.png"}]
    )
    assert labelled_cases(tmp_path, 0.4) == datalist(tmp_path)[:2]
    others = unlabelled_cases(tmp_path, 0.4)
    assert names(others) == "cdefg"
    assert {key for case in others for key in case} == {"image"}
    assert all(Path(case["image"]).is_absolute() for case in others)


def test_all_training_cases_are_labelled_if_no_number_is_given(tmp_path: Path) -> None:
    written(tmp_path, training=FIVE, unlabelled=[{"image": "f.png"}])
    assert labelled_cases(tmp_path) == datalist(tmp_path)
    assert names(unlabelled_cases(tmp_path)) == "f"
    assert names(datalist(tmp_path, "unlabelled")) == "f"


def test_a_set_without_unlabelled_cases_is_named(tmp_path: Path) -> None:
    written(tmp_path, training=FIVE)
    for share in ((), (1.0,)):
        with pytest.raises(DataError, match=r'json has no unlabelled cases, .*: add "unlabelled"') as caught:
            unlabelled_cases(tmp_path, *share)
        assert one_line(caught)


@pytest.mark.parametrize("share", [0, 0.05, 1.1, -1, float("nan")])
def test_a_share_of_no_case_or_of_more_than_all_is_one_line(tmp_path: Path, share: float) -> None:
    written(tmp_path, training=FIVE)
    for function in (labelled_cases, unlabelled_cases):
        with pytest.raises(ConfigError, match=r"of the 5 training cases .* a share from 0\.2 to 1") as caught:
            function(tmp_path, share)
        assert "\n" not in str(caught.value)


def test_an_unlabelled_entry_needs_an_image_alone(tmp_path: Path) -> None:
    written(tmp_path, unlabelled=[{"image": "f.png", "label": None}, {"label": "g.png"}])
    with pytest.raises(DataError, match="entry 1 of 'unlabelled' has no image: give each case an image, as"):
        datalist(tmp_path, "unlabelled")


def test_the_lists_of_a_training_are_told_with_the_unlabelled_one_if_it_is_there(tmp_path: Path) -> None:
    assert sections_of(written(tmp_path)) == ["training", "validation"]
    assert sections_of(written(tmp_path, unlabelled=[{"image": "f.png"}]))[-1] == "unlabelled"


def test_the_first_key_that_a_case_has_is_its_label(tmp_path: Path) -> None:
    cases = [
        {"image": "a.png", "label": "silver.png", "gold": "gold.png"},
        {"image": "b.png", "gold": "b_gold.png"},
    ]
    for name in ("silver.png", "gold.png", "b_gold.png"):
        (tmp_path / name).touch()
    written(tmp_path, training=cases, validation=[{"image": "c.png", "label": "silver.png"}])
    keys = ("gold", "label")
    assert [case["label"] for case in datalist(tmp_path, label_keys=keys)] == [
        str(tmp_path / "gold.png"),
        str(tmp_path / "b_gold.png"),
    ]
    assert datalist(tmp_path, "validation", keys)[0]["label"] == str(tmp_path / "silver.png")
    with pytest.raises(DataError, match="entry 1 of 'training' has no label"):
        datalist(tmp_path)
