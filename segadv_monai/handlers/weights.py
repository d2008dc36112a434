"""Weights of a trained network, from a file that cannot run code unless the user asks for another."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from segadv_monai.layers import unwrapped
from segadv_monai.protocols import CheckpointError

__all__ = ["LoadModel", "load_weights"]


class LoadModel:
    """Load the bare weights of a trained network when an engine starts.

    Args:
        network: what to load them into.
        path: ``model.safetensors`` as a training run leaves it, or a state dict in a ``.pt`` file.
        allow_pt: whether a ``.pt`` file may be read. It is a pickle: torch's restricted reader is used, but
            a file of someone you do not trust is better converted elsewhere.

    Raises:
        CheckpointError: when the engine starts: the file is missing, damaged, of another network, or a
            ``.pt`` file that was not allowed.
    """

    def __init__(self, network: nn.Module, path: str | Path, *, allow_pt: bool = False) -> None:
        self.network = network
        self.path = Path(path)
        self.allow_pt = allow_pt

    def attach(self, engine: Engine) -> None:
        """Load at the start."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:  # noqa: ARG002  # the signature of a handler
        if not self.path.is_file():
            raise CheckpointError(
                f"{self.path}: there is no trained model; train one, or set --ckpt_dir to the folder of a "
                "model.safetensors."
            )
        weights = _read_safetensors(self.path) if self.path.suffix == ".safetensors" else self._read_pt()
        load_weights(unwrapped(self.network), weights, self.path)

    def _read_pt(self) -> dict[str, Tensor]:
        if not self.allow_pt:
            raise CheckpointError(
                f"{self.path} is a pickle, which can carry code: take a .safetensors file, or set "
                "--allow_pt True if you know where it comes from."
            )
        try:
            content: Any = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # a foreign file can make the reader fail in any way
            raise CheckpointError(
                f"{self.path} is damaged, or holds more than weights ({type(error).__name__}): nothing of it "
                "was used; take another file."
            ) from error
        if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
            raise CheckpointError(f"{self.path} is no state dict of one network: take another file.")
        return content


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load all weights or none.

    Args:
        network: what to load them into.
        weights: tensors by their names in the network.
        path: where they come from, for the message.

    Raises:
        CheckpointError: they are of another network; the first difference is named.
    """
    wanted = network.state_dict()
    for name in [*wanted, *weights]:
        here = tuple(wanted[name].shape) if name in wanted else "nothing"
        there = tuple(weights[name].shape) if name in weights else "nothing"
        if here != there:
            raise CheckpointError(
                f"{path} is of another network: {name} is {there} in it and {here} here; set the "
                "network_def that it was trained with, or choose another folder."
            )
    network.load_state_dict(weights)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged ({error}): take another file.") from error
