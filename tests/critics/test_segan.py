"""Facts of the published critic of SegAN."""

import pytest
import torch
from torch import nn

from segadv_monai.critics import SegANCritic


def test_the_parameters_are_those_that_the_release_executes() -> None:
    with torch.device("meta"):
        critic = SegANCritic(2, 3)
    assert sum(p.numel() for p in critic.parameters()) == 9_393_088


def test_a_picture_of_128_has_550912_features() -> None:
    with torch.device("meta"):
        output = SegANCritic(2, 3)(torch.empty(1, 1, 128, 128), torch.empty(1, 3, 128, 128))
    sizes = [feature.numel() for feature in output.features]
    assert sizes == [49_152, 262_144, 131_072, 65_536, 32_768, 8_192, 2_048]
    assert sum(sizes) == 550_912


def test_it_compares_and_gives_no_score() -> None:
    critic = SegANCritic(2, 1, widths=(2,), kernels=(3,))
    assert critic(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8)).score is None


def test_the_figure_of_the_paper_is_a_matter_of_kernels() -> None:
    critic = SegANCritic(2, 3, widths=(2, 4, 8, 16, 16, 16), kernels=(13, 11, 9, 7, 4, 3))
    layers = [layer for layer in critic.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.kernel_size[0] for layer in layers] == [13, 11, 9, 7, 4, 3]
    assert len(critic(torch.rand(2, 1, 128, 128), torch.rand(2, 3, 128, 128)).features) == 7


def test_every_block_but_the_first_has_a_batch_norm_and_none_has_a_bias() -> None:
    critic = SegANCritic(2, 1, widths=(2, 4, 4), kernels=(7, 5, 4))
    assert [sum(isinstance(m, nn.BatchNorm2d) for m in block) for block in critic.blocks] == [0, 1, 1]
    assert all(m.bias is None for m in critic.modules() if isinstance(m, nn.Conv2d))
    assert all(block[-1].negative_slope == 0.2 for block in critic.blocks)


@pytest.mark.parametrize("size", [(9, 10), (9, 10, 11)], ids=["2D", "3D"])
@pytest.mark.parametrize("separate", [False, True])
def test_the_first_features_are_the_image_masked_by_each_map(size: tuple[int, ...], separate: bool) -> None:
    torch.manual_seed(0)
    critic = SegANCritic(len(size), 2, 3, widths=(2,), kernels=(3,), separate=separate)
    segmentation, image = torch.rand(2, 3, *size), torch.randn(2, 2, *size)
    masked = critic(segmentation, image).features[0]
    assert masked.shape == (2, 6, *size)
    for i in range(3):
        for channel in range(2):
            expected = segmentation[:, i] * image[:, channel]
            assert torch.equal(masked[:, 2 * i + channel], expected)


def test_an_empty_map_gives_features_of_nothing() -> None:
    torch.manual_seed(0)
    critic = SegANCritic(2, 3, widths=(2, 4), kernels=(7, 5)).eval()
    features = critic(torch.zeros(1, 1, 20, 20), torch.randn(1, 3, 20, 20)).features
    assert not any(feature.any() for feature in features)


def test_one_critic_on_joined_maps_sees_them_together() -> None:
    torch.manual_seed(0)
    critic = SegANCritic(2, 1, 2, widths=(2, 4), kernels=(5, 3))
    segmentation = torch.rand(2, 2, 20, 20, requires_grad=True)
    last = critic(segmentation, torch.randn(2, 1, 20, 20)).features[-1]
    assert last.shape[1] == 4
    for channel in range(4):
        (gradient,) = torch.autograd.grad(last[:, channel].square().sum(), segmentation, retain_graph=True)
        assert gradient[:, 0].any()
        assert gradient[:, 1].any()


def test_separate_critics_do_not_see_the_maps_of_others() -> None:
    torch.manual_seed(0)
    critic = SegANCritic(2, 1, 2, widths=(2, 4), kernels=(5, 3), separate=True)
    segmentation = torch.rand(2, 2, 20, 20, requires_grad=True)
    last = critic(segmentation, torch.randn(2, 1, 20, 20)).features[-1]
    assert last.shape[1] == 8
    for i, own in enumerate((last[:, :4], last[:, 4:])):
        (gradient,) = torch.autograd.grad(own.square().sum(), segmentation, retain_graph=True)
        assert gradient[:, i].any()
        assert not gradient[:, 1 - i].any()


@pytest.mark.parametrize("size", [(20, 21), (12, 13, 14)], ids=["2D", "3D"])
def test_separate_critics_equal_critics_of_their_own(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    small = {"widths": (2, 4), "kernels": (5, 3)}
    alone = [SegANCritic(len(size), 2, 1, **small) for _ in range(3)]
    together = SegANCritic(len(size), 2, 3, **small, separate=True)
    states = [critic.state_dict() for critic in alone]
    joined = {
        key: torch.cat([s[key] for s in states]) if value.ndim else value for key, value in states[0].items()
    }
    together.load_state_dict(joined)
    segmentation, image = torch.rand(2, 3, *size), torch.randn(2, 2, *size)
    features = together(segmentation, image).features
    for i, critic in enumerate(alone):
        for feature, own in zip(features, critic(segmentation[:, i : i + 1], image).features, strict=True):
            width = own.shape[1]
            torch.testing.assert_close(feature[:, i * width : (i + 1) * width], own)


def test_widths_without_kernels_are_an_error() -> None:
    with pytest.raises(ValueError, match="one entry per block, got"):
        SegANCritic(2, 3, widths=(64, 128))


def test_the_smallest_image_passes_and_one_less_does_not() -> None:
    critic = SegANCritic(2, 1, widths=(1, 1, 1), kernels=(4, 4, 4)).eval()
    assert critic(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8)).features[-1].shape[2:] == (1, 1)
    with pytest.raises(ValueError, match="vanish in 3 blocks of stride 2: pad them or give the critic fewer"):
        critic(torch.rand(1, 1, 8, 7), torch.rand(1, 1, 8, 7))
