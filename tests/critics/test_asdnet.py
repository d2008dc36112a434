"""Facts of ASDNet's confidence network."""

import pytest
import torch

from segadv_monai.critics import ASDNetCritic


@pytest.mark.parametrize(("spatial_dims", "released"), [(2, 1_378_626), (3, 5_509_698)])
def test_the_parameters_are_those_of_the_release_less_one_of_two_logits(
    spatial_dims: int, released: int
) -> None:
    with torch.device("meta"):
        critic = ASDNetCritic(spatial_dims, 1, 4)
    assert sum(p.numel() for p in critic.parameters()) == released - 33


@pytest.mark.parametrize("size", [(8, 8), (9, 15), (17, 30), (16, 17, 10)])
def test_every_voxel_gets_a_verdict_on_any_grid(size: tuple[int, ...]) -> None:
    critic = ASDNetCritic(len(size), 1, 2, width=2)
    image = torch.rand(2, 1, *size)
    output = critic(torch.rand(2, 2, *size), image)
    assert output.score is not None
    assert output.score.shape == (2, 1, *size)
    halves = [tuple(n // 2**i for n in size) for i in range(4)]
    assert [feature.shape[2:] for feature in output.features] == halves


def test_the_levels_have_the_channels_of_the_paper_s_release() -> None:
    output = ASDNetCritic(2, 1, 4)(torch.rand(2, 4, 16, 16), torch.rand(2, 1, 16, 16))
    assert [feature.shape[1] for feature in output.features] == [32, 64, 128, 256]


def test_it_sees_the_image_only_if_it_is_told_to() -> None:
    maps, image = torch.rand(1, 2, 16, 16), torch.rand(1, 3, 16, 16)
    for sees_image in (False, True):
        critic = ASDNetCritic(2, 3, 2, width=2, sees_image=sees_image).eval()
        same = torch.equal(critic(maps, image).score, critic(maps, image.flip(2)).score)
        assert same is not sees_image
