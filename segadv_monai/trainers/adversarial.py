"""Training of a segmentor together with a critic, as one ignite engine.

Built on MONAI's supervised trainer, so that whatever drives one of those (a bundle, MONAI Label, federated
learning) drives this. Without a critic it is exactly that: the baseline twin is the same engine.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from ignite.metrics import Metric
from monai.engines import SupervisedTrainer, Workflow
from monai.engines.utils import IterationEvents, default_metric_cmp_fn, default_prepare_batch
from monai.inferers import Inferer
from monai.utils.enums import CommonKeys
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from segadv_monai.handlers import BatchLeftOutError, CriticEvents
from segadv_monai.layers import unwrapped
from segadv_monai.protocols import Objective, Play, SegmentorOutput, ZeroSum

from .batches import centred, explained, half_type, plain, prepared, weights_of
from .players import Game, Turned, check_players, frozen, in_channels_last, make_ready
from .turns import Accumulating, Alternating, Schedule, Turn

__all__ = ["AdversarialTrainer"]


class AdversarialTrainer(SupervisedTrainer):
    """One segmentor forward pass per iteration, shared by the critic's turn and the segmentor's.

    Who moves when is the schedule's to say; by default the critic and then the segmentor, in every iteration.
    In the segmentor's turn the critic is frozen, so that only its input gradient is computed.

    After each iteration ``state.losses`` and ``state.output`` hold ``loss`` (what the segmentor minimised; or
    the critic, if that moved alone) and every term as ``segmentor/<term>`` and ``critic/<term>``, detached.

    Args:
        device: where to run.
        max_epochs: epochs to train.
        train_data_loader: batches of dictionaries with ``image`` and ``label``; the label has one map per
            output channel of the network and the size of its output. An entry ``weight``, ``(B, 1, *S)``,
            becomes the third argument of the loss function.
        network: the segmentor, or a module around it that returns a :class:`SegmentorOutput`.
        optimizer: the segmentor's optimiser.
        loss_function: supervised loss of logits and target, term ``segmentor/supervised``; None for a purely
            adversarial game.
        critic: the critic; None trains without one.
        critic_optimizer: the critic's optimiser; needed with a critic.
        objective: the game; needed with a critic.
        schedule: who moves when; by default the critic and then the segmentor, in every iteration.
        inferer: how the network sees the image; the plain forward pass by default.
        prepare_batch: MONAI's; what it returns beside image and label goes to the network's forward pass.
        postprocessing: transform of the decollated output.
        key_train_metric: the metric of the training batches, by its name.
        additional_metrics: more of them.
        metric_cmp_fn: whether the first of two values of the key metric is the better one.
        train_handlers: what reacts to the engine's events.
        epoch_length: iterations per epoch; the loader's length by default.
        amp: autocast on the device's type, one scaler per player for float16.
        amp_dtype: the autocast type, ``bfloat16`` or ``float16``.
        accumulation: batches to a step of the players, whose gradients are the mean over them, as of one
            large batch; the epoch is a multiple of it. Then the segmentor comes first in the schedule's
            turns: a critic that steps before it would have to see all the batches first. A batch that a
            handler leaves out takes those before it along.
        compile_backend: of ``torch.compile`` for both players, as ``inductor``; None for none.
        channels_last: memory format of both networks and of the images.
        decollate: split the output into cases after each iteration, as post-processing and metrics need.

    Raises:
        ValueError: critic, critic_optimizer and objective are not given together; there is neither an
            objective nor a loss function; ``amp_dtype`` is not one of the two; ``accumulation`` does not
            divide the epoch; a critic in several processes has a batch norm that is not synchronised.
        ConfigError: in training: a batch norm has one value per channel.
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
        loss_function: Callable[..., Tensor] | None = None,
        critic: nn.Module | None = None,
        critic_optimizer: Optimizer | None = None,
        objective: Objective | None = None,
        schedule: Schedule | None = None,
        inferer: Inferer | None = None,
        prepare_batch: Callable[..., Any] = default_prepare_batch,
        postprocessing: Callable[[Any], Any] | None = None,
        key_train_metric: dict[str, Metric] | None = None,
        additional_metrics: dict[str, Metric] | None = None,
        metric_cmp_fn: Callable[[float, float], bool] = default_metric_cmp_fn,
        train_handlers: Sequence[Any] | None = None,
        epoch_length: int | None = None,
        amp: bool = False,
        amp_dtype: str = "bfloat16",
        accumulation: int = 1,
        compile_backend: str | None = None,
        channels_last: bool = False,
        decollate: bool = True,
    ) -> None:
        check_players(critic, critic_optimizer, objective, loss_function=loss_function)
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            network=network,
            optimizer=optimizer,
            loss_function=loss_function,  # type: ignore[arg-type]  # None: a purely adversarial game
            epoch_length=epoch_length,
            inferer=inferer,
            prepare_batch=prepare_batch,
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
        self.schedule = Accumulating(schedule or Alternating(), accumulation, self.state.epoch_length)
        self.amp_dtype = half_type(amp_dtype)
        scaled = amp and self.amp_dtype is torch.float16
        self.scaler = torch.amp.GradScaler(self.state.device.type, enabled=scaled)
        self.critic_scaler = torch.amp.GradScaler(self.state.device.type, enabled=scaled)
        self.channels_last = channels_last
        for player in (network, *([] if critic is None else [critic])):
            make_ready(player, channels_last=channels_last, compile_backend=compile_backend)

    def run(self) -> None:  # type: ignore[override]  # as MONAI's workflows, which hold their loader
        """Train to ``max_epochs``, from where the state stands."""
        # MONAI's Trainer.run would replace the scaler by one for CUDA alone.
        Workflow.run(self)

    def _iteration(self, engine: SupervisedTrainer, batchdata: dict[str, Tensor]) -> Any:
        image, target, arguments, named = prepared(engine, batchdata)
        output: dict[str, Any] = {CommonKeys.IMAGE: image, CommonKeys.LABEL: target}
        engine.state.output = output
        self.network.train()
        pixels = in_channels_last(plain(image)) if self.channels_last else plain(image)
        turns = self._turns()
        with self._autocast(), explained(), torch.set_grad_enabled(turns != ("critic",)):
            found = self.inferer(pixels, self.network, *arguments, **named)
        logits, latents = found if isinstance(found, SegmentorOutput) else (found, {})
        output[CommonKeys.PRED] = logits
        # A half type of autocast has to leave it before a loss; float64 stays.
        logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
        play = Play(
            image=centred(pixels, logits.shape[2:]),
            target=None if target is None else plain(target),
            logits=logits,
            weight=weights_of(engine, batchdata),
            latents=latents,
        )
        if play.weight is not None:
            output["weight"] = play.weight
        engine.state.losses = {}
        try:
            engine.fire_event(IterationEvents.FORWARD_COMPLETED)
            for turn in turns:
                self._move(turn, play)
            engine.state.losses.setdefault("loss", logits.new_zeros(()))  # nobody had a term
        except BatchLeftOutError:
            engine.state.losses, output["loss"] = {}, logits.new_full((), torch.nan)
        output.update(engine.state.losses)
        output[CommonKeys.PRED] = logits.detach()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        # Handlers of that event have decollated and post-processed it.
        processed: dict[str, Any] | list[dict[str, Any]] = engine.state.output
        return processed

    @property
    def _game(self) -> Game | None:
        if self.critic is None or self.critic_optimizer is None or self.objective is None:
            return None
        return Game(self.critic, self.critic_optimizer, self.objective)

    def _turns(self) -> tuple[Turn, ...]:
        if self._game is None:
            return ("supervised",)
        return self.schedule.turns(self.state.epoch, self.state.iteration)

    def _move(self, turn: Turn, play: Play) -> None:
        game = None if turn == "supervised" else self._game
        if turn == "critic" and game is not None:
            with explained():
                self._critic_turn(game, play)
        elif turn == "both" and game is not None:
            self._joint_turn(game, play)
        else:
            self._segmentor_turn(game, play)

    def _critic_turn(self, game: Game, play: Play) -> None:
        game.critic.train()
        self._begin_step(game.optimizer)
        with self._autocast():
            terms = game.objective.critic_loss(game.critic, play)
        if terms:  # else nothing to learn from this batch, as from one without labels
            self.fire_event(CriticEvents.CRITIC_FORWARD_COMPLETED)
            loss = self._sum("critic", terms)
            self.state.losses.setdefault("loss", loss.detach())
            self.fire_event(CriticEvents.CRITIC_LOSS_COMPLETED)
            self._backward(loss, self.critic_scaler)
        if self._ends_step(game.optimizer):
            self.fire_event(CriticEvents.CRITIC_BACKWARD_COMPLETED)
            self.critic_scaler.step(game.optimizer)
            self.critic_scaler.update()
            self.fire_event(CriticEvents.CRITIC_STEP_COMPLETED)

    def _segmentor_turn(self, game: Game | None, play: Play) -> None:
        self._begin_step(self.optimizer)
        with frozen(self.critic), self._autocast():
            terms = self._supervised(play)
            if game is not None:
                terms |= game.objective.segmentor_loss(unwrapped(game.critic), play)
        # Without labels a game's segmentor has to wait for the warm-up's end.
        if not terms and (game is not None or self._game is None):
            raise ValueError(
                "a batch without labels teaches nothing here: give labels or a game that needs none."
            )
        if terms:
            loss = self._sum("segmentor", terms)
            self.state.losses["loss"] = loss.detach()
            self.fire_event(IterationEvents.LOSS_COMPLETED)
            self._backward(loss, self.scaler)
        if self._ends_step(self.optimizer):
            self.fire_event(IterationEvents.BACKWARD_COMPLETED)
            self.scaler.step(self.optimizer)
            self.scaler.update()

    def _joint_turn(self, game: Game, play: Play) -> None:
        """One backward pass of what the critic minimises; into the segmentor it goes with the other sign."""
        objective = game.objective
        if not isinstance(objective, ZeroSum):
            raise ValueError(
                f"{type(objective).__name__} is no game of one value, which both players can move on at "
                "once: choose an alternating schedule."
            )
        game.critic.train()
        for optimizer in (game.optimizer, self.optimizer):
            self._begin_step(optimizer)
        turned: Tensor = Turned.apply(play.logits, -objective.weight)  # type: ignore[no-untyped-call]
        with self._autocast():
            supervised = self._supervised(play)
            value = objective.value(game.critic, replace(play, logits=turned))
        self.fire_event(CriticEvents.CRITIC_FORWARD_COMPLETED)
        loss = self._sum("critic", {name: -term for name, term in value.items()})
        own = {**supervised, **{name: objective.weight * term.detach() for name, term in value.items()}}
        self.state.losses["loss"] = self._sum("segmentor", own).detach()
        self.fire_event(CriticEvents.CRITIC_LOSS_COMPLETED)
        self.fire_event(IterationEvents.LOSS_COMPLETED)
        self._backward(torch.stack([loss, *supervised.values()]).sum(), self.scaler)
        if not self._ends_step(game.optimizer):
            return
        self.fire_event(CriticEvents.CRITIC_BACKWARD_COMPLETED)
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        self.scaler.step(game.optimizer)
        self.fire_event(CriticEvents.CRITIC_STEP_COMPLETED)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def supervised_loss(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """The loss function of a batch, with its weights if it has any.

        Args:
            logits: the prediction.
            target: the label.
            weight: what each position counts for, or None.
        """
        loss_function: Callable[..., Tensor] = self.loss_function
        return loss_function(logits, target) if weight is None else loss_function(logits, target, weight)

    def _begin_step(self, optimizer: Optimizer) -> None:
        if self.schedule.begins(self.state.iteration):
            optimizer.zero_grad(set_to_none=True)

    def _backward(self, loss: Tensor, scaler: torch.amp.GradScaler) -> None:
        scaler.scale(loss / self.schedule.batches).backward()  # type: ignore[no-untyped-call]

    def _ends_step(self, optimizer: Optimizer) -> bool:
        """Whether it is time for a step and there is something to step on."""
        if not self.schedule.ends(self.state.iteration):
            return False
        return any(p.grad is not None for group in optimizer.param_groups for p in group["params"])

    def _supervised(self, play: Play) -> dict[str, Tensor]:
        if self.loss_function is None or play.target is None:
            return {}
        return {"supervised": self.supervised_loss(play.logits, play.target, play.weight)}

    def _sum(self, player: str, terms: dict[str, Tensor]) -> Tensor:
        """What the player minimises; its terms are there for the handlers of the events that follow."""
        self.state.losses |= {f"{player}/{name}": term.detach() for name, term in terms.items()}
        return torch.stack(list(terms.values())).sum()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.state.device.type, dtype=self.amp_dtype, enabled=self.amp)
