"""What one look at a file tells, whatever network and data set it is for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import decode

__all__ = ["FileFacts", "facts_of"]

_MOST_VALUES = 4096
# Above this a table of counts costs more than sorting.
_LARGEST_COUNTED = 1 << 16


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Facts of one file.

    Args:
        shape: with the channels last.
        not_finite: number of values that are NaN or infinite.
        constant: channels that hold one value alone.
        values: of a label map: its different finite values, ascending, at most 4096; empty for an image.
        affine: of a volume: the rows of the ``(4, 4)`` matrix from indices to mm; empty for a picture.
    """

    shape: tuple[int, ...]
    not_finite: int
    constant: tuple[int, ...]
    values: tuple[float, ...]
    affine: tuple[tuple[float, ...], ...]


def facts_of(path: Path, content: bytes, *, is_label: bool) -> FileFacts:
    """Decode a file and look at every value of it.

    Args:
        path: the file.
        content: its bytes.
        is_label: whether it is a label map.

    Raises:
        DataError: it cannot be decoded.
    """
    array, affine = decode(path, content, is_label=is_label)
    not_finite = 0
    if array.dtype.kind == "f":
        not_finite = array.size - int(np.count_nonzero(np.isfinite(array)))
    return FileFacts(
        shape=array.shape,
        not_finite=not_finite,
        constant=() if is_label else _constant_channels(array),
        values=_values(array, not_finite=not_finite) if is_label else (),
        affine=() if affine is None else tuple(tuple(row) for row in affine.tolist()),
    )


def _constant_channels(array: NDArray[Any]) -> tuple[int, ...]:
    flat = array.reshape(-1, array.shape[-1])
    return tuple(i for i in range(flat.shape[1]) if len(flat) and (flat[:, i] == flat[0, i]).all())


def _values(array: NDArray[Any], *, not_finite: int) -> tuple[float, ...]:
    """The different values; by counting where that is possible, ten times as fast as by sorting."""
    flat = array.ravel()
    if not_finite:
        flat = flat[np.isfinite(flat)]
    if flat.size and _is_small_and_whole(flat):
        found = np.flatnonzero(np.bincount(flat.astype(np.int64, copy=False)))
    else:
        found = np.unique(flat)
    return tuple(float(value) for value in found[:_MOST_VALUES])


def _is_small_and_whole(flat: NDArray[Any]) -> bool:
    if flat.dtype.kind == "b":
        return True
    if flat.min() < 0 or flat.max() >= _LARGEST_COUNTED:
        return False
    return flat.dtype.kind in "iu" or bool((flat == np.rint(flat)).all())
