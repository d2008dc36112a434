"""Facts of the published segmentor of SegAN."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from segadv_monai.layers import initialize_fan_out
from segadv_monai.networks import SegAN

ENCODER = (64, 128, 256, 512, 512, 1024, 2048)
DECODER = (  # in, out, kernel
    (4096, 1024, 3),
    (2048, 512, 3),
    (1024, 512, 7),
    (1024, 256, 7),
    (512, 128, 9),
    (256, 64, 9),
    (128, 64, 11),
)


def published(**arguments: bool) -> SegAN:
    with torch.device("meta"):
        return SegAN(2, 3, 1, **arguments)


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_the_parameters_are_those_of_the_release() -> None:
    assert count(published()) == 156_265_344
    assert count(published(residual_norm=False)) == 156_235_264


def test_the_difference_is_the_norms_of_the_residual_blocks() -> None:
    blocks = ENCODER[:5] + tuple(out for _, out, _ in DECODER[1:])
    scale_and_shift = 2 * sum(2 * width + 2 * width + width for width in blocks)
    assert count(published()) - count(published(residual_norm=False)) == scale_and_shift == 30_080


def test_the_encoder_has_the_published_channels_and_strides() -> None:
    features = published().features(torch.empty(1, 3, 256, 128, device="meta"))
    assert [tuple(f.shape[1:]) for f in features] == [
        (width, 256 >> i, 128 >> i) for i, width in enumerate(ENCODER, start=1)
    ]


def test_the_decoder_has_the_published_channels_and_kernels() -> None:
    network = published()
    table = []
    for stage in network.decoder:
        layers = [layer for layer in stage[0].modules() if isinstance(layer, nn.Conv2d)]
        table.append((layers[0].in_channels, layers[-1].out_channels, max(layers[0].kernel_size)))
    assert table == list(DECODER)
    assert tuple(network.head.weight.shape) == (1, 64, 5, 5)


@pytest.mark.parametrize("width", [1, 4])
def test_the_width_scales_every_channel(width: int) -> None:
    network = SegAN(2, 3, 1, width=width).eval()
    features = network.features(torch.rand(1, 3, 40, 40))
    assert [f.shape[1] for f in features] == [channels * width // 64 for channels in ENCODER]


def test_the_first_outputs_are_not_saturated() -> None:
    torch.manual_seed(0)
    network = SegAN(2, 3, 1, width=8)
    x = torch.randn(4, 3, 64, 64)
    assert saturated(network(x)) == 0
    initialize_fan_out(network.head)
    assert saturated(network(x)) > 0.1


def saturated(logits: Tensor) -> float:
    return (torch.sigmoid(logits) - 0.5).abs().gt(0.499).float().mean().item()


@pytest.mark.parametrize("size", [(32, 64), (64, 32), (32, 32)])
def test_thirty_two_is_too_small_and_thirty_three_is_not(size: tuple[int, int]) -> None:
    network = SegAN(2, 1, 1, width=1).eval()
    with pytest.raises(ValueError, match="pad the image to 33"):
        network(torch.zeros(1, 1, *size))
    enough = tuple(max(33, axis) for axis in size)
    assert network(torch.zeros(1, 1, *enough)).shape[2:] == enough


def one_axis(x: Tensor, convolution: nn.Module, axis: int) -> Tensor:
    weight, bias = convolution.weight, convolution.bias
    assert isinstance(weight, Tensor)
    spatial = weight.shape[2:]
    assert [i for i, size in enumerate(spatial) if size > 1] == [axis]
    padding = [size // 2 for size in spatial]
    return {2: functional.conv2d, 3: functional.conv3d}[len(spatial)](x, weight, bias, padding=padding)


@pytest.mark.parametrize(
    ("spatial_dims", "orders"),
    [(2, [(0, 1), (1, 0)]), (3, [(0, 1, 2), (1, 2, 0), (2, 0, 1)])],
    ids=["the published pair", "the cyclic orders"],
)
@pytest.mark.parametrize(("stage", "kernel"), [(2, 7), (4, 9), (6, 11)])
def test_a_global_convolution_is_a_sum_of_one_axis_convolutions(
    spatial_dims: int, orders: list[tuple[int, ...]], stage: int, kernel: int
) -> None:
    torch.manual_seed(0)
    block = SegAN(spatial_dims, 1, 1, width=1).double().eval().decoder[stage][0]
    for name, bias in block.named_parameters():
        if name.startswith("branches") and name.endswith("bias"):
            nn.init.normal_(bias)
    branches = list(block.branches)
    x = torch.randn(1, branches[0][0].in_channels, *(13, 12, 11)[:spatial_dims], dtype=torch.float64)
    total = torch.zeros(())
    for branch, order in zip(branches, orders, strict=True):
        y = x
        for convolution, axis in zip(branch, order, strict=True):
            assert max(convolution.kernel_size) == kernel
            y = one_axis(y, convolution, axis)
        total = total + y
    scale = (block.norm.weight / (1 + block.norm.eps) ** 0.5).reshape(1, -1, *[1] * spatial_dims)
    torch.testing.assert_close(block(x), (total * scale).relu())


def test_the_order_of_the_axes_matters_so_that_no_branch_repeats_another() -> None:
    torch.manual_seed(0)
    branches = SegAN(3, 1, 1, width=1).decoder[2][0].branches
    kernels = [tuple(layer.kernel_size for layer in branch) for branch in branches]
    assert all(a != b for a, b in itertools.combinations(kernels, 2))


def test_without_residual_norms_the_residual_blocks_hold_none() -> None:
    with_norm, without = published(), published(residual_norm=False)
    norms = [
        sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) for network in (with_norm, without)
    ]
    assert norms[0] - norms[1] == 3 * (5 + 6)
