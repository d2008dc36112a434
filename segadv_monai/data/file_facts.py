"""What one look at an image tells, whatever network and data set it is for."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import decode

__all__ = ["FileFacts", "count_not_finite", "facts_of"]

_MOST_VALUES = 4096
# Above this a table of counts costs more than sorting.
_LARGEST_COUNTED = 1 << 16
# Values looked at together: what is made on the way takes a few MiB beside an image of many.
_PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Facts of one image.

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


def facts_of(path: Path, *, is_label: bool) -> FileFacts:
    """Decode an image and look at every value of it.

    Args:
        path: the image.
        is_label: whether it is a label map.

    Raises:
        DataError: it cannot be decoded.
    """
    array, affine = decode(path, is_label=is_label)
    not_finite = count_not_finite(array)
    return FileFacts(
        shape=array.shape,
        not_finite=not_finite,
        constant=() if is_label else _constant_channels(array),
        values=_values(array, not_finite=not_finite) if is_label else (),
        affine=() if affine is None else tuple(tuple(row) for row in affine.tolist()),
    )


def count_not_finite(array: NDArray[Any]) -> int:
    """Number of values that are NaN or infinite.

    Args:
        array: of any size.
    """
    if array.dtype.kind != "f":
        return 0
    return array.size - sum(int(np.isfinite(piece).sum()) for piece in _pieces(array))


def _pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """All values in the order of the memory, which needs no copy."""
    flat = array.ravel(order="K")
    return (flat[start : start + _PIECE] for start in range(0, flat.size, _PIECE))


def _constant_channels(array: NDArray[Any]) -> tuple[int, ...]:
    first = array[(0,) * (array.ndim - 1)]
    # Most channels differ within a row already.
    maybe = [i for i in range(array.shape[-1]) if (array[0, ..., i] == first[i]).all()]
    return tuple(i for i in maybe if all((piece == first[i]).all() for piece in _pieces(array[..., i])))


def _values(array: NDArray[Any], *, not_finite: int) -> tuple[float, ...]:
    found: NDArray[Any] = np.empty(0)
    for piece in _pieces(array):
        part = piece[np.isfinite(piece)] if not_finite else piece
        found = np.union1d(found, _different(part))[:_MOST_VALUES]
    return tuple(float(value) for value in found)


def _different(values: NDArray[Any]) -> NDArray[Any]:
    """By counting where that is possible, ten times as fast as by sorting."""
    if values.size and _is_small_and_whole(values):
        return np.flatnonzero(np.bincount(values.astype(np.int64, copy=False)))
    return np.unique(values)


def _is_small_and_whole(values: NDArray[Any]) -> bool:
    if values.dtype.kind == "b":
        return True
    if values.min() < 0 or values.max() >= _LARGEST_COUNTED:
        return False
    return values.dtype.kind in "iu" or bool((values == np.rint(values)).all())
