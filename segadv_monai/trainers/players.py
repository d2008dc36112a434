"""What a trainer does with a player as a whole: check it, freeze it, lay its weights out in memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from segadv_monai.layers import unwrapped
from segadv_monai.protocols import Objective

__all__ = ["Game", "Turned", "check_players", "frozen", "in_channels_last", "make_ready"]


class Game(NamedTuple):
    """What an adversarial turn needs.

    Args:
        critic: the critic, possibly wrapped.
        optimizer: the critic's.
        objective: who minimises what.
    """

    critic: nn.Module
    optimizer: Optimizer
    objective: Objective


class Turned(torch.autograd.Function):
    """The identity, whose gradient is multiplied.

    Shape:
        Any; ``apply`` takes a tensor and the factor of its gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


def check_players(
    critic: nn.Module | None,
    critic_optimizer: Optimizer | None,
    objective: Objective | None,
    *,
    loss_function: Callable[..., Tensor] | None,
) -> None:
    """Refuse players that do not make a game.

    Args:
        critic: the critic, or None.
        critic_optimizer: its optimiser, or None.
        objective: the game, or None.
        loss_function: the supervised loss, or None.

    Raises:
        ValueError: the first three are not given together; there is nothing to minimise; a critic for several
            processes has a batch norm of each process's own.
    """
    given = {"critic": critic, "critic_optimizer": critic_optimizer, "objective": objective}
    missing = [name for name, value in given.items() if value is None]
    if 0 < len(missing) < len(given):
        raise ValueError(
            f"an adversarial game needs {', '.join(given)} together; {', '.join(missing)} missing."
        )
    if missing and loss_function is None:
        raise ValueError("without a critic there is nothing to minimise: give a loss_function.")
    if critic is not None and unwrapped(critic) is not critic:
        _check_norms(critic)


def _check_norms(critic: nn.Module) -> None:
    """In its own turn a critic runs in its wrapper and in the segmentor's without: statistics would part."""
    for name, module in unwrapped(critic).named_modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
            raise ValueError(
                f"{name} of the critic is a batch norm, whose statistics would differ from process to "
                "process: convert it by torch.nn.SyncBatchNorm.convert_sync_batchnorm (CUDA), or give the "
                "critic an instance norm."
            )


@contextmanager
def frozen(critic: nn.Module | None) -> Iterator[None]:
    """No gradient for the critic's parameters, so that backward computes its input gradient alone.

    Args:
        critic: the critic, or None.
    """
    parameters = [p for p in critic.parameters() if p.requires_grad] if critic is not None else []
    for parameter in parameters:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad = True


def in_channels_last(x: Tensor) -> Tensor:
    """A batch whose channels lie next to each other in memory.

    Args:
        x: ``(B, C, *S)``, two or three axes in ``S``.
    """
    layout = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    return x.contiguous(memory_format=layout)


def make_ready(module: nn.Module, *, channels_last: bool, compile_backend: str | None) -> None:
    """Lay the kernels of all convolutions out and compile, as far as is asked for.

    Args:
        module: a player; changed in place.
        channels_last: whether the kernels are to lie as :func:`in_channels_last` has the images.
        compile_backend: of ``torch.compile``; None for none.
    """
    for parameter in module.parameters():
        if channels_last and parameter.ndim in (4, 5):
            parameter.data = in_channels_last(parameter.data)
    if compile_backend is not None:
        unwrapped(module).compile(backend=compile_backend)
