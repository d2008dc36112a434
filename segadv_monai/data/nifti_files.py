"""NIfTI volumes, read with nibabel: ITK loads a truncated file as if it were complete.

The header is looked at before memory is taken for what it declares, and before nibabel sees it, who would set
a spacing of zero to 1 and take a minus away.
"""

import gzip
import logging
import math
from pathlib import Path
from typing import Any, Literal, TypeAlias

import nibabel
import numpy as np
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from segadv_monai.protocols import DataError

from .ceiling import check_declared
from .exact import Readable, read_exactly, skip

__all__ = ["NIFTI_SUFFIXES", "check_affine", "read_nifti"]

NIFTI_SUFFIXES = (".nii.gz", ".nii")

# A cube with edges of a micrometre: 3D microscopy has larger ones.
_LEAST_VOXEL_MM3 = 1e-12
_SCALED = np.dtype(np.float64)
_PIECE = 1 << 20

_ORDERS: tuple[tuple[str, Literal["little", "big"]], ...] = (("<", "little"), (">", "big"))

_Header: TypeAlias = Any

# What nibabel remarks stands in our own line, or may be so (a sign of 0 for 1).
_QUIET = logging.Logger("nifti")
_QUIET.addHandler(logging.NullHandler())


def read_nifti(path: str | Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Read a volume to its last byte.

    Args:
        path: the file, compressed if it ends in ``.gz``.

    Returns:
        the array ``(*S, channels)`` in the order in which it is stored, after slope and intercept; and the
        affine ``(4, 4)`` from indices to mm, RAS.

    Raises:
        DataError: it holds no numbers, places its voxels nowhere, or is larger than allowed.
        OSError, EOFError, ValueError, zlib.error, HeaderDataError: it is truncated or damaged.
    """
    path = Path(path)
    is_packed = path.name.lower().endswith(".gz")
    with gzip.open(path) if is_packed else path.open("rb") as file:
        header = _header(path, file)
        shape, dtype = _declared(path, header)
        slope, inter = header.get_slope_inter()
        is_scaled = (slope or 1, inter or 0) != (1, 0)
        stored = check_declared(path, shape, dtype.itemsize)
        if is_scaled:
            check_declared(path, shape, dtype.itemsize + _SCALED.itemsize)
        offset = int(header.get_data_offset())
        if not is_packed and path.stat().st_size < offset + stored:
            raise EOFError(f"{path.stat().st_size} of {offset + stored} bytes are there")
        affine = np.asarray(header.get_best_affine(), np.float64)
        check_affine(path, affine)
        skip(file, offset - header.sizeof_hdr)
        array = read_exactly(file, shape, dtype)
    if is_scaled:
        array = _scaled(array, slope, inter)
    return (array if array.ndim == 4 else array[..., None]), affine


def check_affine(path: str | Path, affine: NDArray[np.float64]) -> None:
    """Refuse what leads to no place, or flattens a voxel.

    Args:
        path: the file, for the message.
        affine: ``(4, 4)``, from indices to mm.

    Raises:
        DataError: a value is not finite, or a voxel has no volume.
    """
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < _LEAST_VOXEL_MM3:
        raise DataError(f"{path} has an affine that places its voxels nowhere: mend its header.")


def _header(path: Path, file: Readable) -> _Header:
    content = file.read(nibabel.Nifti1Header.sizeof_hdr)
    sizes = {order: int.from_bytes(content[:4], name) for order, name in _ORDERS}
    kinds: dict[int, Any] = {kind.sizeof_hdr: kind for kind in (nibabel.Nifti1Header, nibabel.Nifti2Header)}
    order = next((order for order, size in sizes.items() if size in kinds), None)
    if len(content) < nibabel.Nifti1Header.sizeof_hdr:
        raise EOFError(f"{len(content)} bytes are less than a header")
    if order is None:
        raise ValueError("it does not begin as a NIfTI file does")
    kind = kinds[sizes[order]]
    content += file.read(kind.sizeof_hdr - len(content))
    if len(content) < kind.sizeof_hdr:
        raise EOFError(f"{len(content)} bytes are less than a header")
    header: _Header = kind(content, order, check=False)
    _check_axes(path, header)
    header.check_fix(_QUIET)
    return header


def _check_axes(path: Path, header: _Header) -> None:
    """Size and spacing as they are stored."""
    axes = int(header["dim"][0])
    if axes not in (2, 3, 4):
        raise DataError(f"{path} has {axes} axes: a volume has 3, or 4 with the channels last.")
    spacing = [float(length) for length in header["pixdim"][1 : 1 + min(axes, 3)]]
    if not all(0 < length < math.inf for length in spacing):
        told = " x ".join(f"{length:g}" for length in spacing)
        raise DataError(f"{path} has the spacing {told} mm: each must be greater than 0; mend its header.")
    # NaN stands for no scaling in files of nibabel.
    if math.isinf(slope := float(header["scl_slope"])):
        raise DataError(f"{path} multiplies its values by {slope:g}: mend its header.")
    offset = float(header["vox_offset"])
    if not header.sizeof_hdr <= offset < math.inf:
        raise DataError(
            f"{path} places its values at byte {offset:g}, not behind its header: export it again."
        )


def _declared(path: Path, header: _Header) -> tuple[tuple[int, ...], np.dtype[Any]]:
    dtype: np.dtype[Any] = header.get_data_dtype()
    if dtype.kind not in "biuf":
        raise DataError(f"{path} holds values of type {dtype}: convert them to plain numbers.")
    return tuple(int(length) for length in header.get_data_shape()), dtype


def _scaled(array: NDArray[Any], slope: float | None, inter: float | None) -> NDArray[Any]:
    """As nibabel does it, piece by piece: at once it would take a second array of the result's size."""
    flat = array.ravel(order="F")
    result = np.empty(flat.shape, apply_read_scaling(flat[:1], slope, inter).dtype)
    for start in range(0, flat.size, _PIECE):
        piece = slice(start, start + _PIECE)
        result[piece] = apply_read_scaling(flat[piece], slope, inter)
    return result.reshape(array.shape, order="F")
