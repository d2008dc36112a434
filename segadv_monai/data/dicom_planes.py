"""Where a DICOM file places its slices, and how its stored values become values: one plane per frame.

A file of one slice tells it in its own elements, a multi-frame file (enhanced CT, MR and PET, and the legacy
converted ones) in the functional groups of each frame or in those that all frames share.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segadv_monai.protocols import DataError

from .dicom_header import Header

__all__ = ["Plane", "planes_of"]

_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}
# In what slices at one place may differ, in the order in which it says most.
_MARKS = (
    *("TemporalPositionIdentifier", "AcquisitionNumber", "EchoTime", "DiffusionBValue", "TriggerTime"),
    "ImageType",
)
# Nothing that is scanned is a kilometre away or has pixels of less than 0.1 micrometre.
_MOST_MM = 1e6
_LEAST_MM = 1e-4


@dataclass(frozen=True, eq=False, slots=True)
class Plane:
    """One slice.

    Args:
        header: of its file.
        frame: its number within the file, from 0.
        position: of the centre of its first pixel, in mm, LPS.
        orientation: the direction of its rows and that of its columns, ``(6,)``.
        spacing: between rows and between columns, in mm.
        slope: what a stored value is multiplied with.
        intercept: what is added then.
    """

    header: Header
    frame: int
    position: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing: NDArray[np.float64]
    slope: float
    intercept: float

    @property
    def name(self) -> str:
        """What it is called in a message: the file's name, and the frame's number where there are more."""
        name = self.header.path.name
        return name if self.header.frames == 1 else f"frame {self.frame + 1} of {name}"

    def differs_in(self, other: "Plane") -> str:
        """The first element in which it and another one at its place differ, empty if there is none.

        Args:
            other: a plane at the same place.
        """
        return next((mark for mark in _MARKS if self.header.text(mark) != other.header.text(mark)), "")


def planes_of(header: Header) -> list[Plane]:
    """The slices of one file, in the order of its frames.

    Args:
        header: of the file.

    Raises:
        DataError: an element is missing that places a slice or gives its values a meaning, or it is absurd.
    """
    if header.value("ModalityLUTSequence") is not None:
        raise DataError(
            f"{header.path} gives its values by a table (ModalityLUTSequence), which is not read here: "
            "export it with RescaleSlope and RescaleIntercept."
        )
    return [_plane(header, frame, places) for frame, places in enumerate(_places(header))]


def _places(header: Header) -> Iterator[tuple[Any, ...]]:
    """For every frame the data sets that may describe it, the nearest first."""
    frames = header.frames
    each = header.value("PerFrameFunctionalGroupsSequence")
    if not each:
        if frames != 1:
            raise DataError(
                f"{header.path} has {frames} frames and no PerFrameFunctionalGroupsSequence that places "
                "them: export one file per slice."
            )
        yield (header.dataset,)
        return
    if len(each) != frames:
        raise DataError(f"{header.path} declares {frames} frames and describes {len(each)}: export it again.")
    shared = header.value("SharedFunctionalGroupsSequence") or ()
    for one in each:
        yield (one, *shared)


def _plane(header: Header, frame: int, places: tuple[Any, ...]) -> Plane:
    name = f"{header.path}, frame {frame + 1}," if header.frames > 1 else str(header.path)
    position = _numbers(header, places, "ImagePositionPatient", name)
    orientation = _numbers(header, places, "ImageOrientationPatient", name)
    spacing = _numbers(header, places, "PixelSpacing", name)
    if not (spacing >= _LEAST_MM).all():
        raise DataError(
            f"{name} has the PixelSpacing {spacing[0]:g} x {spacing[1]:g} mm: each has to be {_LEAST_MM:g} "
            "or more; mend its header."
        )
    return Plane(header, frame, position, orientation, spacing, *_rescale(header, places, name))


def _found(header: Header, places: tuple[Any, ...], keyword: str) -> Any:
    for place in places:
        if place is header.dataset:
            return header.value(keyword)
        group = header.value(_GROUPS[keyword], place)
        if group and (found := header.value(keyword, group[0])) is not None:
            return found
    return None


def _numbers(header: Header, places: tuple[Any, ...], keyword: str, name: str) -> NDArray[np.float64]:
    found = _found(header, places, keyword)
    count = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}[keyword]
    if found is None:
        raise DataError(f"{name} lacks {keyword}: its place is not known; export it again.")
    try:
        numbers = np.array(found, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (count,) or not (np.abs(numbers) < _MOST_MM).all():
        raise DataError(
            f"{name} does not give {keyword} as {count} finite numbers: mend its header or export it again."
        )
    return numbers


def _rescale(header: Header, places: tuple[Any, ...], name: str) -> tuple[float, float]:
    """Slope and intercept. Only MR, whose values have no unit, may go without: they are 1 and 0 then."""
    told = [_found(header, places, keyword) for keyword in ("RescaleSlope", "RescaleIntercept")]
    if told == [None, None] and header.text("Modality") == "MR":
        return 1.0, 0.0
    for keyword, value in zip(("RescaleSlope", "RescaleIntercept"), told, strict=True):
        if value is None:
            raise DataError(
                f"{name} lacks {keyword}: what its values mean is not known; export it again with it."
            )
    try:
        slope, intercept = (float(value) for value in told)
    except (TypeError, ValueError):
        slope = intercept = float("nan")
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise DataError(
            f"{name} has a RescaleSlope or RescaleIntercept that cannot be applied ({slope:g}, "
            f"{intercept:g}): mend its header or export it again."
        )
    return slope, intercept
