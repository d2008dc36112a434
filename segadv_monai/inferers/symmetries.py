"""Test-time augmentation over the symmetries of the grid.

By memory of the U-Net's paper (Ronneberger et al., MICCAI 2015, arXiv 1505.04597), its predictions for the EM
challenge are averages over seven rotated versions of a section, which it does not name. Here are all eight
symmetries of the square, none of which resamples a pixel.
"""

from collections.abc import Callable, Iterator
from functools import reduce
from itertools import permutations, product
from typing import Any, TypeAlias

import torch
from monai.inferers import Inferer
from torch import Tensor

__all__ = ["SymmetryInferer"]

_Symmetry: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]


class SymmetryInferer(Inferer):
    """Mean of the probabilities of a network for an image and its mirror images and rotations.

    There are 8 in two dimensions and 48 in three, 4 and 8 without the exchange of axes. The network sees one
    at a time; the result is logits again, whose probabilities are the mean.

    Args:
        inferer: how the network sees one image.
        exchange_axes: whether axes change places; not for voxels that are longer one way.
        exclusive: whether the maps are classes that exclude one another, with a softmax; else each map has a
            sigmoid of its own.

    Raises:
        ValueError: while it runs: the network's output is not on the image's grid.
    """

    def __init__(self, inferer: Inferer, *, exchange_axes: bool = True, exclusive: bool = True) -> None:
        super().__init__()
        self.inferer = inferer
        self.exchange_axes = exchange_axes
        self.exclusive = exclusive

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Logits of the mean probabilities.

        Args:
            inputs: images ``(B, C, *S)``.
            network: the segmentor.
            args: handed on to the network; nothing that lies on the image's grid.
            kwargs: likewise.
        """
        symmetries = list(_symmetries(inputs.ndim, exchange_axes=self.exchange_axes))

        def seen(symmetry: _Symmetry) -> Tensor:
            order, axes = symmetry
            turned = inputs.permute(order).flip(axes)
            probabilities = self._probabilities(self._logits_of(turned, network, args, kwargs))
            return probabilities.flip(axes).permute(_inverse(order))

        return self._logits(reduce(torch.add, map(seen, symmetries)) / len(symmetries))

    def _logits_of(
        self, turned: Tensor, network: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        logits: Tensor = self.inferer(turned, network, *args, **kwargs)
        if logits.shape[2:] != turned.shape[2:]:
            raise ValueError(
                f"an image of {tuple(turned.shape[2:])} got logits of {tuple(logits.shape[2:])}: give an "
                "inferer that returns the image's grid, such as OverlapTileInferer."
            )
        return logits

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=1) if self.exclusive else logits.sigmoid()

    def _logits(self, probabilities: Tensor) -> Tensor:
        least = torch.finfo(probabilities.dtype).tiny
        if self.exclusive:
            return probabilities.clamp(min=least).log()
        return torch.logit(probabilities, eps=torch.finfo(probabilities.dtype).eps)


def _symmetries(ndim: int, *, exchange_axes: bool) -> Iterator[_Symmetry]:
    """Order of the axes and which of them are then mirrored; batch and channels stay."""
    spatial = tuple(range(2, ndim))
    for order in permutations(spatial) if exchange_axes else [spatial]:
        for mirrored in product((False, True), repeat=len(spatial)):
            yield (0, 1, *order), tuple(i for i, flag in zip(spatial, mirrored, strict=True) if flag)


def _inverse(order: tuple[int, ...]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)
