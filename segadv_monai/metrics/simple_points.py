"""Borders between cells, moved without joining or parting what they separate: thinning and warping error.

A pixel is simple if to flip it changes neither the number of cells nor that of pieces of border (Bertrand,
1994). Cells hang together by edges, borders also by corners, and what lies outside the image is border. Both
functions flip simple pixels ring by ring; in a ring, pixels that touch are never flipped at the same time.
"""

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from segadv_monai.protocols import DataError

__all__ = ["thinned_borders", "warping_error"]

Mask = NDArray[np.bool_] | Tensor
_RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


def thinned_borders(cells: Mask) -> NDArray[np.bool_]:
    """Cells grown until the border between them is one pixel wide; none appears, vanishes or joins another.

    Args:
        cells: ``(H, W)``, greater than 0 inside a cell.

    Raises:
        DataError: the mask has not two dimensions.
    """
    grid = _framed(cells)
    _flip(grid, np.pad(grid[1:-1, 1:-1] == 0, 1))
    return grid[1:-1, 1:-1] > 0


def warping_error(prediction: Mask, reference: Mask) -> float:
    """Part of the pixels in which the prediction differs from the reference after its best warping.

    Jain et al. (CVPR 2010): the reference is warped onto the prediction by flips of simple pixels in which
    they differ, until there is none; what is left are splits, mergers, holes and objects of one map alone.
    The order of the flips is ours, so that the number is an upper bound of the smallest over all orders. No
    flip leads away from the prediction: a border that lies off by more than its width stays an error.

    Args:
        prediction: ``(H, W)``, greater than 0 inside a cell.
        reference: mask of the same shape.

    Raises:
        DataError: a mask has not two dimensions; the shapes differ.
    """
    target, grid = _framed(prediction), _framed(reference)
    if target.shape != grid.shape:
        raise DataError(
            f"prediction {tuple(prediction.shape)} and reference {tuple(reference.shape)} differ: bring the "
            "prediction back to the reference's grid."
        )
    _flip(grid, grid != target)
    return float((grid != target)[1:-1, 1:-1].mean())


def _framed(mask: Mask) -> NDArray[np.uint8]:
    """1 inside cells, with a frame of border."""
    inside = np.asarray(mask.cpu() if isinstance(mask, Tensor) else mask) > 0
    if inside.ndim != 2:
        raise DataError(f"borders are moved in sections of two dimensions, got {inside.ndim}: give sections.")
    return np.pad(inside, 1).astype(np.uint8)


def _flip(grid: NDArray[np.uint8], wanted: NDArray[np.bool_]) -> None:
    """Flip the wanted pixels in place, as long as there is a simple one among them."""
    width = grid.shape[1]
    offsets = np.array([row * width + column for row, column in _RING])
    flat, pending, simple = grid.reshape(-1), wanted.reshape(-1), _simple()

    def simple_of(places: NDArray[np.intp]) -> NDArray[np.intp]:
        code = np.zeros(places.size, np.uint8)
        for bit, offset in enumerate(offsets):
            code |= flat[places + offset] << np.uint8(bit)
        return places[simple[code]]

    ready = simple_of(np.flatnonzero(pending))
    while ready.size:
        # Pixels of one of these four fields do not touch.
        field = ready // width % 2 * 2 + ready % width % 2
        flipped = []
        for part in range(4):
            places = simple_of(ready[field == part])
            flat[places] ^= 1
            flipped.append(places)
        done = np.concatenate(flipped)
        pending[done] = False
        near = np.unique(done[:, None] + offsets)
        ready = simple_of(near[pending[near]])


@cache
def _simple() -> NDArray[np.bool_]:
    """Whether a pixel is simple, by which of its neighbours are cell: bit i for place i of the ring."""
    result = np.zeros(256, bool)
    for bits in product((0, 1), repeat=8):
        square = np.zeros((3, 3), np.uint8)
        for value, (row, column) in zip(bits, _RING, strict=True):
            square[1 + row, 1 + column] = value
        parts, _ = ndimage.label(square)
        cells = {int(parts[place]) for place in ((0, 1), (1, 2), (2, 1), (1, 0))} - {0}
        around = 1 - square
        around[1, 1] = 0
        borders = ndimage.label(around, np.ones((3, 3)))[1]
        result[sum(value << i for i, value in enumerate(bits))] = len(cells) == 1 and borders == 1
    return result
