"""GenSeg: translation between sick and healthy images that also segments (Vorontsov et al., 2019).

arXiv 1904.01339. As in the paper: one encoder to a code of common and unique channels; a decoder of the
common ones to a healthy image; a decoder of all of them to what the disease adds to it, and in its other mode
to the segmentation. Instance norm in the encoder, layer norm in the common decoder, adaptive instance norm
for the segmentation, reflected padding, and a tanh behind images.

Layers are our reading, as the paper's table was not at hand. Residual blocks with the norm first give the
encoder its published 1,748,496 parameters. The decoders have the same blocks upwards, kernels of 3 and the
nearest neighbour; the adaptive norms serve both modes and take scale and shift from the mean of the code, by
a network of two layers for each mode. So the generator has 6,215,097 parameters for four channels and one
map, not the published 15,456,386. The paper's spectral norm is off by default, as TorchScript cannot read it.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn
from torch.nn import functional

from segadv_monai.layers import spectral_norm
from segadv_monai.protocols import SegmentorOutput

__all__ = ["GenSeg", "GenSegTranslation"]


class GenSeg(nn.Module):
    """Segmentor whose code also yields the image without its disease, and the disease alone.

    ``forward`` segments. Training goes through :class:`GenSegTranslation`.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image, whose values are from -1 to 1.
        out_channels: number of maps.
        widths: channels of each scale of the encoder, finest first; the code is one scale coarser.
        common_channels: of the code, which sick and healthy images share.
        unique_channels: of the code, which hold the disease.
        style_width: hidden channels of the networks that steer the adaptive norms.
        spectral: normalise all layers but each decoder's last by their largest singular value.

    Shape:
        - Input: ``(B, in_channels, *S)``, every axis a multiple of ``size_divisor``.
        - Output: logits ``(B, out_channels, *S)``.

    Attributes:
        translation_only: parts that ``forward`` does not use, which translation trains.

    Raises:
        ValueError: ``spatial_dims`` is neither 2 nor 3; there are no widths; a size that does not fit.
    """

    translation_only = ("common_decoder", "residual_decoder.image_style", "residual_decoder.image_head")

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        common_channels: int = 384,
        unique_channels: int = 128,
        style_width: int = 256,
        spectral: bool = False,
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        if not widths:
            raise ValueError("widths must have an entry for each scale of the encoder, got none.")
        self.common_channels = common_channels
        self.unique_channels = unique_channels
        self.size_divisor = 2 ** len(widths)
        code = common_channels + unique_channels
        self.encoder = _Encoder(spatial_dims, in_channels, (*widths, code))
        upwards = tuple(reversed(widths))
        self.common_decoder = _CommonDecoder(spatial_dims, in_channels, (common_channels, *upwards))
        self.residual_decoder = _ResidualDecoder(
            spatial_dims, in_channels, out_channels, widths=(code, *upwards), style_width=style_width
        )
        if spectral:
            heads = ("common_decoder.head", "residual_decoder.image_head", "residual_decoder.maps_head")
            spectral_norm(self, excluded=heads)

    def features(self, x: Tensor) -> list[Tensor]:
        """Encoder features, finest first; the last is the code."""
        features: list[Tensor] = [self.encoder.stem(x)]
        for stage in self.encoder.stages:
            features.append(stage(features[-1]))
        return features

    def encode(self, x: Tensor) -> Tensor:
        """The code of an image, its common channels first."""
        _check_size(list(x.shape[2:]), self.size_divisor)
        code: Tensor = self.encoder(x)
        return code

    def healthy_image(self, code: Tensor) -> Tensor:
        """What the common channels of a code show."""
        image: Tensor = self.common_decoder(code[:, : self.common_channels])
        return image

    def disease(self, code: Tensor) -> Tensor:
        """What the disease adds to the healthy image."""
        residual: Tensor = self.residual_decoder.image(code)
        return residual

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.residual_decoder(self.encode(x))
        return logits


class GenSegTranslation(nn.Module):
    """All translations of one pass, for the training of a :class:`GenSeg` by its game.

    Give it to the trainer in the segmentor's place, and the batch's healthy images to its forward pass; save
    and evaluate the segmentor itself. The unique code of a made disease is drawn from torch's global
    generator.

    The latents are images ``(B, in_channels, *S)``: ``sick_to_healthy``, ``sick_rebuilt``, ``healthy``,
    ``healthy_rebuilt``, ``healthy_to_sick``, and ``cycle``, that one healthy again; and codes: ``code``, the
    healthy image's common channels with the drawn unique ones, and ``code_rebuilt``, that of the sick image
    made from it. ``healthy_logits`` are those of the healthy images, where all that is found is wrong.

    Args:
        network: the segmentor, whose parameters are this module's.

    Shape:
        - Input: sick images and as many healthy ones, ``(B, in_channels, *S)``.
        - Output: a :class:`segadv_monai.protocols.SegmentorOutput` with the logits of the sick images.
    """

    def __init__(self, network: GenSeg) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, healthy: Tensor) -> SegmentorOutput:
        network = self.network
        healthy = healthy.as_subclass(Tensor)  # the trainer strips the image alone of MONAI's bookkeeping
        sick_code, healthy_code = network.encode(x), network.encode(healthy)
        sick_to_healthy = network.healthy_image(sick_code)
        healthy_rebuilt = network.healthy_image(healthy_code)
        common = healthy_code[:, : network.common_channels]
        code = torch.cat([common, torch.randn_like(healthy_code[:, network.common_channels :])], dim=1)
        healthy_to_sick = healthy_rebuilt + network.disease(code)
        code_rebuilt = network.encode(healthy_to_sick)
        latents = {
            "sick_to_healthy": sick_to_healthy,
            "sick_rebuilt": sick_to_healthy + network.disease(sick_code),
            "healthy": healthy,
            "healthy_rebuilt": healthy_rebuilt,
            "healthy_to_sick": healthy_to_sick,
            "cycle": network.healthy_image(code_rebuilt),
            "code": code,
            "code_rebuilt": code_rebuilt,
            "healthy_logits": network.residual_decoder(healthy_code),
        }
        return SegmentorOutput(network.residual_decoder(sick_code), latents)


class _Encoder(nn.Module):
    """A first convolution, then one block for each halving."""

    def __init__(self, spatial_dims: int, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = _convolution(spatial_dims, in_channels, widths[0])
        self.stages = nn.ModuleList(_Down(spatial_dims, *pair) for pair in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return x


class _CommonDecoder(nn.Module):
    """Blocks upwards with layer norms, to an image."""

    def __init__(self, spatial_dims: int, out_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_Up(spatial_dims, *pair) for pair in pairwise(widths))
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for width in widths[:-1])
        self.last_norm = nn.GroupNorm(1, widths[-1])
        self.head = _convolution(spatial_dims, widths[-1], out_channels)

    def forward(self, x: Tensor) -> Tensor:
        for stage, norm in zip(self.stages, self.norms, strict=True):
            x = stage(x, norm(x))
        return torch.tanh(self.head(torch.relu(self.last_norm(x))))


class _ResidualDecoder(nn.Module):
    """Blocks upwards whose norms a style steers: to an image in one mode, to maps in the other."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int],
        style_width: int,
    ) -> None:
        super().__init__()
        # An instance norm takes the bias before it away.
        self.stages = nn.ModuleList(_Up(spatial_dims, *pair, bias=False) for pair in pairwise(widths))
        # A scale and a shift for each channel of each norm.
        self.numbers: list[int] = [2 * width for width in widths]
        self.image_style, self.maps_style = (
            nn.Sequential(
                nn.Linear(widths[0], style_width), nn.ReLU(), nn.Linear(style_width, sum(self.numbers))
            )
            for _ in range(2)
        )
        self.image_head = _convolution(spatial_dims, widths[-1], in_channels)
        self.maps_head = _convolution(spatial_dims, widths[-1], out_channels)

    def image(self, code: Tensor) -> Tensor:
        """The residual of an image."""
        return torch.tanh(self.image_head(self._decode(code, self.image_style(code.flatten(2).mean(2)))))

    def forward(self, code: Tensor) -> Tensor:
        logits: Tensor = self.maps_head(self._decode(code, self.maps_style(code.flatten(2).mean(2))))
        return logits

    def _decode(self, x: Tensor, style: Tensor) -> Tensor:
        styles = torch.split(style, self.numbers, dim=1)
        for i, stage in enumerate(self.stages):
            x = stage(x, _restyled(x, styles[i]))
        return torch.relu(_restyled(x, styles[-1]))


