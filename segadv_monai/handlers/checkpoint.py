"""Everything that a run needs to go on, in one file that is always whole.

MONAI's ``CheckpointSaver`` deletes the old file before it writes the new one; a kill in between leaves
nothing. Here the old file stands until the new one is on the disk.
"""

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from segadv_monai.data import atomic_write
from segadv_monai.protocols import CheckpointError

__all__ = ["Checkpoint", "LoadModel", "load_weights", "unwrapped"]

_LOG = logging.getLogger("segadv_monai")
_FORMAT = 1
_NETWORKS = ("network", "critic")
_OPTIMIZERS = ("optimizer", "critic_optimizer")
_SCALERS = ("scaler", "critic_scaler")


class _Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Checkpoint:
    """Save the players of a trainer after every epoch, and go on from there when the run is started again.

    Saved are the networks, optimisers and scalers of the engine, the epoch, and whatever else is named. What
    depends on the epoch alone (learning rates, seeds, steepness) is computed anew, not saved.

    Args:
        path: the file.
        others: further objects with a state of tensors and plain values, by name.
        settings: plain values that must not change between two starts of one run, by their names.

    Raises:
        CheckpointError: when the run starts: the file is damaged, of another network or of other settings.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        others: Mapping[str, _Stateful] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.others = dict(others or {})
        self.settings = dict(settings or {})

    def attach(self, engine: Engine) -> None:
        """Load at the start if the file is there; save after every epoch, behind the handlers before it."""
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def load(self, engine: Engine) -> None:
        """Put the engine where the file says it was; without a file the run starts at its beginning."""
        if not self.path.is_file():
            return
        saved = _read(self.path)
        self._check(engine, saved)
        for name, network in _present(engine, _NETWORKS).items():
            load_weights(unwrapped(network), saved[name], self.path)
        for name, part in {**_present(engine, _OPTIMIZERS + _SCALERS), **self.others}.items():
            part.load_state_dict(saved[name])
        engine.state.epoch = saved["epoch"]
        engine.state.iteration = saved["epoch"] * (engine.state.epoch_length or 0)
        if engine.state.epoch >= (engine.state.max_epochs or 0):
            _LOG.info(
                "%s: all of %s epochs are done; to go on raise --epochs, to start anew choose another "
                "--output_dir.",
                *(self.path, saved["epoch"]),
            )
        else:
            _LOG.info("going on from %s, after epoch %s", self.path, saved["epoch"])

    @idist.one_rank_only()
    def save(self, engine: Engine) -> None:
        """Write the file; one process of a distributed run does it."""
        state: dict[str, Any] = {"format": _FORMAT, "epoch": engine.state.epoch, "settings": self.settings}
        for name, network in _present(engine, _NETWORKS).items():
            state[name] = unwrapped(network).state_dict()
        for name, part in {**_present(engine, _OPTIMIZERS + _SCALERS), **self.others}.items():
            state[name] = part.state_dict()
        with atomic_write(self.path) as draft:
            torch.save(state, draft)

    def _check(self, engine: Engine, saved: dict[str, Any]) -> None:
        remedy = "choose another --output_dir, or remove the file to start anew."
        if saved.get("format") != _FORMAT:
            raise CheckpointError(f"{self.path} was written by another version: {remedy}")
        has_critic = "critic" in _present(engine, _NETWORKS)
        if has_critic != ("critic" in saved):
            one, other = ("without", "with one") if has_critic else ("with", "without one")
            raise CheckpointError(f"{self.path} is of a run {one} a critic, this is {other}: {remedy}")
        for name, value in self.settings.items():
            before = saved["settings"].get(name, value)
            if before != value:
                raise CheckpointError(
                    f"{self.path} is of a run with {name} {before}, this one has {value}: {remedy}"
                )


class LoadModel:
    """Load the bare weights of a trained network when an engine starts.

    Args:
        network: what to load them into.
        path: a state dict as a training run leaves it in ``model.pt``.

    Raises:
        CheckpointError: when the engine starts: the file is missing, damaged or of another network.
    """

    def __init__(self, network: nn.Module, path: str | Path) -> None:
        self.network = network
        self.path = Path(path)

    def attach(self, engine: Engine) -> None:
        """Load at the start."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:  # noqa: ARG002  # the signature of a handler
        if not self.path.is_file():
            raise CheckpointError(
                f"{self.path}: there is no trained model; train one, or set --ckpt_dir to the folder of a "
                "model.pt."
            )
        load_weights(unwrapped(self.network), _read(self.path), self.path)


def load_weights(network: nn.Module, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Load all weights or none.

    Args:
        network: what to load them into.
        weights: tensors by their names in the network.
        path: where they come from, for the message.

    Raises:
        CheckpointError: they are of another network; the first difference is named.
    """
    wanted = network.state_dict()
    for name in [*wanted, *weights]:
        here = tuple(wanted[name].shape) if name in wanted else "nothing"
        there = tuple(getattr(weights.get(name), "shape", ())) if name in weights else "nothing"
        if here != there:
            raise CheckpointError(
                f"{path} is of another network: {name} is {there} in it and {here} here; set the "
                "network_def that it was trained with, or choose another folder."
            )
    network.load_state_dict(weights)


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside its wrapper for several processes, if it has one.

    Args:
        module: a module that may be wrapped.
    """
    return module.module if isinstance(module, DistributedDataParallel) else module


def _read(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path} is damaged or no checkpoint of this program ({type(error).__name__}): remove it or "
            "choose another folder."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, no weights: choose another file.")
    return content


def _present(engine: Engine, names: tuple[str, ...]) -> dict[str, Any]:
    found = {name: getattr(engine, name, None) for name in names}
    return {name: part for name, part in found.items() if part is not None}
