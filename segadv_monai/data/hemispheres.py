"""Slices of brain hemispheres with and without a tumour, as GenSeg trains on them (arXiv 1904.01339).

As in the paper: volumes are cut into axial slices and these in two down the middle; a half with a tumour is
sick, one without is healthy, whoever it is from. Which halves show too little brain is our reading.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
from monai.data import Dataset
from monai.transforms import Randomizable, Transform
from torch import Tensor

from segadv_monai.protocols import ConfigError, DataError

__all__ = ["HemisphereSlices", "Hemispheres", "WithHealthyd"]


class Hemispheres:
    """Read volumes once and list the slices of their hemispheres.

    The labelled slices are spread evenly over the sick ones, so that the same share always is the same list.

    Args:
        cases: with ``image`` and ``label``, as :func:`datalist` has them.
        transform: of a case, without anything random: ``image`` becomes ``(C, X, Y, Z)`` and ``label``
            ``(K, X, Y, Z)``, with a first axis from one side of the head to the other.
        labelled_share: of the sick slices, whose label is used; greater than 0, at most 1.
        least_brain: share of a half that has to be brain, which is what exceeds the volume's least value.

    Attributes:
        labelled: sick slices with ``image`` ``(C, X / 2, Y)`` and ``label`` ``(K, X / 2, Y)``.
        unlabelled: sick slices with ``image`` alone.
        healthy: images ``(C, X / 2, Y)``.

    Raises:
        ConfigError: the share is of no slice, or more than 1.
        DataError: there is no sick or no healthy slice.
    """

    def __init__(
        self,
        cases: Sequence[Mapping[str, Any]],
        transform: Callable[[Any], Any],
        *,
        labelled_share: float = 1.0,
        least_brain: float = 0.1,
    ) -> None:
        sick: list[dict[str, Tensor]] = []
        self.healthy: list[Tensor] = []
        for case in cases:
            for image, label in _halves(transform(dict(case)), least_brain):
                if label.any():
                    sick.append({"image": image, "label": label})
                else:
                    self.healthy.append(image)
        if not sick or not self.healthy:
            raise DataError(
                f"the {len(cases)} volumes have {len(sick)} sick and {len(self.healthy)} healthy slices of a "
                "hemisphere, and both are needed: add volumes, or mend regions or least_brain."
            )
        count = round(labelled_share * len(sick)) if 0 < labelled_share <= 1 else 0
        if not count:
            raise ConfigError(
                f"{labelled_share} of the {len(sick)} sick slices cannot be the labelled ones: set a share "
                f"from {1 / len(sick):.2g} to 1."
            )
        chosen = {i * len(sick) // count for i in range(count)}
        self.labelled = [case for i, case in enumerate(sick) if i in chosen]
        self.unlabelled = [{"image": case["image"]} for i, case in enumerate(sick) if i not in chosen]


class HemisphereSlices(Dataset):
    """The sick slices of one kind as a data set.

    Args:
        hemispheres: all of them.
        labelled: those with a label, or those without.
        transform: of each slice.

    Raises:
        ConfigError: there is none without a label.
    """

    def __init__(
        self,
        hemispheres: Hemispheres,
        *,
        labelled: bool = True,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        slices = hemispheres.labelled if labelled else hemispheres.unlabelled
        if not slices:
            raise ConfigError(
                "all sick slices are labelled and this training needs others, too: set a smaller "
                "--labelled_share, or --train#dataloader#unlabelled None to train without."
            )
        super().__init__(slices, transform)


class WithHealthyd(Randomizable, Transform):
    """Give each case a healthy slice, drawn anew each time.

    Args:
        hemispheres: to draw from.
        key: under which the drawn slice comes.
    """

    def __init__(self, hemispheres: Hemispheres, key: str = "healthy") -> None:
        self.healthy = hemispheres.healthy
        self.key = key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        return {**data, self.key: self.healthy[self.R.randint(len(self.healthy))]}


def _halves(case: Mapping[str, Tensor], least_brain: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Both halves of every axial slice with enough brain, from the lowest on."""
    image, label = (torch.as_tensor(case[key]).as_subclass(Tensor) for key in ("image", "label"))
    brain = (image > image.amin(dim=(1, 2, 3), keepdim=True)).any(dim=0)
    width = image.shape[1] // 2
    for z in range(image.shape[3]):
        for side in (slice(0, width), slice(width, 2 * width)):
            if brain[side, :, z].float().mean() >= least_brain:
                yield image[:, side, :, z].clone(), label[:, side, :, z].clone()
