"""Who moves when: the order of the players' turns, as a function of the epoch and the iteration.

Schedules have no state: a run that is started again after a kill computes the same turns.
"""

from typing import Literal, Protocol

__all__ = ["Accumulating", "Alternating", "Schedule", "Simultaneous", "Turn"]

Turn = Literal["critic", "segmentor", "both", "supervised"]


class Schedule(Protocol):
    """Turns of an iteration, in their order.

    ``critic`` and ``segmentor`` are a step of that player; ``both`` is a step of both from one backward pass;
    ``supervised`` is a step of the segmentor on the supervised loss alone.
    """

    def turns(self, epoch: int, iteration: int) -> tuple[Turn, ...]: ...


class Alternating:
    """The players move one after the other.

    In rounds of iterations the player with fewer steps moves on the last batch of the other's: 5 critic steps
    for 1 step of the segmentor are five batches, of which the segmentor trains on the fifth. In rounds of
    epochs each player has whole epochs for itself.

    Args:
        critic_steps: of a round.
        segmentor_steps: of a round.
        first: who begins, ``critic`` or ``segmentor``. A critic that moves second judges the prediction from
            before the segmentor's step, which saves a forward pass.
        rounds: of ``iterations`` or of ``epochs``.
        warm_up: first epochs, in which the segmentor trains on the supervised loss alone.

    Raises:
        ValueError: a number of steps is less than 1; both are more than 1 in rounds of iterations; a word is
            not one of those named; ``warm_up`` is negative.
    """

    def __init__(
        self,
        critic_steps: int = 1,
        segmentor_steps: int = 1,
        *,
        first: str = "critic",
        rounds: str = "iterations",
        warm_up: int = 0,
    ) -> None:
        if min(critic_steps, segmentor_steps) < 1 or warm_up < 0:
            raise ValueError(
                f"steps must be at least 1 and warm_up at least 0, got {critic_steps}, {segmentor_steps} and "
                f"{warm_up}."
            )
        if first not in ("critic", "segmentor") or rounds not in ("iterations", "epochs"):
            raise ValueError(
                "first must be critic or segmentor, rounds iterations or epochs, got "
                f"{first!r} and {rounds!r}."
            )
        if rounds == "iterations" and min(critic_steps, segmentor_steps) > 1:
            raise ValueError(
                f"in rounds of iterations one player has 1 step, got {critic_steps} and {segmentor_steps}: "
                "divide both, or choose rounds of epochs."
            )
        self.steps = {"critic": critic_steps, "segmentor": segmentor_steps}
        both: tuple[Turn, ...] = ("critic", "segmentor")
        self.order = both if first == "critic" else both[::-1]
        self.rounds = rounds
        self.warm_up = warm_up

    def turns(self, epoch: int, iteration: int) -> tuple[Turn, ...]:
        """Who moves, in this order.

        Args:
            epoch: from 1.
            iteration: of the run, from 1.
        """
        if epoch <= self.warm_up:
            return ("supervised",)
        if self.rounds == "epochs":
            place = (epoch - self.warm_up - 1) % sum(self.steps.values())
            return (self.order[0] if place < self.steps[self.order[0]] else self.order[1],)
        is_last = iteration % max(self.steps.values()) == 0
        return tuple(player for player in self.order if is_last or self.steps[player] > 1)


class Simultaneous:
    """Both players move in every iteration, from one forward and one backward pass.

    Only for a game whose objective has a ``value`` that one player minimises and the other maximises.

    Args:
        warm_up: first epochs, in which the segmentor trains on the supervised loss alone.

    Raises:
        ValueError: ``warm_up`` is negative.
    """

    def __init__(self, *, warm_up: int = 0) -> None:
        if warm_up < 0:
            raise ValueError(f"warm_up must be at least 0, got {warm_up}.")
        self.warm_up = warm_up

    def turns(self, epoch: int, iteration: int) -> tuple[Turn, ...]:  # noqa: ARG002  # as the other schedule
        """Who moves.

        Args:
            epoch: from 1.
            iteration: of the run, from 1.
        """
        return ("supervised",) if epoch <= self.warm_up else ("both",)


class Accumulating:
    """A schedule whose iteration is several batches, with one step of each player at the last of them.

    The segmentor comes first among the turns of a batch.

    Args:
        schedule: whose turns are taken.
        batches: to a step.
        epoch_length: batches to an epoch; None where it is not known.

    Raises:
        ValueError: ``batches`` is less than 1, or a step would not end with the epoch.
    """

    def __init__(self, schedule: Schedule, batches: int, epoch_length: int | None = None) -> None:
        if batches < 1:
            raise ValueError(f"accumulation must be at least 1 batch, got {batches}.")
        if epoch_length is not None and epoch_length % batches:
            raise ValueError(
                f"{epoch_length} batches to an epoch are no multiple of an accumulation of {batches}: "
                "change one of them, or give the trainer an epoch_length."
            )
        self.schedule = schedule
        self.batches = batches

    def begins(self, iteration: int) -> bool:
        """Whether a step begins with this batch.

        Args:
            iteration: of the run, from 1.
        """
        return (iteration - 1) % self.batches == 0

    def ends(self, iteration: int) -> bool:
        """Whether a step ends with this batch; between steps there are gradients that no file holds.

        Args:
            iteration: of the run, from 1.
        """
        return iteration % self.batches == 0

    def turns(self, epoch: int, iteration: int) -> tuple[Turn, ...]:
        """Who takes part, in this order.

        Args:
            epoch: from 1.
            iteration: of the run, from 1.
        """
        turns = self.schedule.turns(epoch, (iteration - 1) // self.batches + 1)
        return turns if self.batches == 1 else tuple(sorted(turns, reverse=True))
