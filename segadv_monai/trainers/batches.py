"""What a batch is to a trainer, in MONAI's conventions and in its tensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from segadv_monai.protocols import ConfigError

__all__ = ["centred", "explained", "half_type", "plain", "prepared", "weights_of"]


def prepared(engine: Any, batch: Any) -> tuple[Tensor, Tensor | None, tuple[Any, ...], dict[str, Any]]:
    """Image, label, and what goes to the network beside the image.

    Args:
        engine: the trainer, with the ``prepare_batch`` of MONAI's engines.
        batch: of its loader.
    """
    found = engine.prepare_batch(batch, engine.state.device, engine.non_blocking, **engine.to_kwargs)
    image, target, arguments, named = found if len(found) == 4 else (*found, (), {})
    return image, target, arguments, named


def weights_of(engine: Any, batch: Any) -> Tensor | None:
    """The entry ``weight`` of a batch, if it has one.

    Args:
        engine: the trainer.
        batch: of its loader.
    """
    weight = batch.get("weight")
    if weight is None:
        return None
    return plain(weight.to(engine.state.device, non_blocking=engine.non_blocking))


def plain(x: Tensor) -> Tensor:
    """The tensor without MONAI's bookkeeping, which costs on every operation of the hot loop.

    Args:
        x: any.
    """
    return x.as_subclass(torch.Tensor)


def centred(x: Tensor, size: torch.Size) -> Tensor:
    """The middle of a batch: what a network of valid convolutions has predicted.

    Args:
        x: ``(B, C, *S)``.
        size: of the middle, no axis greater than those of ``x``.
    """
    for axis, (length, wanted) in enumerate(zip(x.shape[2:], size, strict=True), start=2):
        if length != wanted:
            x = x.narrow(axis, (length - wanted) // 2, wanted)
    return x


def half_type(name: str) -> torch.dtype:
    """The type of mixed precision.

    Args:
        name: ``bfloat16`` or ``float16``.

    Raises:
        ValueError: it is neither.
    """
    types = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in types:
        raise ValueError(f"amp_dtype must be bfloat16 or float16, got {name}.")
    return types[name]


@contextmanager
def explained() -> Iterator[None]:
    """Say what to do where torch says what befell a batch norm.

    Raises:
        ConfigError: a batch norm had one value per channel.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ConfigError(
            f"batch norm cannot train on one value per channel ({error}): raise the batch size or the crop, "
            "or choose an instance or group norm."
        ) from error
