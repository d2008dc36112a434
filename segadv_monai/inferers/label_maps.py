"""Label maps of logits by comparing whole maps, which is several times faster than ``argmax`` over them."""

import torch
from torch import Tensor

__all__ = ["MOST_CLASSES", "most_probable"]

# Labels are of type uint8.
MOST_CLASSES = 256
# Positions at a time: their maximum and their labels stay in the cache while the maps pass by.
_CHUNK = 2**18


def most_probable(logits: Tensor) -> Tensor:
    """The map of the largest logit at each position, the first of equal ones, as uint8.

    Args:
        logits: ``(K, *S)``, K at most 256.
    """
    if logits.device.type != "cpu":
        return logits.max(0, keepdim=True).indices.to(torch.uint8)
    labels = logits.new_zeros((1, *logits.shape[1:]), dtype=torch.uint8)
    rows = max(1, _CHUNK // max(1, logits[0, 0].numel()))
    for start in range(0, logits.shape[1], rows):
        maps, part = logits[:, start : start + rows], labels[:, start : start + rows]
        largest = maps[:1].clone()
        larger = torch.empty_like(largest, dtype=torch.bool)
        number = larger.view(torch.uint8)
        for i in range(1, logits.shape[0]):
            torch.gt(maps[i : i + 1], largest, out=larger)
            torch.maximum(largest, maps[i : i + 1], out=largest)
            # A later map has a larger number than all before it.
            torch.maximum(part, number.mul_(i), out=part)
    return labels
