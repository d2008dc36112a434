import math

import pytest
import torch
from monai.networks.layers.factories import Conv
from torch import nn

from segadv_monai.layers import initialize_he


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_variance_of_a_signal_is_kept(spatial_dims: int) -> None:
    """Half of the second moment of a ReLU's input is that of its output, so two is right."""
    torch.manual_seed(0)
    x = torch.randn(1, 32, *[8] * spatial_dims).relu() * math.sqrt(2)
    for layer in (
        Conv[Conv.CONV, spatial_dims](32, 64, 3, padding=0),
        Conv[Conv.CONVTRANS, spatial_dims](32, 64, 2, stride=2),
    ):
        initialize_he(layer)
        assert layer(x).square().mean().item() == pytest.approx(2.0, rel=0.15)


def test_biases_are_zero_and_other_layers_are_left_alone() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Conv2d(4, 2, 1, bias=False), nn.BatchNorm2d(2))
    nn.init.ones_(module[0].bias)
    before = module[2].weight.clone()
    initialize_he(module)
    assert not module[0].bias.any()
    assert torch.equal(module[2].weight, before)
