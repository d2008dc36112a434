"""Image files: which there are, which of them make one image, and their whole content, decoded."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray
from PIL import Image

from segadv_monai.protocols import DataError, SegAdvError

from .ceiling import check_declared
from .dicom_series import is_series, read_series, series_files
from .itk_files import ITK_SUFFIXES, itk_files, read_itk
from .nifti_files import NIFTI_SUFFIXES, read_nifti

__all__ = [
    "PICTURE_SUFFIXES",
    "VOLUME_SUFFIXES",
    "decode",
    "files_of",
    "is_dicom",
    "known_kinds",
    "stem",
    "suffix",
]

_Decoded: TypeAlias = tuple[NDArray[Any], NDArray[np.float64] | None]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, *ITK_SUFFIXES)
_KNOWN = (*VOLUME_SUFFIXES, *PICTURE_SUFFIXES, ".dcm")

# What decoders raise on bytes that no encoder has made.
_UNREADABLE = (
    *(OSError, EOFError, ValueError, SyntaxError, ArithmeticError, LookupError, RuntimeError, TypeError),
    *(struct.error, zlib.error, ImageFileError, HeaderDataError, WrapStructError),
)
_PLAIN_MODES = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L", "RGB")
# Of a value in memory, where a picture is twice: in Pillow, which gives a colour four bytes, and as an array.
_BYTES = {"I": 8, "F": 8, "I;16": 4, "I;16B": 4, "I;16L": 4, "RGB": 3}


def suffix(path: str | Path) -> str:
    """The known suffix of a file in lower case, ``.nii.gz`` as one; empty if it is none.

    Args:
        path: the file, which need not exist.
    """
    name = Path(path).name.lower()
    return next((end for end in _KNOWN if name.endswith(end)), "")


def stem(path: str | Path) -> str:
    """The file's name without its known suffix.

    Args:
        path: the file, which need not exist.
    """
    name = Path(path).name
    return name[: len(name) - len(suffix(name))]


def known_kinds() -> str:
    """Every kind of image that can be read, as a message lists them."""
    return ", ".join((*PICTURE_SUFFIXES, *VOLUME_SUFFIXES))


def is_dicom(path: str | Path) -> bool:
    """Whether it is a DICOM series: its folder, or one file of several frames.

    Args:
        path: a folder or a file.
    """
    path = Path(path)
    return suffix(path) not in (*PICTURE_SUFFIXES, *VOLUME_SUFFIXES) and is_series(path)


def files_of(path: str | Path) -> tuple[Path, ...]:
    """The files that make one image: one, a header and its values, or the slices of a series in their order.

    Args:
        path: a file, or the folder of a DICOM series.

    Raises:
        DataError: the file or a part of it is missing, or it is no image.
    """
    path = Path(path)
    with _told(path):
        _check_there(path)
        if path.is_dir():
            return series_files(path)
        return itk_files(path) if suffix(path) in ITK_SUFFIXES else (path,)


def decode(path: str | Path, *, is_label: bool = False) -> _Decoded:
    """Decode an image to its last byte; its size is judged before memory is taken for it.

    Args:
        path: a picture, a volume, or the folder of a DICOM series.
        is_label: whether it is a label map, whose palette indices are its values.

    Returns:
        the array ``(*S, channels)``, ``S`` rows and columns of a picture, the stored axes of a volume; and
        the affine ``(4, 4)`` of a volume, from indices to mm, RAS, None of a picture.

    Raises:
        DataError: the file is missing, of a kind that cannot be read here, damaged, too large, of a colour
            mode that has to be converted, or places its voxels nowhere.
    """
    path = Path(path)
    with _told(path):
        _check_there(path)
        kind = suffix(path)
        if kind in NIFTI_SUFFIXES:
            return read_nifti(path)
        if kind in ITK_SUFFIXES:
            return read_itk(path)
        if kind in PICTURE_SUFFIXES and path.is_file():
            return _decode_picture(path, is_label=is_label), None
        if is_dicom(path):
            series = read_series(path)
            return series.array[..., None], series.affine
    raise DataError(
        f"{path} is of a kind that cannot be read here: convert it to one of {known_kinds()}, or give the "
        "folder of a DICOM series."
    )


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """One line for whatever a decoder says."""
    try:
        yield
    except SegAdvError:
        raise
    except PermissionError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): mend its permissions.") from error
    except MemoryError as error:
        raise DataError(f"{path} takes more memory than there is: free some or set less workers.") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} declares too many pixels: mend its header, or cut it in parts.") from error
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is truncated or damaged ({reason}): fetch or export it again.") from error


def _check_there(path: Path) -> None:
    if not path.is_file() and not path.is_dir():
        raise DataError(f"{path}: there is no such file; mend its path in dataset.json or put it there.")


def _decode_picture(path: Path, *, is_label: bool) -> NDArray[Any]:
    with Image.open(path) as picture:
        if not is_label and picture.mode not in _PLAIN_MODES:
            raise DataError(f"{path} is a picture of mode {picture.mode}: convert it to RGB or to grey.")
        if (frames := getattr(picture, "n_frames", 1)) != 1:
            raise DataError(f"{path} holds {frames} pictures: write each to a file of its own.")
        shape = (*reversed(picture.size), len(picture.getbands()))
        check_declared(path, shape, _BYTES.get(picture.mode, 2))
        array = np.asarray(picture)
    return array if array.ndim == 3 else array[..., None]
