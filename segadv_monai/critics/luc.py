"""Critics of Luc et al. (NIPS workshop on adversarial training 2016, arXiv 1611.08408).

:class:`LucCritic` is each of the four adversaries of the Pascal experiments, :class:`LucTwoBranchCritic` the
one of the Stanford experiments, whose kernels and poolings are those on which two public ports agree (one of
them pools the image at stride 1 besides). Departs from the paper in one way: one logit instead of a softmax
over two, which says the same, as that softmax is the sigmoid of the difference of the two scores.
With two scores and 63 input channels (21 classes times 3 colours) the four have 2,387,458, 907,778,
1,609,090 and 526,722 parameters.
"""

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv, Pool
from torch import Tensor, nn

from segadv_monai.layers import check_pair
from segadv_monai.protocols import CriticOutput

__all__ = ["LucCritic", "LucTwoBranchCritic"]

# Channels of each stage, as multiples of the width; a pooling stands between two stages.
_VARIANTS = {
    "large_fov": ((3, 4, 4), (8, 8), (16,)),
    "large_fov_light": ((3, 4, 4), (4, 4), (8,)),
    "small_fov": ((3, 4), (8, 8), (16,)),
    "small_fov_light": ((3, 4), (4, 4), (8,)),
}
_SMALLEST = 4
_LABEL_INPUTS = ("basic", "product")


class LucCritic(nn.Module):
    """Convolutions and two poolings on the label maps, then the mean of a map of verdicts.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        num_maps: maps per segmentation.
        variant: ``large_fov``, ``large_fov_light`` (34 pixels wide fields of view), ``small_fov`` or
            ``small_fov_light`` (18 pixels).
        label_input: ``basic`` shows the maps alone: as in the paper, which found no use in the image beside
            them. ``product`` shows each map times each channel of the image. The paper's third input,
            *scaling*, needs the prediction as well: see the objective.
        width: unit of the channels; the paper's 96, 128, 256 and 512 are 3, 4, 8 and 16 times 32.

    Shape:
        - segmentation: probabilities or one-hot maps ``(B, num_maps, *S)``, each side at least 4.
        - image: ``(B, in_channels, *S)``.
        - Output: ``score`` ``(B, 1)``; ``features`` the output of each stage.

    Raises:
        ValueError: ``variant`` or ``label_input`` is unknown; maps, channels or grids do not fit; the image
            is too small.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_maps: int = 1,
        *,
        variant: str = "large_fov",
        label_input: str = "basic",
        width: int = 32,
    ) -> None:
        super().__init__()
        if variant not in _VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(_VARIANTS)}, got {variant}.")
        self.labels = _LabelInput(in_channels, num_maps, label_input)
        stages = [[multiple * width for multiple in stage] for stage in _VARIANTS[variant]]
        later_kernel = 3 if variant.startswith("large") else 1
        self.trunk = _Trunk(spatial_dims, self.labels.channels, stages, later_kernel=later_kernel)

    def forward(self, segmentation: Tensor, image: Tensor) -> CriticOutput:
        features, score = self.trunk(self.labels(segmentation, image))
        return CriticOutput(score, features)


class LucTwoBranchCritic(nn.Module):
    """A branch for the label maps and one for the image, joined after their first convolutions.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        num_maps: maps per segmentation.
        label_input: what the branch of the labels sees: ``basic``, the maps, or ``product``, each map times
            each channel of the image.
        width: unit of the channels; the paper's 16, 64, 128, 256 and 512 are 1, 4, 8, 16 and 32 times 16.

    Shape:
        - segmentation: probabilities or one-hot maps ``(B, num_maps, *S)``, each side at least 4.
        - image: ``(B, in_channels, *S)``.
        - Output: ``score`` ``(B, 1)``; ``features`` the joined branches and the output of each stage.

    Raises:
        ValueError: ``label_input`` is unknown; maps, channels or grids do not fit; the image is too small.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_maps: int = 1,
        *,
        label_input: str = "basic",
        width: int = 16,
    ) -> None:
        super().__init__()
        convolution = Conv[Conv.CONV, spatial_dims]
        self.labels = _LabelInput(in_channels, num_maps, label_input)
        self.label_branch = nn.Sequential(
            convolution(self.labels.channels, 4 * width, 5, padding=2), nn.ReLU()
        )
        self.image_branch = nn.Sequential(
            *(convolution(in_channels, width, 5, padding=2), nn.ReLU()),
            *(convolution(width, 4 * width, 5, padding=2), nn.ReLU()),
        )
        stages = [[8 * width], [16 * width], [32 * width]]
        self.trunk = _Trunk(spatial_dims, 8 * width, stages, later_kernel=3)

    def forward(self, segmentation: Tensor, image: Tensor) -> CriticOutput:
        labels = self.label_branch(self.labels(segmentation, image))
        joined = torch.cat([labels, self.image_branch(image)], dim=1)
        features, score = self.trunk(joined)
        return CriticOutput(score, (joined, *features))


class _LabelInput(nn.Module):
    """What a critic sees of the label maps."""

    def __init__(self, in_channels: int, num_maps: int, label_input: str) -> None:
        super().__init__()
        if label_input not in _LABEL_INPUTS:
            raise ValueError(f"label_input must be one of {', '.join(_LABEL_INPUTS)}, got {label_input}.")
        self.in_channels = in_channels
        self.num_maps = num_maps
        self.product = label_input == "product"
        self.channels = num_maps * in_channels if self.product else num_maps

    def forward(self, segmentation: Tensor, image: Tensor) -> Tensor:
        self._check(segmentation, image)
        if self.product:
            return (segmentation.unsqueeze(2) * image.unsqueeze(1)).flatten(1, 2)
        return segmentation

    def _check(self, segmentation: Tensor, image: Tensor) -> None:
        check_pair(segmentation, image, num_maps=self.num_maps, in_channels=self.in_channels)
        if min(image.shape[2:]) < _SMALLEST:
            raise ValueError(
                f"images of size {tuple(image.shape[2:])} vanish in the critic's two poolings: pad them to "
                f"at least {_SMALLEST} per side."
            )


class _Trunk(nn.Module):
    """Stages of convolutions with a pooling between them, then one verdict per image."""

    def __init__(
        self, spatial_dims: int, channels: int, stages: Sequence[Sequence[int]], *, later_kernel: int
    ) -> None:
        super().__init__()
        convolution = Conv[Conv.CONV, spatial_dims]
        self.stages = nn.ModuleList()
        for widths in stages:
            layers: list[nn.Module] = []
            for i, width in enumerate(widths):
                kernel = later_kernel if i else 3
                layers += [convolution(channels, width, kernel, padding=kernel // 2), nn.ReLU()]
                channels = width
            self.stages.append(nn.Sequential(*layers))
        self.pool = Pool[Pool.MAX, spatial_dims](2)
        self.verdict = convolution(channels, 1, later_kernel, padding=later_kernel // 2)

    def forward(self, x: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        features = []
        for i, stage in enumerate(self.stages):
            x = stage(self.pool(x) if i else x)
            features.append(x)
        return tuple(features), self.verdict(x).flatten(2).mean(2)
