"""Shades of grey: colour constancy by a Minkowski norm (Finlayson and Trezzi, Color Imaging Conference 2004).

The colour of the light is taken to be the Minkowski mean of each channel, and the image is shown as under a
grey light. Order 1 is the grey world, a large order the brightest patch; 6 was the best in the paper. Departs
from the paper in one choice, which it leaves open: the light keeps its length as a vector, so that a grey
image stays as it is.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config.type_definitions import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from torch import Tensor

from segadv_monai.protocols import DataError

__all__ = ["ShadesOfGrey", "ShadesOfGreyd"]


class ShadesOfGrey(Transform):
    """Divide every channel by its share of the light. A channel that is black everywhere stays black.

    Bright pixels may end above the range of the input; nothing is cut.

    Args:
        order: of the Minkowski mean, at least 1.

    Shape:
        - Input: intensities ``(C, *S)``, not negative: before any standardisation.
        - Output: the same shape, float32.

    Raises:
        ValueError: ``order`` is less than 1.
        DataError: an image has one channel, or a value that is negative or not finite.
    """

    def __init__(self, order: float = 6.0) -> None:
        if not order >= 1:
            raise ValueError(f"order must be at least 1, got {order}.")
        self.order = order

    def __call__(self, image: Tensor) -> Tensor:
        pixels = image.as_subclass(Tensor).double()
        if len(pixels) < 2 or not bool((pixels >= 0).all() and pixels.isfinite().all()):
            name = getattr(image, "meta", {}).get("filename_or_obj", "an image")
            raise DataError(
                f"{name}: colour constancy takes two channels or more, finite and not negative, got "
                f"{len(pixels)} from {float(pixels.min()):g} on: put it before standardisation."
            )
        flat = pixels.flatten(1)
        # Powers of values up to 1 stay in range, whatever the image's is.
        most = flat.amax().clamp(min=torch.finfo(flat.dtype).tiny)
        light = (flat / most).pow(self.order).mean(dim=1).pow(1 / self.order)
        grey = light.square().mean().sqrt()
        gain = torch.where(light > 0, grey / light, 1.0).reshape(-1, *[1] * (pixels.ndim - 1))
        values = (pixels * gain).float()
        if not isinstance(image, MetaTensor):
            return values
        return MetaTensor(values, meta=dict(image.meta), applied_operations=list(image.applied_operations))


class ShadesOfGreyd(MapTransform):
    """:class:`ShadesOfGrey` for dictionaries.

    Args:
        keys: keys of the images.
        order: see :class:`ShadesOfGrey`.
        allow_missing_keys: skip images that a case does not have.
    """

    def __init__(self, keys: KeysCollection, order: float = 6.0, *, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = ShadesOfGrey(order)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key])
        return result
