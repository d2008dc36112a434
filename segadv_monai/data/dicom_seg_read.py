"""DICOM-SEG objects in: label maps, overlapping segments and probabilities, with the geometry of the file.

pydicom parses and decodes. Where each frame goes is found here and not by highdicom, who refuses directions
of three decimals, takes the normal for the way from slice to slice, and names no segments that overlap.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segadv_monai.protocols import DataError, SegAdvError

from .ceiling import check_declared
from .dicom_header import load_pydicom, quiet, read_header, unreadable
from .dicom_series import DicomSeries, read_series
from .nifti_files import check_affine

__all__ = ["DicomSegmentation", "read_dicom_seg"]

# Segmentation Storage and Label Map Segmentation Storage.
_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# As for a series: of a direction, of the distance of slices, in mm.
_UNIT = 1e-3
_OFF = 0.01
_OFF_MM = 0.01
# Of a voxel, anywhere in the volume: how far two grids may lie apart and still be one.
_LARGEST_DRIFT = 0.05


@dataclass(frozen=True, eq=False, slots=True)
class DicomSegmentation:
    """What a DICOM-SEG object holds.

    Args:
        array: a label map ``(X, Y, Z)`` of segment numbers, uint8 or uint16; or one map per segment,
            ``(segments, X, Y, Z)``, uint8 with values 0 and 1 or float32 from 0 to 1.
        affine: ``(4, 4)``, from ``(i, j, k)`` to mm in RAS+.
        segments: the name of each segment number, in the order of the numbers.
        kind: ``BINARY``, ``FRACTIONAL`` or ``LABELMAP``.
        series_uid: of the series that was segmented; empty if the file does not tell.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    segments: Mapping[int, str]
    kind: str
    series_uid: str


def read_dicom_seg(
    path: str | Path, *, source: str | Path | DicomSeries | None = None, stacked: bool = False
) -> DicomSegmentation:
    """Read a segmentation; slices that the file leaves out are background.

    Args:
        path: the file.
        source: the series it belongs to, or its folder: the result is then on its grid. None for the grid
            of the file, whose first and last slice are the first and last that hold a segment.
        stacked: one map per segment in place of a label map. Probabilities always come so.

    Raises:
        ConfigError: pydicom is not installed.
        DataError: the file is no segmentation, damaged, too large, places its voxels nowhere, has segments
            that overlap while a label map is asked for, or does not lie on the grid of ``source``.
    """
    path = Path(path)
    with _readable(path):
        file = _opened(path)
        affine, places = _grid(path, file)
        segments = sorted(file.SegmentSequence, key=lambda one: int(one.SegmentNumber))
        # Number 0 is the background of a label map.
        names = {int(one.SegmentNumber): str(one.SegmentLabel) for one in segments if one.SegmentNumber}
        kind = str(file.SegmentationType)
        array = _filled(path, file, places, names=names, stacked=stacked or kind == "FRACTIONAL")
        series = file.get("ReferencedSeriesSequence")
        series_uid = str(series[0].get("SeriesInstanceUID", "")) if series else ""
    if source is not None:
        on = source if isinstance(source, DicomSeries) else read_series(source)
        array, affine = _placed(array, affine, on, path=path), on.affine
    return DicomSegmentation(array, affine, names, kind, series_uid)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Only what decoders say is repeated: other words of pydicom may quote the patient's values."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; give the path of a DICOM segmentation.")
    try:
        with quiet():
            yield
    except SegAdvError:
        raise
    except unreadable() as error:
        reason = str(error).partition("\n")[0] if isinstance(error, RuntimeError) else type(error).__name__
        raise DataError(
            f"{path} is a damaged DICOM segmentation ({reason}): fetch or export it again."
        ) from None


