"""Everything that a run needs to go on, in one file that is always whole.

MONAI's ``CheckpointSaver`` deletes the old file before it writes the new one; a kill in between leaves
nothing. Here the old file stands until the new one is on the disk and has been read back.
"""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
from ignite.engine import Engine, Events

from segadv_monai.layers import unwrapped
from segadv_monai.protocols import CheckpointError

from .gradients import between_steps
from .state_file import read_state, write_state
from .weights import load_weights

__all__ = ["Checkpoint"]

_LOG = logging.getLogger("segadv_monai")
_FORMAT = 2
_NETWORKS = ("network", "critic")
_STATEFUL = ("optimizer", "critic_optimizer", "scaler", "critic_scaler")
_KINDS = ("network", "critic", "objective", "loss_function", "optimizer", "critic_optimizer")


class _Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Checkpoint:
    """Save the players of a trainer, and go on from there when the run is started again.

    Saved are networks, optimisers and scalers of the engine, where it stands, and whatever else is named.
    What is a function of the seed, the epoch and the iteration (random choices, learning rates, steepness) is
    computed anew. It is saved after every epoch; inside one after ``minutes``, or when somebody calls
    :meth:`save_inside_epoch`, where the loader can ``skip`` what was trained and there is one process.

    Attach it behind all other handlers.

    Args:
        path: the file; the one before it is kept beside it as ``previous.safetensors``.
        others: further objects with a state of tensors and plain values, by name.
        settings: plain values that must not change between two starts of one run, by their names.
        resume: ``auto`` goes on from a checkpoint that is there, ``never`` refuses to start beside one.
        minutes: longest time without a checkpoint.

    Attributes:
        engine: the trainer.

    Raises:
        ValueError: ``resume`` is neither of the two.
        CheckpointError: when the run starts: no file is whole, it is of another run, or must not be there.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        others: Mapping[str, _Stateful] | None = None,
        settings: Mapping[str, Any] | None = None,
        resume: str = "auto",
        minutes: float = 10.0,
    ) -> None:
        if resume not in ("auto", "never"):
            raise ValueError(f"resume must be auto or never, got {resume!r}.")
        self.path = Path(path)
        self.previous = self.path.with_name("previous.safetensors")
        self.others = dict(others or {})
        self.settings = dict(settings or {})
        self.resume = resume
        self.minutes = minutes
        self.engine: Engine | None = None
        self._saved_at = 0.0
        self._inside: dict[str, Any] | None = None

    def attach(self, engine: Engine) -> None:
        """Load at the start if a file is there; save after every epoch, behind the handlers before it."""
        self.engine = engine
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.EPOCH_STARTED, self._restore_inside)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._save_after_minutes)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def load(self, engine: Engine) -> None:
        """Put the engine where the newest whole file says it was; without a file the run begins."""
        self._saved_at = time.monotonic()
        saved = self._newest()
        if saved is None:
            return
        self._check(engine, saved)
        for name, network in _present(engine, _NETWORKS).items():
            load_weights(unwrapped(network), saved[name], self.path)
        for name, part in {**_present(engine, _STATEFUL), **self.others}.items():
            part.load_state_dict(saved[name])
        length = engine.state.epoch_length or 1
        done, inside = saved["epoch"], saved["iteration"] - saved["epoch"] * saved["epoch_length"]
        engine.state.epoch, engine.state.iteration = done, done * length + inside
        if inside == saved["epoch_length"]:
            # All batches of the epoch are trained, and it was left before its end was.
            engine.state.epoch += 1
            engine.fire_event(Events.EPOCH_COMPLETED)
        elif inside:
            engine.state.dataloader.skip(inside)  # type: ignore[union-attr]
            self._inside = saved
        if idist.get_rank() == 0:
            self._tell(engine, inside)

    def save(self, engine: Engine) -> None:
        """Write the file; one process of a distributed run does it."""
        self._write(engine, engine.state.epoch)

    def save_inside_epoch(self) -> bool:
        """Write the file in the middle of an epoch, where that is possible.

        Returns:
            whether it was written; if not, the run can go on from the end of the epoch before.
        """
        engine = self.engine
        if engine is None or idist.get_world_size() > 1 or not hasattr(engine.state.dataloader, "skip"):
            return False
        self._write(engine, engine.state.epoch - 1)
        return True

    @idist.one_rank_only()
    def _write(self, engine: Engine, epochs_done: int) -> None:
        state: dict[str, Any] = {
            "format": _FORMAT,
            "epoch": epochs_done,
            "iteration": engine.state.iteration,
            "epoch_length": engine.state.epoch_length,
            "kinds": _kinds(engine),
            "settings": self.settings,
        }
        for name, network in _present(engine, _NETWORKS).items():
            state[name] = unwrapped(network).state_dict()
        for name, part in {**_present(engine, _STATEFUL), **self.others}.items():
            state[name] = part.state_dict()
        try:
            write_state(self.path, state, previous=self.previous)
        except OSError as error:
            raise CheckpointError(
                f"{self.path} cannot be written ({error.strerror or error}): the one before it stands; make "
                "room or mend the folder, and the same command goes on from there."
            ) from error
        self._saved_at = time.monotonic()

    def _save_after_minutes(self, engine: Engine) -> None:
        ends_epoch = engine.state.iteration % (engine.state.epoch_length or 1) == 0
        is_time = time.monotonic() - self._saved_at > 60 * self.minutes
        if is_time and not ends_epoch and between_steps(engine):
            self.save_inside_epoch()

    def _restore_inside(self, _: Engine) -> None:
        """Once more, because metrics and histories forget what they have when an epoch starts."""
        if self._inside is not None:
            for name, part in self.others.items():
                part.load_state_dict(self._inside[name])
            self._inside = None

    def _newest(self) -> dict[str, Any] | None:
        files = [path for path in (self.path, self.previous) if path.is_file()]
        if files and self.resume == "never":
            raise CheckpointError(
                f"{files[0]} is of a run that can go on, but --resume is never: choose another --output_dir, "
                "or remove the file."
            )
        faults = []
        for path in files:
            try:
                state = read_state(path)
            except CheckpointError as error:
                faults.append(str(error))
                continue
            if faults:
                _LOG.warning("%s The one before it is whole: %s", faults[0], path)
            elif path == self.previous:
                _LOG.warning("%s is not there, but the one before it is: %s", self.path.name, path)
            return state
        if faults:
            raise CheckpointError(f"{' '.join(faults)} Remove what is damaged, or choose another folder.")
        return None

    def _check(self, engine: Engine, saved: dict[str, Any]) -> None:
        remedy = "choose another --output_dir, or remove the file to start anew."
        if saved.get("format") != _FORMAT:
            raise CheckpointError(f"{self.path} was written by another version: {remedy}")
        for name, here in {**_kinds(engine), **self.settings}.items():
            before = {**saved["kinds"], **saved["settings"]}.get(name, here)
            if before != here:
                raise CheckpointError(
                    f"{self.path} is of a run with {name} {_said(before)}, this one has {_said(here)}: "
                    f"{remedy}"
                )
        missing = [name for name in self.others if name not in saved]
        if missing:
            raise CheckpointError(f"{self.path} holds no {', '.join(missing)}: {remedy}")
        inside = saved["iteration"] - saved["epoch"] * saved["epoch_length"]
        if inside and saved["epoch_length"] != engine.state.epoch_length:
            raise CheckpointError(
                f"{self.path} was left inside an epoch of {saved['epoch_length']} batches, and an epoch has "
                f"{engine.state.epoch_length} now: give the batch size of before, or {remedy}"
            )

    def _tell(self, engine: Engine, inside: int) -> None:
        epoch, epochs = engine.state.epoch, engine.state.max_epochs or 0
        if epoch >= epochs:
            _LOG.info(
                "%s: all of %s epochs are done; to go on raise --epochs, to start anew choose another "
                "--output_dir.",
                *(self.path, epoch),
            )
        else:
            more = "" if self._inside is None else f" and {inside} batches"
            _LOG.info("going on from %s, after epoch %s%s", self.path, epoch, more)


def _kinds(engine: Engine) -> dict[str, str | None]:
    """The classes of what plays: another game with tensors of the same shapes is another run."""
    found = {}
    for name in _KINDS:
        part = getattr(engine, name, None)
        kind = type(unwrapped(part) if name in _NETWORKS and part is not None else part)
        found[name] = None if part is None else f"{kind.__module__}.{kind.__qualname__}"
    return found


def _said(value: Any) -> str:
    return "none" if value is None else str(value)


def _present(engine: Engine, names: tuple[str, ...]) -> dict[str, Any]:
    found = {name: getattr(engine, name, None) for name in names}
    return {name: part for name, part in found.items() if part is not None}
