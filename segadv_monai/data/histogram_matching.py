"""Histogram matching as MONAI transforms, to a fixed reference or to one that is drawn anew each time.

Matching to another training image is an augmentation of V-Net (Milletari et al., 3DV 2016). The numbers of
levels and of matched quantiles are our choice, as is drawing the reference evenly. It lives beside the files
because it calls SimpleITK, see :mod:`segadv_monai.data.itk_filters`.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config.type_definitions import KeysCollection
from monai.transforms import LoadImaged, MapTransform, RandomizableTransform, Transform
from numpy.typing import NDArray
from torch import Tensor

from segadv_monai.protocols import ConfigError, DataError

from .image_values import finite_values, image_like, image_name
from .itk_filters import matched_histogram

__all__ = ["MatchHistogram", "MatchHistogramd", "RandMatchHistogramd"]

Case = Mapping[Hashable, Any]


class MatchHistogram(Transform):
    """Give an image the histogram of another, channel by channel.

    Args:
        reference: the other image, of any size.
        levels: of the histograms.
        points: quantiles that are matched; between them values are interpolated.
        above_mean: whether only values above each image's mean are compared, which leaves out most air.

    Shape:
        - Input: ``(C, *S)``, two or three spatial axes, as many as the reference has.
        - Output: the same, float32. A channel without any contrast stays as it is.

    Raises:
        ConfigError: ``levels`` is less than 2 or ``points`` less than 1.
        DataError: image and reference differ in channels or axes; a value is not finite; a channel of the
            reference has no contrast.
    """

    def __init__(
        self, reference: Any, *, levels: int = 256, points: int = 7, above_mean: bool = True
    ) -> None:
        self.matching = _Matching(levels, points, above_mean=above_mean)
        self.reference = finite_values(reference, "a reference")

    def __call__(self, img: Tensor) -> Tensor:
        return self.matching(img, self.reference, image_name(img, "an image"))


class MatchHistogramd(MapTransform):
    """Give the images of every case the histograms of one and the same reference case.

    Args:
        keys: keys of the images, which the reference has, too.
        reference: the case, as :func:`datalist` has it; loaded when it is first needed.
        transform: of that case, without anything random: what the images have been through so far. By
            default it is only loaded.
        levels, points, above_mean: see :class:`MatchHistogram`.
        allow_missing_keys: skip images that a case does not have.

    Raises:
        ConfigError, DataError: as :class:`MatchHistogram`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        reference: Case,
        transform: Callable[[Any], Any] | None = None,
        *,
        levels: int = 256,
        points: int = 7,
        above_mean: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.references = _References([reference], [str(key) for key in self.keys], transform)
        self.matching = _Matching(levels, points, above_mean=above_mean)

    def __call__(self, data: Case) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            reference = self.references.values(0, str(key))
            result[key] = self.matching(result[key], reference, image_name(result[key], str(key)))
        return result


class RandMatchHistogramd(RandomizableTransform, MapTransform):
    """Give the images of a case the histograms of a case that is drawn anew each time.

    The drawn case may be the case itself, which leaves it all but as it is. Every reference is loaded once
    and kept, 4 bytes for a voxel. A crop that shows another part of the body than the reference does should
    be taken afterwards.

    Args:
        keys: keys of the images, which the references have, too.
        references: cases to draw from, as :func:`datalist` has them.
        transform: of a reference, without anything random: what the images have been through when they come
            here. By default references are only loaded.
        prob: that a case is matched at all.
        levels, points, above_mean: see :class:`MatchHistogram`.
        preload: load all references at once, so that worker processes share them; otherwise each is loaded
            when it is first drawn.
        allow_missing_keys: skip images that a case does not have.

    Raises:
        ConfigError: there is no reference, or an argument is none of the above.
        DataError: as :class:`MatchHistogram`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        references: Sequence[Case],
        transform: Callable[[Any], Any] | None = None,
        *,
        prob: float = 0.5,
        levels: int = 256,
        points: int = 7,
        above_mean: bool = True,
        preload: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        if not 0 <= prob <= 1:
            raise ConfigError(f"prob must be from 0 to 1, got {prob}.")
        RandomizableTransform.__init__(self, prob)
        self.references = _References(references, [str(key) for key in self.keys], transform)
        self.matching = _Matching(levels, points, above_mean=above_mean)
        self._drawn = 0
        if preload:
            self.references.load()

    def randomize(self, data: Any = None) -> None:
        """Draws whether to match and to which reference.

        Args:
            data: nothing of it is used.
        """
        super().randomize(data)
        self._drawn = int(self.R.randint(len(self.references)))

    def __call__(self, data: Case) -> dict[Hashable, Any]:
        result = dict(data)
        self.randomize()
        if not self._do_transform:
            return result
        for key in self.key_iterator(result):
            reference = self.references.values(self._drawn, str(key))
            result[key] = self.matching(result[key], reference, image_name(result[key], str(key)))
        return result


class _Matching:
    """The settings of a histogram matching, and what it needs of its images."""

    def __init__(self, levels: int, points: int, *, above_mean: bool) -> None:
        if levels < 2 or points < 1:
            raise ConfigError(f"levels must be at least 2 and points at least 1, got {levels} and {points}.")
        self.settings: dict[str, Any] = {"levels": levels, "points": points, "above_mean": above_mean}

    def __call__(self, image: Tensor, reference: NDArray[np.float32], name: str) -> Tensor:
        values = finite_values(image, name)
        if len(values) != len(reference) or values.ndim != reference.ndim or values.ndim not in (3, 4):
            raise DataError(
                f"{name}: an image and its reference have as many channels and two or three axes, got "
                f"{tuple(values.shape)} and {tuple(reference.shape)}: give references like the images."
            )
        if not all(part.min() < part.max() for part in reference):
            raise DataError(f"{name}: its reference has a channel without any contrast: leave it out.")
        matched = [
            matched_histogram(part, other, **self.settings) if part.min() < part.max() else part
            for part, other in zip(values, reference, strict=True)
        ]
        return image_like(image, np.stack(matched))


class _References:
    """Images of cases, each loaded when it is first asked for."""

    def __init__(
        self, cases: Sequence[Case], keys: Sequence[str], transform: Callable[[Any], Any] | None
    ) -> None:
        if not cases:
            raise ConfigError("there is no reference to match histograms to: give a case at least.")
        self.cases = [dict(case) for case in cases]
        self.keys = list(keys)
        self.transform = transform or LoadImaged(self.keys, ensure_channel_first=True)
        self._loaded: dict[int, dict[str, NDArray[np.float32]]] = {}

    def __len__(self) -> int:
        return len(self.cases)

    def values(self, index: int, key: str) -> NDArray[np.float32]:
        if index not in self._loaded:
            case = self.transform(dict(self.cases[index]))
            self._loaded[index] = {name: finite_values(case[name], name) for name in self.keys}
        return self._loaded[index][key]

    def load(self) -> None:
        for index in range(len(self)):
            self.values(index, self.keys[0])
