"""Feature maps of any segmentor beside its logits, for games that look inside it."""

from typing import Any

from torch import Tensor, nn

from segadv_monai.protocols import SegmentorOutput

__all__ = ["WithFeatures"]


class WithFeatures(nn.Module):
    """A segmentor that also returns the output of one of its layers; for training, not for export.

    Give it to the trainer, and the network itself to validation, saving and export: its parameters are those
    of the network, whose forward pass runs once. The layer is listened to during that pass alone.

    Args:
        network: the segmentor.
        module: name of the layer as in ``network.named_modules()``: ``down_4`` is the bottom of MONAI's
            ``BasicUNet``.

    Shape:
        - Input: as the network's.
        - Output: ``logits`` as the network's, ``latents["features"]`` the output of the layer.

    Raises:
        ValueError: the network has no such layer, or did not use it.
        TypeError: the layer does not return one tensor.
    """

    def __init__(self, network: nn.Module, module: str) -> None:
        super().__init__()
        if module not in dict(network.named_modules()) or not module:
            known = ", ".join(name for name, _ in network.named_children())
            raise ValueError(
                f"{type(network).__name__} has no layer {module!r}: name one of {known}, or a layer of these."
            )
        self.network = network
        self.module = module

    def forward(self, x: Tensor) -> SegmentorOutput:
        kept: list[Any] = []

        def keep(_: nn.Module, __: Any, output: Any) -> None:
            kept.append(output)

        with self.network.get_submodule(self.module).register_forward_hook(keep):
            logits = self.network(x)
        if not kept:
            raise ValueError(
                f"{type(self.network).__name__} did not use its layer {self.module!r}: name another."
            )
        if not isinstance(kept[-1], Tensor):
            raise TypeError(
                f"{self.module!r} returns a {type(kept[-1]).__name__}, not a tensor: name another layer."
            )
        return SegmentorOutput(logits, {"features": kept[-1]})
