"""Image files: which there are, and their whole content, decoded.

Volumes are read with nibabel alone: ITK loads a truncated NIfTI file as if it were complete.
"""

import gzip
import io
import math
import zlib
from pathlib import Path
from typing import Any, TypeAlias

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray
from PIL import Image

from segadv_monai.protocols import DataError

__all__ = [
    "PICTURE_SUFFIXES",
    "VOLUME_SUFFIXES",
    "decode",
    "image_files",
    "read_bytes",
    "stem",
    "suffix",
]

_Decoded: TypeAlias = tuple[NDArray[Any], NDArray[np.float64] | None]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
VOLUME_SUFFIXES = (".nii.gz", ".nii")

_UNREADABLE = (
    *(OSError, EOFError, ValueError, SyntaxError, zlib.error),
    *(ImageFileError, HeaderDataError, WrapStructError, Image.DecompressionBombError),
)
# A cube with edges of a micrometre: 3D microscopy has larger ones.
_LEAST_VOXEL_MM3 = 1e-12
_PLAIN_MODES = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L", "RGB")


def image_files(directory: str | Path) -> list[dict[str, str]]:
    """Cases for inference: every image of a folder, in the order of their names, or one file.

    Args:
        directory: a folder, or the path of one image. Folders inside it and hidden files are left out.

    Raises:
        DataError: there is no such folder, no image in it, or two whose segmentations would have one name.
    """
    root = Path(directory).expanduser().absolute()
    known = ", ".join((*PICTURE_SUFFIXES, *VOLUME_SUFFIXES))
    if root.is_file() and not suffix(root):
        raise DataError(f"{root} is not an image that can be read here: give a file that ends in {known}.")
    if not root.exists():
        raise DataError(f"{root}: there is no such folder; set dataset_dir to the folder of your images.")
    found = [root] if root.is_file() else sorted(path for path in root.iterdir() if _is_image(path))
    if not found:
        raise DataError(f"{root} holds no images: put files there that end in {known}.")
    seen: dict[tuple[str, bool], Path] = {}
    for path in found:
        other = seen.setdefault((stem(path), suffix(path) in VOLUME_SUFFIXES), path)
        if other != path:
            raise DataError(
                f"{other} and {path.name} would give segmentations of one name: rename one of them."
            )
    return [{"image": str(path)} for path in found]


def suffix(path: str | Path) -> str:
    """The known suffix of a file in lower case, ``.nii.gz`` as one; empty if it is none.

    Args:
        path: the file, which need not exist.
    """
    name = Path(path).name.lower()
    return next((end for end in (*VOLUME_SUFFIXES, *PICTURE_SUFFIXES) if name.endswith(end)), "")


def stem(path: str | Path) -> str:
    """The file's name without its known suffix.

    Args:
        path: the file, which need not exist.
    """
    name = Path(path).name
    return name[: len(name) - len(suffix(name))]


def read_bytes(path: str | Path) -> bytes:
    """Read a file whole.

    Args:
        path: the file.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; mend its path in dataset.json or put it there.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}): mend its permissions."
        ) from error


def decode(path: str | Path, content: bytes, *, is_label: bool = False) -> _Decoded:
    """Decode the content of a file to its last byte.

    Args:
        path: a picture or a NIfTI volume.
        content: its bytes.
        is_label: whether it is a label map, whose palette indices are its values.

    Returns:
        the array ``(*S, channels)``, ``S`` rows and columns of a picture, the stored axes of a volume; and
        the affine ``(4, 4)`` of a volume, from indices to mm, None of a picture.

    Raises:
        DataError: the file is of a kind that cannot be read here, damaged, of a colour mode that has to be
            converted, or places its voxels nowhere.
    """
    path = Path(path)
    kind = suffix(path)
    if not kind:
        known = ", ".join((*PICTURE_SUFFIXES, *VOLUME_SUFFIXES))
        raise DataError(f"{path} is of a kind that cannot be read here: convert it to one of {known}.")
    try:
        if kind in VOLUME_SUFFIXES:
            return _decode_volume(path, content)
        return _decode_picture(path, content, is_label=is_label), None
    except DataError:
        raise
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is truncated or damaged ({reason}): fetch or export it again.") from error


def _is_image(path: Path) -> bool:
    return bool(suffix(path)) and path.is_file() and not path.name.startswith(".")


def _decode_picture(path: Path, content: bytes, *, is_label: bool) -> NDArray[Any]:
    with Image.open(io.BytesIO(content)) as picture:
        if not is_label and picture.mode not in _PLAIN_MODES:
            raise DataError(f"{path} is a picture of mode {picture.mode}: convert it to RGB or to grey.")
        array = np.asarray(picture)
    return array if array.ndim == 3 else array[..., None]


def _decode_volume(path: Path, content: bytes) -> _Decoded:
    """Decompress everything first: the checksum at the file's end is then compared, too."""
    if suffix(path) == ".nii.gz":
        content = gzip.decompress(content)
    sizes = (int.from_bytes(content[:4], "little"), int.from_bytes(content[:4], "big"))
    kind = nibabel.Nifti2Image if 540 in sizes else nibabel.Nifti1Image
    _check_spacing(path, kind, content)
    volume = kind.from_bytes(content)
    array = np.asanyarray(volume.dataobj)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{path} holds values of type {array.dtype}: convert them to plain numbers.")
    if array.ndim not in (2, 3, 4):
        raise DataError(f"{path} has {array.ndim} axes: a volume has 3, or 4 with the channels last.")
    affine = np.asarray(volume.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < _LEAST_VOXEL_MM3:
        raise DataError(f"{path} has an affine that places its voxels nowhere: mend its header.")
    return (array if array.ndim == 4 else array[..., None]), affine


def _check_spacing(path: Path, kind: type[nibabel.Nifti1Image], content: bytes) -> None:
    """Before nibabel sees it, who would set a zero to 1 and take a minus away."""
    size = kind.header_class.sizeof_hdr
    if len(content) < size:
        raise EOFError(f"{len(content)} bytes are less than a header")
    header: Any = kind.header_class
    header = header(content[:size], check=False)
    axes = min(int(header["dim"][0]), 3)
    spacing = [float(length) for length in header["pixdim"][1 : 1 + axes]]
    if not all(0 < length < math.inf for length in spacing):
        told = " x ".join(f"{length:g}" for length in spacing)
        raise DataError(f"{path} has the spacing {told} mm: each must be greater than 0; mend its header.")
