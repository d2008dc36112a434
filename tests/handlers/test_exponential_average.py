"""The average of the segmentor: its values by hand, what it follows, and that it survives a stop."""

import csv
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.losses import DiceLoss
from monai.transforms import AsDiscreted
from torch import Tensor, nn

from segadv_monai.critics import PatchCritic
from segadv_monai.data import SeededLoader
from segadv_monai.handlers import ExponentialAverage, GameHealth, Overlap, standard_handlers
from segadv_monai.objectives import NonSaturating
from segadv_monai.protocols import CheckpointError
from segadv_monai.trainers import AdversarialTrainer, Alternating


class Weight(nn.Module):
    """One weight, which falls by 1 in every step, with statistics and a counter of the batches it saw."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean += 10
            self.seen += 1
        return self.weight + 0 * x


def train(average: ExponentialAverage, *, before: Any = None, **settings: Any) -> AdversarialTrainer:
    network = average.source
    batch = {"image": torch.zeros(1, 1, 2, 2), "label": torch.zeros(1, 1, 2, 2)}
    trainer = AdversarialTrainer(
        "cpu",
        1,
        [batch] * 3,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1),
        loss_function=lambda logits, _: logits.mean(),
        train_handlers=[average],
        decollate=False,
        **settings,
    )
    if before is not None:
        trainer.add_event_handler(Events.STARTED, before)
    trainer.run()
    return trainer


def test_the_average_follows_by_the_decay_and_faster_at_first() -> None:
    slow, fast = ExponentialAverage(Weight(), 0.999), ExponentialAverage(Weight(), 0.05)
    train(slow)
    train(fast)
    # Weights are -1, -2, -3. Of the step before is left: nothing, 1/10, 2/11; never more than the decay.
    expected = 2 / 11 * -1.9 + 9 / 11 * -3
    assert float(slow.network.weight) == pytest.approx(expected)
    assert float(fast.network.weight) == pytest.approx(0.05 * (0.05 * -1 + 0.95 * -2) + 0.95 * -3)
    assert slow.steps == 3


def test_statistics_are_averaged_and_counters_are_copied() -> None:
    average = ExponentialAverage(Weight())
    train(average)
    assert float(average.network.mean) == pytest.approx(2 / 11 * 19 + 9 / 11 * 30)
    assert int(average.network.seen) == 3
    assert not average.network.training
    assert torch.equal(average.source.weight, torch.tensor(-3.0))


def test_it_begins_where_the_network_begins_and_leaves_that_behind() -> None:
    average = ExponentialAverage(Weight(), 0.999)
    at_first: list[float] = []

    def load(trainer: AdversarialTrainer) -> None:
        trainer.network.weight.data.fill_(100)
        trainer.add_event_handler(
            Events.ITERATION_STARTED(once=1), lambda _: at_first.append(float(average.network.weight))
        )

    train(average, before=load)
    assert at_first == [100]
    assert float(average.network.weight) == pytest.approx(2 / 11 * (0.1 * 99 + 0.9 * 98) + 9 / 11 * 97)


def test_iterations_of_the_critic_alone_do_not_count() -> None:
    average = ExponentialAverage(Weight())
    critic = PatchCritic(2, 1, scope="pixel", width=2)
    train(
        average,
        critic=critic,
        critic_optimizer=torch.optim.SGD(critic.parameters(), lr=0.1),
        objective=NonSaturating(0),
        schedule=Alternating(critic_steps=2),
    )
    assert average.steps == 1
    assert float(average.network.weight) == pytest.approx(-1)


def test_a_step_that_a_scaler_leaves_out_does_not_count() -> None:
    average = ExponentialAverage(Weight())
    average.source.weight.register_hook(lambda gradient: gradient * torch.inf)
    train(average, amp=True, amp_dtype="float16")
    assert average.steps == 0


def test_it_follows_once_for_each_step_however_often_it_is_started() -> None:
    average = ExponentialAverage(Weight())
    trainer = train(average)
    trainer.state.max_epochs = 2
    trainer.run()
    assert average.steps == 6


def test_a_decay_out_of_its_range_is_refused() -> None:
    for decay in (1, -0.1):
        with pytest.raises(ValueError, match="decay must be at least 0 and less than 1"):
            ExponentialAverage(Weight(), decay)


# --- as a part of a whole run


class KilledError(Exception):
    pass


def cases(n: int) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(n, 1, 12, 12, generator=generator)
    return [{"image": image, "label": (image > 0.5).float()} for image in images]


def run(
    output: Path,
    *,
    disturb: Callable[[AdversarialTrainer, ExponentialAverage], object] | None = None,
    averaged: bool = True,
) -> tuple[AdversarialTrainer, ExponentialAverage]:
    """Four epochs with an average that is evaluated and kept, and the health of the game."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))
    critic = PatchCritic(2, 1, scope="pixel", width=2)
    average = ExponentialAverage(network, 0.9)
    discrete = AsDiscreted(keys="pred", threshold=0.0)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(cases(2)), batch_size=1),
        network=average.network,
        postprocessing=discrete,
        key_val_metric={"dice": Overlap("dice")},
    )
    standard = standard_handlers(
        evaluator=evaluator,
        network=average.network,
        output_dir=output,
        preview_cases=0,
        others={"average": average} if averaged else {},
    )
    trainer = AdversarialTrainer(
        "cpu",
        4,
        SeededLoader(Dataset(cases(6)), batch_size=2),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=0.05),
        loss_function=DiceLoss(sigmoid=True),
        critic=critic,
        critic_optimizer=torch.optim.Adam(critic.parameters(), lr=0.05),
        objective=NonSaturating(0.1),
        train_handlers=[GameHealth(every=2), average, standard],
    )
    if disturb is not None:
        disturb(trainer, average)
    trainer.run()
    return trainer, average


