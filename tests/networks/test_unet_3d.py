"""Facts of the 3D U-Net of 2016."""

import pytest
import torch
from torch import nn

from segadv_monai.networks import UNet3D


def published(in_channels: int = 3, out_channels: int = 3, spatial_dims: int = 3) -> UNet3D:
    with torch.device("meta"):
        return UNet3D(spatial_dims, in_channels, out_channels)


def test_the_parameters_are_those_of_the_paper_without_the_norms() -> None:
    network = published()
    norms = [p.numel() for m in network.modules() if isinstance(m, nn.BatchNorm3d) for p in m.parameters()]
    total = sum(p.numel() for p in network.parameters())
    assert total - sum(norms) == 19_069_955
    assert sum(norms) == 4_672
    assert sum(p.numel() for p in published(3, 1, 2).parameters()) == 6_821_633


def test_biases_of_the_up_convolutions_would_add_896() -> None:
    ups = [m for m in published().modules() if isinstance(m, nn.ConvTranspose3d)]
    assert all(up.bias is None for up in ups)
    assert [(up.in_channels, up.out_channels) for up in ups] == [(512, 512), (256, 256), (128, 128)]
    assert sum(up.out_channels for up in ups) == 896


def test_the_channels_are_those_of_the_paper() -> None:
    layers = [m for m in published().modules() if isinstance(m, nn.Conv3d)]
    table = [(m.in_channels, m.out_channels) for m in layers]
    down = [(3, 32), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512)]
    up = [(768, 256), (256, 256), (384, 128), (128, 128), (192, 64), (64, 64), (64, 3)]
    assert table == down + up
    assert [m.kernel_size[0] for m in layers] == [3] * 14 + [1]


def test_the_tile_of_the_paper_gives_the_maps_of_the_paper() -> None:
    network = published()
    assert network.output_size((132, 132, 116)) == (44, 44, 28)
    assert network(torch.empty(1, 3, 132, 132, 116, device="meta")).shape == (1, 3, 44, 44, 28)
    assert network.margin == 44
    assert network.input_sizes(117) == [92, 100, 108, 116]


def test_a_norm_stands_before_each_relu_and_none_may_stand_there() -> None:
    for pair in (*published().encoder, *published().decoder):
        assert [type(m) for m in pair] == [nn.Conv3d, nn.BatchNorm3d, nn.ReLU] * 2
    bare = UNet3D(2, 1, 1, widths=(2, 4), norm=None)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in bare.modules())


def test_a_tile_in_the_middle_gives_what_the_whole_image_gives_there() -> None:
    torch.manual_seed(0)
    network = UNet3D(3, 1, 2, widths=(2, 4)).double().eval()
    x = torch.randn(1, 1, 30, 24, 26, dtype=torch.float64)
    whole = network(x)
    part = network(x[:, :, 4:26, 2:24, 2:24])
    torch.testing.assert_close(part, whole[:, :, 4:10, 2:8, 2:8])


def test_what_cannot_be_built_gets_one_line() -> None:
    with pytest.raises(ValueError, match="spatial_dims must be 2 or 3, got 4"):
        UNet3D(4, 1, 1)
    for widths in ([8], [4, 5]):
        with pytest.raises(ValueError, match="at least two levels of even numbers"):
            UNet3D(3, 1, 1, widths=widths)
