"""One reader for MONAI's transforms and every kind of volume: NIfTI, MetaImage, NRRD, DICOM series.

MONAI's ``LoadImage`` tries one reader after another until one does not complain, and its ITK reader loads a
truncated file without a word. It does so only while ``read`` is called: here the files are read in
``get_data``, whose refusal stands.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
from monai.data import ImageReader
from monai.utils import ensure_tuple
from monai.utils.enums import MetaKeys, SpaceKeys
from numpy.typing import NDArray

from segadv_monai.protocols import DataError

from .file_facts import count_not_finite
from .files import PICTURE_SUFFIXES, VOLUME_SUFFIXES, decode, is_dicom, suffix

__all__ = ["VolumeReader"]

_Path: TypeAlias = str | PathLike[str]

# Headers that were rounded to 32 bits differ by less.
_SAME_PLACE = 1e-3


@final
class VolumeReader(ImageReader):
    """Read volumes with the checks of :func:`check_dataset`, and nothing of the header but the geometry.

    Several files with one channel each become the channels of one image. Arrays and affines are those of
    ``NibabelReader`` for NIfTI files, and in the same form for all others: the stored axes, mm in RAS. A
    DICOM series is named by its folder.
    """

    def verify_suffix(self, filename: Sequence[_Path] | _Path) -> bool:
        """Whether all of it are volumes.

        Args:
            filename: a path, or one for each channel.
        """
        return all(suffix(path) in VOLUME_SUFFIXES or is_dicom(path) for path in ensure_tuple(filename))

    def read(self, data: Sequence[_Path] | _Path, **_: Any) -> tuple[Path, ...]:
        """Remember what is to be read: :meth:`get_data` reads it.

        Args:
            data: a path, or one for each channel.
        """
        return tuple(Path(path) for path in ensure_tuple(data))

    def get_data(self, img: Sequence[Path]) -> tuple[NDArray[Any], dict[str, Any]]:
        """Read the files.

        Args:
            img: what :meth:`read` has returned.

        Returns:
            the array, channels first if there are several files, last if one file has several; and where
            its voxels are.

        Raises:
            DataError: a file cannot be used, or the channels do not lie on one grid.
        """
        volumes = [_volume(path) for path in img]
        first, affine = volumes[0]
        for path, (array, other) in zip(img, volumes, strict=True):
            _check_channel(path, array, alone=len(img) == 1)
            if array.shape[:-1] != first.shape[:-1] or not np.allclose(other, affine, atol=_SAME_PLACE):
                raise DataError(f"{path} and {img[0]} are channels of one image: export them on one grid.")
        meta: dict[str, Any] = {
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPATIAL_SHAPE: np.array(first.shape[:-1]),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),
        }
        if len(img) > 1:
            meta[MetaKeys.ORIGINAL_CHANNEL_DIM] = 0
            return np.stack([array[..., 0] for array, _ in volumes]), meta
        if first.shape[-1] > 1:
            meta[MetaKeys.ORIGINAL_CHANNEL_DIM] = -1
            return first, meta
        return first[..., 0], meta


def _volume(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    if suffix(path) in PICTURE_SUFFIXES:
        raise DataError(f"{path} is a picture, and volumes are expected: choose other data, or convert it.")
    array, affine = decode(path)
    if affine is None:
        raise DataError(f"{path} does not tell where its voxels are: convert it to .nii.gz.")
    if count := count_not_finite(array):
        raise DataError(f"{path} holds {count} values that are not finite (NaN or infinite): replace them.")
    # PyTorch knows the byte order of this machine alone.
    return array.astype(array.dtype.newbyteorder("="), copy=False), affine


def _check_channel(path: Path, array: NDArray[Any], *, alone: bool) -> None:
    if not alone and array.shape[-1] != 1:
        raise DataError(
            f"{path} has {array.shape[-1]} channels: in a list of files each has one, or give a single file."
        )
