"""Facts of V-Net."""

import pytest
import torch
from torch import Tensor, nn

from segadv_monai.networks import VNet


def published(**changes: object) -> VNet:
    with torch.device("meta"):
        return VNet(3, 1, 2, **changes)


def released() -> VNet:
    return published(depths=(1, 1, 2, 3, 3), decoder_depths=(3, 2, 1, 1), two_step_head=True)


def slopes(network: nn.Module) -> int:
    return sum(p.numel() for m in network.modules() if isinstance(m, nn.PReLU) for p in m.parameters())


def test_the_convolutions_have_the_parameters_of_the_paper() -> None:
    network = published()
    assert sum(p.numel() for p in network.parameters()) - slopes(network) == 65_171_858


def test_the_release_has_its_parameters_slopes_included() -> None:
    network = released()
    assert slopes(network) == 3_170
    assert sum(p.numel() for p in network.parameters()) == 61_982_682


def test_the_channels_are_those_of_the_paper() -> None:
    layers = [m for m in published().modules() if isinstance(m, nn.Conv3d)]
    table = [(m.in_channels, m.out_channels) for m in layers if m.kernel_size == (5, 5, 5)]
    down = [(1, 16), *[(32, 32)] * 2, *[(64, 64)] * 3, *[(128, 128)] * 3, *[(256, 256)] * 3]
    up = [*[(256, 256)] * 3, *[(128, 128)] * 3, *[(64, 64)] * 2, (32, 32)]
    assert table == down + up
    halvings = [(m.in_channels, m.out_channels) for m in layers if m.kernel_size == (2, 2, 2)]
    assert halvings == [(16, 32), (32, 64), (64, 128), (128, 256)]
    doublings = [m for m in published().modules() if isinstance(m, nn.ConvTranspose3d)]
    assert [(m.in_channels, m.out_channels) for m in doublings] == [
        (256, 128),
        (256, 64),
        (128, 32),
        (64, 16),
    ]
    assert [m.kernel_size for m in layers[-1:]] == [(1, 1, 1)]


def test_the_volume_of_the_paper_gives_maps_of_its_size() -> None:
    assert published()(torch.empty(1, 1, 128, 128, 64, device="meta")).shape == (1, 2, 128, 128, 64)
    assert published().size_divisor == 16


def test_a_stage_of_zeroed_convolutions_is_a_prelu_of_its_input() -> None:
    network = VNet(3, 1, 2, widths=(2, 4), depths=(1, 2))
    for stage in (*network.encoder, *network.decoder):
        for parameter in stage.convolutions.parameters():
            nn.init.zeros_(parameter)
    first, last = network.encoder[0], network.decoder[-1]
    x, joined = torch.randn(1, 1, 4, 4, 4), torch.randn(1, 4, 4, 4, 4)
    expected = torch.where(x > 0, x, 0.25 * x).expand(1, 2, 4, 4, 4)
    torch.testing.assert_close(first(x), expected)
    torch.testing.assert_close(last(joined), nn.functional.prelu(joined, torch.tensor([0.25])))


def test_several_channels_reach_the_first_sum_through_a_projection() -> None:
    network = VNet(2, 3, 1, widths=(8, 16), depths=(1, 2))
    shortcut = network.encoder[0].shortcut
    assert isinstance(shortcut, nn.Conv2d)
    assert (shortcut.in_channels, shortcut.out_channels, shortcut.kernel_size) == (3, 8, (1, 1))
    assert all(isinstance(stage.shortcut, nn.Identity) for stage in (*network.encoder[1:], *network.decoder))


def test_the_first_stage_by_hand() -> None:
    torch.manual_seed(0)
    stage = VNet(2, 1, 1, widths=(3, 4), depths=(1, 2)).encoder[0]
    x = torch.randn(1, 1, 6, 6)
    convolution = stage.convolutions[0]
    summed = nn.functional.conv2d(x, convolution.weight, convolution.bias, padding=2) + x.repeat(1, 3, 1, 1)
    torch.testing.assert_close(stage(x), torch.where(summed > 0, summed, 0.25 * summed))


def test_norms_stand_behind_every_convolution_but_the_heads() -> None:
    network = VNet(2, 1, 1, widths=(4, 8), depths=(1, 2), norm="batch")
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 1 + 2 + 1 + 1 + 1  # three stages, halving, doubling
    assert not any(isinstance(m, nn.BatchNorm3d) for m in published().modules())


def test_two_steps_end_in_logits_on_the_grid() -> None:
    network = VNet(2, 1, 3, widths=(2, 4), depths=(1, 2), two_step_head=True)
    logits: Tensor = network(torch.randn(2, 1, 8, 6))
    assert logits.shape == (2, 3, 8, 6)
    assert logits.min() < 0 < logits.max()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (4,), "depths": (1,)}, "two levels or more"),
        ({"widths": (4, 8), "depths": (1, 1, 1)}, "a depth for each"),
        ({"widths": (4, 8), "depths": (1, 1), "decoder_depths": (1, 1)}, "one less on the way up"),
        ({"widths": (4, 8), "depths": (1, 0)}, "each depth must be 1 or more"),
    ],
)
def test_what_cannot_be_built_gets_one_line(changes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        VNet(3, 1, 2, **changes)
    assert "\n" not in str(caught.value)


def test_other_dimensions_get_one_line() -> None:
    with pytest.raises(ValueError, match="spatial_dims must be 2 or 3, got 4"):
        VNet(4, 1, 2)


def test_the_count_of_the_catalogue() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in VNet(2, 3, 1).parameters()) == 13_276_177
