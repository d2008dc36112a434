"""Facts of the critics of slices and of projections."""

from math import exp
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segadv_monai.critics import PatchCritic, ProjectiveCritic, SegANCritic
from segadv_monai.layers import project
from segadv_monai.protocols import CriticOutput


class Shows(nn.Module):
    """Its score is what it is shown: the maps, summed over channels, plus a tenth of the image."""

    def forward(self, segmentation: Tensor, image: Tensor) -> CriticOutput:
        return CriticOutput(segmentation.sum(1, keepdim=True) + image.sum(1, keepdim=True) / 10, ())


def patch(scope: str = "pixel") -> nn.Module:
    return PatchCritic(2, 1, 2, scope=scope, width=2, norm="instance")


def build(**settings: Any) -> ProjectiveCritic:
    torch.manual_seed(0)
    return ProjectiveCritic(patch(), patch(), **settings)


def shown(maps: Tensor, image: Tensor, **settings: Any) -> Tensor:
    score = ProjectiveCritic(Shows(), Shows(), **settings)(maps, image, view="projected").score
    assert score is not None
    return score


def pair(slices: int = 6) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.rand(slices, 2, 8, 9), torch.randn(slices, 1, 8, 9)


def test_the_second_critic_is_shown_the_projection_of_maps_and_image_by_hand() -> None:
    maps = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [2.0, 3.0]]).view(4, 1, 1, 2)
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]).view(4, 1, 1, 2)
    whole = shown(maps, image).flatten().tolist()
    assert whole == pytest.approx([1 - exp(-4) + 0.4, 1 - exp(-3) + 0.5])
    runs = shown(maps, image, slices=2).flatten(1).tolist()
    assert runs[0] == pytest.approx([1 - exp(-1) + 0.2, 0.3])
    assert runs[1] == pytest.approx([1 - exp(-3) + 0.6, 1 - exp(-3) + 0.7])
    lines = shown(maps, image, axis=2)
    assert lines.shape == (1, 1, 4, 1)
    assert lines.flatten().tolist() == pytest.approx(
        [1 - exp(-1) + 0.15, 0.35, 1 - exp(-1) + 0.55, 1 - exp(-5) + 0.75]
    )


@pytest.mark.parametrize(("axis", "size"), [(0, (8, 9)), (1, (3, 9)), (2, (3, 8))])
def test_each_axis_of_the_stack_can_be_the_line_of_sight(axis: int, size: tuple[int, int]) -> None:
    maps, image = pair()
    score = shown(maps, image, slices=3, axis=axis)
    assert score.shape == (2, 1, *size)
    stack = maps.view(2, 3, 2, 8, 9).transpose(1, 2)
    means = image.view(2, 3, 1, 8, 9).transpose(1, 2).mean(2 + axis)
    torch.testing.assert_close(score, project(stack, 2 + axis).sum(1, keepdim=True) + means / 10)


def test_the_order_of_the_slices_is_nothing_across_them_and_all_along_them() -> None:
    maps, image = pair()
    turned = maps.flip(0), image.flip(0)
    torch.testing.assert_close(shown(*turned), shown(maps, image))
    assert not torch.allclose(shown(*turned, axis=1), shown(maps, image, axis=1))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_verdict_on_a_run_teaches_all_of_its_slices_and_no_other(axis: int) -> None:
    maps, image = pair()
    maps.requires_grad_()
    score = build(slices=3, axis=axis)(maps, image, view="projected").score
    assert score is not None
    (gradient,) = torch.autograd.grad(score[0].sum(), maps)
    assert gradient[:3].flatten(1).any(dim=1).all()
    assert not gradient[3:].any()


