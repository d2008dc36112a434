"""Batches without labels in the engine: who rests, who learns, and what is measured."""

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import Dataset
from monai.losses import DiceLoss
from monai.transforms import AsDiscreted, RandFlipd
from torch import Tensor, nn

from segadv_monai.critics import ASDNetCritic
from segadv_monai.data import SeededLoader
from segadv_monai.handlers import Checkpoint, Finite, Overlap, Seeding
from segadv_monai.objectives import ASDNet, NonSaturating
from segadv_monai.trainers import AdversarialTrainer, Alternating

Batch = dict[str, Tensor]


def two_kinds() -> list[Batch]:
    """A labelled batch, then one without labels."""
    torch.manual_seed(3)
    image = torch.randn(4, 1, 16, 16)
    return [{"image": image[:2], "label": (image[:2] > 0).float()}, {"image": image[2:]}]


def game(batches: Any, **changes: Any) -> AdversarialTrainer:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))
    critic = ASDNetCritic(2, 1, 1, width=2)
    settings: dict[str, Any] = {
        "max_epochs": 1,
        "network": network,
        "optimizer": torch.optim.Adam(network.parameters(), 1e-2),
        "critic": critic,
        "critic_optimizer": torch.optim.Adam(critic.parameters(), 1e-2),
        "objective": ASDNet(threshold=0.0),
        "loss_function": DiceLoss(sigmoid=True),
        "train_handlers": [Finite()],
        **changes,
    }
    return AdversarialTrainer("cpu", train_data_loader=batches, **settings)


def values(module: nn.Module | None) -> list[Tensor]:
    assert module is not None
    return [value.clone() for value in module.state_dict().values()]


def followed(trainer: AdversarialTrainer) -> list[dict[str, Any]]:
    """For each iteration the terms, and whether each player moved in it."""
    rows: list[dict[str, Any]] = []
    before: dict[str, list[Tensor]] = {}

    def start(_: Engine) -> None:
        before.update(network=values(trainer.network), critic=values(trainer.critic))

    def end(_: Engine) -> None:
        after = {"network": values(trainer.network), "critic": values(trainer.critic)}
        moved = {
            name: any(not torch.equal(a, b) for a, b in zip(before[name], after[name], strict=True))
            for name in after
        }
        rows.append({"terms": dict(trainer.state.losses), **moved})

    trainer.add_event_handler(Events.ITERATION_STARTED, start)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, end)
    trainer.run()
    return rows


def test_without_labels_the_critic_rests_and_the_segmentor_learns_from_it_and_from_itself() -> None:
    with_labels, without = followed(game(two_kinds()))
    assert set(with_labels["terms"]) == {
        *("loss", "critic/real", "critic/fake", "segmentor/supervised", "segmentor/adversarial")
    }
    assert set(without["terms"]) == {"loss", "segmentor/adversarial", "segmentor/self_taught"}
    assert (with_labels["network"], with_labels["critic"]) == (True, True)
    assert without["network"]
    terms = without["terms"]
    assert terms["loss"] == terms["segmentor/adversarial"] + terms["segmentor/self_taught"]


@pytest.mark.parametrize("weights", [{"weight": 0.0}, {"unlabelled_weight": 0.0}])
def test_each_term_of_an_unlabelled_batch_moves_the_segmentor_alone(weights: dict[str, float]) -> None:
    """The critic keeps its parameters, whose gradients belong to nobody's turn."""
    trainer = game(two_kinds()[1:], objective=ASDNet(threshold=0.0, **weights))
    before = [p.clone() for p in trainer.critic.parameters()]
    assert followed(trainer)[0]["network"]
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.critic.parameters(), strict=True))
    assert all(p.grad is None for p in trainer.critic.parameters())


def test_a_batch_on_which_nobody_moves_has_a_loss_of_zero() -> None:
    """The critic moves alone in the first of two iterations, and that one has no labels."""
    schedule = Alternating(critic_steps=2)
    rows = followed(game(two_kinds()[::-1], schedule=schedule))
    assert {name: float(term) for name, term in rows[0]["terms"].items()} == {"loss": 0.0}
    assert not rows[0]["network"]
    assert "segmentor/supervised" in rows[1]["terms"]


def test_in_a_warm_up_unlabelled_batches_wait() -> None:
    schedule = Alternating(warm_up=1)
    rows = followed(game(two_kinds(), schedule=schedule, max_epochs=2))
    assert set(rows[0]["terms"]) == {"loss", "segmentor/supervised"}
    assert {name: float(term) for name, term in rows[1]["terms"].items()} == {"loss": 0.0}
    assert (rows[1]["network"], rows[1]["critic"]) == (False, False)
    assert "segmentor/self_taught" in rows[3]["terms"]


def test_the_training_metric_is_that_of_the_labelled_cases() -> None:
    found = []
    for batches in (two_kinds(), two_kinds()[:1]):
        trainer = game(
            batches,
            postprocessing=AsDiscreted("pred", threshold=0.0),
            key_train_metric={"train_dice": Overlap("dice")},
        )
        trainer.run()
        found.append(trainer.state.metrics["train_dice"])
    assert found[0] == found[1]
    assert 0 < found[0] < 1


def test_a_game_that_needs_labels_says_so_and_a_twin_without_a_game_too() -> None:
    with pytest.raises(ValueError, match="critic of NonSaturating learns from labels"):
        game(two_kinds(), objective=NonSaturating()).run()
    twin = game(two_kinds(), critic=None, critic_optimizer=None, objective=None)
    with pytest.raises(ValueError, match="a batch without labels teaches nothing here"):
        twin.run()


def mixed_run(checkpoint: Path) -> tuple[AdversarialTrainer, Checkpoint]:
    torch.manual_seed(3)
    image = torch.randn(8, 1, 16, 16)
    labelled = [{"image": x, "label": (x > 0).float()} for x in image[:4]]
    flip = RandFlipd(["image", "label"], prob=0.5, allow_missing_keys=True)
    loader = SeededLoader(
        Dataset(labelled, flip), batch_size=2, unlabelled=Dataset([{"image": x} for x in image[4:]], flip)
    )
    keeper = Checkpoint(checkpoint)
    return game(loader, max_epochs=3, train_handlers=[Seeding(), keeper]), keeper


def test_a_run_that_stops_inside_a_mixed_epoch_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """Keeps R1."""
    whole, _ = mixed_run(tmp_path / "whole" / "last.safetensors")
    stopped, keeper = mixed_run(tmp_path / "stopped" / "last.safetensors")

    def stop(engine: Engine) -> None:
        assert keeper.save_inside_epoch()
        engine.terminate()

    for path in ("whole", "stopped"):
        (tmp_path / path).mkdir()
    whole.run()
    stopped.add_event_handler(Events.ITERATION_COMPLETED(once=6), stop)
    stopped.run()
    resumed, _ = mixed_run(tmp_path / "stopped" / "last.safetensors")
    resumed.run()
    assert resumed.state.iteration == whole.state.iteration == 12
    for one, other in ((whole.network, resumed.network), (whole.critic, resumed.critic)):
        assert all(torch.equal(a, b) for a, b in zip(values(one), values(other), strict=True))
