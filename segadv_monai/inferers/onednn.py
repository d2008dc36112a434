"""Convolutions of volumes by oneDNN where torch would take its slow path.

For a single image with few channels or positions, and for kernels of one position on one thread, torch picks
``slow_conv3d``, which computes the same as oneDNN and is slower. A kernel of one position is a product of
matrices, and made so: oneDNN would copy what can be the largest tensor of all, the logits.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["fast_convolutions"]

_CONVOLUTION = torch.ops.aten.mkldnn_convolution
_DEFAULTS = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
_NAMES = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


def fast_convolutions(network: Callable[..., Any], device: torch.device) -> AbstractContextManager[Any]:
    """A context in which the network's convolutions of volumes are those of oneDNN.

    It changes nothing for a scripted or compiled network, which has chosen its kernels, nor off the CPU.

    Args:
        network: that will run in it.
        device: of the image.
    """
    chosen = isinstance(network, torch.jit.ScriptModule) or hasattr(network, "_orig_mod")
    if chosen or device.type != "cpu" or not torch.backends.mkldnn.enabled:
        return nullcontext()
    return _ByOneDNN()


class _ByOneDNN(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.conv3d:
            given = {**_DEFAULTS, **dict(zip(_NAMES, args, strict=False)), **(kwargs or {})}
            if _fits(**given):
                return _convolution(**given)
        return func(*args, **(kwargs or {}))


def _fits(**given: Any) -> bool:
    image, weight = given["input"], given["weight"]
    is_plain = type(image) is Tensor and image.ndim == 5 and image.dtype == weight.dtype == torch.float32
    is_bare = not torch.is_autocast_enabled("cpu") and not torch.is_grad_enabled()
    return is_plain and is_bare and not isinstance(given["padding"], str)


def _convolution(**given: Any) -> Any:
    image, weight, bias, groups = (given[name] for name in ("input", "weight", "bias", "groups"))
    padding, stride, dilation = (_three(given[name]) for name in ("padding", "stride", "dilation"))
    if weight.shape[2:].numel() == 1 and stride == [1, 1, 1] and padding == [0, 0, 0] and groups == 1:
        matrix = weight.flatten(1).expand(image.shape[0], -1, -1)
        start = weight.new_zeros(1) if bias is None else bias.view(1, -1, 1)
        return torch.baddbmm(start, matrix, image.flatten(2)).view(-1, len(weight), *image.shape[2:])
    return _CONVOLUTION(image, weight, bias, padding, stride, dilation, groups)


def _three(size: int | Sequence[int]) -> list[int]:
    sizes = [size] if isinstance(size, int) else list(size)
    return sizes * 3 if len(sizes) == 1 else sizes
