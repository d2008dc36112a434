"""What is kept of finished logits, and the volume that it is kept in."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from .blending import Finished
from .label_maps import MOST_CLASSES, most_probable

__all__ = ["FinishedMaps", "labels_of"]


def labels_of(logits: Tensor, threshold: float | None, activation: str | None) -> Tensor:
    """Labels of a piece, as uint8.

    Args:
        logits: ``(K, *slab)``.
        threshold: None for the most probable class.
        activation: ``sigmoid``, ``softmax`` or None, before the threshold.

    Raises:
        ValueError: one map or more than 256 have no most probable class.
    """
    if threshold is None:
        if not 1 < logits.shape[0] <= MOST_CLASSES:
            raise ValueError(
                f"a most probable class as uint8 needs 2 to {MOST_CLASSES} maps, the network gave "
                f"{logits.shape[0]}: set threshold, or output='logits'."
            )
        return most_probable(logits)
    if activation is not None:
        logits = logits.sigmoid() if activation == "sigmoid" else logits.softmax(0)
    return (logits >= threshold).to(torch.uint8)


class FinishedMaps:
    """The result, whose type and channels follow from the first piece.

    Args:
        cases: in the batch.
        inside: start and stop of the result in the padded image, for each axis.
        keep: from logits ``(K, *slab)`` to what is kept of them, ``(K', *slab)``.
        device: of the result.
    """

    def __init__(
        self,
        cases: int,
        inside: Sequence[tuple[int, int]],
        *,
        keep: Callable[[Tensor], Tensor],
        device: torch.device,
    ) -> None:
        self.cases = cases
        self.inside = inside
        self.keep = keep
        self.device = device
        self.maps = torch.empty(0)

    def put(self, case: int, pieces: Iterable[Finished]) -> None:
        """Keep pieces of a case.

        Args:
            case: number in the batch.
            pieces: of the padded image; what lies outside the result is left out.

        Raises:
            ValueError: ``keep`` changed the size.
        """
        for piece in pieces:
            logits, target = piece.logits, []
            for i, ((first, stop), (low, high)) in enumerate(zip(piece.box, self.inside, strict=True), 1):
                start, length = max(first, low), max(min(stop, high) - max(first, low), 0)
                logits = logits.narrow(i, min(start - first, stop - first), length)
                target.append(slice(start - low, start - low + length))
            if logits.numel():
                self._put(case, target, logits)

    def _put(self, case: int, target: Sequence[slice], logits: Tensor) -> None:
        kept = self.keep(logits)
        if kept.shape[1:] != logits.shape[1:]:
            raise ValueError(
                f"output made {list(kept.shape)} of logits {list(logits.shape)}: it may change the number of "
                "maps and nothing else."
            )
        if not self.maps.numel():
            size = [high - low for low, high in self.inside]
            self.maps = kept.new_empty((self.cases, kept.shape[0], *size), device=self.device)
        self.maps[case][(slice(None), *target)] = kept
