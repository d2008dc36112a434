"""The health of a game against values by hand, and that measuring it changes nothing."""

import logging
from typing import Any

import pytest
import torch
from ignite.engine import Events
from torch import Tensor, nn

from segadv_monai.handlers import GameHealth
from segadv_monai.objectives import LeastSquares, Luc, NonSaturating, SegAN, Wasserstein
from segadv_monai.protocols import CriticOutput, Play
from segadv_monai.trainers import AdversarialTrainer, Alternating, Simultaneous

# Two pixels of four are in the first case's label, three in the second's.
TARGET = torch.tensor([[[[1.0, 1], [0, 0]]], [[[1, 1], [1, 0]]]])


class Logits(nn.Module):
    """A segmentor that always says the same."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values).reshape(1, 1, 2, 2))

    def forward(self, image: Tensor) -> Tensor:
        return self.values + 0 * image


class Mean(nn.Module):
    """A critic whose score is how much of the picture is segmented, less something."""

    def __init__(self, less: float) -> None:
        super().__init__()
        self.less = nn.Parameter(torch.tensor(less))

    def forward(self, segmentation: Tensor, image: Tensor) -> CriticOutput:
        score = segmentation.flatten(1).mean(1, keepdim=True) - self.less + 0 * image.mean()
        return CriticOutput(score, (self.less * segmentation,))


def run(
    health: GameHealth | None,
    *,
    objective: Any = None,
    logits: list[float] | None = None,
    less: float = 0.55,
    batches: int = 1,
    epochs: int = 1,
    **settings: Any,
) -> tuple[AdversarialTrainer, list[dict[str, float]]]:
    """Train and give what each iteration has under ``game/``; learning rates of 0 unless they are given."""
    network, critic = Logits(logits or [0.0, 0.0, 0.0, 0.0]), Mean(less)
    rate = settings.pop("rate", 0.0)
    game: dict[str, Any] = {}
    if objective is not None:
        optimizer = torch.optim.SGD(critic.parameters(), lr=rate)
        game = {"critic": critic, "critic_optimizer": optimizer, "objective": objective}
    trainer = AdversarialTrainer(
        "cpu",
        epochs,
        [{"image": torch.ones(2, 1, 2, 2), "label": TARGET}] * batches,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=rate),
        train_handlers=[] if health is None else [health],
        decollate=False,
        **{"loss_function": lambda x, _: 3 * x.sum(), **game, **settings},
    )
    found: list[dict[str, float]] = []

    def collect(engine: AdversarialTrainer) -> None:
        game = {k[5:]: float(v) for k, v in engine.state.losses.items() if k.startswith("game/")}
        found.append(game)

    trainer.add_event_handler(Events.ITERATION_COMPLETED, collect)
    trainer.run()
    return trainer, found


class Weighed(NonSaturating):
    """The segmentor's term has a gradient of -1 at every logit, in either schedule."""

    def segmentor_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        return {"adversarial": -play.logits.sum() + 0 * super().segmentor_loss(critic, play)["adversarial"]}

    def value(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        return {"value": -play.logits.sum() + 0 * critic(play.logits, play.image).score.sum()}


class FakeFirst(NonSaturating):
    def critic_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        fake = self._fake(self._score(critic, self.activation(play.logits.detach()), play.image)).mean()
        assert play.target is not None
        return {"fake": fake, "real": self._real(self._score(critic, play.target, play.image)).mean()}


@pytest.mark.parametrize("first", ["critic", "segmentor"])
@pytest.mark.parametrize(
    "game",
    [
        NonSaturating(),
        FakeFirst(),
        NonSaturating(noise=0.001, r1=1, gradient_penalty=1),
        Luc(scaling=0.9),
    ],
    ids=["plain", "fake first", "with penalties", "scaled labels"],
)
def test_the_critics_accuracy_is_the_share_of_its_scores_on_their_side(game: Any, first: str) -> None:
    # Real maps have means 0.5 and 0.75 (scaled: 0.5 and 0.7), fake ones 0.5: less 0.55.
    _, (found,) = run(GameHealth(), objective=game, schedule=Alternating(first=first))
    assert (found["real_accuracy"], found["fake_accuracy"]) == (0.5, 1)
    _, (found,) = run(GameHealth(), objective=game, less=0.1, schedule=Alternating(first=first))
    assert (found["real_accuracy"], found["fake_accuracy"]) == (1, 0)


def test_an_objective_says_where_its_boundary_is_and_whether_there_is_one() -> None:
    game: Any = LeastSquares()
    game.boundary = 0.2
    _, (found,) = run(GameHealth(), objective=game, less=0.4)
    assert (found["real_accuracy"], found["fake_accuracy"]) == (0.5, 1)
    game = Wasserstein()
    game.boundary = None
    _, (found,) = run(GameHealth(), objective=game)
    assert not [name for name in found if "accuracy" in name]


def test_a_game_without_scores_has_no_accuracy_and_all_the_rest() -> None:
    _, (found,) = run(GameHealth(), objective=SegAN())
    assert set(found) == {"critic_gradient", "segmentor_gradient", "adversarial_share", "saturation"}


@pytest.mark.parametrize("amp_dtype", [None, "bfloat16", "float16"])
@pytest.mark.parametrize("schedule", [Alternating(), Simultaneous()])
def test_the_share_of_the_adversarial_gradient_is_that_of_the_lengths_at_the_logits(
    schedule: Any, amp_dtype: str | None
) -> None:
    amp = {} if amp_dtype is None else {"amp": True, "amp_dtype": amp_dtype}
    _, (found,) = run(GameHealth(), objective=Weighed(), schedule=schedule, **amp)
    # 8 logits with gradients of 3 and of -1; a weight of the segmentor gets 2 cases of 3 - 1.
    assert found["adversarial_share"] == pytest.approx(1 / 4)
    assert found["segmentor_gradient"] == pytest.approx((4 * 4**2) ** 0.5)


def test_a_game_without_a_supervised_loss_is_adversarial_alone() -> None:
    _, (found,) = run(GameHealth(), objective=Weighed(), loss_function=None)
    assert found["adversarial_share"] == 1


def test_the_critics_gradient_has_its_length() -> None:
    # The derivative of softplus(-(m - b)) by b is 1 - sigmoid(m - b), that of softplus(m - b) its negative.
    _, (found,) = run(GameHealth(), objective=NonSaturating(), less=0.25)
    real, fake = torch.tensor([0.25, 0.5]).sigmoid(), torch.tensor([0.25, 0.25]).sigmoid()
    expected = float(((1 - real).mean() - fake.mean()).abs())
    assert found["critic_gradient"] == pytest.approx(expected, rel=1e-5)


def test_saturation_is_the_share_of_probabilities_near_none_and_one() -> None:
    values = [-7.0, 6.9, 0.0, 7.0]
    assert run(GameHealth(), logits=values)[1][0]["saturation"] == 0.5
    steep = SegAN(activation=nn.Hardsigmoid())
    assert run(GameHealth(), logits=values, objective=steep)[1][0]["saturation"] == 0.75
    own = GameHealth(activation=lambda x: 0 * x)
    assert run(own, logits=values, objective=steep)[1][0]["saturation"] == 1


def test_a_twin_without_a_critic_shows_what_there_is_of_it() -> None:
    _, (found,) = run(GameHealth())
    assert found == {"segmentor_gradient": pytest.approx((4 * 6**2) ** 0.5), "saturation": 0}


def test_every_nth_turn_of_each_player_is_measured_from_the_first_of_each_epoch() -> None:
    schedule = Alternating(critic_steps=3)
    _, found = run(GameHealth(every=2), objective=NonSaturating(), batches=8, epochs=2, schedule=schedule)
    critic = [i for i, row in enumerate(found, 1) if "critic_gradient" in row]
    segmentor = [i for i, row in enumerate(found, 1) if "segmentor_gradient" in row]
    assert critic == [1, 3, 5, 7, 9, 11, 13, 15]
    # It moves in 3 and 6, then in 9, 12 and 15.
    assert segmentor == [3, 9, 15]
    assert all("saturation" in found[i - 1] and "adversarial_share" in found[i - 1] for i in segmentor)


@pytest.mark.parametrize("amp", [False, True])
def test_measuring_changes_no_bit_of_the_training(amp: bool) -> None:
    settings: dict[str, Any] = {"batches": 4, "rate": 0.1, "amp": amp, "amp_dtype": "float16"}
    with_it, _ = run(GameHealth(every=1), objective=NonSaturating(r1=1), **settings)
    without, _ = run(None, objective=NonSaturating(r1=1), **settings)
    assert torch.equal(with_it.network.values, without.network.values)
    assert torch.equal(with_it.critic.less, without.critic.less)


def test_a_step_that_a_scaler_leaves_out_has_no_length() -> None:
    health = GameHealth(every=1)
    settings: dict[str, Any] = {"amp": True, "amp_dtype": "float16", "batches": 1}
    _, (found,) = run(health, loss_function=lambda x, _: 1e38 * x.sum(), **settings)
    assert set(found) == {"saturation"}


def test_measuring_waits_for_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers are fetched in the end of an epoch alone: twice as many iterations fetch no more."""
    fetched: list[int] = []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "__index__"):
        own = getattr(Tensor, name)
        monkeypatch.setattr(Tensor, name, lambda self, own=own: fetched.append(1) or own(self))
    counts = []
    for batches in (2, 4):
        fetched.clear()
        game, health = NonSaturating(), GameHealth(every=1)
        trainer, _ = run(health, objective=game, batches=batches, loss_function=lambda x, _: x.sum())
        # Six numbers of each iteration are fetched by the test itself.
        counts.append(len(fetched) - 6 * batches)
        assert trainer.state.iteration == batches
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("logits", "less", "line"),
    [
        ([-9.0, -9.0, -9.0, -9.0], 0.2, "epoch 3: for 3 epochs the critic has told every real segmentation"),
        ([0.0, 0.0, 0.0, 0.0], 0.1, "epoch 3: for 3 epochs the critic has done no better than a guess"),
        ([0.0, 0.0, 0.0, 0.0], 0.55, None),
    ],
)
def test_a_critic_that_has_won_or_guesses_gets_one_line(
    caplog: pytest.LogCaptureFixture, logits: list[float], less: float, line: str | None
) -> None:
    caplog.set_level(logging.WARNING, "segadv_monai")
    run(GameHealth(), objective=NonSaturating(), logits=logits, less=less, epochs=2)
    assert not caplog.messages
    run(GameHealth(), objective=NonSaturating(), logits=logits, less=less, epochs=5)
    assert len(caplog.messages) == (line is not None)
    assert caplog.text == "" if line is None else line in caplog.messages[0]


def test_numbers_less_than_one_are_refused() -> None:
    with pytest.raises(ValueError, match="every and epochs must be at least 1, got 0 and 3"):
        GameHealth(every=0)
