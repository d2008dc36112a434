from .calibration import calibration_error
from .class_overlap import (
    CLASS_MEASURES,
    ClassOverlapMetric,
    class_accuracy,
    class_iou,
    pixel_accuracy,
)
from .clustering import ClusteringScores, clustering_scores
from .confusion import joint_histogram, region_counts
from .contingency import Contingency, contingency
from .instances import InstanceScores, instance_scores
from .membranes import membrane_scores, pixel_error
from .overlap import OVERLAPS, OverlapMetric, VoxelCounts, dice_score, overlap, voxel_counts
from .policy import COUNTS, MEASURES, Measure, empty_value, has_policy, measure_named, policy_table
from .ranking import Ranking, average_precision, best_dice, otsu_threshold, rank, roc_auc
from .simple_points import thinned_borders, warping_error
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
    "ClusteringScores",
    "Contingency",
    "Definition",
    "InstanceScores",
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
    "clustering_scores",
    "components",
    "contingency",
    "dice_score",
    "empty_value",
    "has_policy",
    "hd95_mm",
    "hd_mm",
    "holes",
    "instance_scores",
    "joint_histogram",
    "measure_named",
    "membrane_scores",
    "nsd",
    "otsu_threshold",
    "overall",
    "overlap",
    "penalised",
    "pixel_accuracy",
    "pixel_error",
    "policy_table",
    "rank",
    "region_counts",
    "region_surface_distances",
    "roc_auc",
    "summarise",
    "summarise_cases",
    "surface_distances",
    "thinned_borders",
    "topology_error",
    "voxel_counts",
    "warping_error",
]
