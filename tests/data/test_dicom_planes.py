from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import refusal, write_series
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, EnhancedMRImageStorage

from segadv_monai.data.dicom_series import is_series, read_series

AFFINE = np.diag([-0.7, -0.9, 2.5, 1.0])
ARRAY = np.arange(4 * 3 * 4, dtype=np.int16).reshape(4, 3, 4)
# In the order in which a scanner may write them.
FRAMES = (2, 0, 3, 1)


def group(**values: Any) -> list[Dataset]:
    one = Dataset()
    for keyword, value in values.items():
        setattr(one, keyword, value)
    return [one]


def moved(one: Dataset, *keywords: str) -> list[Dataset]:
    """A functional group of what a single-frame file has at its top."""
    return group(**{keyword: one[keyword].value for keyword in keywords if keyword in one})


def multi_frame(folder: Path, *, modality: str = "CT", edit: Callable[[Dataset], None] | None = None) -> Path:
    """One enhanced file from single frames, with a slope of its own in the second frame."""
    files = write_series(folder / "single", ARRAY, AFFINE, modality=modality)
    singles = [pydicom.dcmread(files[k]) for k in FRAMES]
    one = singles[0]
    one.SOPClassUID = EnhancedCTImageStorage if modality == "CT" else EnhancedMRImageStorage
    one.NumberOfFrames = len(FRAMES)
    one.PixelData = b"".join(single.PixelData for single in singles)
    one.SharedFunctionalGroupsSequence = group(
        PixelMeasuresSequence=moved(one, "PixelSpacing", "SliceThickness"),
        PlaneOrientationSequence=moved(one, "ImageOrientationPatient"),
        PixelValueTransformationSequence=moved(one, "RescaleSlope", "RescaleIntercept"),
    )
    one.PerFrameFunctionalGroupsSequence = [
        group(PlanePositionSequence=moved(single, "ImagePositionPatient"))[0] for single in singles
    ]
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        if keyword in one:
            delattr(one, keyword)
    if edit is not None:
        edit(one)
    one.save_as(folder / "many.dcm")
    return folder / "many.dcm"


def test_frames_are_placed_by_their_functional_groups(tmp_path: Path) -> None:
    path = multi_frame(tmp_path)
    series, single = read_series(path), read_series(tmp_path / "single")
    np.testing.assert_array_equal(series.array, ARRAY)
    np.testing.assert_allclose(series.affine, single.affine)
    assert series.files == (path,)
    assert series.frames == (1, 3, 0, 2)
    assert is_series(path)


def test_what_a_frame_says_itself_counts_before_what_all_share(tmp_path: Path) -> None:
    def edit(one: Dataset) -> None:
        own = group(RescaleSlope=3, RescaleIntercept=-1)
        one.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence = own

    array = read_series(multi_frame(tmp_path, edit=edit)).array
    np.testing.assert_array_equal(array[..., 0], (ARRAY[..., 0] + 1024) * 3 - 1)
    np.testing.assert_array_equal(array[..., 1:], ARRAY[..., 1:])


def test_an_enhanced_mr_may_go_without_slope(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_series(multi_frame(tmp_path, modality="MR")).array, ARRAY)


def without_shared(keyword: str) -> Callable[[Dataset], None]:
    return lambda one: delattr(one.SharedFunctionalGroupsSequence[0], keyword)


def without_position(one: Dataset) -> None:
    del one.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence


def one_group_too_few(one: Dataset) -> None:
    one.PerFrameFunctionalGroupsSequence = list(one.PerFrameFunctionalGroupsSequence)[:-1]


def no_groups(one: Dataset) -> None:
    del one.PerFrameFunctionalGroupsSequence


def one_gap(one: Dataset) -> None:
    # Of the slices 2, 0, 3, 1 the third goes up, and nothing lies between it and slice 2.
    one.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0].ImagePositionPatient = [0, 0, 10]


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (without_shared("PixelMeasuresSequence"), "frame 1, lacks PixelSpacing"),
        (without_shared("PlaneOrientationSequence"), "frame 1, lacks ImageOrientationPatient"),
        (without_shared("PixelValueTransformationSequence"), "frame 1, lacks RescaleSlope"),
        (without_position, "frame 3, lacks ImagePositionPatient"),
        (one_group_too_few, "declares 4 frames and describes 3"),
        (no_groups, "has 4 frames and no PerFrameFunctionalGroupsSequence"),
        (one_gap, "frame 1 of many.dcm and frame 3 of many.dcm lie 5 mm apart"),
    ],
)
def test_frames_of_no_known_place_or_meaning_are_refused(
    tmp_path: Path, edit: Callable[[Dataset], None], told: str
) -> None:
    assert told in refusal(multi_frame(tmp_path, edit=edit))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"PixelSpacing": None}, "lacks PixelSpacing: its place is not known"),
        ({"ImagePositionPatient": None}, "lacks ImagePositionPatient: its place"),
        ({"ImagePositionPatient": ""}, "lacks ImagePositionPatient: its place"),
        ({"ImageOrientationPatient": None}, "lacks ImageOrientationPatient: its place"),
        ({"ImagePositionPatient": [1, 2]}, "does not give ImagePositionPatient as 3 finite numbers"),
        ({"ImagePositionPatient": 5}, "does not give ImagePositionPatient as 3 finite numbers"),
        ({"ImagePositionPatient": ["nan", "0", "0"]}, "does not give ImagePositionPatient as 3 finite"),
        ({"ImagePositionPatient": ["1e30", "0", "0"]}, "does not give ImagePositionPatient as 3 finite"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1]}, "does not give ImageOrientationPatient as 6"),
        ({"PixelSpacing": [0, 1]}, "has the PixelSpacing 0 x 1 mm"),
        ({"PixelSpacing": [-1, 1]}, "has the PixelSpacing -1 x 1 mm"),
        ({"PixelSpacing": ["inf", 1]}, "does not give PixelSpacing as 2 finite numbers"),
        ({"RescaleSlope": None}, "lacks RescaleSlope: what its values mean"),
        ({"RescaleIntercept": None}, "lacks RescaleIntercept"),
        ({"RescaleSlope": "0"}, "that cannot be applied"),
        ({"RescaleSlope": "nan"}, "that cannot be applied"),
        ({"RescaleIntercept": "-inf"}, "that cannot be applied"),
        ({"RescaleSlope": [1, 2]}, "that cannot be applied"),
        (
            {"ModalityLUTSequence": group(LUTDescriptor=[1, 0, 16], LUTData=b"\1\0")},
            "gives its values by a table",
        ),
    ],
)
def test_a_slice_of_no_known_place_or_meaning_is_refused(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    write_series(tmp_path, ARRAY, AFFINE, **{keyword: {1: value} for keyword, value in changes.items()})
    message = refusal(tmp_path)
    assert "0001.dcm" in message
    assert told in message


def test_an_mr_has_slope_and_intercept_or_neither(tmp_path: Path) -> None:
    write_series(tmp_path, ARRAY, AFFINE, modality="MR", RescaleSlope={2: 2})
    assert "0002.dcm lacks RescaleIntercept" in refusal(tmp_path)


def test_a_number_that_is_none_is_told_without_its_text(tmp_path: Path) -> None:
    """An element may hold anything, the patient's name, too."""
    files = write_series(tmp_path, ARRAY, AFFINE)
    content = files[1].read_bytes()
    at = content.index(b"\x28\x00\x30\x00DS")
    told = b"Hidden^Person "
    files[1].write_bytes(content[: at + 8] + told[: content[at + 6]] + content[at + 8 + content[at + 6] :])
    assert "0001.dcm" in refusal(tmp_path)
