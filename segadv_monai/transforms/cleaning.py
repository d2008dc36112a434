"""Islands and holes of a segmentation: what is not the largest piece goes, what is enclosed is filled.

Whether that helps is a question to each data set; :class:`segadv_monai.handlers.CleaningChoice` asks it on
the validation cases. Pieces and holes are those of :mod:`segadv_monai.metrics.topology`: voxels that touch at
a corner are one piece, and a hole has no way out through faces. MONAI's ``KeepLargestConnectedComponent``
needs scikit-image, and its ``FillHoles`` takes the first of several channels for the background; this uses
scipy.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from numpy.typing import NDArray
from scipy.ndimage import find_objects, generate_binary_structure, label
from torch import Tensor

from segadv_monai.protocols import ConfigError

from .regions import RegionsToLabel

__all__ = ["CLEANINGS", "CleanLabelsd", "CleanRegions", "CleanRegionsd"]

CLEANINGS = ("none", "largest", "fill", "largest_fill")

Mask = NDArray[np.bool_]


class CleanRegions(Transform):
    """Clean the binary map of each region in its own way.

    ``largest`` keeps the largest piece, the first of equals; ``fill`` fills holes; ``largest_fill`` does
    both; ``none`` leaves the map alone. With ``regions`` the maps stay those of a label map: what a region
    loses the regions within it lose, too, what it gains those around it gain, and it gains nothing that a
    region beside it has. Without them each map is on its own.

    Args:
        choice: ``none``, ``largest``, ``fill`` or ``largest_fill`` for each region.
        regions: label values of each region, the outer before the inner ones.

    Shape:
        - Input: ``(K, *S)``, greater than 0 inside.
        - Output: the same shape and type, values 0 and 1; the very input if nothing is to be cleaned.

    Raises:
        ConfigError: a choice is none of these, or they are not one for each region and channel.
    """

    def __init__(self, choice: Sequence[str], regions: Sequence[Sequence[int]] | None = None) -> None:
        self.choice = _checked(choice, regions)
        alone = _Relations([{i} for i in range(len(self.choice))], is_apart=False)
        self.relations = alone if regions is None else _Relations([set(region) for region in regions])

    def __call__(self, maps: Tensor) -> Tensor:
        if len(maps) != len(self.choice):
            raise ConfigError(
                f"{len(self.choice)} choices of cleaning need as many maps, got {len(maps)}: give one for "
                "each region."
            )
        if set(self.choice) == {"none"}:
            return maps
        masks = np.ascontiguousarray((maps.as_subclass(Tensor).detach() > 0).cpu().numpy())
        for i, option in enumerate(self.choice):
            if "largest" in option:
                self._keep_largest(masks, i)
            if "fill" in option:
                self._fill(masks, i)
        result = torch.from_numpy(masks).to(device=maps.device, dtype=maps.dtype)
        return MetaTensor(result, meta=maps.meta) if isinstance(maps, MetaTensor) else result

    def _keep_largest(self, masks: Mask, i: int) -> None:
        lost = masks[i] & ~_largest(masks[i])
        masks[i] &= ~lost
        for j in self.relations.within[i]:
            masks[j] &= ~lost

    def _fill(self, masks: Mask, i: int) -> None:
        gained = _holes(masks[i])
        for j in self.relations.beside[i]:
            gained &= ~masks[j]
        masks[i] |= gained
        for j in self.relations.around[i]:
            masks[j] |= gained


class CleanRegionsd(MapTransform):
    """:class:`CleanRegions` for dictionaries.

    Args:
        keys: keys of the binary maps.
        choice, regions: see :class:`CleanRegions`.
        allow_missing_keys: skip keys that a case does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        choice: Sequence[str],
        regions: Sequence[Sequence[int]] | None = None,
        *,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = CleanRegions(choice, regions)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key])
        return result


