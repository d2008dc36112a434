"""The words that the rooms share: what a critic returns, what a game is played with, what a game is.

Also the errors by which a command tells a user's fault from a bug: each message is one line that names
what is wrong and what to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

__all__ = [
    "CheckpointError",
    "ConfigError",
    "CriticOutput",
    "DataError",
    "DivergenceError",
    "Objective",
    "Play",
    "SegAdvError",
    "SegmentorOutput",
    "ZeroSum",
]


class SegAdvError(Exception):
    """A fault that the user can mend; the message is one line."""


class DataError(SegAdvError, ValueError):
    """A data set or a file that cannot be used."""


class ConfigError(SegAdvError, ValueError):
    """A setting that cannot be used."""


class CheckpointError(SegAdvError, ValueError):
    """A checkpoint that cannot be used."""


class DivergenceError(SegAdvError, ArithmeticError):
    """A training that has left the finite numbers."""


class CriticOutput(NamedTuple):
    """What a critic says of a segmentation.

    Args:
        score: logits ``(B, 1, *S')``, ``S'`` empty for one verdict per image; None of a critic that only
            compares features.
        features: feature maps ``(B, C_i, *S_i)``, finest first; possibly empty.
    """

    score: Tensor | None
    features: tuple[Tensor, ...]


class SegmentorOutput(NamedTuple):
    """What a module around a segmentor returns to a trainer whose game needs more than logits.

    Args:
        logits: the prediction, ``(B, out_channels, *S)``.
        latents: whatever else the game asks for, by name, with its graph.
    """

    logits: Tensor
    latents: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Play:
    """One batch as a game sees it.

    Args:
        image: ``(B, in_channels, *S)``, on the grid of the logits.
        target: one map per class, ``(B, out_channels, *S)``, values 0 and 1; None for unlabelled cases.
        logits: the segmentor's output, ``(B, out_channels, *S)``, with its graph.
        weight: what each position counts for in the supervised loss, ``(B, 1, *S)``; None for all alike.
        latents: what a :class:`SegmentorOutput` held beside the logits, with its graph.
    """

    image: Tensor
    target: Tensor | None
    logits: Tensor
    weight: Tensor | None = None
    latents: Mapping[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class Objective(Protocol):
    """An adversarial game: who minimises what.

    Both methods return weighted terms by name; their sum is what the player minimises. ``critic_loss`` must
    detach ``play.logits`` and ``play.latents``; ``segmentor_loss`` must not.
    """

    def critic_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]: ...

    def segmentor_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]: ...


@runtime_checkable
class ZeroSum(Objective, Protocol):
    """A game of one value: the critic maximises it, the segmentor minimises ``weight`` times it.

    ``value`` returns its terms by name, with a graph to the critic and to ``play.logits``.
    """

    weight: float

    def value(self, critic: nn.Module, play: Play) -> dict[str, Tensor]: ...
