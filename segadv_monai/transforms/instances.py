"""Instance numbers and the foreground that a network learns, both ways.

By memory of the U-Net's paper (Ronneberger et al., MICCAI 2015, arXiv 1505.04597), its target has background
between cells that touch, so that the components of a good prediction are the cells again. The width of that
ridge is our reading, and how cells are found in a prediction is ours.
"""

from collections.abc import Hashable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

__all__ = ["ForegroundToInstancesd", "InstancesToForegroundd"]

_Mask: TypeAlias = NDArray[np.bool_]
_Labels: TypeAlias = NDArray[np.int32]


class InstancesToForegroundd(MapTransform):
    """Instance numbers to 1, and 0 between instances that touch, at corners too.

    Args:
        keys: keys of the instance numbers.
        ridge: pixels that each of two neighbours gives to the background between them; 0 for no ridge.
        allow_missing_keys: skip keys that a case does not have.

    Shape:
        - Input: ``(1, *S)`` whole numbers, 0 is the background.
        - Output: ``(1, *S)`` uint8, values 0 and 1.

    Raises:
        ValueError: ``ridge`` is negative; a map has several channels, fractions or numbers below 0.
    """

    def __init__(self, keys: KeysCollection, ridge: int = 1, *, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        if ridge < 0:
            raise ValueError(f"ridge must be at least 0, got {ridge}.")
        self.ridge = ridge

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            instances = _numbers(result[key], str(key))
            result[key] = _like(result[key], (instances > 0) & ~self._between(instances), torch.uint8)
        return result

    def _between(self, instances: _Labels) -> _Mask:
        """Where another instance is as near as the ridge is wide."""
        size = 2 * self.ridge + 1
        highest = ndimage.maximum_filter(instances, size, mode="nearest")
        # The background must not be the lowest.
        beyond = np.where(instances > 0, instances, np.iinfo(instances.dtype).max)
        lowest = ndimage.minimum_filter(beyond, size, mode="nearest")
        return np.asarray(highest != lowest)


class ForegroundToInstancesd(MapTransform):
    """Probabilities of the foreground to instance numbers: its components, split at narrow places.

    Pixels above the threshold that lie deeper in the foreground than ``seed_depth`` are seeds; what touches
    among them is one. Every other pixel goes to the seed that it is nearest to on a way through the
    foreground. A component without a seed is an instance, too. The numbers have no gaps and say nothing.

    Args:
        keys: keys of the probabilities.
        channel: of the foreground.
        threshold: foreground has more than this probability.
        smoothing: deviation of the Gaussian that smooths the probabilities before, in pixels; 0 for none.
        seed_depth: distance from the background, in pixels; 0 splits no component.
        fill_holes: give an instance the background that it encloses; pieces of background smaller than
            ``min_size`` are foreground before seeds are sought.
        min_size: smaller instances, in pixels, are background.
        grow: pixels by which instances grow into the background at the end, to get back half a ridge.
        allow_missing_keys: skip keys that a case does not have.

    Shape:
        - Input: ``(K, *S)``.
        - Output: ``(1, *S)`` int32.

    Raises:
        ValueError: a number is out of its range; there is no such channel.
    """

    def __init__(
        self,
        keys: KeysCollection,
        channel: int = 0,
        *,
        threshold: float = 0.5,
        smoothing: float = 0.0,
        seed_depth: float = 0.0,
        fill_holes: bool = True,
        min_size: int = 0,
        grow: int = 0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold must be at least 0 and less than 1, got {threshold}.")
        sizes = {"channel": channel, "min_size": min_size, "grow": grow}
        for name, value in {**sizes, "smoothing": smoothing, "seed_depth": seed_depth}.items():
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}.")
        self.channel = channel
        self.threshold = threshold
        self.smoothing = smoothing
        self.seed_depth = seed_depth
        self.fill_holes = fill_holes
        self.min_size = min_size
        self.grow = grow

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            maps = result[key]
            if self.channel >= len(maps):
                raise ValueError(
                    f"{key} has {len(maps)} channels, got channel {self.channel}: channels count from 0."
                )
            probabilities = maps.as_subclass(Tensor)[self.channel].detach().float().cpu().numpy()
            if self.smoothing:
                probabilities = ndimage.gaussian_filter(probabilities, self.smoothing, mode="nearest")
            result[key] = _like(maps, self._instances(probabilities > self.threshold)[None], torch.int32)
        return result

    def _instances(self, foreground: _Mask) -> _Labels:
        if self.fill_holes:
            gaps = _components(~foreground)
            foreground = ~_kept(gaps, self.min_size)[gaps]
        instances = _split(foreground, self.seed_depth) if self.seed_depth else _components(foreground)
        if self.fill_holes:
            _fill(instances)
        kept = _kept(instances, self.min_size)
        instances = np.where(kept, np.cumsum(kept), 0).astype(np.int32)[instances]
        return _grown(instances, np.ones_like(foreground), rounds=self.grow)


def _numbers(label: Tensor, key: str) -> _Labels:
    values = label.as_subclass(Tensor).detach().cpu().numpy()
    with np.errstate(invalid="ignore"):
        instances: _Labels = values.astype(np.int32)
    if len(values) != 1 or not np.array_equal(instances, values) or instances.min(initial=0) < 0:
        raise ValueError(
            f"{key} must be instance numbers, one channel of whole numbers from 0, got {tuple(values.shape)} "
            f"from {values.min():g} to {values.max():g}: resample it with 'nearest'."
        )
    return instances


def _like(source: Tensor, values: NDArray[Any], dtype: torch.dtype) -> Tensor:
    result = torch.as_tensor(values, device=source.device).to(dtype)
    return MetaTensor(result, meta=source.meta) if isinstance(source, MetaTensor) else result


def _components(mask: _Mask) -> _Labels:
    """Pieces whose pixels share a side; a shared corner joins nothing."""
    return np.asarray(ndimage.label(mask)[0], np.int32)


def _kept(pieces: _Labels, min_size: int) -> _Mask:
    """By its number, whether a piece is large enough; not so number 0."""
    kept = np.bincount(pieces.ravel()) >= min_size
    kept[0] = False
    return kept


def _split(foreground: _Mask, depth: float) -> _Labels:
    seeds = _components(np.asarray(ndimage.distance_transform_edt(foreground)) > depth)
    instances = _grown(seeds, foreground)
    shallow = _components(foreground & (instances == 0))
    return np.where(shallow > 0, shallow + instances.max(initial=0), instances).astype(np.int32)


def _grown(instances: _Labels, mask: _Mask, rounds: int | None = None) -> _Labels:
    """Instances that take their free neighbours in the mask round by round, the higher number first."""
    result = instances.copy()
    cross = ndimage.generate_binary_structure(mask.ndim, 1)
    while rounds is None or rounds > 0:
        neighbours = ndimage.maximum_filter(result, footprint=cross, mode="nearest")
        taken = mask & (result == 0) & (neighbours > 0)
        if not taken.any():
            break
        result[taken] = neighbours[taken]
        rounds = None if rounds is None else rounds - 1
    return result


def _fill(instances: _Labels) -> None:
    """Give every instance, in place, the background inside it; not other instances there."""
    for number, box in enumerate(ndimage.find_objects(instances), 1):
        if box is not None:
            part = instances[box]
            part[ndimage.binary_fill_holes(part == number) & (part == 0)] = number
