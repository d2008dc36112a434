"""Training of a segmentor together with a critic, as one ignite engine.

Built on MONAI's supervised trainer, so that whatever drives one of those (a bundle, MONAI Label, federated
learning) drives this. Without a critic it is exactly that: the baseline twin is the same engine.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from ignite.metrics import Metric
from monai.engines import SupervisedTrainer, Workflow
from monai.engines.utils import IterationEvents, default_metric_cmp_fn
from monai.inferers import Inferer
from monai.utils.enums import CommonKeys
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from segadv_monai.handlers import CriticEvents, unwrapped
from segadv_monai.protocols import Objective, Play

__all__ = ["AdversarialTrainer"]


class AdversarialTrainer(SupervisedTrainer):
    """One segmentor forward pass per iteration, shared by the critic's turn and the segmentor's.

    The critic moves first. In the segmentor's turn it is frozen, so that only its input gradient is computed.
    After each iteration ``state.losses`` and ``state.output`` hold ``loss`` (what the segmentor minimised)
    and every term as ``segmentor/<term>`` and ``critic/<term>``, detached.

    Args:
        device: where to run.
        max_epochs: epochs to train.
        train_data_loader: batches of dictionaries with ``image`` and ``label``; the label has one map per
            output channel of the network.
        network: the segmentor.
        optimizer: the segmentor's optimiser.
        loss_function: supervised loss of logits and target, term ``segmentor/supervised``; None for a purely
            adversarial game.
        critic: the critic; None trains without one.
        critic_optimizer: the critic's optimiser; needed with a critic.
        objective: the game; needed with a critic.
        inferer: how the network sees the image; the plain forward pass by default.
        postprocessing: transform of the decollated output.
        key_train_metric: the metric of the training batches, by its name.
        additional_metrics: more of them.
        metric_cmp_fn: whether the first of two values of the key metric is the better one.
        train_handlers: what reacts to the engine's events.
        epoch_length: iterations per epoch; the loader's length by default.
        amp: autocast on the device's type, one scaler per player for float16.
        amp_dtype: the autocast type, ``bfloat16`` or ``float16``.
        channels_last: memory format of both networks and of the images.
        decollate: split the output into cases after each iteration, as post-processing and metrics need.

    Raises:
        ValueError: critic, critic_optimizer and objective are not given together; there is neither an
            objective nor a loss function; ``amp_dtype`` is not one of the two.
    """

    scaler: torch.amp.GradScaler  # type: ignore[assignment]  # MONAI's is for CUDA alone
    critic_scaler: torch.amp.GradScaler

    def __init__(
        self,
        device: str | torch.device,
        max_epochs: int,
        train_data_loader: Iterable[Any] | DataLoader[Any],
        *,
        network: nn.Module,
        optimizer: Optimizer,
        loss_function: Callable[[Tensor, Tensor], Tensor] | None = None,
        critic: nn.Module | None = None,
        critic_optimizer: Optimizer | None = None,
        objective: Objective | None = None,
        inferer: Inferer | None = None,
        postprocessing: Callable[[Any], Any] | None = None,
        key_train_metric: dict[str, Metric] | None = None,
        additional_metrics: dict[str, Metric] | None = None,
        metric_cmp_fn: Callable[[float, float], bool] = default_metric_cmp_fn,
        train_handlers: Sequence[Any] | None = None,
        epoch_length: int | None = None,
        amp: bool = False,
        amp_dtype: str = "bfloat16",
        channels_last: bool = False,
        decollate: bool = True,
    ) -> None:
        _check_players(critic, critic_optimizer, objective, loss_function)
        if amp_dtype not in ("bfloat16", "float16"):
            raise ValueError(f"amp_dtype must be bfloat16 or float16, got {amp_dtype}.")
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            network=network,
            optimizer=optimizer,
            loss_function=loss_function,  # type: ignore[arg-type]  # None: a purely adversarial game
            epoch_length=epoch_length,
            inferer=inferer,
            postprocessing=postprocessing,  # type: ignore[arg-type]  # any callable will do
            key_train_metric=key_train_metric,
            additional_metrics=additional_metrics,
            metric_cmp_fn=metric_cmp_fn,
            train_handlers=train_handlers,
            amp=amp,
            event_names=[CriticEvents],
            decollate=decollate,
            optim_set_to_none=True,
        )
        self.critic = critic
        self.critic_optimizer = critic_optimizer
        self.objective = objective
        self.amp_dtype = getattr(torch, amp_dtype)
        scaled = amp and self.amp_dtype is torch.float16
        self.scaler = torch.amp.GradScaler(self.state.device.type, enabled=scaled)
        self.critic_scaler = torch.amp.GradScaler(self.state.device.type, enabled=scaled)
        self.channels_last = channels_last
        for player in (network, critic):
            if channels_last and player is not None:
                _to_channels_last(player)

    def run(self) -> None:  # type: ignore[override]  # as MONAI's workflows, which hold their loader
        """Train to ``max_epochs``, from where the state stands."""
        # MONAI's Trainer.run would replace the scaler by one for CUDA alone.
        Workflow.run(self)

    def _iteration(self, engine: SupervisedTrainer, batchdata: dict[str, Tensor]) -> Any:
        image, target = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking)
        output: dict[str, Any] = {CommonKeys.IMAGE: image, CommonKeys.LABEL: target}
        engine.state.output = output
        self.network.train()
        pixels = _plain(image)
        if self.channels_last:
            pixels = pixels.contiguous(memory_format=_channels_last_of(pixels.ndim))
        with self._autocast():
            logits = self.inferer(pixels, self.network)
        output[CommonKeys.PRED] = logits
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)

        play = Play(image=pixels, target=None if target is None else _plain(target), logits=logits.float())
        terms = {f"critic/{name}": term for name, term in self._critic_turn(play).items()}
        segmentor_terms = self._segmentor_turn(play)
        terms |= {f"segmentor/{name}": term for name, term in segmentor_terms.items()}
        terms["loss"] = torch.stack(list(segmentor_terms.values())).sum()
        engine.state.losses = terms
        output.update(terms)
        output[CommonKeys.PRED] = logits.detach()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        # Handlers of that event have decollated and post-processed it.
        processed: dict[str, Any] | list[dict[str, Any]] = engine.state.output
        return processed

    def _critic_turn(self, play: Play) -> dict[str, Tensor]:
        if self.critic is None or self.objective is None or self.critic_optimizer is None:
            return {}
        self.critic.train()
        self.critic_optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            terms = self.objective.critic_loss(self.critic, play)
        self.fire_event(CriticEvents.CRITIC_FORWARD_COMPLETED)
        loss = torch.stack(list(terms.values())).sum()
        self.fire_event(CriticEvents.CRITIC_LOSS_COMPLETED)
        self.critic_scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.fire_event(CriticEvents.CRITIC_BACKWARD_COMPLETED)
        self.critic_scaler.step(self.critic_optimizer)
        self.critic_scaler.update()
        self.fire_event(CriticEvents.CRITIC_STEP_COMPLETED)
        return {name: term.detach() for name, term in terms.items()}

    def _segmentor_turn(self, play: Play) -> dict[str, Tensor]:
        self.optimizer.zero_grad(set_to_none=True)
        terms: dict[str, Tensor] = {}
        with _frozen(self.critic), self._autocast():
            if self.loss_function is not None and play.target is not None:
                terms["supervised"] = self.loss_function(play.logits, play.target)
            if self.critic is not None and self.objective is not None:
                terms |= self.objective.segmentor_loss(unwrapped(self.critic), play)
        if not terms:
            raise ValueError(
                "a batch without labels teaches nothing here: give labels or a game that needs none."
            )
        loss = torch.stack(list(terms.values())).sum()
        self.fire_event(IterationEvents.LOSS_COMPLETED)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return {name: term.detach() for name, term in terms.items()}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.state.device.type, dtype=self.amp_dtype, enabled=self.amp)


def _check_players(
    critic: nn.Module | None,
    critic_optimizer: Optimizer | None,
    objective: Objective | None,
    loss_function: Callable[[Tensor, Tensor], Tensor] | None,
) -> None:
    given = {"critic": critic, "critic_optimizer": critic_optimizer, "objective": objective}
    missing = [name for name, value in given.items() if value is None]
    if 0 < len(missing) < len(given):
        raise ValueError(
            f"an adversarial game needs {', '.join(given)} together; {', '.join(missing)} missing."
        )
    if missing and loss_function is None:
        raise ValueError("without a critic there is nothing to minimise: give a loss_function.")


def _plain(x: Tensor) -> Tensor:
    """The tensor without MONAI's bookkeeping, which costs on every operation of the hot loop."""
    return x.as_subclass(torch.Tensor)


def _channels_last_of(ndim: int) -> torch.memory_format:
    return torch.channels_last if ndim == 4 else torch.channels_last_3d


def _to_channels_last(module: nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.ndim in (4, 5):
            parameter.data = parameter.data.contiguous(memory_format=_channels_last_of(parameter.ndim))


@contextmanager
def _frozen(critic: nn.Module | None) -> Iterator[None]:
    """No gradient for the critic's parameters, so that backward computes its input gradient alone."""
    frozen = [p for p in critic.parameters() if p.requires_grad] if critic is not None else []
    for parameter in frozen:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad = True
