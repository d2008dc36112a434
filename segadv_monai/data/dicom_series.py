"""The DICOM gate: a scanner's folder in, one volume on its grid out, or one line that says why not.

Nothing is guessed: what places a voxel or gives its value a meaning has to be in the files, and to agree
between them. docs/dicom.md lists what is checked.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segadv_monai.protocols import DataError

from .dicom_folder import VOLUME_CLASSES, chosen, class_of, headers_in, may_be_dicom
from .dicom_geometry import grid_of
from .dicom_header import Header, quiet, read_header
from .dicom_pixels import check_pixels, values_of
from .dicom_planes import planes_of

__all__ = ["DicomSeries", "is_series", "read_series", "series_files"]


@dataclass(frozen=True, eq=False, slots=True)
class DicomSeries:
    """A CT, MR or PET volume as its files give it.

    Args:
        array: ``(X, Y, Z)``: columns, rows and slices, after slope and intercept; int16 where that is exact,
            int32 where the numbers are whole and larger, else float32. Padding values are left as they are.
        affine: ``(4, 4)``, from ``(i, j, k)`` to mm, RAS.
        files: in the order of ``k``, which runs along ``row x column``; one multi-frame file alone.
        modality: ``"CT"``, ``"MR"`` or ``"PT"``.
        series_uid: SeriesInstanceUID; empty where the files have lost it.
        frames: the number of every slice within its file, from 0, in the order of ``k``.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    files: tuple[Path, ...]
    modality: str
    series_uid: str
    frames: tuple[int, ...]


def read_series(folder: str | Path, *, series_uid: str | None = None) -> DicomSeries:
    """Read the one series of a folder, or one multi-frame file.

    Args:
        folder: the folder that holds the files, or a multi-frame file.
        series_uid: SeriesInstanceUID of the series to read where the folder holds several.

    Raises:
        DataError: there is no series, it is damaged or incomplete, or its grid or its values are not known.
        ConfigError: pydicom is not installed.
    """
    place = Path(folder).expanduser().absolute()
    with quiet():
        headers = _headers(place, series_uid)
        for header in headers:
            check_pixels(header)
        planes, affine = grid_of(place, [plane for header in headers for plane in planes_of(header)])
        array = values_of(place, planes)
        return DicomSeries(
            array=array,
            affine=affine,
            files=tuple(dict.fromkeys(plane.header.path for plane in planes)),
            modality=headers[0].text("Modality"),
            series_uid=headers[0].text("SeriesInstanceUID"),
            frames=tuple(plane.frame for plane in planes),
        )


def series_files(folder: str | Path, *, series_uid: str | None = None) -> tuple[Path, ...]:
    """The files of a folder's one series in the order of their names; no pixel is decoded, no grid checked.

    Args:
        folder: the folder that holds the files, or a multi-frame file.
        series_uid: SeriesInstanceUID of the series that is meant where the folder holds several.

    Raises:
        DataError: there is no series, there are several, or a file is damaged.
        ConfigError: pydicom is not installed.
    """
    with quiet():
        return tuple(header.path for header in _headers(Path(folder).expanduser().absolute(), series_uid))


def is_series(path: str | Path) -> bool:
    """Whether a path is a folder that holds DICOM files, or one multi-frame CT, MR or PET file.

    Args:
        path: need not exist.

    Raises:
        ConfigError: it is a DICOM file, and pydicom is not installed to look into it.
    """
    path = Path(path).expanduser()
    try:
        if path.is_dir():
            return any(_is_dicom(one) for one in path.iterdir() if one.is_file())
        if not path.is_file() or not _is_dicom(path):
            return False
        with quiet():
            header = read_header(path)
            return class_of(header) in VOLUME_CLASSES and header.frames > 1
    except (DataError, OSError):
        return False


def _is_dicom(path: Path) -> bool:
    return not path.name.startswith(".") and may_be_dicom(path)


def _headers(place: Path, series_uid: str | None) -> list[Header]:
    return chosen(place, headers_in(place), series_uid)
