"""What every game promises, whatever its paper."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segadv_monai import objectives
from segadv_monai.critics import LucCritic, LucTwoBranchCritic, PatchCritic, SegANCritic
from segadv_monai.protocols import CriticOutput, Objective, Play

# Of other games: what they promise together is in test_projective.py.
COMPOSED = ("Projective",)
# Of what a network gives beside its logits: test_genseg.py.
LATENT = ("GenSeg",)
NAMES = [name for name in objectives.__all__ if name not in (*COMPOSED, *LATENT)]
SCORED = [name for name in NAMES if name != "SegAN"]
# Settings that change what a game computes.
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "ASDNet": [{}, {"exclusive": False}],
    "Luc": [{}, {"form": "minimax"}, {"scaling": 0.9}],
    "SegAN": [{}],
}
STABILISED = {"noise": 0.1, "gradient_penalty": 10.0, "r1": 10.0}
GAMES = [(name, settings) for name in NAMES for settings in SETTINGS.get(name, [{}, STABILISED])]

each_game = pytest.mark.parametrize(
    ("name", "settings"), GAMES, ids=[f"{name} {' '.join(settings)}" for name, settings in GAMES]
)
each_size = pytest.mark.parametrize("size", [(8, 9), (6, 7, 8)], ids=["2D", "3D"])


class Both(nn.Module):
    """A smooth critic with features and a score for each position."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        kind = nn.Conv2d if dims == 2 else nn.Conv3d
        self.first = kind(channels, 3, 3, padding=1)
        self.last = kind(3, 1, 1)

    def forward(self, segmentation: Tensor, image: Tensor) -> CriticOutput:
        feature = torch.nn.functional.softplus(self.first(torch.cat([segmentation, image], 1)))
        return CriticOutput(self.last(feature), (feature,))


def build(name: str, settings: dict[str, Any]) -> Objective:
    game: Objective = getattr(objectives, name)(**settings)
    return game


def players(size: tuple[int, ...], maps: int = 2) -> tuple[nn.Module, nn.Module, Play]:
    torch.manual_seed(0)
    dims = len(size)
    segmentor = (nn.Conv2d if dims == 2 else nn.Conv3d)(1, maps, 3, padding=1)
    image = torch.randn(2, 1, *size)
    classes = torch.randint(0, maps, (2, *size))
    target = torch.nn.functional.one_hot(classes, maps).movedim(-1, 1).float()
    return segmentor, Both(dims, 1 + maps), Play(image, target, segmentor(image))


@each_game
def test_it_is_a_game(name: str, settings: dict[str, Any]) -> None:
    assert isinstance(build(name, settings), Objective)


@each_size
@each_game
def test_the_critic_s_turn_leaves_no_gradient_in_the_segmentor(
    name: str, settings: dict[str, Any], size: tuple[int, ...]
) -> None:
    segmentor, critic, play = players(size)
    sum(build(name, settings).critic_loss(critic, play).values()).backward()
    assert all(p.grad is None for p in segmentor.parameters())
    assert play.target is not None
    assert play.target.grad is None
    assert not play.target.requires_grad
    # Its last bias is of no use to a game of differences of scores.
    assert all(p.grad is not None and p.grad.abs().max() > 1e-6 for p in critic.first.parameters())


@each_size
@each_game
def test_the_segmentor_s_turn_reaches_all_of_it_and_leaves_a_frozen_critic_alone(
    name: str, settings: dict[str, Any], size: tuple[int, ...]
) -> None:
    segmentor, critic, play = players(size)
    critic.requires_grad_(False)
    before = {key: value.clone() for key, value in critic.state_dict().items()}
    sum(build(name, settings).segmentor_loss(critic, play).values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in segmentor.parameters())
    assert all(p.grad is None for p in critic.parameters())
    assert all(torch.equal(value, before[key]) for key, value in critic.state_dict().items())


@each_game
def test_the_weight_is_the_segmentor_s_alone_and_can_be_changed(name: str, settings: dict[str, Any]) -> None:
    _, critic, play = players((8, 9))
    game: Any = build(name, settings)
    losses = []
    for weight in (1.0, 0.25):
        game.weight = weight
        torch.manual_seed(0)
        teaching = sum(game.segmentor_loss(critic, play).values())
        losses.append((teaching, sum(game.critic_loss(critic, play).values())))
    torch.testing.assert_close(losses[1][0], losses[0][0] / 4)
    torch.testing.assert_close(losses[1][1], losses[0][1])


