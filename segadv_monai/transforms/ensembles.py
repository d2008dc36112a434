"""Ensembles of Goyal et al. (IEEE Access 2020, arXiv 1902.00809): union of masks, larger one, smaller one.

As in the paper, where they are called ADD, Comparison-Large and Comparison-Small and join two networks' masks
of one lesion in a picture. Departs from it in form: there may be more masks than two, in volumes size is the
number of voxels, and of maps of several structures each is chosen for itself.
"""

from collections.abc import Sequence

import torch
from monai.config.type_definitions import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.transforms.post.dictionary import Ensembled
from torch import Tensor

__all__ = ["LargerMask", "LargerMaskd", "MaskUnion", "MaskUniond", "SmallerMask", "SmallerMaskd"]

_Masks = Sequence[NdarrayOrTensor] | NdarrayOrTensor


class MaskUnion(Transform):
    """Whatever is in any of the masks: no mask finds more, so its sensitivity is the best there is.

    Shape:
        - Input: masks ``(C, *S)`` in a sequence, or stacked ``(E, C, *S)``; values greater than 0 are inside.
        - Output: ``(C, *S)``, values 0 and 1, of the type of the first mask.

    Raises:
        ValueError: there is no mask; their shapes differ.
    """

    def __call__(self, masks: _Masks) -> Tensor:
        inside = _stacked(masks)
        return _like(masks[0], inside.any(dim=0))


class LargerMask(Transform):
    """The mask with the most voxels, the first of equals, for each channel on its own.

    Shape:
        - Input: masks ``(C, *S)`` in a sequence, or stacked ``(E, C, *S)``; values greater than 0 are inside.
        - Output: ``(C, *S)``, values 0 and 1, of the type of the first mask.

    Raises:
        ValueError: there is no mask; their shapes differ.
    """

    def __call__(self, masks: _Masks) -> Tensor:
        return _chosen(masks, largest=True)


class SmallerMask(Transform):
    """The mask with the fewest voxels, the first of equals, for each channel on its own.

    An empty mask is the smallest: a structure that one network misses is missed.

    Shape:
        - Input: masks ``(C, *S)`` in a sequence, or stacked ``(E, C, *S)``; values greater than 0 are inside.
        - Output: ``(C, *S)``, values 0 and 1, of the type of the first mask.

    Raises:
        ValueError: there is no mask; their shapes differ.
    """

    def __call__(self, masks: _Masks) -> Tensor:
        return _chosen(masks, largest=False)


class MaskUniond(Ensembled):
    """:class:`MaskUnion` for dictionaries.

    Args:
        keys: keys of the masks; a single one holds them stacked.
        output_key: where the result goes; by default the key, if there is one only.
    """

    def __init__(self, keys: KeysCollection, output_key: str | None = None) -> None:
        super().__init__(keys, MaskUnion(), output_key)


class LargerMaskd(Ensembled):
    """:class:`LargerMask` for dictionaries.

    Args:
        keys: keys of the masks; a single one holds them stacked.
        output_key: where the result goes; by default the key, if there is one only.
    """

    def __init__(self, keys: KeysCollection, output_key: str | None = None) -> None:
        super().__init__(keys, LargerMask(), output_key)


class SmallerMaskd(Ensembled):
    """:class:`SmallerMask` for dictionaries.

    Args:
        keys: keys of the masks; a single one holds them stacked.
        output_key: where the result goes; by default the key, if there is one only.
    """

    def __init__(self, keys: KeysCollection, output_key: str | None = None) -> None:
        super().__init__(keys, SmallerMask(), output_key)


def _stacked(masks: _Masks) -> Tensor:
    shapes = {tuple(mask.shape) for mask in masks}
    if len(shapes) != 1:
        raise ValueError(
            f"an ensemble takes masks of one shape, got {len(masks)} of {sorted(shapes)}: bring all to one "
            "grid."
        )
    return torch.stack([torch.as_tensor(mask).as_subclass(Tensor) > 0 for mask in masks])


def _chosen(masks: _Masks, *, largest: bool) -> Tensor:
    inside = _stacked(masks)
    sizes = inside.flatten(2).sum(dim=2)
    # A stable sort, as argmax does not say which of equals it gives.
    first = sizes.argsort(dim=0, descending=largest, stable=True)[0]
    channels = torch.arange(inside.shape[1], device=inside.device)
    return _like(masks[0], inside[first, channels])


def _like(first: NdarrayOrTensor, inside: Tensor) -> Tensor:
    values = inside.to(torch.as_tensor(first).dtype)
    return MetaTensor(values, meta=dict(first.meta)) if isinstance(first, MetaTensor) else values
