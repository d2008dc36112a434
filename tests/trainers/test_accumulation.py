"""Several batches to a step are one large batch."""

from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from monai.losses import DiceLoss
from torch import Tensor, nn

from segadv_monai.critics import SegANCritic
from segadv_monai.handlers import CriticEvents, GameHealth, GradientClip
from segadv_monai.handlers.gradients import moving
from segadv_monai.objectives import SegAN
from segadv_monai.trainers import AdversarialTrainer, Alternating, Simultaneous

Batch = dict[str, Tensor]
CASES = 8


def batches(size: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(CASES, 1, 20, 20, generator=generator, dtype=torch.float64)
    return [{"image": part, "label": (part > 0.5).to(part)} for part in image.split(size)]


def trained(
    size: int, accumulation: int, schedule: Any, *, handler: Any = None, **changes: Any
) -> AdversarialTrainer:
    """Every case counts by itself in these players: the gradient of a batch is a mean over its cases."""
    torch.manual_seed(0)
    segmentor = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 1, 3, padding=1)
    ).double()
    critic = SegANCritic(2, 1, widths=(3, 4), kernels=(5, 3), norm="instance").double()
    settings: dict[str, Any] = {
        "network": segmentor,
        "optimizer": torch.optim.SGD(segmentor.parameters(), lr=0.5),
        "critic": critic,
        "critic_optimizer": torch.optim.SGD(critic.parameters(), lr=0.5),
        "objective": SegAN(weight=0.7),
        "loss_function": DiceLoss(sigmoid=True),
        **changes,
    }
    trainer = AdversarialTrainer(
        "cpu", 2, batches(size), schedule=schedule, accumulation=accumulation, decollate=False, **settings
    )
    if handler is not None:
        handler.attach(trainer)
    trainer.run()
    return trainer


def weights(trainer: AdversarialTrainer) -> list[Tensor]:
    players = [player for player in (trainer.network, trainer.critic) if player is not None]
    return [p.detach() for player in players for p in player.parameters()]


@pytest.mark.parametrize(
    "schedule",
    [
        Alternating(first="segmentor"),
        Alternating(first="segmentor", critic_steps=2),
        Simultaneous(),
        Simultaneous(warm_up=1),
    ],
    ids=["alternating", "two critic steps", "simultaneous", "warm-up"],
)
def test_batches_of_one_step_equal_one_large_batch(schedule: Any) -> None:
    for joint, parts in zip(weights(trained(4, 1, schedule)), weights(trained(2, 2, schedule)), strict=True):
        torch.testing.assert_close(parts, joint, rtol=1e-9, atol=1e-12)


def test_it_works_without_a_critic() -> None:
    alone = {"critic": None, "critic_optimizer": None, "objective": None}
    joint, parts = trained(8, 1, None, **alone), trained(2, 4, None, **alone)
    for one, other in zip(weights(joint), weights(parts), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)


def test_the_segmentor_comes_first_whatever_the_schedule_says() -> None:
    one, other = (trained(2, 2, Alternating(first=first)) for first in ("critic", "segmentor"))
    assert all(map(torch.equal, weights(one), weights(other)))
    assert not any(map(torch.equal, weights(one), weights(trained(2, 1, Alternating()))))


@pytest.mark.parametrize("amp_dtype", ["bfloat16", "float16"])
def test_handlers_of_gradients_are_called_once_a_step(amp_dtype: str) -> None:
    calls: list[tuple[str, int]] = []

    class Watch:
        def attach(self, engine: AdversarialTrainer) -> None:
            GradientClip(0.5).attach(engine)
            GradientClip(0.5, "critic").attach(engine)
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self.note, "segmentor")
            engine.add_event_handler(CriticEvents.CRITIC_BACKWARD_COMPLETED, self.note, "critic")

        def note(self, engine: AdversarialTrainer, player: str) -> None:
            calls.append((player, engine.state.iteration))
            length = torch.nn.utils.get_total_norm(
                [p.grad for p in moving(engine, player) if p.grad is not None]
            )
            assert length <= 0.5 + 1e-6

    trained(1, 4, Alternating(), handler=Watch(), amp=True, amp_dtype=amp_dtype)
    assert calls == [(player, i) for i in (4, 8, 12, 16) for player in ("segmentor", "critic")]


def test_the_health_of_the_game_is_measured_where_a_step_ends() -> None:
    seen: list[dict[str, float]] = []

    class Watch:
        def attach(self, engine: AdversarialTrainer) -> None:
            GameHealth(1).attach(engine)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.note)

        def note(self, engine: AdversarialTrainer) -> None:
            losses: dict[str, Tensor] = engine.state.losses
            seen.append({k: v.item() for k, v in losses.items() if k.startswith("game/")})

    trained(2, 2, Simultaneous(), handler=Watch())
    assert [bool(values) for values in seen] == 4 * [False, True]
    joint: list[dict[str, float]] = []
    joint, seen = seen[1::2], joint
    trained(2, 1, Simultaneous(), handler=Watch())
    # At the logits of the second batch a step of two batches has half of the gradient, and the same share.
    assert joint[0]["game/adversarial_share"] == pytest.approx(seen[1]["game/adversarial_share"], rel=0.2)


def test_an_epoch_that_leaves_gradients_behind_is_refused() -> None:
    with pytest.raises(ValueError, match="4 batches to an epoch are no multiple of an accumulation of 3"):
        trained(2, 3, None)
    with pytest.raises(ValueError, match="at least 1 batch, got 0"):
        trained(2, 0, None)