def killed(trainer: AdversarialTrainer, _: object) -> None:
    def kill(engine: AdversarialTrainer) -> None:
        if engine.state.iteration == 8:
            raise KilledError

    trainer.add_event_handler(Events.ITERATION_COMPLETED, kill)


def stopped(trainer: AdversarialTrainer, _: object) -> None:
    def stop(engine: AdversarialTrainer) -> None:
        if engine.state.iteration == 7:
            signal.raise_signal(signal.SIGTERM)

    trainer.add_event_handler(IterationEvents.FORWARD_COMPLETED, stop)


def rows(output: Path) -> list[dict[str, str]]:
    table = csv.DictReader((output / "history.csv").read_text().splitlines())
    return [{**row, "seconds": ""} for row in table]


@pytest.mark.parametrize(("disturb", "end"), [(killed, KilledError), (stopped, SystemExit)])
def test_a_run_that_goes_on_has_the_average_and_the_health_of_one_that_was_not_disturbed(
    tmp_path: Path, disturb: Callable[..., None], end: type[BaseException]
) -> None:
    whole, first = run(tmp_path / "whole")
    with pytest.raises(end):
        run(tmp_path / "disturbed", disturb=disturb)
    again, second = run(tmp_path / "disturbed")
    for a, b in ((first.network, second.network), (whole.network, again.network)):
        assert all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())
    assert first.steps == second.steps == 12
    assert rows(tmp_path / "whole") == rows(tmp_path / "disturbed")
    assert all(row["game/adversarial_share"] for row in rows(tmp_path / "whole"))


def test_the_average_is_what_is_validated_and_kept(tmp_path: Path) -> None:
    kept: dict[str, dict[str, Tensor]] = {}

    def keep(trainer: AdversarialTrainer, average: ExponentialAverage) -> None:
        for name, module in (("raw", trainer.network), ("average", average.network)):
            kept[f"{name} {trainer.state.epoch}"] = {k: v.clone() for k, v in module.state_dict().items()}

    run(
        tmp_path,
        disturb=lambda trainer, average: trainer.add_event_handler(Events.EPOCH_COMPLETED, keep, average),
    )
    dice = [float(row["validation/dice"]) for row in rows(tmp_path)]
    best = 1 + dice.index(max(dice))
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    assert all(torch.equal(value, kept[f"average {best}"][name]) for name, value in saved.items())
    assert not all(torch.equal(value, kept[f"raw {best}"][name]) for name, value in saved.items())


def test_a_checkpoint_without_the_average_is_refused(tmp_path: Path) -> None:
    run(tmp_path, averaged=False)
    with pytest.raises(CheckpointError, match="holds no average"):
        run(tmp_path)
