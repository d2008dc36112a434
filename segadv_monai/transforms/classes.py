"""Classes that exclude one another: from probabilities to a label map, and positions without a class.

:class:`LabelToRegionsd` makes a one-hot target of a label map. A label that no region has is an ignored one:
its positions are 0 in every map, and that is how losses, games and metrics know them.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config.type_definitions import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

__all__ = ["ClassesToLabeld", "ClearIgnoredd"]


class ClassesToLabeld(MapTransform):
    """Label map of the most probable class; unlike :class:`RegionsToLabeld` it knows no background.

    Every position gets a class. A class of several labels is written as the smallest of them.

    Args:
        keys: keys of the probabilities, or of the logits.
        regions: label values of each class, in the order of the channels.
        allow_missing_keys: skip keys that a case does not have.

    Shape:
        - Input: ``(K, *S)``.
        - Output: ``(1, *S)`` uint8.

    Raises:
        ValueError: there is no class, one without a label, a label of two classes or outside 0 to 255; the
            channels are not one per class.
    """

    def __init__(
        self, keys: KeysCollection, regions: Sequence[Sequence[int]], *, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        labels = [value for region in regions for value in region]
        if not regions or not all(regions) or len(labels) != len(set(labels)):
            raise ValueError(
                f"every class needs labels of its own, got {list(regions)}: for regions that overlap use "
                "RegionsToLabeld."
            )
        if min(labels) < 0 or max(labels) > 255:
            raise ValueError(
                f"labels are written as 8 bits, got {min(labels)} to {max(labels)}: use 0 to 255."
            )
        self.values = torch.tensor([min(region) for region in regions], dtype=torch.uint8)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            maps = result[key]
            if maps.shape[0] != len(self.values):
                raise ValueError(
                    f"{len(self.values)} classes need as many channels, got {maps.shape[0]}: {key} of "
                    f"{list(data)}."
                )
            best = maps.as_subclass(Tensor).argmax(dim=0, keepdim=True)
            label = self.values.to(best.device)[best]
            result[key] = MetaTensor(label, meta=maps.meta) if isinstance(maps, MetaTensor) else label
        return result


class ClearIgnoredd(MapTransform):
    """No class in a prediction where its label has none, so that what is ignored counts in no measure.

    Args:
        keys: keys of the predictions, one binary map per class.
        label_key: key of the label, one binary map per class.
        allow_missing_keys: skip keys that a case does not have.

    Shape:
        - Input: ``(K, *S)``.
        - Output: as the input.

    Raises:
        ValueError: prediction and label differ in shape.
    """

    def __init__(
        self, keys: KeysCollection, label_key: str = "label", *, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        label = data[self.label_key].as_subclass(Tensor)
        for key in self.key_iterator(result):
            if result[key].shape != label.shape:
                raise ValueError(
                    f"{key} is {tuple(result[key].shape)} but {self.label_key} is {tuple(label.shape)}: "
                    "bring the prediction back to the label's grid."
                )
            result[key] = result[key] * label.any(dim=0, keepdim=True)
        return result
