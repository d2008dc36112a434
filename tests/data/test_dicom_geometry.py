from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import refusal, write_series
from numpy.typing import NDArray

from segadv_monai.data.dicom_series import read_series

AFFINE = np.diag([-0.7, -0.9, 2.5, 1.0])
ARRAY = np.arange(4 * 3 * 6, dtype=np.int16).reshape(4, 3, 6)


def at(*heights: float, aside: float = 0.0) -> Callable[[int], list[float]]:
    return lambda k: [aside * k, 0.0, heights[k]]


def written(folder: Path, **changes: Any) -> Path:
    write_series(folder, ARRAY, AFFINE, **changes)
    return folder


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ImagePositionPatient": at(0, 2.5, 5, 10, 12.5, 15)}, "0002.dcm and 0003.dcm lie 5 mm apart"),
        ({"ImagePositionPatient": at(0, 2.5, 5, 10, 12.5, 15)}, "2.5 mm is usual here: 1 slice is missing"),
        ({"ImagePositionPatient": at(0, 7.5, 10, 12.5, 15, 17.5)}, "2 slices are missing between them"),
        ({"ImagePositionPatient": at(0, 2.5, 5, 6, 7.5, 10)}, "uneven distances make no grid"),
        ({"ImagePositionPatient": at(0, 2.5, 5.06, 7.5, 10, 12.5)}, "0001.dcm and 0002.dcm lie 2.56 mm"),
        ({"ImagePositionPatient": at(0, 1, 2, 3, 4, 4)}, "0004.dcm and 0005.dcm lie at one place: take out"),
        (
            {"ImagePositionPatient": at(0, 1, 2, 3, 4, 4), "AcquisitionNumber": {5: 2}},
            "lie at one place, and differ in AcquisitionNumber",
        ),
        (
            {"ImagePositionPatient": at(0, 0, 1, 1, 2, 2), "TemporalPositionIdentifier": lambda k: k % 2},
            "holds 6 slices at 3 places, as 0000.dcm and 0001.dcm lie at one, and differ in TemporalPosition",
        ),
        ({"ImagePositionPatient": at(*range(6), aside=0.2)}, "lean by 11.31 degrees from their normal"),
        ({"ImagePositionPatient": {2: [5.0, 0.0, 5.0]}}, "0002.dcm lies 5 mm beside 0001.dcm"),
        ({"ImageOrientationPatient": {0: [0, 1, 0, 0, 0, -1]}}, "and 0001.dcm have different orientations"),
        (
            {"ImageOrientationPatient": {3: [1, 0, 0, 0, 0.999, -0.04]}},
            "0000.dcm and 0003.dcm have different",
        ),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]}, "has the ImageOrientationPatient 2, 0, 0, 0, 1, 0"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.5, 0.87, 0]}, "no pair of unit vectors at a right angle"),
        ({"ImageOrientationPatient": [0] * 6}, "no pair of unit vectors"),
        ({"PixelSpacing": {4: [0.9, 0.8]}}, "0000.dcm 0.9 x 0.7 mm and 0004.dcm 0.9 x 0.8 mm"),
        ({"Rows": {1: 2}, "PixelData": {1: bytes(16)}}, "has 4 x 3 pixels and 0001.dcm 4 x 2"),
        (
            {"FrameOfReferenceUID": {2: "1.2.3"}},
            "0000.dcm and 0002.dcm are of one series and differ in Frame",
        ),
    ],
)
def test_slices_that_lie_on_no_grid_are_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    assert told in refusal(written(tmp_path, **changes))


@pytest.mark.parametrize(
    "heights",
    [
        [0, 2.49, 5.01, 7.5, 10, 12.5],
        [0, 2.51, 5.02, 7.52, 10.02, 12.52],
        [15, 12, 9, 6, 3, 0],
    ],
)
def test_rounded_positions_are_within_the_tolerance(tmp_path: Path, heights: list[float]) -> None:
    series = read_series(written(tmp_path, ImagePositionPatient=at(*heights)))
    assert series.affine[2, 2] == pytest.approx(abs(heights[-1] - heights[0]) / 5)
    assert series.affine[2, 3] == pytest.approx(min(heights))


def test_rounded_directions_are_made_unit_vectors(tmp_path: Path) -> None:
    turned: NDArray[np.float64] = AFFINE.copy()
    turned[:2, :2] = np.array([[-0.7071068, 0.7071068], [-0.7071068, -0.7071068]]) * [0.7, 0.9]
    folder = tmp_path / "rounded"
    write_series(folder, ARRAY, turned, ImageOrientationPatient=[0.707, 0.707, 0, -0.707, 0.707, 0])
    np.testing.assert_allclose(read_series(folder).affine, turned, atol=1e-6)


def test_a_slice_that_is_missing_at_the_end_of_a_long_series_is_found(tmp_path: Path) -> None:
    array = np.zeros((2, 2, 40), dtype=np.int16)
    files = write_series(tmp_path, array, AFFINE)
    files[-2].unlink()
    assert "0037.dcm and 0039.dcm lie 5 mm apart" in refusal(tmp_path)


def test_a_copied_slice_is_found(tmp_path: Path) -> None:
    files = write_series(tmp_path, ARRAY, AFFINE)
    (tmp_path / "copy.dcm").write_bytes(files[2].read_bytes())
    assert "0002.dcm and copy.dcm lie at one place: take out" in refusal(tmp_path)


def test_one_slice_is_no_volume(tmp_path: Path) -> None:
    write_series(tmp_path, ARRAY[:, :, :1], AFFINE, SpacingBetweenSlices=2.5)
    assert "holds a single slice, 0000.dcm" in refusal(tmp_path)
