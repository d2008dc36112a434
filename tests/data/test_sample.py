import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from segadv_monai.data import check_dataset, datalist, labels_of, sample, sample_data
from segadv_monai.protocols import ConfigError, DataError

NAMES = ["ct_volumes", "dermoscopy", "vessels"]
SMALL = [*NAMES, "brains", "cells", "membranes", "streets"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, recipe in sample._RECIPES.items():
        monkeypatch.setitem(sample._RECIPES, name, replace(recipe, training=2, validation=1))


@pytest.fixture(scope="module")
def vessels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(sample_data("vessels", tmp_path_factory.mktemp("vessels")))


@pytest.fixture(scope="module")
def dermoscopy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(sample_data("dermoscopy", tmp_path_factory.mktemp("dermoscopy")))


@pytest.fixture(scope="module")
def ct_volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(sample_data("ct_volumes", tmp_path_factory.mktemp("ct_volumes")))


def content(directory: str) -> dict[str, bytes]:
    root = Path(directory)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def pictures(directory: Path, section: str) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    for case in datalist(directory, section):
        with Image.open(case["image"]) as image, Image.open(case["label"]) as label:
            yield np.asarray(image), np.asarray(label)


def best_global_dice(cases: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> float:
    """Mean Dice of the best threshold on the mean of red, green and blue, of either polarity."""
    curves = []
    for picture, mask in cases:
        levels = np.rint(picture.sum(axis=-1)).astype(int).ravel()
        area = np.cumsum(np.bincount(levels, minlength=766))
        hits = np.cumsum(np.bincount(levels, weights=mask.ravel(), minlength=766))
        dark = 2 * hits / (area + mask.sum())
        bright = 2 * (mask.sum() - hits) / (mask.size - area + mask.sum())
        curves.append(np.stack([dark, bright]))
    return float(np.mean(curves, axis=0).max())


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", SMALL)
def test_the_same_set_has_the_same_bytes_in_every_folder(name: str, tmp_path: Path) -> None:
    first, second = (sample_data(name, tmp_path / folder) for folder in "ab")
    assert content(first) == content(second)
    assert len(content(first)) == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", SMALL)
def test_no_two_cases_are_alike(name: str, tmp_path: Path) -> None:
    files = content(sample_data(name, tmp_path / "set"))
    assert len(set(files.values())) == len(files)


def test_dermoscopy_is_a_data_set_that_passes_the_check(dermoscopy: Path) -> None:
    assert [len(datalist(dermoscopy, section)) for section in ("training", "validation")] == [160, 40]
    assert labels_of(dermoscopy) == {0: "skin", 1: "lesion"}
    check_dataset(str(dermoscopy), spatial_dims=2, in_channels=3)


def test_ct_volumes_is_a_data_set_that_passes_the_check(ct_volumes: Path) -> None:
    assert [len(datalist(ct_volumes, section)) for section in ("training", "validation")] == [16, 4]
    assert labels_of(ct_volumes) == {0: "background", 1: "liver", 2: "kidneys", 3: "spleen"}
    check_dataset(str(ct_volumes), spatial_dims=3, in_channels=1)


@pytest.mark.parametrize("name", NAMES)
def test_dataset_json_tells_what_the_decathlon_asks_for(name: str, request: pytest.FixtureRequest) -> None:
    directory: Path = request.getfixturevalue(name)
    told = json.loads((directory / "dataset.json").read_text(encoding="utf-8"))
    keys = [
        "name",
        "description",
        "modality",
        "labels",
        "tensorImageSize",
        "reference",
        "licence",
        "training",
        "validation",
    ]
    assert list(told) == keys
    assert told["name"] == name
    assert told["training"][0]["image"].startswith("./imagesTr/")


def test_no_global_threshold_finds_the_lesions(dermoscopy: Path) -> None:
    dice = best_global_dice(list(pictures(dermoscopy, "validation")))
    assert 0.2 < dice < 0.6


def test_a_lesion_is_one_piece_of_fair_size_without_holes(dermoscopy: Path) -> None:
    for _, mask in pictures(dermoscopy, "training"):
        assert ndimage.label(mask)[1] == 1
        assert np.array_equal(ndimage.binary_fill_holes(mask), mask)
        assert 0.02 < mask.mean() < 0.6


def test_lesions_are_darker_and_lighter_than_the_skin_near_them(dermoscopy: Path) -> None:
    contrasts = []
    for picture, mask in pictures(dermoscopy, "training"):
        grey = picture.mean(axis=-1)
        ring = ndimage.binary_dilation(mask, iterations=8) & (mask == 0)
        contrasts.append(np.median(grey[mask > 0]) - np.median(grey[ring]))
    lighter = np.mean(np.array(contrasts) > 2)
    assert 0.04 < lighter < 0.4
    assert np.mean(np.abs(contrasts) < 15) > 0.05


def test_ct_volumes_are_in_hounsfield_units(ct_volumes: Path) -> None:
    for case in datalist(ct_volumes):
        image, label = nibabel.load(case["image"]), nibabel.load(case["label"])
        volume, labels = np.asarray(image.dataobj), np.asarray(label.dataobj)
        assert image.get_data_dtype() == np.int16
        assert image.header.get_zooms() == (1.5, 1.5, 2.0)
        assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
        np.testing.assert_array_equal(image.affine, label.affine)
        assert volume[0, 0].mean() == pytest.approx(-1000, abs=30)
        assert (volume > 250).any()
        for value, low, high in ((1, 60, 140), (2, 90, 230), (3, 70, 160)):
            assert (labels == value).sum() * 1.5 * 1.5 * 2 > 2000
            assert low < np.median(volume[labels == value]) < high


def test_the_liver_lies_to_the_right_and_the_spleen_to_the_left(ct_volumes: Path) -> None:
    for case in datalist(ct_volumes, "validation"):
        labels = np.asarray(nibabel.load(case["label"]).dataobj)
        liver, spleen = (np.nonzero(labels == value)[0].mean() for value in (1, 3))
        assert liver > 32 > spleen


def test_an_unknown_name_is_told_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no sample data set 'mri': choose one of brains, cells"):
        sample_data("mri", tmp_path)


@pytest.mark.usefixtures("small")
def test_a_set_that_is_there_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = sample_data("dermoscopy", tmp_path / "set")
    monkeypatch.setattr(sample, "_generate", lambda *_: pytest.fail("generated again"))
    assert sample_data("dermoscopy", directory) == directory


@pytest.mark.usefixtures("small")
def test_the_default_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGADV_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert sample_data("dermoscopy") == str(tmp_path / "own" / "dermoscopy-v1")
    monkeypatch.delenv("SEGADV_CACHE")
    assert sample_data("dermoscopy") == str(tmp_path / "cache" / "segadv_monai" / "dermoscopy-v1")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert sample_data("dermoscopy") == str(tmp_path / "home/.cache/segadv_monai/dermoscopy-v1")


@pytest.mark.usefixtures("small")
def test_a_generation_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = sample._RECIPES["dermoscopy"]

    def write(index: int, image: Path, label: Path) -> None:
        if index == 2:
            raise KeyboardInterrupt
        recipe.write_case(index, image, label)

    monkeypatch.setitem(sample._RECIPES, "dermoscopy", replace(recipe, write_case=write))
    with pytest.raises(KeyboardInterrupt):
        sample_data("dermoscopy", tmp_path / "set")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("small")
def test_the_slower_of_two_generations_takes_the_set_of_the_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = sample._RECIPES["dermoscopy"]
    target = tmp_path / "set"

    def write(index: int, image: Path, label: Path) -> None:
        if index == 2:
            monkeypatch.setitem(sample._RECIPES, "dermoscopy", recipe)
            sample_data("dermoscopy", target)
            (target / "mark").touch()
        recipe.write_case(index, image, label)

    monkeypatch.setitem(sample._RECIPES, "dermoscopy", replace(recipe, write_case=write))
    assert sample_data("dermoscopy", target) == str(target)
    assert (target / "mark").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.usefixtures("small")
def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    sample_data("dermoscopy", tmp_path / "set")
    with pytest.raises(
        DataError, match="holds dermoscopy but not the sample data set ct_volumes: give an empty"
    ):
        sample_data("ct_volumes", tmp_path / "set")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(DataError, match="holds other files but not the sample data set dermoscopy"):
        sample_data("dermoscopy", tmp_path / "mine")
    with pytest.raises(DataError, match="holds something unreadable"):
        sample_data("dermoscopy", tmp_path / "mine" / "thesis.txt")


def test_a_folder_that_cannot_be_written_is_told_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        DataError, match=r"cannot be written here .*set the environment variable SEGADV_CACHE"
    ):
        sample_data("dermoscopy", tmp_path / "file" / "set")
