from .calibration import calibration_error
from .class_overlap import (
    CLASS_MEASURES,
    ClassOverlapMetric,
    class_accuracy,
    class_iou,
    pixel_accuracy,
)
from .confusion import joint_histogram, region_counts
from .overlap import OVERLAPS, OverlapMetric, VoxelCounts, dice_score, overlap, voxel_counts
from .policy import COUNTS, MEASURES, Measure, empty_value, has_policy, measure_named, policy_table
from .ranking import Ranking, average_precision, best_dice, otsu_threshold, rank, roc_auc
from .summary import overall, penalised, summarise, summarise_cases
from .surface import SURFACES, assd_mm, hd95_mm, hd_mm, nsd
from .surface_distances import Definition, SurfaceDistances, region_surface_distances, surface_distances
from .topology import TOPOLOGY, components, holes, topology_error

__all__ = [
    "CLASS_MEASURES",
    "COUNTS",
    "MEASURES",
    "OVERLAPS",
    "SURFACES",
    "TOPOLOGY",
    "ClassOverlapMetric",
    "Definition",
    "Measure",
    "OverlapMetric",
    "Ranking",
    "SurfaceDistances",
    "VoxelCounts",
    "assd_mm",
    "average_precision",
    "best_dice",
    "calibration_error",
    "class_accuracy",
    "class_iou",
    "components",
    "dice_score",
    "empty_value",
    "has_policy",
    "hd95_mm",
    "hd_mm",
    "holes",
    "joint_histogram",
    "measure_named",
    "nsd",
    "otsu_threshold",
    "overall",
    "overlap",
    "penalised",
    "pixel_accuracy",
    "policy_table",
    "rank",
    "region_counts",
    "region_surface_distances",
    "roc_auc",
    "summarise",
    "summarise_cases",
    "surface_distances",
    "topology_error",
    "voxel_counts",
]
