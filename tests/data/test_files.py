from pathlib import Path

import pytest

from segadv_monai.data import image_files
from segadv_monai.protocols import DataError


def touched(directory: Path, *names: str) -> Path:
    for name in names:
        (directory / name).touch()
    return directory


def test_every_kind_of_image_is_listed_in_the_order_of_names(tmp_path: Path) -> None:
    names = ["a.PNG", "b.jpg", "c.jpeg", "d.bmp", "e.tif", "f.tiff", "g.nii", "h.nii.gz"]
    touched(tmp_path, *reversed(names), "notes.txt", ".hidden.png", "archive.gz")
    (tmp_path / "folder.png").mkdir()
    assert image_files(str(tmp_path)) == [{"image": str(tmp_path / name)} for name in names]


def test_one_file_is_a_list_of_one(tmp_path: Path) -> None:
    touched(tmp_path, "a.png", "b.png")
    assert image_files(str(tmp_path / "a.png")) == [{"image": str(tmp_path / "a.png")}]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent: there is no such folder; set dataset_dir"):
        image_files(str(tmp_path / "absent"))


def test_a_folder_without_images_is_named_with_the_known_suffixes(tmp_path: Path) -> None:
    touched(tmp_path, "notes.txt")
    known = r"\.png, \.jpg, \.jpeg, \.bmp, \.tif, \.tiff, \.nii\.gz, \.nii"
    with pytest.raises(DataError, match=f"holds no images: put files there that end in {known}"):
        image_files(str(tmp_path))


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    touched(tmp_path, "notes.txt")
    with pytest.raises(DataError, match=r"notes\.txt is not an image that can be read here"):
        image_files(str(tmp_path / "notes.txt"))


def test_two_images_whose_segmentations_would_have_one_name_are_named(tmp_path: Path) -> None:
    touched(tmp_path, "a.jpg", "a.nii.gz")
    assert len(image_files(str(tmp_path))) == 2
    touched(tmp_path, "a.png")
    with pytest.raises(DataError, match=r"a\.jpg and a\.png would give segmentations of one name: rename"):
        image_files(str(tmp_path))
