"""Overlap-tile strategy of U-Net (Ronneberger, Fischer and Brox, MICCAI 2015, arXiv 1505.04597, section 2).

As in the paper, a tile of the image is larger than the segmentation that it gives, and the context that is
missing at the border of the image is mirrored. Three things are ours:

- Tiles start at multiples of the network's pooling, so that they equal one pass over the mirrored image. Of
  a 388 x 388 output 384 x 384 are taken.
- The tile may follow from a budget of memory.
- A network with padding has the context laid around its tiles: as much as its receptive field is wide.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product
from typing import Any
from weakref import WeakKeyDictionary

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from segadv_monai.layers import unwrapped

from .forward_memory import forward_bytes
from .plain import check_image, dressed, plain
from .receptive_field import receptive_field
from .tiling import Fit, Tiling, valid_fit

__all__ = ["OverlapTileInferer"]

_MB = 2**20


class OverlapTileInferer(Inferer):
    """Logits of an image of any size, every position from exactly one tile.

    A network of valid convolutions has ``output_size(input_size)``, which raises ValueError for what does
    not fit. One with padding has logits of its input's size.

    Args:
        tile_size: longest tile that the network is shown, one number or one for each axis; the tiles are the
            largest that fit, and no larger than the image asks for.
        memory_mb: in place of ``tile_size``: what the forward pass of one batch of tiles may take beside the
            weights, the image and the result. It is estimated as 1.5 times the bytes of all tensors that are
            alive at once.
        tile_batch_size: tiles in one forward pass.
        halo: context of a tile at each side, one number or one for each axis, for networks with padding; by
            default the receptive field, which is measured once for each network.
        divisor: multiple that starts and sizes of tiles are to be, for networks with padding; by default the
            network's ``size_divisor``, or measured with the halo.

    Raises:
        ValueError: neither or both of ``tile_size`` and ``memory_mb``; a number less than 1 (``halo``: 0).
    """

    def __init__(
        self,
        tile_size: int | Sequence[int] | None = None,
        *,
        memory_mb: float | None = None,
        tile_batch_size: int = 1,
        halo: int | Sequence[int] | None = None,
        divisor: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if (tile_size is None) == (memory_mb is None):
            raise ValueError(f"give tile_size or memory_mb, got {tile_size} and {memory_mb}.")
        if tile_batch_size < 1:
            raise ValueError(f"tile_batch_size must be at least 1, got {tile_batch_size}.")
        for name, value, least in (("tile_size", tile_size, 1), ("halo", halo, 0), ("divisor", divisor, 1)):
            values = [value] if isinstance(value, int) else value or ()
            if any(number < least for number in values):
                raise ValueError(f"{name} must be at least {least}, got {value}.")
        self.tile_size = tile_size
        self.memory_mb = memory_mb
        self.tile_batch_size = tile_batch_size
        self.halo = halo
        self.divisor = divisor
        self._fits: WeakKeyDictionary[nn.Module, dict[int, tuple[Fit, ...]]] = WeakKeyDictionary()
        self._limits: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], int]] = WeakKeyDictionary()

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """Logits ``(B, K, *S)`` of an image.

        Args:
            inputs: ``(B, C, *S)``.
            network: a module, possibly wrapped for several processes or compiled.
            args: more arguments of the network.
            kwargs: more arguments of the network.

        Raises:
            TypeError: the network is no module.
            ValueError: the tile is too small for the network, or the budget for the smallest tile; a wrong
                number of axes; logits of another size than the network announces.
        """
        if not isinstance(network, nn.Module):
            raise TypeError(f"network must be a torch.nn.Module, got {type(network).__name__}.")
        image = plain(inputs)
        check_image(image, self.tile_size)
        axes = self._axes(image, network)
        logits = image.new_empty(0)
        for (case, *numbers), tile in self._tiles(image, axes, network, args, kwargs):
            if not logits.numel():
                logits = tile.new_empty(image.shape[0], tile.shape[0], *image.shape[2:])
            target = [axis.target(i) for axis, i in zip(axes, numbers, strict=True)]
            taken = [axis.taken(i) for axis, i in zip(axes, numbers, strict=True)]
            logits[case][(slice(None), *target)] = tile[(slice(None), *taken)]
        return dressed(logits, inputs)

    def _tiles(
        self,
        image: Tensor,
        axes: Sequence[Tiling],
        network: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Iterator[tuple[tuple[int, ...], Tensor]]:
        """Logits of each tile, with its case and its number along each axis."""
        places = product(range(image.shape[0]), *(range(axis.count) for axis in axes))
        wanted = [axis.tile - (axis.fit.before + axis.fit.after if axis.fit.cropped else 0) for axis in axes]
        while group := list(islice(places, self.tile_batch_size)):
            logits = network(torch.stack([_tile(image, axes, place) for place in group]), *args, **kwargs)
            if not isinstance(logits, Tensor) or list(logits.shape[2:]) != wanted:
                name = type(unwrapped(network)).__name__
                came = list(logits.shape[2:]) if isinstance(logits, Tensor) else type(logits).__name__
                raise ValueError(
                    f"{name} gave {came} for a tile of {[a.tile for a in axes]}, "
                    f"expected logits of {wanted}: its output_size has to tell the size, and it may return "
                    "nothing but logits."
                )
            yield from zip(group, logits, strict=True)

    def _axes(self, image: Tensor, network: nn.Module) -> list[Tiling]:
        lengths = image.shape[2:]
        known = self._fits.setdefault(network, {})
        if len(lengths) not in known:
            known[len(lengths)] = self._fit(network, len(lengths), image.shape[1])
        fits = known[len(lengths)]
        if self.tile_size is None:
            limits = [self._affordable(image, network, fits)] * len(lengths)
        else:
            limits = _for_each_axis(self.tile_size, len(lengths))
            least = [fit.least(length) for fit, length in zip(fits, lengths, strict=True)]
            if any(limit < needed for limit, needed in zip(limits, least, strict=True)):
                name = type(unwrapped(network)).__name__
                raise ValueError(
                    f"tile_size {limits} is too small for {name} with its context: give at least {least}."
                )
        return _tilings(fits, lengths, limits)

    def _fit(self, network: nn.Module, spatial_dims: int, channels: int) -> tuple[Fit, ...]:
        inner = unwrapped(network)
        if output_size := getattr(inner, "output_size", None):
            fits = valid_fit(output_size, spatial_dims)
            if any(fit.before + fit.after for fit in fits):
                return fits
        divisor = self.divisor or getattr(inner, "size_divisor", None)
        if self.halo is None:
            field = receptive_field(inner, spatial_dims, channels)
            before, after = list(field.before), list(field.after)
            divisors = _for_each_axis(divisor or field.divisor, spatial_dims)
        elif divisor is None:
            raise ValueError(f"{type(inner).__name__} has no size_divisor: give divisor together with halo.")
        else:
            before = after = _for_each_axis(self.halo, spatial_dims)
            divisors = _for_each_axis(divisor, spatial_dims)
        # The first position taken lies where the network pools from, as in the image itself.
        rounded = [-(-n // d) * d for n, d in zip(before, divisors, strict=True)]
        return tuple(Fit(d, d, b, a, cropped=False) for d, b, a in zip(divisors, rounded, after, strict=True))

    def _affordable(self, image: Tensor, network: nn.Module, fits: Sequence[Fit]) -> int:
        """The longest tile that the budget allows, the same along all axes that are long enough."""
        known = self._limits.setdefault(network, {})
        key = tuple(image.shape[1:])
        if key not in known:
            known[key] = self._searched(image, network, fits)
        return known[key]

    def _searched(self, image: Tensor, network: nn.Module, fits: Sequence[Fit]) -> int:
        lengths = image.shape[2:]

        def cost(limit: int) -> float:
            tiles = [axis.tile for axis in _tilings(fits, lengths, [limit] * len(fits))]
            return forward_bytes(network, (self.tile_batch_size, image.shape[1], *tiles)) / _MB

        budget = self.memory_mb or 0.0
        low = max(fit.least(length) for fit, length in zip(fits, lengths, strict=True))
        high = max(fit.tile_for(length) for fit, length in zip(fits, lengths, strict=True))
        if (needed := cost(low)) > budget:
            raise ValueError(
                f"memory_mb {budget:g} is too little for {self.tile_batch_size} of the smallest tiles of "
                f"{type(unwrapped(network)).__name__}: give at least {int(needed) + 1}."
            )
        if cost(high) <= budget:
            return high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if cost(middle) <= budget else (low, middle)
        return low


def _tilings(fits: Sequence[Fit], lengths: Sequence[int], limits: Sequence[int]) -> list[Tiling]:
    axes = zip(fits, lengths, limits, strict=True)
    return [Tiling.within(fit, length, limit=limit) for fit, length, limit in axes]


def _tile(image: Tensor, axes: Sequence[Tiling], place: Sequence[int]) -> Tensor:
    tile = image[place[0]]
    for i, (axis, number) in enumerate(zip(axes, place[1:], strict=True), 1):
        tile = tile.index_select(i, torch.tensor(axis.source(number), device=image.device))
    return tile


def _for_each_axis(value: int | Sequence[int], spatial_dims: int) -> list[int]:
    values = [value] * spatial_dims if isinstance(value, int) else list(value)
    if len(values) != spatial_dims:
        raise ValueError(
            f"{values} has {len(values)} numbers for {spatial_dims} axes: give one, or one each."
        )
    return values
