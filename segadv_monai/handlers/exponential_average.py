"""An average of the segmentor's weights over its steps (Polyak and Juditsky, 1992), exponential in its tail.

In an adversarial game it takes away the circling of the two players (arXiv 1806.04498, ICLR 2019).
"""

import copy
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from segadv_monai.layers import unwrapped

__all__ = ["ExponentialAverage"]

# Step n counts with 9 / (n + 9) as long as that is more: the average then spans about the last tenth.
_RAMP = 9


class ExponentialAverage:
    """Keep a copy of the segmentor that follows it slowly, one pace for each step of its optimiser.

    To have the average evaluated and kept in place of the weights themselves, give ``average.network`` to the
    evaluator and to :func:`standard_handlers`, and ``others={"average": average}`` to the latter, so that it
    survives a stop. The checkpoint holds both networks. Running statistics are averaged like weights,
    counters are copied.

    Args:
        network: the segmentor.
        decay: what is left of the average at each step, 0 or more and less than 1; less in the first steps,
            so that the initial weights leave no trace.

    Attributes:
        network: the average, a network of its own on the same device.
        steps: how many it has followed.

    Raises:
        ValueError: ``decay`` is out of its range.
    """

    def __init__(self, network: nn.Module, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and less than 1, got {decay}.")
        self.source = unwrapped(network)
        self.decay = decay
        self.network = copy.deepcopy(self.source).eval().requires_grad_(requires_grad=False)
        self.steps = 0
        self._hook: RemovableHandle | None = None

    def attach(self, engine: Engine) -> None:
        """Follow the steps of a trainer's optimiser: not the critic's, and none that is left out."""
        engine.add_event_handler(Events.STARTED, self._listen)
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)

    def _listen(self, engine: Engine) -> None:
        if self._hook is not None:
            self._hook.remove()
        optimizer: torch.optim.Optimizer = engine.optimizer  # type: ignore[attr-defined]
        self._hook = optimizer.register_step_post_hook(self._follow)

    def _begin(self, _: Engine) -> None:
        """What another handler has loaded into the network at the start is where the average begins."""
        if self.steps == 0:
            self._move(0.0)

    def _follow(self, *_: object) -> None:
        self._move(min(self.decay, self.steps / (self.steps + _RAMP)))
        self.steps += 1

    @torch.no_grad()
    def _move(self, decay: float) -> None:
        now: dict[str, Tensor] = self.source.state_dict()
        for name, average in self.network.state_dict().items():
            if decay and average.is_floating_point():
                average.lerp_(now[name], 1 - decay)
            else:
                average.copy_(now[name])

    def state_dict(self) -> dict[str, Any]:
        """The average and its number of steps."""
        return {"network": self.network.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave.

        Args:
            state: the average and its number of steps.
        """
        self.network.load_state_dict(state["network"])
        self.steps = state["steps"]
