"""What changes from epoch to epoch, always as a function of the epoch alone.

None of these has a state: a run that goes on, or goes on for longer than it was meant to, computes the same
values as one that was never interrupted.
"""

import math
import random
from collections.abc import Sequence
from typing import Any, Protocol

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from torch.optim import Optimizer

__all__ = ["CosineDecay", "ScaledLogisticSchedule", "Seeding", "StepDecay"]


class _Steep(Protocol):
    k: float


class CosineDecay:
    """Learning rate from its initial value to nearly zero in the last epoch, along half a cosine.

    Args:
        optimizer: whose learning rates to set; the values it has now are the initial ones.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.rates = _LearningRates(optimizer)

    def attach(self, engine: Engine) -> None:
        """Set the learning rates at the start of every epoch."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        done = (engine.state.epoch - 1) / max(1, engine.state.max_epochs or 1)
        self.rates.scale((1 + math.cos(math.pi * done)) / 2)


class StepDecay:
    """Learning rate multiplied by a factor at regular intervals, or behind given epochs.

    Args:
        optimizer: whose learning rates to set; the values it has now are the initial ones.
        factor: of each step, greater than 0.
        every: epochs between steps, or the numbers of the epochs behind which there is one.

    Raises:
        ValueError: ``factor`` or ``every`` is not greater than 0.
    """

    def __init__(self, optimizer: Optimizer, factor: float = 0.5, every: int | Sequence[int] = 25) -> None:
        if not (factor > 0 and all(number > 0 for number in ([every] if isinstance(every, int) else every))):
            raise ValueError(f"factor and every must be greater than 0, got {factor} and {every}.")
        self.rates = _LearningRates(optimizer)
        self.factor = factor
        self.every = every

    def attach(self, engine: Engine) -> None:
        """Set the learning rates at the start of every epoch."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        done = engine.state.epoch - 1
        every = self.every
        steps = done // every if isinstance(every, int) else sum(done >= number for number in every)
        self.rates.scale(self.factor**steps)


class ScaledLogisticSchedule:
    """Sharpen the scaled logistic: k from its first value, times a factor at intervals, down to a minimum.

    Args:
        activation: whatever has the steepness ``k``; its value now is the first one.
        factor: of each step; 0.9 in the paper of SegAN.
        every: epochs between steps; 25 in the paper.
        minimum: smallest ``k``; 0.3 in the paper.

    Raises:
        ValueError: ``factor``, ``every`` or ``minimum`` is not greater than 0.
    """

    def __init__(
        self, activation: _Steep, *, factor: float = 0.9, every: int = 25, minimum: float = 0.3
    ) -> None:
        if not (factor > 0 and every > 0 and minimum > 0):
            raise ValueError(
                f"factor, every and minimum must be greater than 0, got {factor}, {every} and {minimum}."
            )
        self.activation = activation
        self.first = activation.k
        self.factor = factor
        self.every = every
        self.minimum = minimum

    def attach(self, engine: Engine) -> None:
        """Set the steepness at the start of every epoch."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        steps = (engine.state.epoch - 1) // self.every
        self.activation.k = max(self.minimum, self.first * self.factor**steps)


class Seeding:
    """Seed every random choice from the number of its epoch or iteration, in place of saved generator states.

    Before each iteration python, numpy and torch on every device are seeded, before each epoch the order of
    the cases and the random transforms. A loader that draws from the global state (torch's own) is the same
    from epoch to epoch; only :class:`segadv_monai.data.SeededLoader` is from batch to batch, too.

    Args:
        seed: of the run; every process of a distributed run adds its rank.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        """Seed at the start of every epoch, before the first batch is drawn, and of every iteration."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._seed_epoch)
        engine.add_event_handler(Events.ITERATION_STARTED, self._seed_iteration)

    def _seed_epoch(self, engine: Engine) -> None:
        seed = self._seed_everything(engine.state.epoch, 0)
        loader: Any = engine.state.dataloader
        transform: Any = getattr(getattr(loader, "dataset", None), "transform", None)
        if hasattr(transform, "set_random_state"):
            transform.set_random_state(seed)
        if hasattr(getattr(loader, "sampler", None), "set_epoch"):
            loader.sampler.set_epoch(engine.state.epoch)

    def _seed_iteration(self, engine: Engine) -> None:
        self._seed_everything(engine.state.epoch, engine.state.iteration)

    def _seed_everything(self, epoch: int, iteration: int) -> int:
        entropy = (self.seed, epoch, iteration, idist.get_rank())
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  # MONAI's transforms and loaders draw from the global state
        torch.manual_seed(seed)
        return seed


class _LearningRates:
    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.initial = [group["lr"] for group in optimizer.param_groups]

    def scale(self, factor: float) -> None:
        for group, initial in zip(self.optimizer.param_groups, self.initial, strict=True):
            group["lr"] = initial * factor
