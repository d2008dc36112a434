import os
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import refusal, write_series
from PIL import Image
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian

from segadv_monai.data.dicom_series import is_series, read_series, series_files

AFFINE = np.diag([-0.7, -0.9, 2.5, 1.0])
ARRAY = np.arange(4 * 3 * 4, dtype=np.int16).reshape(4, 3, 4)


def written(folder: Path, **changes: Any) -> list[Path]:
    return write_series(folder, ARRAY, AFFINE, **changes)


def without_preamble(path: Path, name: str, *, meta: bool) -> Path:
    """As old archives hold them: the bare data set, or its meta information without the mark."""
    one = pydicom.dcmread(path)
    bare = path.with_name(name)
    if meta:
        bare.write_bytes(path.read_bytes()[132:])
    else:
        pydicom.dcmwrite(bare, pydicom.Dataset(one), implicit_vr=True, little_endian=True)
    path.unlink()
    return bare


def test_what_is_clearly_no_dicom_is_left_alone(tmp_path: Path) -> None:
    files = written(tmp_path)
    (tmp_path / "README").write_text("Größe")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (tmp_path / "._0000.dcm").write_bytes(b"\0\5\x16\7")
    (tmp_path / "archive.zip").write_bytes(b"PK\3\4\0\0")
    (tmp_path / "deeper").mkdir()
    os.mkfifo(tmp_path / "pipe.dcm")
    Image.new("L", (4, 4)).save(tmp_path / "preview.png")
    np.testing.assert_array_equal(read_series(tmp_path).array, ARRAY)
    assert series_files(tmp_path) == tuple(files)


def test_a_dicomdir_is_left_alone(tmp_path: Path) -> None:
    files = written(tmp_path)
    index = pydicom.dcmread(files[0])
    index.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    del index.SOPClassUID
    index.save_as(tmp_path / "DICOMDIR")
    assert series_files(tmp_path) == tuple(files)


@pytest.mark.parametrize("name", ["IM1", "1.2.840.113619", "slice.dcm", "SLICE.IMA", "slice.001"])
@pytest.mark.parametrize("content", [b"", b"\0" * 600, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"])
def test_what_may_have_been_a_slice_and_is_none_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    written(tmp_path)
    (tmp_path / name).write_bytes(content)
    assert f"{name} is named as a DICOM file may be and is none" in refusal(tmp_path)


def test_text_with_the_suffix_of_a_slice_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "0001.dcm").write_text("not found")
    assert "0001.dcm is named as a DICOM file may be" in refusal(tmp_path)


@pytest.mark.parametrize("meta", [True, False])
@pytest.mark.parametrize("name", ["IM1", "1.2.840.113619", "bare.dcm"])
def test_a_file_without_preamble_is_read_if_it_is_a_whole_data_set(
    tmp_path: Path, name: str, meta: bool
) -> None:
    bare = without_preamble(written(tmp_path)[2], name, meta=meta)
    assert is_series(tmp_path)
    series = read_series(tmp_path)
    assert series.files[2] == bare
    np.testing.assert_array_equal(series.array, ARRAY)


def test_a_file_without_preamble_and_class_is_refused(tmp_path: Path) -> None:
    bare = without_preamble(written(tmp_path, SOPClassUID={1: None})[1], "IM1", meta=False)
    assert f"{bare} is named as a DICOM file may be" in refusal(tmp_path)


def test_slices_without_suffix_are_read(tmp_path: Path) -> None:
    for path in written(tmp_path):
        path.rename(path.with_name(f"1.2.840.{path.stem}"))
    np.testing.assert_array_equal(read_series(tmp_path).array, ARRAY)


def test_folders_without_slices_say_where_to_look(tmp_path: Path) -> None:
    assert "holds no DICOM files: give the folder of a series" in refusal(tmp_path)
    written(tmp_path / "inside")
    assert "holds no DICOM files: give the one inside it" in refusal(tmp_path)
    assert "cannot be read (No such file or directory): give the folder" in refusal(tmp_path / "missing")
    (tmp_path / "notes").write_text("nothing")
    assert "is no DICOM image" in refusal(tmp_path / "notes")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"Modality": {1: "MR"}}, "0001.dcm is CT Image Storage, modality MR"),
        ({"Modality": None}, "is CT Image Storage, modality nothing: only CT, MR and PET images are read"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.3", "Modality": "RTSTRUCT"}, "is RT Structure Set"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4", "Modality": "SEG"}, "is Segmentation Storage"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "is Secondary Capture Image Storage, modality CT"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.2", "Modality": "RTDOSE"}, "is RT Dose Storage"),
        ({"SOPClassUID": "1.3.12.2.1107"}, "is an object of the class 1.3.12.2.1107, modality CT"),
        (
            {"SOPClassUID": {1: "1.2.840.10008.5.1.4.1.1.4"}, "Modality": {1: "MR"}},
            "0000.dcm and 0001.dcm are of one series and differ in Modality",
        ),
        ({"SeriesInstanceUID": {3: "1.2.3"}}, "CT of 1 slices (1.2.3)"),
        ({"SeriesInstanceUID": {3: None}}, "CT of 1 slices (no SeriesInstanceUID)"),
        ({"SeriesInstanceUID": lambda k: f"1.2.{k}", "Modality": {1: "MR"}}, "MR of 1 slices (1.2.1)"),
    ],
)
def test_what_is_no_single_series_of_images_is_refused(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    written(tmp_path, **changes)
    assert told in refusal(tmp_path)


def test_many_series_are_not_all_listed(tmp_path: Path) -> None:
    array = np.zeros((2, 2, 9), dtype=np.int16)
    write_series(tmp_path, array, AFFINE, SeriesInstanceUID=lambda k: f"1.2.{k}")
    told = refusal(tmp_path)
    assert "holds 9 series" in told
    assert "(1.2.5), ...: give series_uid" in told


def test_a_multi_frame_file_among_slices_is_refused(tmp_path: Path) -> None:
    files = written(tmp_path)
    one = pydicom.dcmread(files[0])
    one.NumberOfFrames, one.PixelData = 2, one.PixelData * 2
    one.save_as(tmp_path / "many.dcm")
    assert "holds many.dcm of 2 frames among other files of its series" in refusal(tmp_path)


def test_the_implicit_and_the_explicit_encoding_are_told_apart_without_meta(tmp_path: Path) -> None:
    files = written(tmp_path)
    one = pydicom.Dataset(pydicom.dcmread(files[0]))
    pydicom.dcmwrite(tmp_path / "IM1", one, implicit_vr=False, little_endian=True)
    files[0].unlink()
    assert ImplicitVRLittleEndian.encode() not in (tmp_path / "IM1").read_bytes()
    assert CTImageStorage.encode() in (tmp_path / "IM1").read_bytes()
    np.testing.assert_array_equal(read_series(tmp_path).array, ARRAY)


@pytest.mark.parametrize("keyword", ["SeriesInstanceUID", "Modality", "PhotometricInterpretation"])
def test_what_stands_where_a_code_should_is_not_quoted(tmp_path: Path, keyword: str) -> None:
    """A damaged length brings the elements behind it into the value, the patient's, too."""
    written(tmp_path, **{keyword: {1: "Hidden^Person\n1933"}})
    assert "something illegible" in refusal(tmp_path)
