"""Facts of the U-Net of 2015."""

import math

import pytest
import torch
from torch import nn

from segadv_monai.networks import UNet2015


def published(spatial_dims: int = 2) -> UNet2015:
    with torch.device("meta"):
        return UNet2015(spatial_dims, 1, 2)


def narrow(spatial_dims: int = 2, **arguments: bool | str | None) -> UNet2015:
    torch.manual_seed(0)
    return UNet2015(spatial_dims, 1, 2, widths=(2, 3, 4), **arguments).eval()  # type: ignore[arg-type]


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_the_parameters_are_those_of_the_paper_and_of_the_catalogue() -> None:
    assert count(published()) == 31_030_658
    with torch.device("meta"):
        assert count(UNet2015(2, 3, 1)) == 31_031_745


def test_the_tile_of_the_paper_gives_the_maps_of_the_paper() -> None:
    network = published()
    assert network.output_size((572, 572)) == (388, 388)
    assert network(torch.empty(1, 1, 572, 572, device="meta")).shape == (1, 2, 388, 388)
    assert network.margin == 92


def test_there_are_eighteen_convolutions_four_up_convolutions_and_one_head() -> None:
    network = published()
    table = [
        (m.in_channels, m.out_channels, m.kernel_size[0])
        for m in network.modules()
        if isinstance(m, nn.Conv2d)
    ]
    down = [(1, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    bottom = [(512, 1024), (1024, 1024)]
    up = [(1024, 512), (512, 512), (512, 256), (256, 256), (256, 128), (128, 128), (128, 64), (64, 64)]
    assert table == [(*channels, 3) for channels in down + bottom + up] + [(64, 2, 1)]
    ups = [(m.in_channels, m.out_channels) for m in network.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert ups == [(1024, 512), (512, 256), (256, 128), (128, 64)]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_size_of_the_list_fits_and_no_other(spatial_dims: int) -> None:
    network = narrow(spatial_dims)
    fitting = network.input_sizes(60)
    assert fitting == [44, 48, 52, 56]
    for size in range(30, 56):
        x = torch.zeros(1, 1, size, *[44] * (spatial_dims - 1))
        if size in fitting:
            expected = (size - 40, *[4] * (spatial_dims - 1))
            assert tuple(network(x).shape[2:]) == network.output_size(x.shape[2:]) == expected
        else:
            following = min(n for n in fitting if n > size)
            with pytest.raises(ValueError, match=rf"pad the image to \[{following}, 44"):
                network(x)
            with pytest.raises(ValueError, match=rf"pad the image to \[{following}, 44"):
                network.output_size(x.shape[2:])


def test_the_published_network_takes_every_sixteenth_size_from_188_on() -> None:
    sizes = published().input_sizes(573)
    assert sizes == list(range(188, 573, 16))
    assert 572 in sizes


def test_a_map_sees_the_margin_and_not_more() -> None:
    """The field of one output pixel ends at the margin, within one step of pooling."""
    network = narrow().double()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.1)
    x = torch.ones(1, 1, 52, 52, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[0, 0, 0, 0], x)
    rows = gradient[0, 0].abs().sum(1).nonzero().flatten()
    assert rows.min() == 0
    assert rows.max() <= 2 * network.margin + network.size_divisor


def test_a_tile_in_the_middle_gives_what_the_whole_image_gives_there() -> None:
    network = narrow().double()
    x = torch.randn(1, 1, 76, 76, dtype=torch.float64)
    whole = network(x)
    part = network(x[..., 8:60, 12:64])
    torch.testing.assert_close(part, whole[..., 8:20, 12:24])


def test_with_padding_the_maps_lie_on_the_grid_of_the_image() -> None:
    network = narrow(padding=True)
    assert (network.margin, network.input_sizes(13)) == (0, [4, 8, 12])
    assert network.output_size((8, 12)) == (8, 12)
    assert network(torch.zeros(1, 1, 8, 12)).shape == (1, 2, 8, 12)
    assert count(network) == count(narrow())


@pytest.mark.parametrize("norm", ["instance", ("group", {"num_groups": 1}), ["batch", {"affine": False}]])
def test_a_norm_stands_before_each_relu_of_the_pairs(norm: str) -> None:
    network = narrow(norm=norm)
    kinds = [type(m) for m in network.encoder[1]]
    assert kinds[0] is kinds[3] is nn.Conv2d
    assert kinds[2] is kinds[5] is nn.ReLU
    assert network(torch.randn(1, 1, 44, 44)).isfinite().all()


def test_dropout_reaches_the_two_coarsest_levels_alone() -> None:
    network = narrow().train()
    x = torch.randn(1, 1, 60, 60)
    once, twice = network.features(x), network.features(x)
    same = [torch.equal(a, b) for a, b in zip(once, twice, strict=True)]
    assert same == [True, False, False]
    network.eval()
    assert torch.equal(network(x), network(x))


def test_initial_values_follow_the_incoming_connections() -> None:
    torch.manual_seed(0)
    network = UNet2015(2, 1, 2, widths=(32, 64))
    first, second = network.encoder[1][0], network.up[0]
    assert first.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 32)), rel=0.05)
    assert second.weight.std().item() == pytest.approx(math.sqrt(2 / 64), rel=0.05)
    assert not any(p.any() for name, p in network.named_parameters() if name.endswith("bias"))


def test_what_cannot_be_built_gets_one_line() -> None:
    with pytest.raises(ValueError, match="spatial_dims must be 2 or 3, got 1"):
        UNet2015(1, 1, 2)
    with pytest.raises(ValueError, match=r"at least two levels, got \[8\]"):
        UNet2015(2, 1, 2, widths=[8])
