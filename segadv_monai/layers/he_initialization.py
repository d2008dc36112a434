"""Initial values that keep the variance from layer to layer (He et al., ICCV 2015, arXiv 1502.01852)."""

import math

from torch import nn

__all__ = ["initialize_he"]


def initialize_he(module: nn.Module) -> None:
    """Draw convolutions from N(0, sqrt(2 / N)), ``N`` the connections into one output; biases are 0.

    An output of a transposed convolution has the connections of one stride, not of the whole kernel.

    Args:
        module: whatever holds the layers; changed in place.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            strides = 1
        elif isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d):
            strides = math.prod(layer.stride)
        else:
            continue
        incoming = math.prod(layer.kernel_size) * layer.in_channels / layer.groups / strides
        nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / incoming))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
