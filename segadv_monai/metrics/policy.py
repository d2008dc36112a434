"""What empty masks count for, measure by measure: the one place that decides.

===================  ==================  ================  ==========
measure              empty prediction    empty reference   both empty
===================  ==================  ================  ==========
overlaps, ``nsd``    0                   0                 excluded
``volume_error``     1                   1                 excluded
``calibration``      1                   1                 excluded
distances            the image diagonal  the same          excluded
components, holes    100                 100               excluded
===================  ==================  ================  ==========

An empty prediction of a structure that is there is a miss and gets the worst value there is; a prediction of
a structure that is not there is a false alarm and gets the same. A class that never occurs in a map is an
empty mask of that map. What is excluded is ``nan`` case by case, stays out of every mean and is counted as
``both_empty``.

Numbers of pieces and of holes have no upper end, so their differences are cut at 100: otherwise a miss of one
piece would be better than a prediction in three.

The diagonal of a small image can be shorter than an error in a large one. In a mean or a median over cases
the two kinds of failure therefore count for no less than the worst value of any case (see
:func:`segadv_monai.metrics.penalised`): a miss never improves a number.
"""

import math
from dataclasses import dataclass

from segadv_monai.protocols import ConfigError

__all__ = ["COUNTS", "MEASURES", "Measure", "empty_value", "has_policy", "measure_named", "policy_table"]


@dataclass(frozen=True, slots=True)
class Measure:
    """What there is to know about a number before one reads it.

    Args:
        name: with its unit, if it has one.
        meaning: in words.
        unit: ``mm``, or empty for a number without unit.
        higher_is_better: which way is better.
        best: value of a perfect prediction.
        worst: the other end of its range, which an empty prediction or an empty reference gets; None for the
            diagonal of the image.
    """

    name: str
    meaning: str
    unit: str
    higher_is_better: bool
    best: float
    worst: float | None


_ALL = (
    Measure("dice", "Dice coefficient, 2 common / sum of both", "", True, 1.0, 0.0),
    Measure("jaccard", "Jaccard index, common / union", "", True, 1.0, 0.0),
    Measure("volume_error", "difference of volumes / sum of volumes", "", False, 0.0, 1.0),
    Measure("hd95_mm", "95 % Hausdorff distance", "mm", False, 0.0, None),
    Measure("hd_mm", "Hausdorff distance", "mm", False, 0.0, None),
    Measure("assd_mm", "average symmetric surface distance", "mm", False, 0.0, None),
    Measure("nsd", "normalised surface Dice at a tolerance", "", True, 1.0, 0.0),
    Measure("components_error", "difference of numbers of pieces, cut at 100", "", False, 0.0, 100.0),
    Measure("holes_error", "difference of numbers of holes, cut at 100", "", False, 0.0, 100.0),
    Measure("calibration_error", "expected calibration error", "", False, 0.0, 1.0),
)
MEASURES = {measure.name: measure for measure in _ALL}
COUNTS = {
    "missed": "the reference has voxels, the prediction hits none of them",
    "empty_prediction": "only the prediction is empty",
    "empty_reference": "only the reference is empty: a false alarm",
    "both_empty": "both are empty",
}


def measure_named(name: str) -> Measure:
    """The entry of a measure; a distance in voxels follows the rules of the same distance in mm.

    Args:
        name: a key of ``MEASURES``, or one of them that ends in ``_voxels`` in place of ``_mm``.

    Raises:
        ConfigError: there is no such measure.
    """
    if not has_policy(name):
        raise ConfigError(f"a measure must be one of {', '.join(MEASURES)}, got {name}.")
    return MEASURES[_in_mm(name)]


def has_policy(name: str) -> bool:
    """Whether a measure has an entry here.

    Args:
        name: of the measure.
    """
    return _in_mm(name) in MEASURES


def empty_value(
    name: str, *, prediction_empty: bool, reference_empty: bool, diagonal: float = math.nan
) -> float:
    """What a measure is where a mask is empty; ``nan`` for excluded.

    Args:
        name: the measure.
        prediction_empty: whether the prediction has no voxel.
        reference_empty: whether the reference has none.
        diagonal: of the image, in the measure's unit.

    Raises:
        ConfigError: there is no such measure; neither mask is empty; a distance has no diagonal.
    """
    measure = measure_named(name)
    if not (prediction_empty or reference_empty):
        raise ConfigError(
            f"{name}: neither mask is empty, so there is nothing to decide: compute the measure."
        )
    if prediction_empty and reference_empty:
        return math.nan
    if measure.worst is not None:
        return measure.worst
    if not math.isfinite(diagonal):
        raise ConfigError(
            f"{name} of an empty mask is the image's diagonal, got {diagonal}: give its length."
        )
    return diagonal


def _in_mm(name: str) -> str:
    return name.replace("_voxels", "_mm")


def policy_table() -> str:
    """The policy as a table in Markdown, as it stands in ``docs/metrics.md``."""
    lines = [
        "| measure | what it is | unit | better | range | empty prediction | empty reference | both empty |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for measure in MEASURES.values():
        worst = "image diagonal" if measure.worst is None else f"{measure.worst:g}"
        ends = (worst, f"{measure.best:g}") if measure.higher_is_better else (f"{measure.best:g}", worst)
        better = "higher" if measure.higher_is_better else "lower"
        cells = (
            measure.meaning,
            measure.unit or "none",
            better,
            " to ".join(ends),
            worst,
            worst,
            "excluded",
        )
        lines.append(f"| `{measure.name}` | {' | '.join(cells)} |")
    lines += ["", "| count | of what |", "| --- | --- |"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in COUNTS.items()]
    return "\n".join(lines) + "\n"
