"""The receptive field: measured values against those worked out by hand."""

import pytest
import torch
from torch import nn

from segadv_monai.inferers import receptive_field
from segadv_monai.networks import UNet2015


def test_each_side_of_each_axis_has_its_own() -> None:
    network = nn.Sequential(nn.ConstantPad2d((1, 0, 2, 1), 0.0), nn.Conv2d(1, 1, (4, 2)))
    assert receptive_field(network, 2, 1) == ((2, 1), (1, 0), (1, 1))


def test_a_volume_has_three_axes() -> None:
    network = nn.Conv3d(2, 1, (1, 3, 5), padding=(0, 1, 2))
    assert receptive_field(network, 3, 2) == ((0, 1, 2), (0, 1, 2), (1, 1, 1))


def test_weights_and_activations_that_let_nothing_through_do_not_hide_a_dependence() -> None:
    convolution = nn.Conv2d(1, 1, 7, padding=3)
    nn.init.zeros_(convolution.weight)
    network = nn.Sequential(convolution, nn.ReLU(), nn.MaxPool2d(3, 1, 1))
    assert receptive_field(network, 2, 1) == ((4, 4), (4, 4), (1, 1))


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_pooling_is_found(levels: int) -> None:
    network = UNet2015(2, 1, 2, widths=(2,) * levels, padding=True)
    told = receptive_field(network, 2, 1)
    del network.size_divisor
    assert receptive_field(network, 2, 1) == told
    assert told.divisor == (2 ** (levels - 1),) * 2
    # Two 3 x 3 convolutions add 2 positions to what is touched, pooling takes a half or less, rounded up.
    reach = 2
    for _ in range(levels - 1):
        reach = -(-reach // 2) + 2
    for _ in range(levels - 1):
        reach = 2 * reach + 2
    assert told.before == told.after == (reach, reach)


def test_running_statistics_and_modes_are_left_as_they_were() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Dropout())
    network[2].eval()
    receptive_field(network, 2, 1)
    assert [module.training for module in network] == [True, True, False]
    assert torch.equal(network[1].running_mean, torch.zeros(2))


def test_a_network_that_sees_the_whole_image_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.InstanceNorm2d(1))
    with pytest.raises(ValueError, match=r"Sequential depends on the whole of axis 0.*give halo and divisor"):
        receptive_field(network, 2, 1)


def test_a_network_without_padding_has_to_tell_its_sizes() -> None:
    with pytest.raises(ValueError, match=r"Conv2d makes \[254, 62\] of \[256, 64\].*output_size"):
        receptive_field(nn.Conv2d(1, 1, 3), 2, 1)


def test_pooling_by_too_much_is_refused() -> None:
    network = nn.Sequential(nn.AvgPool2d((128, 1)), nn.Upsample(scale_factor=(128, 1)))
    with pytest.raises(ValueError, match="no shift by up to 64 positions"):
        receptive_field(network, 2, 1)
