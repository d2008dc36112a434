"""Overlap measures of :mod:`segadv_monai.metrics` for an engine."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from monai.handlers import IgniteMetricHandler, from_engine

from segadv_monai.metrics import OverlapMetric

__all__ = ["Overlap"]


class Overlap(IgniteMetricHandler):
    """A measure of the binary maps ``pred`` and ``label``; per case in ``state.metric_details``.

    Its state is the values of the epoch so far, so that a run that stopped within an epoch can go on there.

    Args:
        measure: ``dice``, ``jaccard``, ``missed`` or another of :class:`OverlapMetric`.

    Raises:
        ConfigError: there is no such measure.
    """

    def __init__(self, measure: str) -> None:
        self._overlap = OverlapMetric(measure)
        super().__init__(metric_fn=self._overlap, output_transform=from_engine(["pred", "label"]))

    def update(self, output: Sequence[Any]) -> None:
        """Take in the cases that have a label; those of an unlabelled batch have none.

        Args:
            output: lists of ``pred`` and of ``label``.
        """
        pairs = [pair for pair in zip(*output, strict=True) if pair[1] is not None]
        if pairs:
            super().update([list(part) for part in zip(*pairs, strict=True)])

    def state_dict(self) -> OrderedDict[str, Any]:
        """Values that this process has collected in the epoch, ``(N, K)``."""
        return OrderedDict(values=self._overlap.collected)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave; the start of an epoch forgets it again.

        Args:
            state_dict: the values.
        """
        self._overlap.collected = state_dict["values"]