def test_each_view_is_the_verdict_of_its_critic_and_both_are_their_sum() -> None:
    critic, (maps, image) = build(slices=3), pair()
    of_slices, of_runs, both = (
        critic(maps, image, view=view).score for view in ("spatial", "projected", "both")
    )
    assert torch.equal(of_slices, critic.spatial(maps, image).score)
    assert of_runs.shape == (2, 1, 8, 9)
    means = [score.flatten(1).mean(1) for score in (of_slices, of_runs)]
    expected = means[0] + means[1].repeat_interleave(3)
    torch.testing.assert_close(both, expected[:, None])


# --- the gate


def gated(**settings: Any) -> tuple[ProjectiveCritic, Tensor]:
    return build(gate_channels=4, **settings), torch.randn(6, 4, 2, 3)


def test_a_gate_of_ones_is_no_gate_and_one_of_zeros_shows_no_map() -> None:
    (critic, features), (maps, image) = gated(slices=3), pair()
    assert critic.gate is not None
    nn.init.zeros_(critic.gate.weight)
    for opening, expected in ((100.0, maps), (-100.0, torch.zeros_like(maps))):
        nn.init.constant_(critic.gate.bias, opening)
        score = critic(maps, image, features, view="projected").score
        critic.gate, gate = None, critic.gate
        torch.testing.assert_close(score, critic(expected, image, view="projected").score)
        critic.gate = gate


def test_the_gate_is_alike_for_all_that_is_judged_and_does_not_touch_the_slices() -> None:
    (critic, features), (maps, image) = gated(), pair()
    openings: list[Tensor] = []
    assert critic.gate is not None
    critic.gate.register_forward_hook(lambda _, __, output: openings.append(output))
    for judged in (maps, (maps > 0.5).float()):
        critic(judged, image, features, view="projected")
    assert torch.equal(*openings)
    assert torch.equal(
        critic(maps, image, features, view="spatial").score,
        critic(maps, image, torch.zeros_like(features), view="spatial").score,
    )


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_with_features_every_parameter_and_the_features_receive_a_gradient(spatial_dims: int) -> None:
    torch.manual_seed(0)
    parts = [PatchCritic(spatial_dims, 1, 2, scope="pixel", width=2) for _ in range(2)]
    critic = ProjectiveCritic(*parts, spatial_dims=spatial_dims, gate_channels=4)
    size = (8, 9, 10)[:spatial_dims]
    features = torch.randn(3, 4, *[2] * spatial_dims, requires_grad=True)
    score = critic(torch.rand(3, 2, *size), torch.randn(3, 1, *size), features).score
    assert score is not None
    score.sum().backward()
    assert [name for name, p in critic.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert features.grad is not None
    assert features.grad.flatten(1).any(dim=1).all()


# --- bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"slices": 0}, "slices must be at least 1, or None for the whole batch, got 0"),
        ({"axis": 3}, "axis must be 0, across the slices, to 2, got 3"),
        ({"axis": -1}, "axis must be 0, across the slices, to 2, got -1"),
    ],
)
def test_settings_out_of_range_are_one_line(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)


@pytest.mark.parametrize("view", ["both", "projected"])
def test_a_batch_that_is_no_whole_number_of_runs_is_one_line(view: str) -> None:
    with pytest.raises(
        ValueError, match=r"6 slices are no whole number of runs of 4: set the critic's slices"
    ):
        build(slices=4)(*pair(), view=view)


def test_a_gate_without_its_features_names_the_remedy() -> None:
    critic, _ = gated()
    with pytest.raises(ValueError, match=r"there are none: train with layers\.WithFeatures around the net"):
        critic(*pair())
    with pytest.raises(ValueError, match="built for 4 feature channels, got 3: set its gate_channels"):
        critic(*pair(), torch.zeros(6, 3, 2, 2))


def test_a_critic_without_a_score_cannot_give_the_verdict_of_both() -> None:
    critic = ProjectiveCritic(patch(), SegANCritic(2, 1, 2, widths=(2,), kernels=(3,)))
    with pytest.raises(
        ValueError, match="ProjectiveCritic needs a critic with a score, SegANCritic has none"
    ):
        critic(*pair())
