"""Clipping of a player's gradient: a gradient of 3 and 4, with and without a scaler, in both schedules."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segadv_monai.handlers import GameHealth, GradientClip
from segadv_monai.protocols import CriticOutput, Play
from segadv_monai.trainers import AdversarialTrainer, Alternating, Simultaneous


class Weights(nn.Module):
    """Two weights, which are the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.weights.view(1, 2, 1, 1) + 0 * x


class Critic(Weights):
    """The same, as its only feature."""

    def forward(self, segmentation: Tensor, image: Tensor) -> CriticOutput:
        return CriticOutput(None, (super().forward(segmentation + image),))


class Game:
    """The critic's gradient is -3 and -4, the segmentor's adversarial one 0."""

    weight = 1.0

    def value(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        return {"value": cost(critic(play.logits, play.image).features[0])}

    def critic_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        return {"value": -cost(critic(play.logits.detach(), play.image).features[0])}

    def segmentor_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        return self.value(critic, play)


def cost(logits: Tensor, _: object = None) -> Tensor:
    return 3 * logits[:, 0].mean() + 4 * logits[:, 1].mean()


def run(*handlers: Any, schedule: Any, amp: bool) -> AdversarialTrainer:
    network, critic = Weights(), Critic()
    batch = {"image": torch.zeros(1, 2, 2, 2), "label": torch.zeros(1, 2, 2, 2)}
    trainer = AdversarialTrainer(
        "cpu",
        1,
        [batch, batch],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1),
        loss_function=cost,
        critic=critic,
        critic_optimizer=torch.optim.SGD(critic.parameters(), lr=1),
        objective=Game(),
        schedule=schedule,
        train_handlers=list(handlers),
        amp=amp,
        amp_dtype="float16",
        decollate=False,
    )
    trainer.run()
    return trainer


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("schedule", [Alternating(), Simultaneous()])
def test_a_long_gradient_becomes_as_long_as_it_may_be_and_its_length_before_is_shown(
    schedule: Any, amp: bool
) -> None:
    handlers = GameHealth(every=1), GradientClip(2.5), GradientClip(1, "critic")
    trainer = run(*handlers, schedule=schedule, amp=amp)
    torch.testing.assert_close(trainer.network.weights, torch.tensor([-3.0, -4.0]))
    torch.testing.assert_close(trainer.critic.weights, torch.tensor([1.2, 1.6]))
    assert float(trainer.state.losses["game/segmentor_gradient"]) == pytest.approx(5)
    assert float(trainer.state.losses["game/critic_gradient"]) == pytest.approx(5)


@pytest.mark.parametrize("amp", [False, True])
def test_a_short_gradient_and_the_other_player_are_left_alone(amp: bool) -> None:
    trainer = run(GradientClip(5.1), schedule=None, amp=amp)
    torch.testing.assert_close(trainer.network.weights, torch.tensor([-6.0, -8.0]))
    torch.testing.assert_close(trainer.critic.weights, torch.tensor([6.0, 8.0]))


def test_what_cannot_be_clipped_is_refused() -> None:
    with pytest.raises(ValueError, match="max_norm must be greater than 0, got 0"):
        GradientClip(0)
    with pytest.raises(ValueError, match="player must be one of critic, segmentor, got 'network'"):
        GradientClip(1, "network")
