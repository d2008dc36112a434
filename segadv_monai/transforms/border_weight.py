"""Weight of each position in the loss of the U-Net (Ronneberger et al., MICCAI 2015, arXiv 1505.04597).

As in the paper ``w = w_c + w0 * exp(-(d1 + d2)^2 / (2 * sigma^2))``, ``d1`` and ``d2`` the distances to the
two nearest cells. Our reading: a distance is that to the nearest position of a cell, so 0 inside it, and the
formula holds everywhere, inside the cells too. Ours, as the paper does not give it: how ``w_c`` balances the
classes. Distances may be in mm, and images may have three dimensions.

Distances are cut at the reach where the exponential falls to 1e-6; cells too far apart to share a position
within that reach are transformed together. The result differs from the formula's by at most ``1e-6 * w0``,
beside the rounding of 32 bits.
"""

from collections.abc import Hashable, Mapping, Sequence
from math import log, sqrt
from typing import Any, Literal

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import ensure_tuple
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from segadv_monai.protocols import ConfigError, DataError

__all__ = ["BorderWeightMap", "BorderWeightMapd"]

_NEGLIGIBLE = 1e-6
_Integers = NDArray[np.integer[Any]]


class BorderWeightMap(Transform):
    """Weights that are large where two cells come close, from a map of instances.

    Args:
        w0: weight of a position that touches two cells, beyond that of its class.
        sigma: width of the border term, in ``units``.
        class_weights: ``frequency`` for those that give background and cells the same sum and a mean of 1
            over the positions; or the weight of the background and that of the cells.
        units: of distances and ``sigma``; ``mm`` takes the spacing of the label's affine.
        components: the label is a binary map, whose instances are the parts that hang together by faces.

    Shape:
        - Input: ``(1, *S)`` integers, 0 the background; of any type with ``components``.
        - Output: ``(1, *S)`` float32, with the affine of the input.

    Raises:
        ConfigError: ``w0`` is negative, ``sigma`` not greater than 0, ``class_weights`` or ``units`` another.
        DataError: the label has several channels, negative numbers or fractions; it is not binary with
            ``components``; it has no spacing with ``mm``.
    """

    def __init__(
        self,
        *,
        w0: float = 10.0,
        sigma: float = 5.0,
        class_weights: Literal["frequency"] | Sequence[float] = "frequency",
        units: Literal["voxels", "mm"] = "voxels",
        components: bool = False,
    ) -> None:
        if not (w0 >= 0 and sigma > 0):
            raise ConfigError(f"w0 must be at least 0 and sigma greater than 0, got {w0} and {sigma}.")
        named = isinstance(class_weights, str)
        if class_weights != "frequency" if named else len(class_weights) != 2:
            raise ConfigError(f"class_weights must be frequency or two numbers, got {class_weights}.")
        if units not in ("voxels", "mm"):
            raise ConfigError(f"units must be voxels or mm, got {units}.")
        self.w0 = w0
        self.sigma = sigma
        self.class_weights = class_weights
        self.units = units
        self.components = components

    def __call__(self, label: Tensor) -> Tensor:
        instances = self._instances(label)
        spacing = self._spacing(label)
        weight = self._class_weight(instances > 0)
        if self.w0 > 0:
            weight += np.float32(self.w0) * _border_term(instances, spacing, self.sigma)
        result = torch.from_numpy(weight)[None].to(label.device)
        if not isinstance(label, MetaTensor):
            return result
        return MetaTensor(result, meta=dict(label.meta), applied_operations=list(label.applied_operations))

    def _instances(self, label: Tensor) -> _Integers:
        if label.shape[0] != 1:
            raise DataError(f"instances are numbered in one channel, got {label.shape[0]} channels.")
        values = label.as_subclass(Tensor)[0]
        if self.components:
            if bool(((values != 0) & (values != 1)).any()):
                raise DataError(
                    "components are those of a binary map, got values other than 0 and 1: leave out "
                    "components for a map of instances."
                )
            parts: _Integers = ndimage.label(values.cpu().numpy() > 0)[0]
            return parts
        if values.is_floating_point():
            raise DataError(
                f"instances are numbered by integers, got {values.dtype}: load or cast the label as int32, "
                "or set components for a binary map."
            )
        return _renumbered(values.cpu().numpy().astype(np.int64))

    def _spacing(self, label: Tensor) -> tuple[float, ...]:
        dimensions = label.ndim - 1
        if self.units == "voxels":
            return (1.0,) * dimensions
        if not isinstance(label, MetaTensor):
            raise DataError("a label without an affine has no spacing: give units as voxels.")
        return tuple(float(s) for s in label.pixdim[:dimensions])

    def _class_weight(self, cells: NDArray[np.bool_]) -> NDArray[np.float32]:
        if not isinstance(self.class_weights, str):
            background, cell = self.class_weights
        else:
            inside = int(np.count_nonzero(cells))
            outside = cells.size - inside
            # An image of one class alone has nothing to balance.
            both = inside > 0 and outside > 0
            background, cell = (cells.size / (2 * n) if both else 1.0 for n in (outside, inside))
        return np.where(cells, np.float32(cell), np.float32(background))


