"""The grid of a series from the places of its slices; a series that lies on no grid is refused.

The distance of the slices is that of their positions along the normal, never SliceThickness, which is how
thick a slice is and not how far the next one lies. Tolerances:

- Directions may be off unit length or a right angle by 0.001, what three decimals leave; the same element of
  two slices may differ by 0.0001. Across a field of view of 300 mm that is 0.3 and 0.03 mm.
- A slice may lie off its place in the grid by 1 % of the distance of slices, or 0.01 mm: positions are
  written with as few as two decimals, and a hundredth of a voxel moves no border.
- The stack may lean from the normal by 0.05 degrees, which is what rounded directions feign; the affine keeps
  it. A tilted gantry leans by degrees: a grid of right-angled voxels would shear the anatomy.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segadv_monai.protocols import DataError

from .dicom_planes import Plane

__all__ = ["grid_of"]

_UNIT = 1e-3
_SAME = 1e-4
_OFF = 0.01
_OFF_MM = 0.01
_ONE_PLACE_MM = 1e-4
_LEANS_DEGREES = 0.05
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def grid_of(place: Path, planes: Sequence[Plane]) -> tuple[list[Plane], NDArray[np.float64]]:
    """Order slices along their normal, row x column, and find the affine of their grid.

    Args:
        place: the folder or file, for messages.
        planes: the slices, in any order.

    Returns:
        the slices in the order of ``k``, and the affine ``(4, 4)`` from ``(i, j, k)`` to mm, RAS.

    Raises:
        DataError: the slices lie on no grid, or which one is not known.
    """
    if len(planes) < 2:
        raise DataError(
            f"{place} holds a single slice, {planes[0].name}: how far slices lie apart is not known from "
            "one; give the folder of the whole series."
        )
    row, column, normal = _directions(place, planes[0])
    for plane in planes[1:]:
        _check_same(place, planes[0], plane)
    along = np.array([plane.position @ normal for plane in planes])
    order = np.argsort(along, kind="stable")
    ordered = [planes[int(index)] for index in order]
    _check_places(place, ordered, np.diff(along[order]))
    step = _step(place, ordered, normal)
    affine = np.eye(4)
    affine[:3, 0] = row * planes[0].spacing[1]
    affine[:3, 1] = column * planes[0].spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = ordered[0].position
    return ordered, _TO_RAS @ affine


def _directions(place: Path, plane: Plane) -> tuple[NDArray[np.float64], ...]:
    """The unit vectors of a slice: of its rows, of its columns, of its normal."""
    row, column = plane.orientation[:3], plane.orientation[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > _UNIT or abs(row @ column) > _UNIT:
        told = ", ".join(f"{value:g}" for value in plane.orientation)
        raise DataError(
            f"{place}: {plane.name} has the ImageOrientationPatient {told}, which is no pair of unit vectors "
            "at a right angle: mend its header or export it again."
        )
    row, column = row / lengths[0], column / lengths[1]
    normal = np.cross(row, column)
    return row, column, normal / np.linalg.norm(normal)


def _check_same(place: Path, first: Plane, other: Plane) -> None:
    sizes = [[plane.header.integer(word) for word in ("Columns", "Rows")] for plane in (first, other)]
    if sizes[0] != sizes[1]:
        raise DataError(
            f"{place}: {first.name} has {sizes[0][0]} x {sizes[0][1]} pixels and {other.name} "
            f"{sizes[1][0]} x {sizes[1][1]}: they are of two scans; split the folder."
        )
    if np.abs(first.orientation - other.orientation).max() > _SAME:
        raise DataError(
            f"{place}: {first.name} and {other.name} have different orientations, as a localizer among "
            "slices has: take out what does not belong to the volume, or split the folder."
        )
    if np.abs(first.spacing / other.spacing - 1).max() > _SAME:
        told = " and ".join(f"{p.name} {p.spacing[0]:g} x {p.spacing[1]:g} mm" for p in (first, other))
        raise DataError(f"{place}: the PixelSpacing differs, {told}: split the folder.")


def _check_places(place: Path, ordered: list[Plane], steps: NDArray[np.float64]) -> None:
    """Refuse slices at one place, a missing slice and uneven distances, naming the slices on both sides."""
    together = np.flatnonzero(steps < _ONE_PLACE_MM)
    if together.size:
        _refuse_together(place, ordered, together)
    # The lower median is a distance that occurs.
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])
    even = float(steps.sum()) / len(steps)
    off = np.abs(np.concatenate([[0], np.cumsum(steps)]) - even * np.arange(len(ordered)))
    if off.max() <= max(_OFF * even, _OFF_MM):
        return
    worst = int(np.argmax(np.abs(steps - usual)))
    before, after = ordered[worst].name, ordered[worst + 1].name
    missing = round(float(steps[worst]) / usual) - 1
    told = f"{place}: {before} and {after} lie {steps[worst]:.4g} mm apart, and {usual:.4g} mm is usual here"
    if missing > 0 and abs(steps[worst] / usual - missing - 1) <= _OFF * (missing + 1):
        slices = "1 slice is" if missing == 1 else f"{missing} slices are"
        raise DataError(f"{told}: {slices} missing between them; fetch the whole series.")
    raise DataError(f"{told}: slices at uneven distances make no grid; resample them, or split the folder.")


def _refuse_together(place: Path, ordered: list[Plane], together: NDArray[np.intp]) -> None:
    first, second = ordered[together[0]], ordered[together[0] + 1]
    mark = first.differs_in(second)
    differ = f", and differ in {mark}" if mark else ""
    if together.size >= len(ordered) // 2:
        distinct = len(ordered) - together.size
        raise DataError(
            f"{place} holds {len(ordered)} slices at {distinct} places, as {first.name} and {second.name} "
            f"lie at one{differ}: it is a time series or several acquisitions; split it into one folder each."
        )
    raise DataError(
        f"{place}: {first.name} and {second.name} lie at one place{differ}: take out the one that does not "
        "belong to the volume."
    )


def _step(place: Path, ordered: list[Plane], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """From one slice to the next, in mm; refused if the slices do not lie one above the other."""
    positions = np.array([plane.position for plane in ordered])
    steps = np.diff(positions, axis=0)
    aside = steps - np.outer(steps @ normal, normal)
    lean = np.degrees(np.arctan2(np.linalg.norm(np.median(aside, axis=0)), np.median(steps @ normal)))
    if lean > _LEANS_DEGREES:
        raise DataError(
            f"{place}: the slices lean by {lean:.2f} degrees from their normal, as of a tilted gantry "
            f"({ordered[0].name} to {ordered[-1].name}): a grid would shear them; resample them upright."
        )
    step: NDArray[np.float64] = (positions[-1] - positions[0]) / len(steps)
    most = max(_OFF * float(np.linalg.norm(step)), _OFF_MM)
    for (before, plane), shift in zip(pairwise(ordered), aside, strict=True):
        if np.linalg.norm(shift) > most:
            raise DataError(
                f"{place}: {plane.name} lies {np.linalg.norm(shift):.4g} mm beside {before.name}: it is of "
                "another scan or shifted; take it out, or mend its ImagePositionPatient."
            )
    return step
