"""Who moves when, and that a shared forward or backward pass changes nothing but the cost."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segadv_monai.critics import SegANCritic
from segadv_monai.objectives import SegAN
from segadv_monai.protocols import Play
from segadv_monai.trainers import AdversarialTrainer, Alternating, Simultaneous

Batch = dict[str, Tensor]
ITERATIONS = 4


def batches(count: int = ITERATIONS) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 2, 1, 20, 20, generator=generator, dtype=torch.float64)
    return [{"image": image, "label": (image > 0.5).to(image)} for image in images]


def players() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    segmentor = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Tanh(), nn.Conv2d(3, 1, 3, padding=1)
    )
    return segmentor.double(), SegANCritic(2, 1, widths=(3, 4), kernels=(5, 3)).double()


def optimizers(segmentor: nn.Module, critic: nn.Module) -> list[torch.optim.Optimizer]:
    return [torch.optim.Adam(player.parameters(), lr=0.01) for player in (segmentor, critic)]


def trained(schedule: Any, epochs: int = 1, **settings: Any) -> AdversarialTrainer:
    segmentor, critic = players()
    of_segmentor, of_critic = optimizers(segmentor, critic)
    given = {"loss_function": DiceLoss(sigmoid=True), "objective": SegAN(weight=0.7), **settings}
    return AdversarialTrainer(
        "cpu",
        epochs,
        batches(),
        network=segmentor,
        optimizer=of_segmentor,
        critic=critic,
        critic_optimizer=of_critic,
        schedule=schedule,
        decollate=False,
        **given,
    )


def moves(trainer: AdversarialTrainer) -> list[str]:
    """Who has other weights after each iteration."""
    found, before = [], {}

    def weights() -> dict[str, Tensor]:
        modules = {"critic": trainer.critic, "segmentor": trainer.network}
        return {
            name: nn.utils.parameters_to_vector(module.parameters()).detach()
            for name, module in modules.items()
            if module is not None
        }

    def note(_: AdversarialTrainer) -> None:
        now = weights()
        found.append("".join(name[0] for name in now if not torch.equal(now[name], before[name])))
        before.update(now)

    before.update(weights())
    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    trainer.run()
    return found


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Alternating(), ["cs"] * 8),
        (Alternating(first="segmentor"), ["cs"] * 8),
        (Alternating(critic_steps=3), ["c", "c", "cs", "c", "c", "cs", "c", "c"]),
        (Alternating(segmentor_steps=2), ["s", "cs"] * 4),
        (Alternating(rounds="epochs"), ["c"] * 4 + ["s"] * 4),
        (Alternating(rounds="epochs", first="segmentor"), ["s"] * 4 + ["c"] * 4),
        (Alternating(warm_up=1), ["s"] * 4 + ["cs"] * 4),
        (Simultaneous(warm_up=1), ["s"] * 4 + ["cs"] * 4),
    ],
)
def test_the_players_move_when_it_is_their_turn(schedule: Any, expected: list[str]) -> None:
    assert moves(trained(schedule, epochs=2)) == expected


def test_whole_rounds_of_several_epochs_alternate() -> None:
    schedule = Alternating(2, 3, rounds="epochs", warm_up=1)
    order = [schedule.turns(epoch, 99)[0][0] for epoch in range(1, 13)]
    assert "".join(order) == "s" + "ccsss" * 2 + "c"


def naive(order: str, step: Callable[..., None]) -> tuple[nn.Module, nn.Module]:
    """Everything computed anew in each turn, with graphs everywhere."""
    segmentor, critic = players()
    opt = dict(zip("sc", optimizers(segmentor, critic), strict=True))
    for batch in batches(3):
        for player in order:
            play = Play(image=batch["image"], target=batch["label"], logits=segmentor(batch["image"]))
            step(player, opt[player], critic, play)
    return segmentor, critic


def recomputed(player: str, optimizer: torch.optim.Optimizer, critic: nn.Module, play: Play) -> None:
    game = SegAN(weight=0.7)
    if player == "c":
        terms = game.critic_loss(critic, play)
    else:
        terms = {"supervised": DiceLoss(sigmoid=True)(play.logits, play.target)}
        terms |= game.segmentor_loss(critic, play)
    optimizer.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    optimizer.step()


def test_the_shared_forward_pass_gives_the_bits_of_one_for_each_turn() -> None:
    trainer = trained(Alternating())
    trainer.data_loader = batches(3)
    trainer.state.dataloader, trainer.state.epoch_length = trainer.data_loader, 3
    trainer.run()
    for ours, theirs in zip((trainer.network, trainer.critic), naive("cs", recomputed), strict=True):
        assert ours is not None
        for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            assert torch.equal(a, b), name


def test_one_backward_pass_gives_both_players_the_gradients_of_two() -> None:
    segmentor, critic = players()
    batch, game = batches()[0], SegAN(weight=0.7)

    def play() -> Play:
        return Play(image=batch["image"], target=batch["label"], logits=segmentor(batch["image"]))

    first, second = play(), play()
    sum(game.critic_loss(critic, first).values()).backward()  # type: ignore[union-attr]
    of_critic = [p.grad.clone() for p in critic.parameters() if p.grad is not None]
    supervised = DiceLoss(sigmoid=True)(second.logits, second.target)
    (supervised + sum(game.segmentor_loss(critic, second).values())).backward()
    of_segmentor = [p.grad.clone() for p in segmentor.parameters() if p.grad is not None]

    trainer = trained(Simultaneous())
    trainer.optimizer = torch.optim.SGD(trainer.network.parameters(), lr=0.0)
    trainer.critic_optimizer = torch.optim.SGD(trainer.critic.parameters(), lr=0.0)  # type: ignore[union-attr]
    trainer.data_loader = batches(1)
    trainer.state.dataloader, trainer.state.epoch_length = trainer.data_loader, 1
    trainer.run()
    for module, expected in ((trainer.network, of_segmentor), (trainer.critic, of_critic)):
        found = [p.grad for p in module.parameters() if p.grad is not None]  # type: ignore[union-attr]
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-12)
    losses = trainer.state.losses
    assert losses["segmentor/feature_distance"] == pytest.approx(-0.7 * losses["critic/feature_distance"])
    terms = losses["segmentor/supervised"] + losses["segmentor/feature_distance"]
    assert losses["loss"] == pytest.approx(terms)


@pytest.mark.parametrize(("schedule", "segmentor", "critic"), [(Alternating(), 3, 9), (Simultaneous(), 3, 6)])
def test_a_step_costs_the_arithmetic_of_its_game_and_no_more(
    schedule: Any, segmentor: int, critic: int
) -> None:
    """In forward passes: 3 of the segmentor, 9 or 6 of the critic; less, as first layers end the way back."""
    trainer = trained(schedule)
    batch = batches()[0]
    single = {}
    for name, call in (
        ("segmentor", lambda: trainer.network(batch["image"])),
        ("critic", lambda: trainer.critic(batch["label"], batch["image"])),  # type: ignore[misc]
    ):
        with FlopCounterMode(display=False) as counter:
            call()
        single[name] = counter.get_total_flops()
    bound = segmentor * single["segmentor"] + critic * single["critic"]
    with FlopCounterMode(display=False) as counter:
        trainer.run()
    assert counter.get_total_flops() / ITERATIONS <= 1.01 * bound


def test_a_game_of_two_values_cannot_be_played_at_once() -> None:
    class TwoValues:
        critic_loss = SegAN.critic_loss
        segmentor_loss = SegAN.segmentor_loss

    with pytest.raises(ValueError, match="TwoValues is no game of one value"):
        trained(Simultaneous(), objective=TwoValues()).run()


def test_the_loss_is_there_in_a_round_of_the_critic_alone() -> None:
    trainer = trained(Alternating(rounds="epochs"))
    trainer.run()
    assert trainer.state.losses["loss"] == trainer.state.losses["critic/feature_distance"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"critic_steps": 0}, "at least 1"),
        ({"warm_up": -1}, "warm_up at least 0"),
        ({"first": "generator"}, "first must be critic or segmentor"),
        ({"rounds": "batches"}, "rounds iterations or epochs"),
        ({"critic_steps": 2, "segmentor_steps": 2}, "one player has 1 step"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Alternating(**settings)
    with pytest.raises(ValueError, match="warm_up must be at least 0"):
        Simultaneous(warm_up=-1)
