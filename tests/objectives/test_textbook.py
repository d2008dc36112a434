"""The textbook games: values by hand, known optima, penalties of linear critics."""

from math import exp, log, log1p
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segadv_monai import objectives
from segadv_monai.objectives import Hinge, LeastSquares, Minimax, NonSaturating, Wasserstein
from segadv_monai.protocols import CriticOutput, Play, ZeroSum

GAMES = ("Hinge", "LeastSquares", "Minimax", "NonSaturating", "Wasserstein")
LABELLED = ("LeastSquares", "Minimax", "NonSaturating")


class Line(nn.Module):
    """A verdict per pixel: 2 times the map less 1."""

    def forward(self, segmentation: Tensor, _image: Tensor) -> CriticOutput:
        return CriticOutput(2 * segmentation - 1, ())


class Table(nn.Module):
    """A verdict per image that is a number of its own for each map that is all that is set."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values)
        self.seen: list[Tensor] = []

    def forward(self, segmentation: Tensor, _image: Tensor) -> CriticOutput:
        self.seen.append(segmentation)
        return CriticOutput((segmentation.flatten(1) * self.values.flatten()).sum(1, keepdim=True), ())


def two_by_two() -> Play:
    """Real scores are 1, 1, 1 and -1; probabilities 3/4 and three halves, so fake scores 0.5, 0, 0, 0."""
    target = torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]])
    return Play(torch.zeros(1, 1, 2, 2), target, torch.tensor([[[[log(3), 0.0], [0.0, 0.0]]]]))


def plain(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: term.item() for name, term in terms.items()}


REAL_ENTROPY = (3 * log1p(exp(-1)) + log1p(exp(1))) / 4
FAKE_ENTROPY = (log1p(exp(0.5)) + 3 * log(2)) / 4
FOOLED_ENTROPY = (log1p(exp(-0.5)) + 3 * log(2)) / 4


@pytest.mark.parametrize(
    ("name", "real", "fake", "adversarial"),
    [
        ("Minimax", REAL_ENTROPY, FAKE_ENTROPY, -FAKE_ENTROPY),
        ("NonSaturating", REAL_ENTROPY, FAKE_ENTROPY, FOOLED_ENTROPY),
        ("LeastSquares", 4 / 8, 0.25 / 8, (0.25 + 3) / 8),
        ("Hinge", 2 / 4, (1.5 + 3) / 4, -0.5 / 4),
        ("Wasserstein", -2 / 4, 0.5 / 4, -0.5 / 4),
    ],
)
def test_the_terms_by_hand(name: str, real: float, fake: float, adversarial: float) -> None:
    game = getattr(objectives, name)()
    assert plain(game.critic_loss(Line(), two_by_two())) == pytest.approx({"real": real, "fake": fake})
    assert plain(game.segmentor_loss(Line(), two_by_two())) == pytest.approx({"adversarial": adversarial})


@pytest.mark.parametrize(
    ("name", "real"),
    [
        ("Minimax", REAL_ENTROPY + 0.1 * 2 / 4),
        ("NonSaturating", REAL_ENTROPY + 0.1 * 2 / 4),
        ("LeastSquares", (3 * 0.01 + 3.61) / 8),
    ],
)
def test_smoothing_lowers_the_label_of_the_real_side_alone(name: str, real: float) -> None:
    sharp, smooth = getattr(objectives, name)(), getattr(objectives, name)(smoothing=0.1)
    terms = plain(smooth.critic_loss(Line(), two_by_two()))
    assert terms["real"] == pytest.approx(real)
    assert terms["fake"] == plain(sharp.critic_loss(Line(), two_by_two()))["fake"]
    assert smooth.segmentor_loss(Line(), two_by_two()) == sharp.segmentor_loss(Line(), two_by_two())


def test_classes_that_exclude_one_another_have_a_softmax() -> None:
    logits = torch.tensor([[[[log(3)]], [[0.0]]]])
    critic = Table(torch.eye(2)[0])
    NonSaturating(activation=nn.Softmax(dim=1)).segmentor_loss(critic, Play(logits, None, logits))
    NonSaturating().segmentor_loss(critic, Play(logits, None, logits))
    torch.testing.assert_close(critic.seen[0].flatten(), torch.tensor([0.75, 0.25]))
    torch.testing.assert_close(critic.seen[1].flatten(), torch.tensor([0.75, 0.5]))


# --- the optimum


def draws(counts: list[int]) -> Tensor:
    """One-hot maps of a state, as often as counted."""
    states = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return torch.nn.functional.one_hot(states, len(counts)).double()[:, :, None, None]


def best_response(game: Any, play: Play) -> tuple[Tensor, float]:
    """The scores of a critic that is free in every state, after its training, and the value of the game."""
    critic = Table(torch.zeros(4, dtype=torch.float64))
    optimizer = torch.optim.LBFGS(
        critic.parameters(),
        max_iter=200,
        tolerance_grad=1e-12,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = torch.stack(list(game.critic_loss(critic, play).values())).sum()
        total.backward()
        return total

    optimizer.step(loss)
    return critic.values.detach(), -loss().item()


REAL, FAKE = [4, 2, 1, 1], [1, 1, 2, 4]


def test_the_best_critic_is_p_over_p_plus_q() -> None:
    p, q = torch.tensor(REAL) / 8, torch.tensor(FAKE) / 8
    play = Play(draws(REAL), draws(REAL), draws(FAKE))
    scores, value = best_response(Minimax(activation=nn.Identity()), play)
    torch.testing.assert_close(scores.sigmoid(), (p / (p + q)).double(), atol=1e-6, rtol=0)
    middle = (p + q) / 2
    divergence = ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()) / 2
    assert value == pytest.approx(-log(4) + 2 * divergence.item(), abs=1e-6)
    scores, _ = best_response(LeastSquares(activation=nn.Identity()), play)
    torch.testing.assert_close(scores, (p / (p + q)).double(), atol=1e-6, rtol=0)


def test_the_value_of_the_game_is_minus_log_4_where_nothing_can_be_told_apart() -> None:
    game = Minimax(activation=nn.Identity())
    scores, value = best_response(game, Play(draws(REAL), draws(REAL), draws(REAL).flip(0)))
    torch.testing.assert_close(
        scores.sigmoid(), torch.full((4,), 0.5, dtype=torch.float64), atol=1e-6, rtol=0
    )
    assert value == pytest.approx(-log(4), abs=1e-6)


def test_minimax_is_a_zero_sum_game_in_what_the_segmentor_can_change() -> None:
    game = Minimax()
    terms = game.critic_loss(Line(), two_by_two())
    assert game.segmentor_loss(Line(), two_by_two())["adversarial"] == -terms["fake"]


@pytest.mark.parametrize(
    ("name", "one_value"), [(name, name in ("Minimax", "Wasserstein")) for name in GAMES]
)
def test_minimax_and_wasserstein_are_the_games_of_one_value(name: str, one_value: bool) -> None:
    assert isinstance(getattr(objectives, name)(), ZeroSum) == one_value


def test_the_value_of_minimax_is_minus_log_4_where_nothing_can_be_told_apart() -> None:
    game, play = Minimax(activation=nn.Identity()), Play(draws(REAL), draws(REAL), draws(REAL).flip(0))
    scores, _ = best_response(game, play)
    terms = game.value(Table(scores), play)
    assert plain(terms) == pytest.approx({"real": -log(2), "fake": -log(2)}, abs=1e-6)
    assert sum(plain(terms).values()) == pytest.approx(-log(4), abs=1e-6)


@pytest.mark.parametrize(
    ("game", "value"),
    [
        (Minimax(), {"real": -REAL_ENTROPY, "fake": -FAKE_ENTROPY}),
        (Wasserstein(), {"real": 2 / 4, "fake": -0.5 / 4}),
    ],
)
def test_a_value_by_hand(game: ZeroSum, value: dict[str, float]) -> None:
    assert plain(game.value(Line(), two_by_two())) == pytest.approx(value)


@pytest.mark.parametrize("settings", [{}, {"gradient_penalty": 10.0, "r1": 10.0, "weight": 0.3}])
@pytest.mark.parametrize("game_type", [Minimax, Wasserstein])
def test_of_a_value_the_segmentor_has_the_gradient_of_its_own_loss(
    game_type: type[Any], settings: dict[str, float]
) -> None:
    """What the critic alone can change is a constant for the segmentor, penalties included."""
    game, play = game_type(**settings), two_by_two()
    gradients = []
    for turn in ("value", "segmentor_loss"):
        logits = play.logits.clone().requires_grad_()
        terms = getattr(game, turn)(Table(SLOPE_3), Play(play.image, play.target, logits))
        sum(terms.values()).backward()
        gradients.append(logits.grad)
    assert gradients[0].any()
    torch.testing.assert_close(game.weight * gradients[0], gradients[1])


@pytest.mark.parametrize(("name", "least", "most"), [("Minimax", 0, 1e-3), ("NonSaturating", 0.1, 1)])
def test_a_sure_critic_silences_minimax_but_not_the_non_saturating_game(
    name: str, least: float, most: float
) -> None:
    logits = torch.full((1, 1, 1, 1), -10.0, requires_grad=True)
    game = getattr(objectives, name)(activation=nn.Identity())
    game.segmentor_loss(Table(torch.ones(1)), Play(logits, None, logits))["adversarial"].backward()
    assert logits.grad is not None
    assert least < -logits.grad.item() < most


# --- penalties

SLOPE_3 = torch.tensor([[2.0, 1.0], [2.0, 0.0]])


@pytest.mark.parametrize("name", GAMES)
def test_the_penalties_of_a_linear_critic_are_exact(name: str) -> None:
    game = getattr(objectives, name)(gradient_penalty=10.0, r1=10.0)
    terms = game.critic_loss(Table(SLOPE_3.clone()), two_by_two())
    assert terms["gradient_penalty"].item() == pytest.approx(10 * (3 - 1) ** 2)
    assert terms["r1"].item() == pytest.approx(10 / 2 * 3**2)
    assert list(game.critic_loss(Table(SLOPE_3), two_by_two())) == ["real", "fake", "gradient_penalty", "r1"]


def test_the_penalties_teach_the_critic_its_slope() -> None:
    for settings, factor in [({"gradient_penalty": 10.0}, 2 * 10 * (3 - 1) / 3), ({"r1": 10.0}, 10.0)]:
        critic = Table(SLOPE_3.clone())
        terms = Wasserstein(**settings).critic_loss(critic, two_by_two())
        terms[next(iter(settings))].backward()
        torch.testing.assert_close(critic.values.grad, factor * SLOPE_3)


def test_the_slope_is_that_of_the_mean_verdict() -> None:
    terms = Wasserstein(r1=10.0).critic_loss(Line(), two_by_two())
    assert terms["r1"].item() == pytest.approx(10 / 2 * 4 * (2 / 4) ** 2)  # four pixels, each 2 / 4


def test_a_critic_without_slope_has_a_penalty_and_a_finite_gradient() -> None:
    critic = Table(torch.zeros(2, 2))
    terms = Wasserstein(gradient_penalty=10.0, r1=10.0).critic_loss(critic, two_by_two())
    assert plain(terms) == {"real": 0, "fake": 0, "gradient_penalty": 10, "r1": 0}
    (terms["gradient_penalty"] + terms["r1"]).backward()
    assert critic.values.grad is not None
    assert critic.values.grad.isfinite().all()


def test_the_gradient_penalty_is_taken_between_real_and_fake_anew_for_each_case() -> None:
    critic = Table(torch.ones(1, 4, 4))
    play = Play(torch.zeros(3, 1, 4, 4), torch.ones(3, 1, 4, 4), torch.zeros(3, 1, 4, 4))
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        Wasserstein(gradient_penalty=1.0).critic_loss(critic, play)
    between, again, other = critic.seen[2::3]
    assert ((between > 0.5) & (between < 1)).all()
    assert all(case.unique().numel() == 1 for case in between)
    assert between.unique().numel() == 3
    assert torch.equal(between, again)
    assert not torch.equal(between, other)


def test_penalties_are_computed_in_full_precision() -> None:
    types = []

    class Convolution(nn.Conv2d):
        def forward(self, segmentation: Tensor, _image: Tensor) -> CriticOutput:  # type: ignore[override]
            score = super().forward(segmentation)
            types.append(score.dtype)
            return CriticOutput(score, ())

    with torch.autocast("cpu", dtype=torch.bfloat16):
        game = NonSaturating(gradient_penalty=1.0, r1=1.0)
        terms = game.critic_loss(Convolution(1, 1, 1), two_by_two())
    assert types == [torch.bfloat16, torch.bfloat16, torch.float32, torch.float32]
    assert {term.dtype for term in terms.values()} == {torch.float32}


# --- noise


def test_noise_is_on_all_that_the_critic_sees_and_as_strong_as_it_is_now() -> None:
    critic = Table(torch.ones(1, 50, 50))
    play = Play(torch.zeros(2, 1, 50, 50), torch.ones(2, 1, 50, 50), torch.zeros(2, 1, 50, 50))
    game = NonSaturating(noise=0.5)
    for noise in (0.5, 0.1):
        game.noise = noise
        critic.seen.clear()
        game.critic_loss(critic, play)
        game.segmentor_loss(critic, play)
        for maps, without in zip(critic.seen, (1.0, 0.5, 0.5), strict=True):
            assert (maps - without).std().item() == pytest.approx(noise, rel=0.05)


def test_noise_comes_from_the_global_generator_and_none_is_drawn_without() -> None:
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.append(plain(Minimax(noise=0.5).critic_loss(Line(), two_by_two())))
    assert losses[0] == losses[1] != losses[2]
    before = torch.get_rng_state()
    Minimax().critic_loss(Line(), two_by_two())
    assert torch.equal(torch.get_rng_state(), before)


# --- ignored positions


def with_an_ignored_position() -> Play:
    """Two classes in four positions, the last of which has none."""
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    second = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    return Play(torch.zeros(1, 1, 2, 2), torch.stack([first, second])[None], torch.randn(1, 2, 2, 2))


@pytest.mark.parametrize("name", GAMES)
def test_the_critic_sees_no_class_where_the_target_has_none(name: str) -> None:
    critic, play = Table(torch.randn(2, 2, 2)), with_an_ignored_position()
    play.logits.requires_grad_()
    game = getattr(objectives, name)(activation=nn.Softmax(dim=1))
    sum(game.segmentor_loss(critic, play).values()).backward()
    game.critic_loss(critic, play)
    for seen in critic.seen:
        torch.testing.assert_close(seen.sum(1), torch.tensor([[[1.0, 1.0], [1.0, 0.0]]]))
    assert play.logits.grad is not None
    assert play.logits.grad.any(dim=1).tolist() == [[[True, True], [True, False]]]


def test_maps_that_overlap_have_a_background_and_nothing_to_ignore() -> None:
    critic, play = Table(torch.randn(2, 2, 2)), with_an_ignored_position()
    NonSaturating().segmentor_loss(critic, play)
    assert torch.equal(critic.seen[0], play.logits.sigmoid())


# --- errors


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("setting", ["noise", "gradient_penalty", "r1"])
def test_a_negative_setting_is_one_line(name: str, setting: str) -> None:
    with pytest.raises(ValueError, match=rf"{setting} must be at least 0, got -1\.0"):
        getattr(objectives, name)(**{setting: -1.0})


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("smoothing", [-0.1, 0.5])
def test_smoothing_keeps_real_nearer_to_one(name: str, smoothing: float) -> None:
    with pytest.raises(ValueError, match=r"smoothing must be at least 0 and less than 0\.5, got"):
        getattr(objectives, name)(smoothing=smoothing)


@pytest.mark.parametrize(
    ("game", "boundary"),
    [(Minimax, 0.0), (NonSaturating, 0.0), (Hinge, 0.0), (LeastSquares, 0.5), (Wasserstein, None)],
)
def test_the_boundary_is_where_a_score_is_called_neither_real_nor_fake(
    game: type[Any], boundary: float | None
) -> None:
    assert game.boundary == boundary
    if boundary is not None:
        score = torch.tensor([boundary], dtype=torch.float64)
        cost = game()._real(score).sum() - game()._fake(score).sum()
        assert float(cost) == pytest.approx(0.0)
