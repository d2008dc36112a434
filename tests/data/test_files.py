import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from dicom_files import write_series

from segadv_monai.data import image_files
from segadv_monai.data.files import decode, files_of
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
    known = r"\.png, \.jpg, \.jpeg, \.bmp, \.tif, \.tiff, \.nii\.gz, \.nii, "
    known += r"\.mha, \.mhd, \.nrrd, \.nhdr, or folders with a DICOM series each"
    with pytest.raises(DataError, match=f"holds no images: put files there that end in {known}"):
        image_files(str(tmp_path))


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    touched(tmp_path, "notes.txt")
    with pytest.raises(DataError, match=r"notes\.txt is not an image that can be read here"):
        image_files(str(tmp_path / "notes.txt"))


def test_two_images_whose_segmentations_would_have_one_name_are_named(tmp_path: Path) -> None:
    touched(tmp_path, "a.jpg", "a.nii.gz", "a.mhd", "a.nrrd")
    assert len(image_files(str(tmp_path))) == 4
    touched(tmp_path, "a.png")
    with pytest.raises(DataError, match=r"a\.jpg and a\.png would give segmentations of one name: rename"):
        image_files(str(tmp_path))


# --- images of several files


@pytest.fixture
def series(tmp_path: Path) -> Path:
    write_series(tmp_path / "b", np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([1, 2, 3, 1.0]))
    return tmp_path / "b"


def test_a_folder_of_series_and_images_has_a_case_for_each(series: Path) -> None:
    root = series.parent
    touched(root, "a.nii.gz", "c.mhd", "c.raw", "notes.txt")
    for name in ("empty", ".hidden", "texts"):
        (root / name).mkdir()
    touched(root / "texts", "a.txt")
    (root / "loop").symlink_to(root)
    assert image_files(root) == [{"image": str(root / name)} for name in ("a.nii.gz", "b", "c.mhd")]


def test_the_folder_of_one_series_is_one_case(series: Path) -> None:
    assert image_files(series) == [{"image": str(series)}]
    touched(series, "preview.png")
    with pytest.raises(
        DataError, match=r"holds a DICOM series and preview\.png: give each a folder of its own"
    ):
        image_files(series)


def test_one_slice_is_no_image(series: Path) -> None:
    with pytest.raises(DataError, match=r"0000\.dcm is not an image .*, or the folder of a DICOM series"):
        image_files(series / "0000.dcm")


def test_the_files_that_make_an_image_are_known(series: Path, tmp_path: Path) -> None:
    assert [file.name for file in files_of(series)] == [f"{k:04d}.dcm" for k in range(5)]
    image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5), np.int16))
    for name, parts in {
        "a.nii.gz": ["a.nii.gz"],
        "a.mha": ["a.mha"],
        "a.mhd": ["a.mhd", "a.raw"],
        "c.nhdr": ["c.nhdr", "c.raw"],
    }.items():
        SimpleITK.WriteImage(image, tmp_path / name)
        assert [file.name for file in files_of(tmp_path / name)] == parts


def test_a_series_is_decoded_to_its_grid(series: Path) -> None:
    array, affine = decode(series)
    assert np.array_equal(array[..., 0], np.arange(60).reshape(3, 4, 5))
    assert np.allclose(affine, np.diag([1, 2, 3, 1]))


@pytest.mark.parametrize("channels", [1, 2])
def test_the_test_images_of_nnunet_have_a_file_for_each_channel(tmp_path: Path, channels: int) -> None:
    folder = tmp_path / "imagesTs"
    folder.mkdir()
    names = [f"{case}_{channel:04d}.nii.gz" for case in ("a", "a_0000") for channel in range(channels)]
    touched(folder, *names)
    paths = [str(folder / name) for name in names]
    content = {"channel_names": {str(i): "MRI" for i in range(channels)}, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    grouped = [paths[:2], paths[2:]] if channels == 2 else paths
    assert image_files(folder) == [{"image": group} for group in grouped]
    (tmp_path / "dataset.json").unlink()
    assert len(image_files(folder)) == len(names)
