"""The best network of a run, in the two forms in which it is handed on."""

import io
import math
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from safetensors.torch import save
from torch import nn

from segadv_monai.data import atomic_write
from segadv_monai.layers import unwrapped

__all__ = ["BestModel"]


class BestModel:
    """Write ``model.pt`` (bare state dict) and ``model.safetensors`` whenever the key metric improves.

    Args:
        network: the network.
        directory: where to write.

    Attributes:
        value: best value of the evaluator's key metric, None before the first; ``nan`` never is the best.
        epoch: the epoch of that value.
    """

    def __init__(self, network: nn.Module, directory: str | Path) -> None:
        self.network = network
        self.directory = Path(directory)
        self.value: float | None = None
        self.epoch = 0

    def attach(self, engine: Engine) -> None:
        """React to the end of each run of an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        value = float(engine.state.metrics[engine.state.key_metric_name])  # type: ignore[attr-defined]
        if math.isnan(value) or (self.value is not None and value <= self.value):
            return
        self.value, self.epoch = value, engine.state.epoch
        self._write()

    @idist.one_rank_only()
    def _write(self) -> None:
        weights = unwrapped(self.network).state_dict()
        # As bytes, so that both get the permissions of their neighbours and a full disk is an OSError.
        buffer = io.BytesIO()
        torch.save(weights, buffer)
        plain = save({name: tensor.cpu().contiguous() for name, tensor in weights.items()})
        for name, content in (("model.pt", buffer.getvalue()), ("model.safetensors", plain)):
            with atomic_write(self.directory / name) as draft:
                draft.write_bytes(content)

    def state_dict(self) -> dict[str, Any]:
        """Best value and its epoch."""
        return {"value": self.value, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave.

        Args:
            state: best value and its epoch.
        """
        self.value, self.epoch = state["value"], state["epoch"]
