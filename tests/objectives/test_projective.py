"""The two games of the projective adversarial network, played at once."""

from math import exp, log1p
from typing import Any

import pytest
import torch
from monai.networks.nets import BasicUNet
from torch import Tensor, nn

from segadv_monai.critics import PatchCritic, ProjectiveCritic, SegANCritic
from segadv_monai.layers import WithFeatures
from segadv_monai.objectives import ASDNet, Hinge, LeastSquares, Luc, NonSaturating, Projective, SegAN
from segadv_monai.protocols import CriticOutput, Objective, Play, ZeroSum

SLICES = 3


class Mean(nn.Module):
    """Its score is a factor times the mean of the maps."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, segmentation: Tensor, image: Tensor) -> CriticOutput:
        assert segmentation.shape[2:] == image.shape[2:]
        return CriticOutput(self.factor * segmentation.flatten(1).mean(1, keepdim=True), ())


def build(critic: str = "patch", **settings: Any) -> tuple[nn.Module, nn.Module, Play]:
    """Segmentor, critic with a gate, and two runs of three slices."""
    torch.manual_seed(0)
    segmentor = WithFeatures(BasicUNet(2, 1, 2, features=(2, 2, 4, 4, 8, 2)), "down_4")
    parts: list[nn.Module] = [
        PatchCritic(2, 1, 2, scope="pixel", width=2)
        if critic == "patch"
        else SegANCritic(2, 1, 2, widths=(2, 2), kernels=(3, 3), norm="instance")
        for _ in range(2)
    ]
    both = ProjectiveCritic(*parts, slices=SLICES, **{"gate_channels": 8, **settings})
    image = torch.randn(2 * SLICES, 1, 32, 32)
    target = (torch.rand(2 * SLICES, 2, 32, 32) > 0.7).float()
    output = segmentor(image)
    return segmentor, both, Play(image, target, output.logits, latents=output.latents)


def games() -> Projective:
    return Projective(NonSaturating(0.5), NonSaturating(0.25))


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def test_it_is_a_game_and_not_one_of_one_value() -> None:
    assert isinstance(games(), Objective)
    assert not isinstance(games(), ZeroSum)


def test_the_terms_by_hand_on_two_slices_of_two_pixels() -> None:
    target = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).view(2, 1, 1, 2)
    play = Play(torch.zeros(2, 1, 1, 2), target, torch.zeros(2, 1, 1, 2))
    critic = ProjectiveCritic(Mean(2.0), Mean(4.0))
    game = Projective(NonSaturating(0.5), LeastSquares(0.25), weight=3.0)
    # Of slices the target has mean 1/2, the prediction too; of the projections the sums are 2 and 0, 1 and 1.
    real, fake = 4 * (1 - exp(-2)) / 2, 4 * (1 - exp(-1))
    judged = {name: term.item() for name, term in game.critic_loss(critic, play).items()}
    assert judged == pytest.approx(
        {
            "spatial_real": log1p(exp(-1)),
            "spatial_fake": log1p(exp(1)),
            "projected_real": (real - 1) ** 2 / 2,
            "projected_fake": fake**2 / 2,
        }
    )
    taught = {name: term.item() for name, term in game.segmentor_loss(critic, play).items()}
    assert taught == pytest.approx(
        {
            "spatial_adversarial": 3 * 0.5 * log1p(exp(-1)),
            "projected_adversarial": 3 * 0.25 * (fake - 1) ** 2 / 2,
        }
    )


def test_the_critic_s_turn_teaches_both_critics_and_the_gate_and_leaves_the_segmentor_alone() -> None:
    segmentor, critic, play = build()
    total(games().critic_loss(critic, play)).backward()
    assert all(p.grad is None for p in segmentor.parameters())
    assert [name for name, p in critic.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_segmentor_s_turn_reaches_it_through_every_slice_and_leaves_the_critic_alone() -> None:
    segmentor, critic, play = build()
    critic.requires_grad_(False)
    before = {key: value.clone() for key, value in critic.state_dict().items()}
    play.logits.retain_grad()
    total(games().segmentor_loss(critic, play)).backward()
    assert [
        name for name, p in segmentor.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ] == []
    assert play.logits.grad is not None
    assert play.logits.grad.flatten(1).any(dim=1).all()
    assert all(p.grad is None for p in critic.parameters())
    after = critic.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items() if "running" not in key)


def test_the_gate_teaches_the_segmentor_through_its_features() -> None:
    _, critic, play = build()
    features = play.latents["features"]
    apart = Play(play.image, play.target, play.logits.detach(), latents=play.latents)
    (gradient,) = torch.autograd.grad(total(games().segmentor_loss(critic, apart)), features)
    assert gradient.flatten(1).any(dim=1).all()


def test_the_weight_is_the_segmentor_s_alone_and_can_be_changed() -> None:
    _, critic, play = build()
    critic.eval()
    game, losses = games(), []
    for weight in (1.0, 0.25):
        game.weight = weight
        losses.append((total(game.segmentor_loss(critic, play)), total(game.critic_loss(critic, play))))
    torch.testing.assert_close(losses[1][0], losses[0][0] / 4)
    torch.testing.assert_close(losses[1][1], losses[0][1])


@pytest.mark.parametrize("game", [ASDNet(exclusive=False), Hinge(gradient_penalty=1.0, noise=0.1), Luc()])
def test_any_game_over_a_score_can_be_either_of_the_two(game: Objective) -> None:
    _, critic, play = build()
    for pair in ((game, NonSaturating()), (NonSaturating(), game)):
        terms = Projective(*pair).critic_loss(critic, play)
        assert all(term.isfinite() for term in terms.values())
        assert {name.partition("_")[0] for name in terms} == {"spatial", "projected"}


def test_a_game_of_features_plays_with_a_critic_of_features() -> None:
    _, critic, play = build("segan")
    terms = Projective(SegAN(), SegAN()).critic_loss(critic, play)
    assert set(terms) == {"spatial_feature_distance", "projected_feature_distance"}
    total(terms).backward()


def test_in_mixed_precision_the_terms_are_float32() -> None:
    segmentor, critic, play = build()
    game = Projective(NonSaturating(), NonSaturating(gradient_penalty=1.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = segmentor(play.image)
        play = Play(play.image, play.target, output.logits.float(), latents=output.latents)
        terms = game.critic_loss(critic, play) | game.segmentor_loss(critic, play)
    assert output.latents["features"].dtype is torch.bfloat16
    assert {term.dtype for term in terms.values()} == {torch.float32}
    total(terms).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in critic.parameters())


def test_the_activation_that_is_watched_is_that_of_the_first_game() -> None:
    softmax = nn.Softmax(dim=1)
    assert Projective(NonSaturating(activation=softmax), Hinge()).activation is softmax


def test_an_unlabelled_batch_and_another_critic_are_one_line_each() -> None:
    _, critic, play = build()
    with pytest.raises(
        ValueError, match="learns from labels and this batch has none: give every batch a tar"
    ):
        games().critic_loss(critic, Play(play.image, None, play.logits, latents=play.latents))
    with pytest.raises(ValueError, match=r"PatchCritic is none: give it critics\.ProjectiveCritic"):
        games().segmentor_loss(PatchCritic(2, 1, 2, scope="pixel", width=2), play)
