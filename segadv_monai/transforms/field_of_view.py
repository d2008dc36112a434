"""The round field of a fundus camera: its mask, and intensities measured inside it alone.

Most of a fundus photograph's frame is black. Mean and deviation of the whole frame would say more about the
camera than about the eye.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config.type_definitions import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

from segadv_monai.protocols import ConfigError, DataError

__all__ = ["FieldOfViewd"]


class FieldOfViewd(MapTransform):
    """Every channel with mean 0 and deviation 1 inside the field of view, and 0 outside it.

    The field is the case's mask, if it has one. Otherwise it is found in the image: pixels whose brightest
    channel exceeds a share of the image's 99th percentile. The mask is in the result either way.

    Args:
        keys: keys of the images.
        mask_key: of the field of view, greater than 0 inside.
        share: of the brightness, for an image without mask.
        allow_missing_keys: skip images that a case does not have.

    Shape:
        - Input: images ``(C, *S)``, mask ``(1, *S)``.
        - Output: the same, images float32, mask of values 0 and 1.

    Raises:
        ConfigError: ``share`` is not at least 0 and less than 1.
        DataError: a mask is empty or has another size than its image.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "fov",
        *,
        share: float = 0.12,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if not 0 <= share < 1:
            raise ConfigError(f"share must be at least 0 and less than 1, got {share}.")
        self.mask_key = mask_key
        self.share = share

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            pixels = image.as_subclass(Tensor).float()
            given = data.get(self.mask_key)
            inside = self._found(pixels) if given is None else given.as_subclass(Tensor) > 0
            if inside.shape != (1, *pixels.shape[1:]) or not bool(inside.any()):
                name = getattr(image, "meta", {}).get("filename_or_obj", key)
                raise DataError(
                    f"{name}: the field of view must be a mask of {tuple(pixels.shape[1:])} not empty, "
                    f"got {int(inside.sum())} pixels in {tuple(inside.shape)}: mend {self.mask_key}."
                )
            for name, value in ((key, _standardised(pixels, inside)), (self.mask_key, inside.float())):
                result[name] = _placed_like(image, value)
        return result

    def _found(self, pixels: Tensor) -> Tensor:
        brightest = pixels.amax(dim=0, keepdim=True)
        rank = max(1, round(0.99 * brightest.numel()))
        return brightest > self.share * brightest.flatten().kthvalue(rank).values


def _placed_like(image: Tensor, value: Tensor) -> Tensor:
    """With the record of what was done to the image, so that it can be undone."""
    if not isinstance(image, MetaTensor):
        return value
    return MetaTensor(value, meta=dict(image.meta), applied_operations=list(image.applied_operations))


def _standardised(pixels: Tensor, inside: Tensor) -> Tensor:
    chosen = pixels[:, inside[0]].double()
    shape = (len(pixels), *[1] * (pixels.ndim - 1))
    mean = chosen.mean(dim=1).reshape(shape)
    # A channel without any contrast stays 0.
    deviation = chosen.std(dim=1, correction=0).clamp(min=1e-6).reshape(shape)
    return torch.where(inside, (pixels - mean) / deviation, 0).float()
