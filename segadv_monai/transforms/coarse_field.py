"""The smooth field of U-Net's deformation (Ronneberger et al., MICCAI 2015, arXiv 1505.04597, section 3.1).

A few nodes are displaced and the field between them is cubic, joined with a linear map, shifts and flips.
Our reading where the paper leaves it open: the nodes span the grid from its first to its last voxel, and
"bicubic" is the natural cubic spline through the nodes along each axis. It passes through the displacements
as they were drawn, and it is exact for linear functions, so that linear map and deformation are one
interpolation from the nodes: one small matrix product per axis of the image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .resampling import Block, linear_cell, linear_values, reflected, steps_of

__all__ = ["CoarseField"]

# Voxels at a time: what one block needs stays in a processor's cache; other devices have no use for blocks.
_BLOCK = 2**16
_WHOLE = 2**27


@dataclass(frozen=True, slots=True, eq=False)
class CoarseField:
    """Where each voxel of a deformed image takes its value from.

    Without flips the voxel at ``x`` takes the value at ``c + matrix (x - c) + shift + d(x)``, where ``c`` is
    the centre of the grid and ``d`` the spline through the displacements; places outside the image are
    mirrored at its outermost voxels. Flips then turn the result.

    Args:
        displacements: of the nodes, ``(n, *grid)`` float64, in voxels; at least two nodes along each axis.
        matrix: ``(n, n)`` float64.
        shift: ``(n,)`` float64, in voxels.
        flips: spatial axes.
    """

    displacements: Tensor
    matrix: Tensor
    shift: Tensor
    flips: tuple[int, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether anything but flips is done."""
        eye = torch.eye(len(self.matrix), dtype=torch.float64)
        return bool(self.displacements.any() or self.shift.any() or not torch.equal(self.matrix, eye))

    def affine(self, size: Sequence[int]) -> Tensor:
        """The field without its displacements, flips included, as a matrix.

        Args:
            size: of the image.

        Returns:
            ``(n + 1, n + 1)`` float64: voxel of the result to place in the image.
        """
        count = len(self.matrix)
        centre = (torch.tensor(size, dtype=torch.float64) - 1) / 2
        signs = torch.ones(count, dtype=torch.float64)
        signs[list(self.flips)] = -1
        result = torch.eye(count + 1, dtype=torch.float64)
        result[:count, :count] = self.matrix * signs
        result[:count, -1] = centre + self.shift - result[:count, :count] @ centre
        return result

    def displacement(self, size: Sequence[int]) -> Tensor:
        """How far from each voxel its value is taken, flips left out.

        Args:
            size: of the image.

        Returns:
            ``(n, *size)`` float32, in voxels.
        """
        nodes = self._node_offsets(size)
        for axis, count in enumerate(size):
            nodes = _along(nodes, _spline_weights(count, nodes.shape[axis + 1]), axis + 1)
        return nodes.float()

    def blocks(self, size: Sequence[int], device: torch.device) -> Iterator[Block]:
        """The places, part by part.

        Args:
            size: of the image.
            device: where the places are needed.

        Yields:
            A range of voxels in the order of memory, and the coordinate of each along each axis.
        """
        nodes = self._node_offsets(size)
        weights = [_spline_weights(count, nodes.shape[axis + 1]) for axis, count in enumerate(size)]
        # Between its nodes a spline goes beyond them by no more than its weights allow.
        largest = torch.stack([weight.abs().sum(dim=1).max() for weight in weights]).prod()
        reach = nodes.abs().flatten(1).amax(dim=1) * largest
        weights = [w.flip(0) if axis in self.flips else w for axis, w in enumerate(weights)]
        for axis, weight in enumerate(weights[:-1]):
            nodes = _along(nodes, weight, axis + 1)
        width = size[-1]
        # TF32, if a GPU may use it, would move places by a thousandth of their offset.
        kind = torch.float64 if device.type == "cuda" else torch.float32
        offsets = nodes.flatten(1, -2).to(kind).to(device)
        last = weights[-1].T.to(kind).contiguous().to(device)
        starts = [start.to(kind) for start in _coordinates(size, self.flips, device)]
        rows = max(1, (_BLOCK if device.type == "cpu" else _WHOLE) // width)
        for first in range(0, offsets.shape[1], rows):
            part = slice(first, min(first + rows, offsets.shape[1]))
            places = []
            for axis, count in enumerate(size):
                start = starts[axis] if axis == len(size) - 1 else starts[axis][part]
                # Added last and exactly, so that a field of zeros takes each voxel from itself.
                place = torch.addmm(start, offsets[axis, part], last).view(-1).float()
                places.append(reflected(place, count, far=bool(reach[axis] > count - 1)))
            yield slice(part.start * width, part.stop * width), places

    def inverse_blocks(
        self, size: Sequence[int], device: torch.device, *, tolerance: float = 1e-3
    ) -> Iterator[Block]:
        """The places of the inverse, by fixed-point iteration over the whole grid.

        Args:
            size: of the image.
            device: where the places are needed.
            tolerance: the last step of the iteration, in voxels.

        Yields:
            As ``blocks``.

        Raises:
            ValueError: the field folds, or nearly so: it has no inverse that the iteration finds.
        """
        drawn = CoarseField(self.displacements, torch.eye(len(size), dtype=torch.float64), self.shift * 0)
        bends = drawn.displacement(size).to(device).flatten(1)
        backwards = torch.linalg.inv(self.matrix)
        centre = (torch.tensor(size, dtype=torch.float64) - 1) / 2
        targets = torch.stack(torch.meshgrid(*_lines(size, device), indexing="ij")).flatten(1)
        constant = (centre - backwards @ (centre + self.shift)).float().to(device)[:, None]
        places = start = _applied(backwards, targets) + constant
        if self.displacements.any():
            places = _fixed_point(start, _applied(backwards, bends), size, tolerance)
        for axis in self.flips:
            places[axis].neg_().add_(size[axis] - 1)
        folded = [reflected(place, count, far=True) for place, count in zip(places, size, strict=True)]
        yield slice(0, places.shape[1]), folded

    def _node_offsets(self, size: Sequence[int]) -> Tensor:
        """How far each node is moved by everything but flips."""
        grid = self.displacements.shape[1:]
        lines = [
            torch.linspace(-0.5, 0.5, n, dtype=torch.float64) * (s - 1)
            for n, s in zip(grid, size, strict=True)
        ]
        nodes = torch.stack(torch.meshgrid(*lines, indexing="ij"))
        eye = torch.eye(len(size), dtype=torch.float64)
        linear: Tensor = torch.tensordot(self.matrix - eye, nodes, dims=1)
        return self.displacements + linear + self.shift.reshape(-1, *[1] * len(size))


@lru_cache(maxsize=256)
def _spline_weights(count: int, nodes: int) -> Tensor:
    """What each of the nodes' values counts for at each voxel: the natural cubic spline through them.

    Args:
        count: voxels along the axis.
        nodes: nodes along it, 2 or more, the outermost on the outermost voxels.

    Returns:
        ``(count, nodes)`` float64. Kept for later calls: not to be changed.
    """
    positions = torch.linspace(0, nodes - 1, count, dtype=torch.float64)
    if count == 1:
        positions = positions + (nodes - 1) / 2
    left = positions.floor().clamp(max=nodes - 2).long()
    right_share = positions - left
    linear, bent = torch.zeros(2, count, nodes, dtype=torch.float64)
    voxels = torch.arange(count)
    for node, share in ((left, 1 - right_share), (left + 1, right_share)):
        linear[voxels, node] = share
        bent[voxels, node] = (share**3 - share) / 6
    weights: Tensor = linear + bent @ _second_derivatives(nodes)
    return weights


def _second_derivatives(nodes: int) -> Tensor:
    """Values at the nodes to the spline's second derivatives there, which are 0 at both ends."""
    system = torch.eye(nodes, dtype=torch.float64)
    differences = torch.zeros(nodes, nodes, dtype=torch.float64)
    for i in range(1, nodes - 1):
        system[i, i - 1 : i + 2] = torch.tensor([1.0, 4.0, 1.0], dtype=torch.float64)
        differences[i, i - 1 : i + 2] = torch.tensor([6.0, -12.0, 6.0], dtype=torch.float64)
    solution: Tensor = torch.linalg.solve(system, differences)
    return solution


def _along(values: Tensor, weights: Tensor, axis: int) -> Tensor:
    product: Tensor = torch.tensordot(values, weights, dims=([axis], [1]))
    return product.movedim(-1, axis)


def _applied(matrix: Tensor, vectors: Tensor) -> Tensor:
    """The product, in full precision."""
    return (matrix.to(vectors.dtype).to(vectors.device)[..., None] * vectors).sum(dim=1)


def _lines(size: Sequence[int], device: torch.device) -> list[Tensor]:
    return [torch.arange(count, dtype=torch.float32, device=device) for count in size]


def _coordinates(size: Sequence[int], flips: tuple[int, ...], device: torch.device) -> list[Tensor]:
    """Each voxel's own place: a column for every row of voxels, and a row for the last axis."""
    lines = [line.flip(0) if axis in flips else line for axis, line in enumerate(_lines(size, device))]
    columns = torch.meshgrid(*lines[:-1], indexing="ij")
    return [*(column.reshape(-1, 1) for column in columns), lines[-1][None]]


def _fixed_point(start: Tensor, bends: Tensor, size: Sequence[int], tolerance: float) -> Tensor:
    """The places ``y`` with ``y = start - bends(y)``."""
    steps = steps_of(size)
    places = start
    for _ in range(100):
        inside = [place.clamp(0, count - 1) for place, count in zip(places, size, strict=True)]
        cell = linear_cell(inside, size)
        moved = start - torch.stack([linear_values(bend, cell, steps) for bend in bends])
        change = float((moved - places).abs().max())
        places = moved
        if change < tolerance:
            return places
    raise ValueError(
        f"a deformation that folds has no inverse, and this one still moved {change:.2g} voxels after 100 "
        "steps: lower sigma, or leave its keys out of the inversion."
    )
