import math

import pytest
import torch
from monai.networks.layers.factories import Conv, Norm
from torch import nn

from segadv_monai.layers import initialize_fan_out


@pytest.mark.parametrize(
    ("spatial_dims", "kernel"), [(2, (3, 3)), (2, (7, 1)), (3, (3, 3, 3)), (3, (1, 5, 1))]
)
def test_convolutions_have_the_spread_of_their_fan_out(spatial_dims: int, kernel: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = Conv[Conv.CONV, spatial_dims](256, 64, kernel)
    initialize_fan_out(layer)
    expected = math.sqrt(2 / (math.prod(kernel) * 64))
    assert layer.weight.std().item() == pytest.approx(expected, rel=0.03)
    assert layer.weight.mean().item() == pytest.approx(0, abs=0.03 * expected)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_batch_norm_scales_lie_around_one(spatial_dims: int) -> None:
    torch.manual_seed(0)
    layer = Norm[Norm.BATCH, spatial_dims](10_000)
    initialize_fan_out(layer)
    assert layer.weight.mean().item() == pytest.approx(1, abs=0.002)
    assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_biases_are_zero_and_absent_ones_do_no_harm() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1, bias=False))
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.ones_(parameter)
    initialize_fan_out(module)
    biases = [p for name, p in module.named_parameters() if name.endswith("bias")]
    assert len(biases) == 2
    assert not any(bias.any() for bias in biases)


def test_nested_layers_are_reached_and_other_layers_are_left_alone() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3)), nn.Linear(3, 3), nn.GroupNorm(1, 2))
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    initialize_fan_out(module)
    changed = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"0.0.weight", "0.0.bias"}
