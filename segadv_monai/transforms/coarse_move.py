"""What a field does to an image and to its metadata: its place in space, and the record for the inverse."""

from collections.abc import Hashable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from monai.transforms import InvertibleTransform
from monai.utils import TraceKeys
from torch import Tensor

from .coarse_field import CoarseField
from .resampling import resample, still

__all__ = ["moved", "moved_back"]


def moved(
    transform: InvertibleTransform, images: Sequence[Tensor], modes: Sequence[str], field: CoarseField
) -> list[Tensor]:
    """Images that a field has moved.

    Args:
        transform: whose move it is, for the record of images that have one.
        images: ``(C, *S)``, of one size.
        modes: of interpolation, one for each.
        field: to move by.

    Returns:
        The new images.
    """
    plain = [image.as_subclass(Tensor) for image in images]
    size = plain[0].shape[1:]
    if field.moves:
        values = resample(plain, field.blocks(size, plain[0].device), modes)
    else:
        axes = [axis + 1 for axis in field.flips]
        values = [
            still(image.flip(axes) if axes else image, mode) for image, mode in zip(plain, modes, strict=True)
        ]
    return [
        _recorded(transform, value, image, (mode, field)) if isinstance(image, MetaTensor) else value
        for value, image, mode in zip(values, images, modes, strict=True)
    ]


def _recorded(
    transform: InvertibleTransform, values: Tensor, image: MetaTensor, applied: tuple[str, CoarseField]
) -> MetaTensor:
    mode, field = applied
    result = _with_meta(values, image)
    extra = {
        "mode": mode,
        "displacements": field.displacements.numpy(),
        "matrix": field.matrix.numpy(),
        "shift": field.shift.numpy(),
        "flips": field.flips,
    }
    size = image.shape[1:]
    push: Any = transform.push_transform
    push(result, affine=field.affine(size), extra_info=extra, orig_size=tuple(size))
    return result


def _with_meta(values: Tensor, image: MetaTensor) -> MetaTensor:
    meta = dict(image.meta)
    if "pixdim" in meta:
        # MONAI writes into it, and another tensor may have it, too.
        meta["pixdim"] = deepcopy(meta["pixdim"])
    return MetaTensor(values, meta=meta, applied_operations=list(image.applied_operations))


def moved_back(data: Any, info: Mapping[Hashable, Any]) -> Tensor:
    """An image before a move.

    Args:
        data: the image after it.
        info: the move's record.

    Returns:
        The image, but for what has left it.

    Raises:
        ValueError: the deformation folds and has no inverse.
    """
    extra = info[TraceKeys.EXTRA_INFO]
    drawn = {name: torch.as_tensor(extra[name]) for name in ("displacements", "matrix", "shift")}
    field = CoarseField(**drawn, flips=tuple(int(axis) for axis in extra["flips"]))
    image, mode = data.as_subclass(Tensor), extra["mode"]
    size = image.shape[1:]
    if field.moves:
        values = resample([image], field.inverse_blocks(size, image.device), [mode])[0]
    else:
        values = still(image.flip([axis + 1 for axis in field.flips]), mode)
    result = _with_meta(values, data)
    backwards = torch.linalg.inv(field.affine(size))
    result.affine = data.affine @ to_affine_nd(len(data.affine) - 1, backwards, dtype=torch.float64)
    return result
