"""The device of a run, from one word of its config."""

import os

import torch

from segadv_monai.protocols import ConfigError

__all__ = ["resolve_device"]


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """The device of that name, if this machine has it.

    Args:
        name: ``auto`` (CUDA where there is one, else the CPU), ``rank`` (the CUDA device of this process in a
            distributed run, else the CPU), or what ``torch.device`` takes.

    Raises:
        ConfigError: there is no such device here.
    """
    cuda = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "cpu")
    if name == "rank":
        return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if cuda else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"device {name!r} is none that torch knows: use auto, cpu, cuda or cuda:0."
        ) from error
    if device.type == "cuda" and not cuda:
        raise ConfigError(f"device {name} is asked for, but torch finds no CUDA here: use --device cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {name} is asked for, but there are {torch.cuda.device_count()} CUDA devices."
        )
    return device