def _opened(path: Path) -> Any:
    """The file, once its header has been found to fit what follows it."""
    header = read_header(path)
    if header.text("SOPClassUID") not in _SEGMENTATIONS:
        raise DataError(f"{path} is a DICOM file of another kind: give the path of a DICOM segmentation.")
    shape = (header.integer("Columns"), header.integer("Rows"), header.frames)
    bits = header.integer("BitsAllocated")
    check_declared(path, shape, max(bits // 8, 1))
    declared = -(-math.prod(shape) * bits // 8)
    if not header.compressed and header.length < declared:
        raise DataError(
            f"{path} declares {declared} bytes and holds {header.length}: fetch or export it again."
        )
    file = load_pydicom().dcmread(path)
    if file.SegmentationType not in _KINDS:
        raise DataError(f"{path} is of a kind of segmentation that is not known: store it as {_KINDS[0]}.")
    return file


def _grid(path: Path, file: Any) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The affine of the file's own grid, RAS, and the ``k`` of each frame."""
    shared, each = file.SharedFunctionalGroupsSequence[0], file.PerFrameFunctionalGroupsSequence
    if len(each) != int(file.get("NumberOfFrames") or 1):
        raise DataError(f"{path} does not place each of its frames: export it again.")
    cosines = _of_all(path, file, "PlaneOrientationSequence", "ImageOrientationPatient").reshape(2, 3)
    spacing = _of_all(path, file, "PixelMeasuresSequence", "PixelSpacing")
    if np.abs(cosines @ cosines.T - np.eye(2)).max() > 2 * _UNIT:
        raise DataError(f"{path} has directions that are no unit vectors at a right angle: export it again.")
    row, column = cosines / np.linalg.norm(cosines, axis=1, keepdims=True)
    placed = [one if "PlanePositionSequence" in one else shared for one in each]
    positions = np.array([one.PlanePositionSequence[0].ImagePositionPatient for one in placed], float)
    measures = next(one for one in (shared, *each) if "PixelMeasuresSequence" in one).PixelMeasuresSequence[0]
    step, places = _slices(path, positions, np.cross(row, column), measures=measures)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([row * spacing[1], column * spacing[0], step])
    affine[:3, 3] = positions[np.argmin(places)]
    affine = _TO_RAS @ affine
    check_affine(path, affine)
    return affine, places


def _of_all(path: Path, file: Any, sequence: str, keyword: str) -> NDArray[np.float64]:
    """What frames share, whether it is written once or for each of them."""
    groups = (*file.SharedFunctionalGroupsSequence, *file.PerFrameFunctionalGroupsSequence)
    found = {tuple(map(float, getattr(one, sequence)[0][keyword].value)) for one in groups if sequence in one}
    if len(found) != 1:
        raise DataError(f"{path} has {len(found)} different values of {keyword}: its frames make no volume.")
    return np.array(found.pop())


def _slices(
    path: Path, positions: NDArray[np.float64], normal: NDArray[np.float64], *, measures: Any
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The way from a slice to the next, in mm, and the ``k`` of each frame, ascending along the normal.

    Most files leave slices without a segment out. The declared distance tells how many, or else the least.
    """
    along = positions @ normal
    along = along - along.min()
    gaps = np.diff(np.sort(along))
    gaps = gaps[gaps > _OFF_MM]
    distance = abs(float(measures.get("SpacingBetweenSlices") or 0))
    if gaps.size and (not distance or np.abs(gaps / distance - np.round(gaps / distance)).max() > _OFF):
        distance = float(gaps[gaps < (1 + _OFF) * gaps.min()].mean())
    distance = distance or float(measures.get("SliceThickness") or 0)
    if not 0 < distance < math.inf:
        raise DataError(f"{path} does not tell the distance of its slices: export it again.")
    places = np.round(along / distance).astype(np.intp)
    first, last = positions[np.argmin(along)], positions[np.argmax(along)]
    step = (last - first) / places.max() if places.max() else normal / np.linalg.norm(normal) * distance
    off = np.linalg.norm(positions - first - places[:, None] * step, axis=1).max()
    lean = np.linalg.norm(np.cross(step, normal))
    if off > max(_OFF * distance, _OFF_MM) or lean > _UNIT * distance:
        raise DataError(f"{path} places its frames on no regular grid: give it the series' positions.")
    return step, places


def _filled(
    path: Path, file: Any, places: NDArray[np.intp], *, names: Mapping[int, str], stacked: bool
) -> NDArray[Any]:
    """The volume, frame by frame: ``(X, Y, Z)``, or ``(segments, X, Y, Z)``."""
    shape = (int(places.max()) + 1, int(file.Rows), int(file.Columns))
    whole = (len(names), *shape) if stacked else shape
    kind: type[Any] = np.uint8 if stacked or max(names, default=0) <= np.iinfo(np.uint8).max else np.uint16
    kind = np.float32 if file.SegmentationType == "FRACTIONAL" else kind
    check_declared(path, whole, np.dtype(kind).itemsize)
    result = np.zeros(whole, kind)
    index = {number: i for i, number in enumerate(names)}
    seen = set()
    for frame, number, values in _marks(file):
        k = int(places[frame])
        if number not in names or (number, k) in seen:
            fault = "in one slice twice" if number in names else "that it does not describe"
            raise DataError(f"{path} has a segment {number} {fault}: export it again.")
        seen.add((number, k))
        if stacked:
            result[index[number], k] = values
        else:
            _mark(result[k], values > 0, number, names=names, path=path)
    return np.ascontiguousarray(result.swapaxes(-1, -3))


def _marks(file: Any) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """For every frame and segment in it: the frame, the segment's number, where and how much."""
    frames = file.pixel_array.reshape(-1, int(file.Rows), int(file.Columns))
    if file.SegmentationType == "LABELMAP":
        for i, values in enumerate(frames):
            yield from ((i, int(number), values == number) for number in np.unique(values) if number)
        return
    most = np.float32(file.MaximumFractionalValue) if file.SegmentationType == "FRACTIONAL" else None
    shared = file.SharedFunctionalGroupsSequence[0]
    for i, (one, values) in enumerate(zip(file.PerFrameFunctionalGroupsSequence, frames, strict=True)):
        group = one if "SegmentIdentificationSequence" in one else shared
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        yield i, number, values if most is None else values / most


def _mark(
    here: NDArray[Any], marked: NDArray[np.bool_], number: int, *, names: Mapping[int, str], path: Path
) -> None:
    if taken := int(here[marked].max(initial=0)):
        raise DataError(
            f"{path} has segments that overlap, {names[taken]!r} and {names[number]!r}: read them one by one "
            "(stacked=True)."
        )
    here[marked] = number


def _placed(
    array: NDArray[Any], affine: NDArray[np.float64], series: DicomSeries, *, path: Path
) -> NDArray[Any]:
    """The same voxels on the grid of the series."""
    size, room = np.array(array.shape[-3:]), np.array(series.array.shape)
    step = np.linalg.inv(series.affine) @ affine
    whole = np.round(step)
    turns = np.abs(whole[:3, :3])
    drift = np.abs(step - whole)[:3] @ (*(size - 1), 1)
    if drift.max() > _LARGEST_DRIFT or (turns.sum(axis=0) != 1).any() or (turns.sum(axis=1) != 1).any():
        raise DataError(f"{path} does not lie on the voxels of the series: give the series it was made from.")
    order = turns.argmax(axis=1)
    turned = array.reshape(-1, *size).transpose(0, *(1 + order))
    turned = np.flip(turned, tuple(1 + axis for axis in range(3) if whole[axis, order[axis]] < 0))
    first = (whole[:3, 3] + whole[:3, :3].clip(max=0) @ (size - 1)).astype(int)
    begin, end = first.clip(min=0), np.minimum(first + turned.shape[1:], room)
    inside = tuple(slice(a, max(a, b)) for a, b in zip(begin - first, end - first, strict=True))
    if np.count_nonzero(turned[:, *inside]) != np.count_nonzero(turned):
        raise DataError(f"{path} marks voxels outside the series: give the series it was made from.")
    result = np.zeros((len(turned), *room), array.dtype)
    result[:, *(slice(a, max(a, b)) for a, b in zip(begin, end, strict=True))] = turned[:, *inside]
    return result.reshape(*array.shape[:-3], *room)
