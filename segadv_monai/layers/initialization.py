"""Initial values of the networks of SegAN (Xue et al., ISBI 2018; values of the released code)."""

import math

from torch import nn

__all__ = ["initialize_fan_out"]


def initialize_fan_out(module: nn.Module) -> None:
    """Draw convolutions from N(0, sqrt(2 / (k^d * C_out))), batch norm scales from N(1, 0.02); biases are 0.

    ``C_out`` is that of one group of a grouped convolution.

    Args:
        module: whatever holds the layers; changed in place.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            fan_out = math.prod(layer.kernel_size) * layer.out_channels / layer.groups
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / fan_out))
        elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