class _Down(nn.Module):
    """Norm, ReLU and a strided convolution, beside a pointwise one."""

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = Norm[Norm.INSTANCE, spatial_dims](in_channels, affine=True)
        self.convolution = _convolution(spatial_dims, in_channels, out_channels, stride=2)
        self.shortcut = Conv[Conv.CONV, spatial_dims](in_channels, out_channels, 1, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convolution(torch.relu(self.norm(x))) + self.shortcut(x)
        return y


class _Up(nn.Module):
    """At twice the size: ReLU and a convolution of the normalised, and a pointwise one of the input."""

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__()
        self.convolution = _convolution(spatial_dims, in_channels, out_channels, bias=bias)
        self.shortcut = Conv[Conv.CONV, spatial_dims](in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor, normalised: Tensor) -> Tensor:
        grown = functional.interpolate(torch.relu(normalised), scale_factor=2.0, mode="nearest")
        shortcut = functional.interpolate(self.shortcut(x), scale_factor=2.0, mode="nearest")
        y: Tensor = self.convolution(grown) + shortcut
        return y


def _restyled(x: Tensor, style: Tensor) -> Tensor:
    """Each channel of each image with a mean and deviation of the style's."""
    flat = x.flatten(2)
    scale, shift = style.unsqueeze(2).chunk(2, dim=1)
    return ((1 + scale) * functional.layer_norm(flat, [flat.shape[2]]) + shift).view_as(x)


def _convolution(
    spatial_dims: int, in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = True
) -> nn.Module:
    convolution: nn.Module = Conv[Conv.CONV, spatial_dims](
        in_channels, out_channels, 3, stride=stride, padding=1, padding_mode="reflect", bias=bias
    )
    return convolution


def _check_size(size: list[int], divisor: int) -> None:
    fitting = [-(-length // divisor) * divisor for length in size]
    if size != fitting:
        raise ValueError(
            f"GenSeg takes axes that are multiples of {divisor}, got {size}: pad the image to {fitting}."
        )