def critics_for(name: str, dims: int) -> list[nn.Module]:
    if name == "SegAN":
        return [SegANCritic(dims, 1, 2, widths=(2, 2), kernels=(3, 3))]
    return [
        LucCritic(dims, 1, 2, width=1, label_input="product"),
        LucTwoBranchCritic(dims, 1, 2, width=1),
        PatchCritic(dims, 1, 2, scope="patch1", width=2, norm="instance"),
        PatchCritic(dims, 1, 2, scope="pixel", width=2),
    ]


@each_size
@each_game
def test_every_critic_can_play_it_in_mixed_precision(
    name: str, settings: dict[str, Any], size: tuple[int, ...]
) -> None:
    segmentor, _, _ = players(size)
    image = torch.randn(2, 1, *[16] * len(size))
    target = (torch.rand(2, 1, *image.shape[2:]) > 0.5).float()
    game = build(name, settings)
    for critic in critics_for(name, len(size)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            play = Play(image, torch.cat([target, 1 - target], 1), segmentor(image).float())
            judged, taught = game.critic_loss(critic, play), game.segmentor_loss(critic, play)
        for term in [*judged.values(), *taught.values()]:
            assert term.shape == ()
            assert term.dtype is torch.float32
        sum([*judged.values(), *taught.values()]).backward()
        for player in (segmentor, critic):
            assert all(p.grad is not None and p.grad.isfinite().all() for p in player.parameters())


@each_game
def test_the_gradients_are_those_of_the_losses(name: str, settings: dict[str, Any]) -> None:
    """By finite differences in float64, penalties included."""
    _, critic, play = players((3, 4))
    critic.double()
    names, values = zip(*critic.named_parameters(), strict=True)
    assert play.target is not None
    image, target, logits = (x.detach().double() for x in (play.image, play.target, play.logits))
    game = build(name, settings)

    def teaching(logits: Tensor) -> Tensor:
        torch.manual_seed(0)
        return torch.stack(list(game.segmentor_loss(critic, Play(image, target, logits)).values())).sum()

    def judging(*values: Tensor) -> Tensor:
        torch.manual_seed(0)
        given = _With(critic, dict(zip(names, values, strict=True)))
        return torch.stack(list(game.critic_loss(given, Play(image, target, logits)).values())).sum()

    assert torch.autograd.gradcheck(teaching, logits.clone().requires_grad_())
    assert torch.autograd.gradcheck(judging, values)


class _With(nn.Module):
    """A critic with other values for its parameters."""

    def __init__(self, critic: nn.Module, values: dict[str, Tensor]) -> None:
        super().__init__()
        self.critic = critic
        self.values = values

    def forward(self, segmentation: Tensor, image: Tensor) -> CriticOutput:
        output: CriticOutput = torch.func.functional_call(self.critic, self.values, (segmentation, image))
        return output


@pytest.mark.parametrize("name", SCORED)
def test_a_score_of_half_precision_is_judged_in_float32(name: str) -> None:
    _, critic, play = players((8, 9))
    critic.register_forward_hook(lambda _, __, output: output._replace(score=output.score.bfloat16()))
    game = build(name, {})
    terms = [*game.critic_loss(critic, play).values(), *game.segmentor_loss(critic, play).values()]
    assert {term.dtype for term in terms} == {torch.float32}


@pytest.mark.parametrize("name", [name for name in SCORED if name != "ASDNet"])
def test_an_unlabelled_batch_teaches_the_segmentor_but_not_the_critic(name: str) -> None:
    _, critic, play = players((8, 9))
    unlabelled = Play(play.image, None, play.logits)
    game = build(name, {})
    assert game.segmentor_loss(critic, unlabelled) == game.segmentor_loss(critic, play)
    with pytest.raises(ValueError, match=f"critic of {name} learns from labels .* give every batch a target"):
        game.critic_loss(critic, unlabelled)


@pytest.mark.parametrize("turn", ["critic_loss", "segmentor_loss"])
@pytest.mark.parametrize("name", SCORED)
def test_a_critic_without_a_score_is_one_line(name: str, turn: str) -> None:
    _, _, play = players((16, 16))
    critic = SegANCritic(2, 1, 2, widths=(2,), kernels=(3,))
    with pytest.raises(
        ValueError, match=r"score, SegANCritic has none: use objectives\.SegAN with it"
    ) as caught:
        getattr(build(name, {}), turn)(critic, play)
    assert "\n" not in str(caught.value)
