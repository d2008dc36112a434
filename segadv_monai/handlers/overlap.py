"""Overlap measures of :mod:`segadv_monai.metrics` for an engine."""

from monai.handlers import IgniteMetricHandler, from_engine

from segadv_monai.metrics import OverlapMetric

__all__ = ["Overlap"]


class Overlap(IgniteMetricHandler):
    """A measure of the binary maps ``pred`` and ``label``; per case in ``state.metric_details``.

    Args:
        measure: ``dice``, ``jaccard``, ``missed`` or ``both_empty``, see :class:`OverlapMetric`.

    Raises:
        ValueError: there is no such measure.
    """

    def __init__(self, measure: str) -> None:
        super().__init__(metric_fn=OverlapMetric(measure), output_transform=from_engine(["pred", "label"]))
