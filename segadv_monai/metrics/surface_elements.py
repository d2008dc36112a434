"""Areas of the surface elements of a binary volume, and lengths of the contour elements of a picture.

As in DeepMind's surface-distance library (Nikolov et al., J Med Internet Res 2021, arXiv 1809.04430): every
cell between 2 x 2 (x 2) neighbouring voxels is looked at; what of the mask's surface passes through it is one
element. The table is not theirs but computed here, from these rules, which give the same numbers:

- the surface crosses the edges of a cell halfway between a voxel inside and one outside;
- the rarer kind of voxel in a cell, inside or outside, is taken; voxels of that kind that share no face are
  cut off separately;
- the points around such a group form a polygon; where it is not flat it is cut into the triangles of largest
  area at equal spacing.
"""

import itertools
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["element_codes", "element_sizes"]

_Corner = tuple[int, ...]


def element_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Which voxels of each cell are inside, as the bits of a number; bit ``i`` is the i-th corner in C order.

    Args:
        mask: with a margin of False voxels on every side; each axis of the result is one shorter.
    """
    size = [n - 1 for n in mask.shape]
    codes = np.zeros(size, np.uint8)
    for i, corner in enumerate(_corners(mask.ndim)):
        window = tuple(slice(first, first + n) for first, n in zip(corner, size, strict=True))
        codes |= mask[window].view(np.uint8) << np.uint8(i)
    return codes


def element_sizes(spacing: Sequence[float]) -> NDArray[np.float64]:
    """Area (three dimensions) or length (two) of the element of every code.

    Args:
        spacing: of the voxels along each axis.
    """
    codes, vectors = _elements(len(spacing))
    scale = np.asarray(spacing, float)
    if len(spacing) == 3:
        # A triangle's area vector grows along an axis with the spacing along the two others.
        scale = np.prod(scale) / scale
    sizes = np.linalg.norm(vectors * scale, axis=1)
    table = np.zeros(2 ** (2 ** len(spacing)))
    np.add.at(table, codes, sizes)
    return table


@cache
def _elements(dims: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Code and vector of every piece of surface: area vectors of triangles, or contour segments."""
    codes, vectors = [], []
    corners = _corners(dims)
    for code in range(1, 2**2**dims - 1):
        inside = {corner for i, corner in enumerate(corners) if code >> i & 1}
        rarer = inside if 2 * len(inside) <= len(corners) else set(corners) - inside
        for group in _groups(rarer):
            points = _crossings(group)
            pieces = [points[1] - points[0]] if dims == 2 else _triangles(_around(points))
            codes += [code] * len(pieces)
            vectors += pieces
    return np.array(codes), np.array(vectors)


def _corners(dims: int) -> list[_Corner]:
    return list(itertools.product((0, 1), repeat=dims))


def _neighbours(corner: _Corner) -> list[_Corner]:
    return [(*corner[:i], 1 - corner[i], *corner[i + 1 :]) for i in range(len(corner))]


def _groups(corners: set[_Corner]) -> Iterator[set[_Corner]]:
    """Corners that hang together over edges of the cell."""
    left = set(corners)
    while left:
        group = {left.pop()}
        while grown := {near for corner in group for near in _neighbours(corner)} & left:
            group |= grown
            left -= grown
        yield group


def _crossings(group: set[_Corner]) -> list[NDArray[np.float64]]:
    return [
        (np.array(corner) + np.array(near)) / 2
        for corner in sorted(group)
        for near in _neighbours(corner)
        if near not in group
    ]


def _around(points: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """The points in their order around the group: neighbours lie on one face of the cell."""
    ordered, left = [points[0]], points[1:]
    while left:
        here = ordered[-1]
        following = next(i for i, there in enumerate(left) if np.any((there == here) & (there % 1 == 0)))
        ordered.append(left.pop(following))
    return ordered


def _triangles(polygon: list[NDArray[Any]]) -> list[NDArray[np.float64]]:
    """Area vectors of the triangles of largest area."""
    candidates = [
        [np.cross(polygon[j] - polygon[i], polygon[k] - polygon[i]) / 2 for i, j, k in cut]
        for cut in _cuts(tuple(range(len(polygon))))
    ]
    return max(candidates, key=lambda vectors: sum(float(np.linalg.norm(vector)) for vector in vectors))


def _cuts(polygon: tuple[int, ...]) -> Iterator[list[tuple[int, int, int]]]:
    """All ways to cut a polygon into triangles at its corners."""
    if len(polygon) < 3:
        yield []
        return
    first, last = polygon[0], polygon[-1]
    for i in range(1, len(polygon) - 1):
        for left, right in itertools.product(_cuts(polygon[: i + 1]), _cuts(polygon[i:])):
            yield [*left, (first, polygon[i], last), *right]
