"""Cached cases that cost no more than what their random transforms do.

MONAI's ``CacheDataset`` copies the whole case each time before it transforms it at random, and its transforms
then keep a record in the metadata of every tensor. Here cases are handed out as they are, as plain tensors,
and nothing is recorded; that no transform has written into a case is checked instead.
"""

import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import CacheDataset, MetaTensor, get_track_meta, set_track_meta
from monai.transforms import RandomizableTrait, Transform
from torch import Tensor

from segadv_monai.protocols import ConfigError

__all__ = ["FrozenCacheDataset"]

# Of this many cases one is compared in full.
_COMPARED = 16
_CHUNK = 512


class _Leaf:
    """A tensor of a case, and what tells whether it is as it was."""

    def __init__(self, name: str, tensor: Tensor) -> None:
        self.name = name
        self.tensor = tensor
        self.version = _writes(tensor)
        self.sums = _sums(tensor)

    def __reduce__(self) -> tuple[type["_Leaf"], tuple[str, Tensor]]:
        # Another process counts writes anew.
        return _Leaf, (self.name, self.tensor)

    def is_unwritten(self, *, in_full: bool) -> bool:
        if _writes(self.tensor) != self.version:
            return False
        return not in_full or torch.equal(_sums(self.tensor), self.sums)


class _Case(NamedTuple):
    item: Any
    leaves: list[_Leaf]


class FrozenCacheDataset(CacheDataset):
    """MONAI's ``CacheDataset`` without its copies, for training.

    The values are those that ``CacheDataset`` gives for the same random state. Where random transforms follow
    the cached ones, tensors have no metadata and no record: what reads spacing or orientation has to come
    before them, and they cannot be inverted. Where none follow, metadata are kept.

    ``RandCropByPosNegLabeld`` looks through the label each time, which costs far more than its crops; with
    ``FgBgToIndicesd`` among the cached transforms it need not.

    A transform that writes into the case instead of into a copy would change it for all later epochs. Torch
    counts the writes to a tensor; this count is compared each time. What writes past torch, through an array
    of the same memory, is found by sums over the case, which are compared one time in sixteen and the first.

    Metadata are switched off for the whole process while random transforms run, so that a case is not to be
    taken in two threads at a time; processes are independent.

    Args:
        data: cases to load.
        transform: the cached transforms, and from the first random one on those of each time.
        cache_num: how many cases are cached at most.
        cache_rate: share of the cases that is cached.
        num_workers: threads that fill the cache.
        progress: whether filling shows a progress bar.
        copy_keys: keys that are handed out as copies after all, for a transform that writes into them, like
            MONAI's ``RandCoarseDropoutd``.

    Raises:
        ConfigError: the transforms are lazy; when a case is taken: one has written into the cached case.
    """

    def __init__(
        self,
        data: Sequence[Any],
        transform: Sequence[Callable[..., Any]] | Callable[..., Any] | None = None,
        *,
        cache_num: int = sys.maxsize,
        cache_rate: float = 1.0,
        num_workers: int | None = 1,
        progress: bool = True,
        copy_keys: Sequence[str] = (),
    ) -> None:
        self.copy_keys = frozenset([copy_keys] if isinstance(copy_keys, str) else copy_keys)
        self._taken = 0
        super().__init__(
            data=data,
            transform=transform,
            cache_num=cache_num,
            cache_rate=cache_rate,
            num_workers=num_workers,
            progress=progress,
            copy_cache=False,
        )
        if self.transform.lazy is not False:
            raise ConfigError("lazy resampling lives in the metadata: use monai.data.CacheDataset for it.")

    def _load_cache_item(self, idx: int) -> Any:
        item = super()._load_cache_item(idx)
        if self._first_random() is None:
            return _Case(item, [])
        leaves: list[_Leaf] = []
        return _Case(_frozen(item, "", leaves), leaves)

    def _transform(self, index: int) -> Any:
        index %= len(self)
        is_cached = index < self.cache_num
        case = self._cache[index] if is_cached else self._load_cache_item(index)
        first = self._first_random()
        if first is None:
            return case.item
        tracked = get_track_meta()
        set_track_meta(False)
        try:
            result = self.transform(_shared(case.item, self.copy_keys), start=first)
        finally:
            set_track_meta(tracked)
        if is_cached:
            self._compare(case, index)
        return result

    def _compare(self, case: _Case, index: int) -> None:
        in_full = self._taken % _COMPARED == 0
        self._taken += 1
        for leaf in case.leaves:
            if not leaf.is_unwritten(in_full=in_full):
                raise ConfigError(
                    f"a random transform has written into the cached {leaf.name!r} of case {index}, and "
                    f"later epochs would see it: add {leaf.name!r} to copy_keys."
                )

    def _first_random(self) -> int | None:
        """As MONAI divides them."""
        for place, each in enumerate(self.transform.transforms):
            if isinstance(each, RandomizableTrait) or not isinstance(each, Transform):
                return place
        return None


def _frozen(item: Any, name: str, leaves: list[_Leaf]) -> Any:
    """The case of plain tensors, which are listed."""
    if isinstance(item, dict):
        return {key: _frozen(value, str(key), leaves) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return type(item)([_frozen(value, name, leaves) for value in item])
    if isinstance(item, np.ndarray):
        # Writing into the array itself is refused from here on.
        item = item.copy()
        item.setflags(write=False)
        return item
    if not isinstance(item, Tensor):
        return item
    tensor = item.as_tensor() if isinstance(item, MetaTensor) else item
    leaves.append(_Leaf(name, tensor))
    return tensor


def _shared(item: Any, copy_keys: frozenset[str]) -> Any:
    """New dictionaries and lists around the same tensors and arrays; copies of what else can change."""
    if isinstance(item, dict):
        return {
            key: deepcopy(value) if key in copy_keys else _shared(value, copy_keys)
            for key, value in item.items()
        }
    if isinstance(item, list | tuple):
        return type(item)([_shared(value, copy_keys) for value in item])
    is_shared = item is None or isinstance(item, Tensor | np.ndarray | str | int | float)
    return item if is_shared else deepcopy(item)


def _writes(tensor: Tensor) -> int:
    return tensor._version  # noqa: SLF001  # torch tells it nowhere else


def _sums(tensor: Tensor) -> Tensor:
    """Of the bits, part by part: few enough to keep, and as fast as memory is read."""
    values = tensor.detach().contiguous().flatten().view(torch.uint8)
    whole = len(values) // (8 * _CHUNK) * 8 * _CHUNK
    chunks = values[:whole].view(torch.int64).view(-1, _CHUNK).sum(dim=1)
    return torch.cat([chunks, values[whole:].long()])