class BorderWeightMapd(MapTransform):
    """:class:`BorderWeightMap` for dictionaries: a weight beside each label.

    The weight goes through later spatial transforms like any image; name its key in them.

    Args:
        keys: keys of the maps of instances.
        weight_keys: keys of the weights, one for each label.
        w0: see :class:`BorderWeightMap`.
        sigma: see :class:`BorderWeightMap`.
        class_weights: see :class:`BorderWeightMap`.
        units: see :class:`BorderWeightMap`.
        components: see :class:`BorderWeightMap`.
        allow_missing_keys: skip labels that a case does not have.

    Raises:
        ConfigError: there are not as many ``weight_keys`` as ``keys``; an argument is out of its range.
    """

    def __init__(
        self,
        keys: KeysCollection,
        weight_keys: KeysCollection = "weight",
        *,
        w0: float = 10.0,
        sigma: float = 5.0,
        class_weights: Literal["frequency"] | Sequence[float] = "frequency",
        units: Literal["voxels", "mm"] = "voxels",
        components: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.weight_keys = ensure_tuple(weight_keys)
        if len(self.weight_keys) != len(self.keys):
            raise ConfigError(
                f"each of {len(self.keys)} labels needs a key for its weight, got {len(self.weight_keys)}: "
                "give weight_keys."
            )
        self.transform = BorderWeightMap(
            w0=w0, sigma=sigma, class_weights=class_weights, units=units, components=components
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key, weight_key in self.key_iterator(result, self.weight_keys):
            result[weight_key] = self.transform(result[key])
        return result


def _renumbered(numbers: _Integers) -> _Integers:
    """Instances by numbers that a table can hold."""
    smallest, largest = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    if smallest < 0:
        raise DataError(f"instances have numbers greater than 0, got {smallest}: 0 is the background.")
    if largest <= max(numbers.size, 2**16):
        return numbers
    values, places = np.unique(numbers, return_inverse=True)
    return places.reshape(numbers.shape) + int(values[0] > 0)


def _border_term(instances: _Integers, spacing: tuple[float, ...], sigma: float) -> NDArray[np.float32]:
    """The exponential alone, 0 where it is negligible."""
    reach = sigma * sqrt(-2 * log(_NEGLIGIBLE))
    groups = _groups(instances, spacing, reach)
    count = int(groups.max())
    if count < 2:
        return np.zeros(instances.shape, np.float32)
    # Turned round once, as the distances turn it back.
    painted = np.ascontiguousarray(groups.astype(np.min_scalar_type(count))[instances].transpose())
    nearest = _squared_distance(painted != 1, spacing[::-1], reach)
    second = np.full_like(nearest, np.inf if nearest.dtype.kind == "f" else np.iinfo(nearest.dtype).max)
    for group in range(2, count + 1):
        squared = _squared_distance(painted != group, spacing[::-1], reach)
        np.minimum(second, np.maximum(nearest, squared), out=second)
        np.minimum(nearest, squared, out=nearest)
    close = second <= reach**2
    total = np.sqrt(nearest[close], dtype=np.float32) + np.sqrt(second[close], dtype=np.float32)
    term = np.zeros(close.shape, np.float32)
    term[close] = np.exp(-(total**2) / np.float32(2 * sigma**2))
    return term


def _groups(instances: _Integers, spacing: tuple[float, ...], reach: float) -> NDArray[np.intp]:
    """A group for each instance, such that boxes of one group lie further apart than the reach.

    A position whose distances to two instances sum to no more than the reach has them in two groups.
    """
    boxes = ndimage.find_objects(instances)
    groups = np.zeros(len(boxes) + 1, np.intp)
    there = [i for i, box in enumerate(boxes, 1) if box is not None]
    starts = np.array([[axis.start for axis in boxes[i - 1]] for i in there])
    ends = np.array([[axis.stop - 1 for axis in boxes[i - 1]] for i in there])
    for n, i in enumerate(there):
        gaps = np.maximum(0, np.maximum(starts[:n] - ends[n], starts[n] - ends[:n])) * np.array(spacing)
        taken = set(groups[there[:n]][(gaps**2).sum(axis=1) <= reach**2].tolist())
        groups[i] = next(group for group in range(1, n + 2) if group not in taken)
    return groups


def _squared_distance(outside: NDArray[np.bool_], spacing: tuple[float, ...], reach: float) -> NDArray[Any]:
    """Squared distance to the rest, exact up to the reach and greater beyond; axes in reverse order."""
    # Whole numbers of 16 bits are the fastest, as long as two squares within reach fit into them.
    whole = all(s == 1 for s in spacing) and reach < 127
    number = np.int16 if whole else np.float32
    steps = [int(reach / s) for s in spacing]
    # Along the first axis in strides that double.
    along = outside * number(steps[0] + 1)
    farther = np.empty_like(along)
    stride = 1
    while stride <= min(steps[0], len(outside) - 1):
        np.add(along, number(stride), out=farther)
        np.minimum(along[stride:], farther[:-stride], out=along[stride:])
        np.minimum(along[:-stride], farther[stride:], out=along[:-stride])
        stride *= 2
    squared = (along * number(spacing[0])) ** 2
    for axis in range(1, outside.ndim):
        # The axis in front of the others, where a shift leaves whole rows in place.
        start = np.ascontiguousarray(np.moveaxis(squared, axis, 0))
        squared = start.copy()
        farther = farther.reshape(start.shape)
        for step in range(1, min(steps[axis], len(start) - 1) + 1):
            np.add(start, number((step * spacing[axis]) ** 2), out=farther)
            np.minimum(squared[step:], farther[:-step], out=squared[step:])
            np.minimum(squared[:-step], farther[step:], out=squared[:-step])
    return squared
