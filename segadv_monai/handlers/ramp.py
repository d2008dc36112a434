"""A number of the game that changes from epoch to epoch: the adversarial weight, the instance noise."""

from ignite.engine import Engine, Events

__all__ = ["Ramp"]


class Ramp:
    """Move an attribute along a straight line from one value to another, as a function of the epoch alone.

    ``Ramp(objective, start=5, end=20, first=0)`` keeps the game's weight at 0 up to epoch 5 and has it at its
    full value from epoch 20 on; ``Ramp(objective, "noise", start=1, end=50, last=0)`` lets instance noise
    fade away. It has no state.

    Args:
        target: whose attribute it is.
        attribute: its name; it has to hold a number.
        start: last epoch with the first value, from 0.
        end: first epoch with the last value; the epoch after ``start`` makes it a step.
        first: the first value; by default the one that the attribute has now.
        last: the last value; by default the one that the attribute has now.

    Raises:
        ValueError: there is no such number; ``end`` is not behind ``start``; neither value is given.
    """

    def __init__(
        self,
        target: object,
        attribute: str = "weight",
        *,
        start: int,
        end: int,
        first: float | None = None,
        last: float | None = None,
    ) -> None:
        now = getattr(target, attribute, None)
        if not isinstance(now, int | float):
            raise ValueError(f"{type(target).__name__} has no number {attribute} to change: name another.")
        if not 0 <= start < end:
            raise ValueError(f"start must be at least 0 and less than end, got {start} and {end}.")
        if first is None and last is None:
            raise ValueError(f"{attribute} would stay at {now}: give its first value, its last or both.")
        self.target = target
        self.attribute = attribute
        self.start = start
        self.end = end
        self.first = now if first is None else first
        self.last = now if last is None else last

    def attach(self, engine: Engine) -> None:
        """Set the attribute at the start of every epoch."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        done = (engine.state.epoch - self.start) / (self.end - self.start)
        share = min(1.0, max(0.0, done))
        setattr(self.target, self.attribute, (1 - share) * self.first + share * self.last)
