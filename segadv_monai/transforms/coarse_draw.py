"""What a random coarse deformation is drawn from (see ``coarse_elastic``)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from segadv_monai.protocols import ConfigError

from .coarse_field import CoarseField

__all__ = ["CoarseDraw", "Range", "one_each"]

Range: TypeAlias = float | Sequence[float | Sequence[float]]


@dataclass(frozen=True, slots=True)
class CoarseDraw:
    """Distributions of a field's parts.

    Args:
        sigma, grid, rotate_range, scale_range, shear_range, translate_range, flip_axes: as of
            ``RandCoarseElastic``.

    Raises:
        ConfigError: one is not as it must be.
    """

    sigma: float | Sequence[float]
    grid: int | Sequence[int]
    rotate_range: Range
    scale_range: Range
    shear_range: Range
    translate_range: Range
    flip_axes: Sequence[int]

    def __post_init__(self) -> None:
        grid, sigma = _listed(self.grid), _listed(self.sigma)
        _demand(all(0 <= value < float("inf") for value in sigma), "sigma is 0 or more", self.sigma)
        _demand(all(isinstance(n, int) and n >= 2 for n in grid), "grid has 2 nodes or more", self.grid)
        _demand(set(self.flip_axes) <= {0, 1, 2}, "flip_axes are of 0, 1 and 2", self.flip_axes)
        for name in ("rotate_range", "scale_range", "shear_range", "translate_range"):
            value = getattr(self, name)
            pairs = _pairs(_listed(value))
            is_good = all(
                len(pair) == 2 and -float("inf") < pair[0] <= pair[1] < float("inf") for pair in pairs
            )
            _demand(is_good, f"{name} has numbers of 0 or more, or pairs (lowest, highest)", value)
        lowest = min(pair[0] for pair in _pairs(_listed(self.scale_range)))
        _demand(lowest > -1, "scale_range is within -1 and more", self.scale_range)

    def draw(self, random: np.random.RandomState, spacing: Any) -> CoarseField:
        """One field.

        Args:
            random: is drawn from, as often whatever the ranges are.
            spacing: the unit's length in voxels is one over this, for each axis; the axes are counted by it.

        Returns:
            The field.
        """
        count = len(spacing)
        grid = one_each(self.grid, count, "grid")
        sigma = np.array(one_each(self.sigma, count, "sigma")) / spacing
        nodes = random.standard_normal((count, *grid)) * sigma.reshape(-1, *[1] * count)
        parts = (
            _drawn(random, self.rotate_range, count * (count - 1) // 2, "rotate_range"),
            _drawn(random, self.shear_range, count * (count - 1), "shear_range"),
            1 + _drawn(random, self.scale_range, count, "scale_range"),
        )
        shift = _drawn(random, self.translate_range, count, "translate_range") / spacing
        chosen = random.random_sample(count) < 0.5
        return CoarseField(
            displacements=torch.from_numpy(nodes),
            matrix=torch.from_numpy(_backwards(*parts) * spacing / spacing[:, None]),
            # A value is taken from where the content comes from.
            shift=torch.from_numpy(-shift),
            flips=tuple(axis for axis in range(count) if axis in self.flip_axes and chosen[axis]),
        )


def one_each(value: Any, count: int, name: str) -> tuple[Any, ...]:
    """One value for each axis or plane.

    Args:
        value: one for all, or one for each.
        count: how many there are.
        name: of the setting.

    Returns:
        The values.

    Raises:
        ConfigError: there are more or fewer.
    """
    values = tuple(value) if isinstance(value, Sequence) else (value,) * count
    if len(values) != count:
        raise ConfigError(f"{name} has one value or {count} for an image of this kind, got {value}.")
    return values


def _drawn(random: np.random.RandomState, value: Range, count: int, name: str) -> Any:
    pairs = _pairs(one_each(value, count, name))
    return random.uniform([low for low, _ in pairs], [high for _, high in pairs])


def _backwards(angles: Any, shears: Any, scales: Any) -> Any:
    """From the directions of the result to those of the image."""
    count = len(scales)
    planes = [(first, second) for first in range(count) for second in range(first + 1, count)]
    forwards = np.eye(count)
    for angle, (first, second) in zip(angles, reversed(planes), strict=True):
        turn = np.eye(count)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[second, first] = np.sin(angle)
        turn[first, second] = -np.sin(angle)
        forwards = turn @ forwards
    sheared = np.eye(count)
    sheared[~np.eye(count, dtype=bool)] = shears
    return np.linalg.inv(forwards @ sheared @ np.diag(scales))


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, Sequence) else [value]


def _pairs(values: Sequence[Any]) -> list[tuple[float, ...]]:
    return [tuple(value) if isinstance(value, Sequence) else (-value, value) for value in values]


def _demand(is_good: bool, text: str, value: object) -> None:
    if not is_good:
        raise ConfigError(f"{text}, got {value}.")
