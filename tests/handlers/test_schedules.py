"""Learning rates, steepness and seeds as functions of the epoch alone."""

import random

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, RandShiftIntensity
from torch import nn

from segadv_monai.handlers import CosineDecay, ScaledLogisticSchedule, Seeding, StepDecay
from segadv_monai.layers import ScaledLogistic


def optimizer(lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=lr)


def engine_at(epoch: int, epochs: int) -> Engine:
    engine = Engine(lambda *_: None)
    engine.state.epoch, engine.state.max_epochs = epoch, epochs
    return engine


@pytest.mark.parametrize(("epoch", "factor"), [(1, 1.0), (3, 0.5), (4, (1 - 2**-0.5) / 2)])
def test_the_cosine_starts_at_one_and_nears_zero(epoch: int, factor: float) -> None:
    opt = optimizer()
    CosineDecay(opt)(engine_at(epoch, 4))
    assert opt.param_groups[0]["lr"] == pytest.approx(0.1 * factor)


@pytest.mark.parametrize(("epoch", "factor"), [(1, 1), (25, 1), (26, 0.5), (50, 0.5), (51, 0.25)])
def test_the_release_halves_after_25_epochs(epoch: int, factor: float) -> None:
    opt = optimizer()
    StepDecay(opt)(engine_at(epoch, 200))
    assert opt.param_groups[0]["lr"] == pytest.approx(0.1 * factor)


@pytest.mark.parametrize(
    ("epoch", "steps"), [(1, 0), (250, 0), (251, 1), (401, 2), (550, 2), (551, 3), (999, 3)]
)
def test_the_steps_may_come_behind_given_epochs(epoch: int, steps: int) -> None:
    opt = optimizer()
    StepDecay(opt, 0.2, [250, 400, 550])(engine_at(epoch, 1000))
    assert opt.param_groups[0]["lr"] == pytest.approx(0.1 * 0.2**steps)


def test_a_run_made_longer_gets_the_rates_of_the_longer_run() -> None:
    opt = optimizer()
    decay = CosineDecay(opt)
    decay(engine_at(4, 4))
    decay(engine_at(5, 8))
    assert opt.param_groups[0]["lr"] == pytest.approx(0.05)


@pytest.mark.parametrize(("epoch", "k"), [(1, 1.0), (25, 1.0), (26, 0.9), (51, 0.81), (1000, 0.3)])
def test_the_logistic_sharpens_down_to_its_minimum(epoch: int, k: float) -> None:
    activation = ScaledLogistic()
    ScaledLogisticSchedule(activation)(engine_at(epoch, 1000))
    assert activation.k == pytest.approx(k)


def drawn(epochs: range, seed: int) -> dict[int, list[float]]:
    """What every source of chance gives in some epochs of a fresh run."""
    data = [torch.full((1, 1), float(i)) for i in range(8)]
    shift = Compose([RandShiftIntensity(offsets=0.4, prob=1.0)])
    loader = DataLoader(Dataset(data, shift), batch_size=2, shuffle=True)
    values: dict[int, list[float]] = {}

    def step(engine: Engine, batch: torch.Tensor) -> None:
        numbers = [*batch.flatten().tolist(), random.random(), np.random.rand(), float(torch.rand(()))]  # noqa: NPY002
        values.setdefault(engine.state.epoch, []).extend(numbers)

    engine = Engine(step)
    Seeding(seed).attach(engine)

    def start(engine: Engine) -> None:
        engine.state.epoch = epochs.start - 1
        engine.state.iteration = engine.state.epoch * len(loader)

    engine.add_event_handler(Events.STARTED, start)
    engine.run(loader, max_epochs=epochs.stop - 1)
    return values


def test_an_epoch_draws_the_same_whether_or_not_others_came_before() -> None:
    whole, tail = drawn(range(1, 4), seed=3), drawn(range(3, 4), seed=3)
    assert whole[3] == tail[3]


def test_epochs_and_seeds_draw_differently() -> None:
    values = drawn(range(1, 3), seed=3)
    assert values[1] != values[2]
    assert values[1] != drawn(range(1, 2), seed=4)[1]


def test_steps_behind_no_epoch_are_refused() -> None:
    with pytest.raises(ValueError, match=r"greater than 0, got 0.5 and \[0, 4\]"):
        StepDecay(optimizer(), every=[0, 4])


@pytest.mark.parametrize("wrong", [{"factor": 0}, {"every": 0}])
def test_a_schedule_refuses_what_is_not_positive(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        StepDecay(optimizer(), **wrong)
    with pytest.raises(ValueError, match="greater than 0"):
        ScaledLogisticSchedule(ScaledLogistic(), **wrong)
