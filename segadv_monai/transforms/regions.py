"""Label maps and the binary maps of regions, both ways.

A region is a set of label values. Regions may be single classes, one class against the rest (S1-1C of the
BRATS paper of SegAN) or nested, like whole tumour, core and enhancing tumour.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config.type_definitions import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from torch import Tensor

__all__ = ["LabelToRegionsd", "RegionsToLabel", "RegionsToLabeld"]


class LabelToRegionsd(MapTransform):
    """Label map to one binary map per region.

    Args:
        keys: keys of the label maps.
        regions: label values of each region.
        allow_missing_keys: skip keys that a case does not have.

    Shape:
        - Input: ``(1, *S)`` integers.
        - Output: ``(K, *S)`` float32, values 0 and 1.

    Raises:
        ValueError: there is no region or an empty one; the label has more than one channel.
    """

    def __init__(
        self, keys: KeysCollection, regions: Sequence[Sequence[int]], *, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.regions = _checked(regions)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            label = result[key]
            if label.shape[0] != 1:
                raise ValueError(f"a label map has one channel, got {label.shape[0]}: {key} of {list(data)}.")
            values = label.as_subclass(Tensor)
            maps = [torch.isin(values, torch.tensor(region, device=values.device)) for region in self.regions]
            regions = torch.cat(maps).float()
            result[key] = MetaTensor(regions, meta=label.meta) if isinstance(label, MetaTensor) else regions
        return result


class RegionsToLabel(Transform):
    """Probabilities of regions to one label map.

    Where the regions exclude one another, a voxel takes the label of its most probable region above the
    threshold, the later one of equals; otherwise the regions are painted in their order, the later over the
    earlier. A region is written as the smallest of its labels that no later region has:
    ``[[1, 2, 3, 4], [1, 3, 4], [4]]`` are written as 2, 1 and 4.

    Args:
        regions: label values of each region, in the order of the channels.
        threshold: a voxel of a region has more than this probability; the paper's is 0.4.

    Shape:
        - Input: ``(K, *S)`` probabilities.
        - Output: ``(1, *S)`` uint8.

    Raises:
        ValueError: there is no region, an empty one, one that later ones cover, or a label outside 1 to 255;
            the channels are not one per region.
    """

    def __init__(self, regions: Sequence[Sequence[int]], threshold: float = 0.4) -> None:
        self.regions = _checked(regions)
        self.threshold = threshold
        self.values = [_own_label(self.regions, i) for i in range(len(self.regions))]
        labels = [value for region in self.regions for value in region]
        self.exclusive = len(labels) == len(set(labels))

    def __call__(self, probabilities: Tensor) -> Tensor:
        if probabilities.shape[0] != len(self.regions):
            raise ValueError(
                f"{len(self.regions)} regions need as many channels, got {probabilities.shape[0]}."
            )
        p = probabilities.as_subclass(Tensor)
        label = torch.zeros((1, *p.shape[1:]), dtype=torch.uint8, device=p.device)
        best = p.max(dim=0, keepdim=True).values
        for i, value in enumerate(self.values):
            inside = p[i : i + 1] > self.threshold
            if self.exclusive:
                inside &= p[i : i + 1] == best
            label[inside] = value
        return MetaTensor(label, meta=probabilities.meta) if isinstance(probabilities, MetaTensor) else label


class RegionsToLabeld(MapTransform):
    """:class:`RegionsToLabel` for dictionaries.

    Args:
        keys: keys of the probabilities.
        regions: see :class:`RegionsToLabel`.
        threshold: see :class:`RegionsToLabel`.
        allow_missing_keys: skip keys that a case does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        regions: Sequence[Sequence[int]],
        threshold: float = 0.4,
        *,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = RegionsToLabel(regions, threshold)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key])
        return result


def _checked(regions: Sequence[Sequence[int]]) -> list[list[int]]:
    if not regions or not all(regions):
        raise ValueError(f"every region needs a label value, got {list(regions)}: for one lesion give [[1]].")
    return [sorted(set(region)) for region in regions]


def _own_label(regions: Sequence[Sequence[int]], i: int) -> int:
    later = {value for region in regions[i + 1 :] for value in region}
    own = [value for value in regions[i] if value not in later]
    if not own:
        raise ValueError(f"region {list(regions[i])} would vanish below later ones: put it behind them.")
    if not 1 <= min(own) <= 255:
        raise ValueError(
            f"labels are written as 8 bits and 0 is the background, got {min(own)}: use 1 to 255."
        )
    return min(own)
