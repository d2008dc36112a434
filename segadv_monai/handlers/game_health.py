"""What tells whether a game is healthy, measured while it is played, from what is computed anyway.

No network runs once more: the critic's verdicts are taken down as it gives them, and the two parts of the
segmentor's gradient are told apart at its logits, where the supervised one is the cost of the loss alone.
"""

import logging
from collections.abc import Callable
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from segadv_monai.layers import unwrapped

from .events import CriticEvents
from .gradients import BACKWARD, moving

__all__ = ["GameHealth"]

_LOG = logging.getLogger("segadv_monai")
_SATURATED = 0.001
_SURE = 0.99
_GUESSING = 0.05
_MOVED = {"critic": ("critic", "both"), "segmentor": ("segmentor", "both", "supervised")}


class GameHealth:
    """Measure some turns of each player and log the means of an epoch as ``game/<name>``, like loss terms.

    ``real_accuracy``, ``fake_accuracy``: share of the critic's scores on the side where they belong.
    ``critic_gradient``, ``segmentor_gradient``: length of the gradient of all weights. ``adversarial_share``:
    length of the adversarial gradient at the logits, over its sum with the supervised one's. ``saturation``:
    share of probabilities below 0.001 or above 0.999.

    What cannot be measured is left out: accuracies of a critic without a score, of a game whose terms are not
    ``real`` and ``fake``, or whose ``boundary`` is None. That attribute of an objective is the score between
    fake and real, 0 without it. Of the two pairs that the critic judges in its turn the one nearer to the
    target is the real one. Steps that a scaler leaves out count for no gradient.

    The supervised loss is computed once more, on the logits. Attach this before all other handlers. It has no
    state but the number of epochs in a row on which it warns, which begins anew with each start.

    Args:
        every: turns of a player from one that is measured to the next; the first of an epoch is.
        activation: turns logits into probabilities; by default the objective's ``activation``, else the
            sigmoid of each map. Give ``torch.nn.Softmax(dim=1)`` where the objective has one inside.
        epochs: in a row that a critic may win, or guess, before a line says so.

    Raises:
        ValueError: ``every`` or ``epochs`` is less than 1.
    """

    def __init__(
        self, every: int = 10, *, activation: Callable[[Tensor], Tensor] | None = None, epochs: int = 3
    ) -> None:
        if min(every, epochs) < 1:
            raise ValueError(f"every and epochs must be at least 1, got {every} and {epochs}.")
        self.every = every
        self.activation = activation
        self.epochs = epochs
        self._sampled: dict[str, set[int]] = {player: set() for player in BACKWARD}
        self._values: dict[str, Tensor] = {}
        self._slope: Tensor | None = None
        self._judged: list[tuple[Tensor, Tensor]] | None = None
        self._hook: RemovableHandle | None = None
        self._accuracies: list[Tensor] = []
        self._in_a_row = {"won": 0, "guessed": 0}

    def attach(self, engine: Engine) -> None:
        """Follow an adversarial trainer, with a critic or without."""
        engine.add_event_handler(Events.STARTED, self._listen)
        engine.add_event_handler(Events.EPOCH_STARTED, self._plan)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._begin)
        engine.add_event_handler(CriticEvents.CRITIC_LOSS_COMPLETED, self._measure_verdicts)
        engine.add_event_handler(BACKWARD["critic"], self._measure_critic)
        engine.add_event_handler(BACKWARD["segmentor"], self._measure_segmentor)
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self._log)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._warn)

    def _listen(self, engine: Engine) -> None:
        if self._hook is not None:
            self._hook.remove()
        critic: nn.Module | None = engine.critic  # type: ignore[attr-defined]
        self._hook = None if critic is None else unwrapped(critic).register_forward_hook(self._take_down)

    def _plan(self, engine: Engine) -> None:
        """Which turns to measure: a function of the epoch, so that a run that goes on measures the same.

        Every so many turns, not iterations: a player may have its own only in some of those.
        """
        trainer: Any = engine
        self._accuracies = []
        self._sampled = {player: set() for player in BACKWARD}
        counts = dict.fromkeys(BACKWARD, 0)
        length = trainer.state.epoch_length
        first = (trainer.state.epoch - 1) * length + 1
        for iteration in range(first, first + length):
            if not trainer.schedule.ends(iteration):
                continue  # the gradients are not all there
            turns = ("supervised",)
            if trainer.critic is not None:
                turns = trainer.schedule.turns(trainer.state.epoch, iteration)
            for player, moved in _MOVED.items():
                if set(moved) & set(turns):
                    if counts[player] % self.every == 0:
                        self._sampled[player].add(iteration)
                    counts[player] += 1

    def _is_sampled(self, engine: Engine, player: str) -> bool:
        return engine.state.iteration in self._sampled[player]

    @torch.no_grad()
    def _begin(self, engine: Engine) -> None:
        trainer: Any = engine
        self._values, self._slope = {}, None
        self._judged = [] if self._is_sampled(engine, "critic") else None
        if self._is_sampled(engine, "segmentor"):
            logits = trainer.state.output["pred"]
            if trainer.critic is not None:
                logits.register_hook(self._keep_slope)
            activation = self.activation or getattr(trainer.objective, "activation", None) or torch.sigmoid
            probabilities = activation(_exact(logits.detach()))
            saturated = (probabilities < _SATURATED) | (probabilities > 1 - _SATURATED)
            self._values["game/saturation"] = saturated.float().mean()

    def _keep_slope(self, gradient: Tensor) -> None:
        self._slope = gradient

    def _take_down(self, _: nn.Module, pair: tuple[Any, ...], output: Any) -> None:
        maps, score = pair[0] if pair else None, getattr(output, "score", None)
        if self._judged is None or not isinstance(maps, Tensor) or score is None:
            return
        # Maps that a game has made to take a slope with respect to them belong to a penalty.
        if not (maps.is_leaf and maps.requires_grad):
            self._judged.append((maps.detach(), score))

    @torch.no_grad()
    def _measure_verdicts(self, engine: Engine) -> None:
        trainer: Any = engine
        judged, self._judged = self._judged, None
        boundary = getattr(trainer.objective, "boundary", 0.0)
        target = _plain(trainer.state.output["label"])
        named = {"critic/real", "critic/fake"} <= trainer.state.losses.keys()
        if not judged or boundary is None or target is None or not named:
            return
        if len(judged) != 2 or any(maps.shape != target.shape for maps, _ in judged):
            return
        scores = torch.stack([score for _, score in judged])
        errors = torch.stack([(maps - target).abs().mean() for maps, _ in judged])
        real, fake = scores[errors.argsort()]
        accuracies = torch.stack([(real > boundary).float().mean(), (fake < boundary).float().mean()])
        self._values["game/real_accuracy"], self._values["game/fake_accuracy"] = accuracies

    def _measure_critic(self, engine: Engine) -> None:
        if self._is_sampled(engine, "critic"):
            self._measure_gradient(engine, "critic")

    def _measure_segmentor(self, engine: Engine) -> None:
        # What the critic sees in this turn is no verdict of its own.
        self._judged = [] if self._judged is not None else None
        if self._is_sampled(engine, "segmentor") and self._measure_gradient(engine, "segmentor"):
            self._measure_share(engine)

    def _measure_gradient(self, engine: Engine, player: str) -> bool:
        """Whether there is a gradient that can be measured."""
        trainer: Any = engine
        norm = torch.nn.utils.get_total_norm([p.grad for p in moving(trainer, player) if p.grad is not None])
        if trainer.scaler.is_enabled() and not bool(norm.isfinite()):
            return False
        self._values[f"game/{player}_gradient"] = norm
        return True

    def _measure_share(self, engine: Engine) -> None:
        trainer: Any = engine
        if self._slope is None:
            return
        total = _exact(self._slope)
        total = total / trainer.scaler.scale(total.new_ones(())) * trainer.schedule.batches
        logits = _exact(trainer.state.output["pred"].detach()).requires_grad_()
        target = _plain(trainer.state.output["label"])
        supervised = torch.zeros_like(total)
        if trainer.loss_function is not None and target is not None:
            loss = trainer.supervised_loss(logits, target, _plain(trainer.state.output.get("weight")))
            (supervised,) = torch.autograd.grad(loss, logits)
        adversarial, own = (total - supervised).norm(), supervised.norm()
        # Without any gradient there is no share either: 0, not a nan.
        sum_of_both = (adversarial + own).clamp(min=torch.finfo(total.dtype).tiny)
        self._values["game/adversarial_share"] = adversarial / sum_of_both

    def _log(self, engine: Engine) -> None:
        losses: dict[str, Tensor] = engine.state.losses  # type: ignore[attr-defined]
        if not losses:
            return  # the batch was left out
        losses |= self._values
        if "game/real_accuracy" in self._values:
            names = ("game/real_accuracy", "game/fake_accuracy")
            self._accuracies.append(torch.stack([self._values[name] for name in names]))

    def _warn(self, engine: Engine) -> None:
        if not self._accuracies or idist.get_rank() != 0:
            return
        real, fake = torch.stack(self._accuracies).mean(0).tolist()
        now = {"won": min(real, fake) >= _SURE, "guessed": abs(real + fake - 1) <= _GUESSING}
        self._in_a_row = {name: (self._in_a_row[name] + 1) * is_so for name, is_so in now.items()}
        place = f"epoch {engine.state.epoch}: for {self.epochs} epochs the critic"
        if self._in_a_row["won"] == self.epochs:
            _LOG.warning(
                "%s has told every real segmentation from a predicted one: it has won, and teaches little; "
                "lower --critic_learning_rate, give it fewer steps, label smoothing or noise",
                place,
            )
        if self._in_a_row["guessed"] == self.epochs:
            _LOG.warning(
                "%s has done no better than a guess: it has learned nothing, or the predictions are as good "
                "as the labels; look at the validation, and raise --critic_learning_rate",
                place,
            )


def _exact(x: Tensor) -> Tensor:
    """Out of the half types."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _plain(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.as_subclass(Tensor)
