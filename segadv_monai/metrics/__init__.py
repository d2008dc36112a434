from .calibration import calibration_error
from .confusion import joint_histogram, region_counts
from .overlap import OVERLAPS, OverlapMetric, VoxelCounts, dice_score, overlap, voxel_counts
from .policy import COUNTS, MEASURES, Measure, empty_value, has_policy, measure_named, policy_table
from .summary import overall, penalised, summarise, summarise_cases
from .surface import SURFACES, assd_mm, hd95_mm, hd_mm, nsd
from .surface_distances import Definition, SurfaceDistances, region_surface_distances, surface_distances

__all__ = [
    "COUNTS",
    "MEASURES",
    "OVERLAPS",
    "SURFACES",
    "Definition",
    "Measure",
    "OverlapMetric",
    "SurfaceDistances",
    "VoxelCounts",
    "assd_mm",
    "calibration_error",
    "dice_score",
    "empty_value",
    "has_policy",
    "hd95_mm",
    "hd_mm",
    "joint_histogram",
    "measure_named",
    "nsd",
    "overall",
    "overlap",
    "penalised",
    "policy_table",
    "region_counts",
    "region_surface_distances",
    "summarise",
    "summarise_cases",
    "surface_distances",
    "voxel_counts",
]