class CleanLabelsd(MapTransform):
    """Clean the regions of a label map, in the input's grid and after everything that makes labels.

    The regions become what :class:`CleanRegions` makes of their maps, in the memory of one map. Voxels whose
    regions change get the label that :class:`RegionsToLabel` writes, or 0; all others keep theirs.

    Args:
        keys: keys of the label maps.
        regions: label values of each region, the outer before the inner ones.
        choice: for each region, see :class:`CleanRegions`.
        allow_missing_keys: skip keys that a case does not have.

    Shape:
        - Input: ``(1, *S)`` integers.
        - Output: the same shape and type; the very input if nothing is to be cleaned.

    Raises:
        ConfigError: as :class:`CleanRegions`.
        ValueError: as :class:`RegionsToLabel`; a label map has more than one channel.
    """

    def __init__(
        self,
        keys: KeysCollection,
        regions: Sequence[Sequence[int]],
        choice: Sequence[str],
        *,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.choice = _checked(choice, regions)
        self.sets = [set(region) for region in regions]
        self.relations = _Relations(self.sets)
        self.written = RegionsToLabel(regions).values

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            if result[key].shape[0] != 1:
                raise ValueError(f"a label map has one channel, got {result[key].shape[0]}: {key}.")
            if set(self.choice) != {"none"}:
                result[key] = self._cleaned(result[key])
        return result

    def _cleaned(self, label_map: Tensor) -> Tensor:
        labels = label_map.as_subclass(Tensor).detach().cpu().numpy()[0].copy()
        for i, option in enumerate(self.choice):
            if "largest" in option:
                mask = np.isin(labels, list(self.sets[i]))
                self._relabel(labels, mask & ~_largest(mask), lose=i)
            if "fill" in option:
                self._relabel(labels, _holes(np.isin(labels, list(self.sets[i]))), gain=i)
        result = torch.from_numpy(labels)[None].to(label_map.device)
        return MetaTensor(result, meta=label_map.meta) if isinstance(label_map, MetaTensor) else result

    def _relabel(
        self, labels: NDArray[Any], where: Mask, *, lose: int | None = None, gain: int | None = None
    ) -> None:
        """Which regions a voxel has follows from its label, so each label there gets another one."""
        before = labels[where]
        after = before.copy()
        for value in np.unique(before).tolist():
            places = {i for i, labels_of in enumerate(self.sets) if value in labels_of}
            if lose is not None:
                places -= {lose, *self.relations.within[lose]}
            elif gain is not None and not places & set(self.relations.beside[gain]):
                places |= {gain, *self.relations.around[gain]}
            else:
                continue
            after[before == value] = self.written[max(places)] if places else 0
        labels[where] = after


class _Relations:
    """Which regions lie within, around and beside each one."""

    def __init__(self, sets: Sequence[set[int]], *, is_apart: bool = True) -> None:
        places = range(len(sets))
        self.within = [[j for j in places if j != i and sets[j] <= sets[i]] for i in places]
        self.around = [[j for j in places if j != i and sets[i] <= sets[j]] for i in places]
        self.beside = [
            [j for j in places if is_apart and not sets[i] <= sets[j] and not sets[j] <= sets[i]]
            for i in places
        ]


def _checked(choice: Sequence[str], regions: Sequence[Sequence[int]] | None) -> list[str]:
    unknown = [option for option in choice if option not in CLEANINGS]
    if not choice or isinstance(choice, str) or unknown:
        raise ConfigError(f"cleaning must be one of {', '.join(CLEANINGS)} for each region, got {choice!r}.")
    if regions is not None and len(regions) != len(choice):
        raise ConfigError(f"{len(regions)} regions need as many choices of cleaning, got {list(choice)}.")
    return list(choice)


def _largest(mask: Mask) -> Mask:
    result = np.zeros_like(mask)
    box = find_objects(mask.view(np.uint8), 1)[0]
    if box:
        pieces, _ = label(mask[box], generate_binary_structure(mask.ndim, mask.ndim))
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        result[box] = pieces == sizes.argmax()
    return result


def _holes(mask: Mask) -> Mask:
    """Filling by dilation would take as many passes as the longest way through the image."""
    result = np.zeros_like(mask)
    box = find_objects(mask.view(np.uint8), 1)[0]
    if box:
        # The margin makes one piece of all that is outside.
        outside, _ = label(np.pad(~mask[box], 1, constant_values=True))
        inner = outside[(slice(1, -1),) * mask.ndim]
        result[box] = (inner > 0) & (inner != outside.flat[0])
    return result
