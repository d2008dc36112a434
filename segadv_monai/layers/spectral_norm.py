"""Spectral normalisation of a critic (Miyato et al., ICLR 2018, arXiv 1802.05957).

As in the paper: the weight of a layer, as a matrix with a row for each output channel, is divided by its
largest singular value, and of that a step of the power iteration follows the training. It is torch's
parametrisation, which takes a step in every forward pass in training mode, the segmentor's turn included. The
vectors of the iteration are buffers, so that a checkpoint has them and a run goes on bit for bit.
"""

from collections.abc import Sequence

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm as parametrised
from torch.nn.utils.parametrize import is_parametrized

__all__ = ["spectral_norm"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS = (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED)


def spectral_norm(module: nn.Module, *, excluded: Sequence[str] = (), steps: int = 1) -> nn.Module:
    """Keep the largest singular value of every convolution and linear layer at 1.

    The layers are changed in place, so that this can stand around any critic in a config; its ``state_dict``
    has other names from then on. Norms are left as they are.

    Args:
        module: the critic.
        excluded: names of layers, or of parts of the critic, that keep their weights as they are.
        steps: of the power iteration per forward pass.

    Returns:
        The same module.

    Raises:
        ValueError: ``steps`` is less than 1; a name is not one of the module's; there is no layer to
            normalise; a layer has its spectral norm already.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}.")
    names = dict(module.named_modules())
    if unknown := [name for name in excluded if name not in names]:
        raise ValueError(
            f"{type(module).__name__} has no part {', '.join(unknown)}: exclude some of "
            f"{', '.join(name for name in names if name)}."
        )
    kept = {part for name in excluded for part in names[name].modules()}
    layers = {
        name: layer for name, layer in names.items() if isinstance(layer, _LAYERS) and layer not in kept
    }
    if not layers:
        raise ValueError(f"{type(module).__name__} has no convolution or linear layer to normalise.")
    for name, layer in layers.items():
        if is_parametrized(layer, "weight"):
            raise ValueError(f"{name or type(module).__name__} has a parametrised weight: apply this once.")
    for layer in layers.values():
        parametrised(layer, "weight", n_power_iterations=steps)
    return module
