"""The game of SegAN: who pays for what, and whose gradients move."""

import pytest
import torch
from torch import Tensor, nn

from segadv_monai.critics import SegANCritic
from segadv_monai.layers import ScaledLogistic
from segadv_monai.losses import ReleasedMultiScaleL1Loss
from segadv_monai.networks import SegAN as Segmentor
from segadv_monai.objectives import SegAN
from segadv_monai.protocols import CriticOutput, Play


class Masks(nn.Module):
    """A critic whose only feature is the masked image times its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0))

    def forward(self, segmentation: Tensor, image: Tensor) -> CriticOutput:
        return CriticOutput(score=None, features=(self.weight * segmentation * image,))


def simple_play(target: Tensor | None = None) -> Play:
    """Image 2, target 1, logit 0: with k = 1 the features are 6 and 3, their distance 3."""
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    return Play(torch.full((1, 1, 2, 2), 2.0), torch.ones(1, 1, 2, 2) if target is None else target, logits)


@pytest.fixture
def players() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return Segmentor(2, 2, 1, width=1), SegANCritic(2, 2, widths=(2, 4, 4), kernels=(7, 5, 4))


def real_play(segmentor: nn.Module) -> Play:
    torch.manual_seed(1)
    image = torch.randn(2, 2, 45, 52)
    return Play(image, (torch.rand(2, 1, 45, 52) > 0.5).float(), segmentor(image))


def test_the_terms_by_hand() -> None:
    game, critic = SegAN(), Masks()
    assert {k: v.item() for k, v in game.critic_loss(critic, simple_play()).items()} == {
        "feature_distance": -3
    }
    assert {k: v.item() for k, v in game.segmentor_loss(critic, simple_play()).items()} == {
        "feature_distance": 3
    }


def test_the_critic_learns_to_tell_apart_what_the_segmentor_learns_to_join() -> None:
    game, critic, play = SegAN(), Masks(), simple_play()
    (up,) = torch.autograd.grad(sum(game.critic_loss(critic, play).values()), critic.weight)
    assert up.item() == pytest.approx(-1)  # a larger weight makes the distance, 1 times the weight, larger
    sum(game.segmentor_loss(critic, play).values()).backward()
    assert play.logits.grad is not None
    assert (play.logits.grad < 0).all()  # a larger logit is nearer to the target


def test_the_weight_is_the_segmentor_s_alone() -> None:
    game, critic = SegAN(weight=0.5), Masks()
    assert game.segmentor_loss(critic, simple_play())["feature_distance"].item() == 1.5
    assert game.critic_loss(critic, simple_play())["feature_distance"].item() == -3


def test_another_loss_can_be_played() -> None:
    game = SegAN(ReleasedMultiScaleL1Loss((4,)))
    assert game.segmentor_loss(Masks(), simple_play())["feature_distance"].item() == 12


def test_both_turns_see_the_steepness_as_it_is_now() -> None:
    activation = ScaledLogistic()
    game, critic = SegAN(activation=activation), Masks()
    play = Play(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    for k in (1.0, 0.25):
        activation.k = k
        expected = 3 * torch.sigmoid(torch.tensor(1 / k)).item()
        assert game.segmentor_loss(critic, play)["feature_distance"].item() == pytest.approx(expected)
        assert game.critic_loss(critic, play)["feature_distance"].item() == pytest.approx(-expected)


def test_the_critic_s_turn_leaves_no_gradient_in_the_segmentor(players: tuple[nn.Module, nn.Module]) -> None:
    segmentor, critic = players
    sum(SegAN().critic_loss(critic, real_play(segmentor)).values()).backward()
    assert all(p.grad is None for p in segmentor.parameters())
    assert all(p.grad is not None and p.grad.any() for p in critic.parameters())


def test_the_segmentor_s_turn_reaches_all_of_it_and_leaves_a_frozen_critic_alone(
    players: tuple[nn.Module, nn.Module],
) -> None:
    segmentor, critic = players
    critic.requires_grad_(False)
    before = {name: p.clone() for name, p in critic.named_parameters()}
    sum(SegAN().segmentor_loss(critic, real_play(segmentor)).values()).backward()
    untouched = [name for name, p in segmentor.named_parameters() if p.grad is None or not p.grad.any()]
    assert untouched == []
    assert all(p.grad is None for p in critic.parameters())
    assert all(torch.equal(p, before[name]) for name, p in critic.named_parameters())


def test_the_truth_s_features_carry_no_graph(players: tuple[nn.Module, nn.Module]) -> None:
    _, critic = players
    graphs = []
    critic.register_forward_hook(lambda _, __, output: graphs.append(output.features[-1].requires_grad))
    play = Play(torch.rand(2, 2, 45, 52), torch.ones(2, 1, 45, 52), torch.zeros(2, 1, 45, 52))
    SegAN().segmentor_loss(critic, play)
    assert graphs == [False, True]


@pytest.mark.parametrize("turn", ["critic_loss", "segmentor_loss"])
def test_an_unlabelled_batch_is_an_error(turn: str) -> None:
    play = Play(torch.ones(1, 1, 2, 2), None, torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match="needs a target for every case: leave unlabelled cases out"):
        getattr(SegAN(), turn)(Masks(), play)
