"""Elastic deformation of an image and its label with five libraries, side by side, on one thread.

Each case is run several times, all in turn, and the median processor time of each counts. The floor is
torch's ``grid_sample``, once for the image and once for the label, with a grid that is already there and the
same mirrored border; what it gives is compared with ours before it is timed. TorchIO and batchgeneratorsv2
are measured where they are installed.
"""

import importlib
import importlib.util
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  # its name everywhere
import torch
from monai.transforms import Rand2DElasticd, Rand3DElasticd
from torch import Tensor
from torch.nn.functional import grid_sample

from segadv_monai.transforms import RandCoarseElasticd

KEYS = ("image", "label")
MODES = ("bilinear", "nearest")
REPEATS = 7
# What one call of these takes is known after fewer.
FEW_REPEATS = 3
Case = dict[str, Any]
Call = Callable[[Case], Any]


def _case(size: tuple[int, ...]) -> Case:
    """Noise, and a label of balls."""
    torch.manual_seed(0)
    grid = torch.stack(torch.meshgrid(*(torch.linspace(-1, 1, n) for n in size), indexing="ij"))
    radius = grid.norm(dim=0)
    return {"image": torch.rand(1, *size), "label": (radius < 0.8).byte()[None] + (radius < 0.4).byte()}


def _sigma(size: tuple[int, ...]) -> float:
    """The paper's 10 pixels of 572, but at least 2."""
    return max(2.0, 10 * size[0] / 572)


def _ours(size: tuple[int, ...]) -> Call:
    return RandCoarseElasticd(KEYS, MODES, sigma=_sigma(size)).set_random_state(0)


def _floor(size: tuple[int, ...]) -> Call:
    transform = _ours(size)
    case = _case(size)
    moved = transform(case)
    field = transform.elastic.field.displacement(size)  # type: ignore[attr-defined]
    lines = [torch.arange(n).reshape(-1, *[1] * (len(size) - axis - 1)) for axis, n in enumerate(size)]
    places = [2 * (line + part) / (n - 1) - 1 for line, part, n in zip(lines, field, size, strict=True)]
    grid = torch.stack(places[::-1], dim=-1)[None]
    label = case["label"].float()[None]

    def sample(case: Case) -> list[Tensor]:
        images = zip((case["image"][None], label), MODES, strict=True)
        return [
            grid_sample(image, grid, mode=mode, padding_mode="reflection", align_corners=True)
            for image, mode in images
        ]

    image, mapped = sample(case)
    torch.testing.assert_close(moved["image"], image[0], atol=1e-3, rtol=0)
    # A place between two voxels goes to either of them.
    if (moved["label"] == mapped[0]).float().mean() < 0.9999:
        raise SystemExit("bench_elastic: the label is not where grid_sample has it.")
    return sample


def _monai(size: tuple[int, ...]) -> Call:
    settings: dict[str, Any] = {"prob": 1, "mode": MODES, "padding_mode": "reflection"}
    settings["magnitude_range"] = (0.0, 2 * _sigma(size))
    if len(size) == 2:
        return Rand2DElasticd(KEYS, spacing=(size[0] / 2,) * 2, **settings)
    return Rand3DElasticd(KEYS, sigma_range=(8, 8), **settings)


def _simple_itk(size: tuple[int, ...]) -> Call:
    generator = np.random.default_rng(0)

    def deform(case: Case) -> list[Any]:
        images = [sitk.GetImageFromArray(case[key][0].numpy()) for key in KEYS]
        # One cubic patch along each axis has four nodes, the fewest there are.
        transform = sitk.BSplineTransformInitializer(images[0], [1] * len(size))
        nodes = generator.normal(0, _sigma(size), len(transform.GetParameters()))
        transform.SetParameters(nodes.tolist())
        kinds = (sitk.sitkLinear, sitk.sitkNearestNeighbor)
        return [
            sitk.GetArrayFromImage(sitk.Resample(image, transform, kind))
            for image, kind in zip(images, kinds, strict=True)
        ]

    return deform


def _torchio(size: tuple[int, ...]) -> Call:
    tio = importlib.import_module("torchio")
    transform = tio.RandomElasticDeformation(num_control_points=5, max_displacement=2 * _sigma(size))

    def deform(case: Case) -> Any:
        subject = tio.Subject(
            image=tio.ScalarImage(tensor=case["image"]), label=tio.LabelMap(tensor=case["label"])
        )
        return transform(subject)

    return deform


def _batchgenerators(size: tuple[int, ...]) -> Call:
    module = importlib.import_module("batchgeneratorsv2.transforms.spatial.spatial")
    transform = module.SpatialTransform(
        size,
        patch_center_dist_from_border=0,
        random_crop=False,
        p_elastic_deform=1,
        elastic_deform_scale=(0.2, 0.2),
        elastic_deform_magnitude=(2 * _sigma(size),) * 2,
        mode_seg="nearest",
    )
    return lambda case: transform(image=case["image"], segmentation=case["label"].short())


def _compare(size: tuple[int, ...], targets: dict[str, float]) -> float:
    """One block of the table; the time of ours."""
    makers: dict[str, Callable[[tuple[int, ...]], Call]] = {
        "ours": _ours,
        "grid_sample, the floor": _floor,
        "MONAI": _monai,
        "SimpleITK, cubic B-spline": _simple_itk,
    }
    if len(size) == 3:
        makers["TorchIO"] = _torchio
    makers["batchgeneratorsv2"] = _batchgenerators
    modules = {"TorchIO": "torchio", "batchgeneratorsv2": "batchgeneratorsv2"}
    absent = [name for name, module in modules.items() if importlib.util.find_spec(module) is None]
    calls = {name: make(size) for name, make in makers.items() if name not in absent}
    times = _medians(calls, _case(size))
    _say("\n" + " x ".join(str(n) for n in size))
    for name in makers:
        if name in absent:
            _say(f"{name:<30}{'absent':>10}")
            continue
        ratio = times[name] / times["ours"]
        target = targets.get(name)
        wanted = "" if target is None else f"{target:>9.2f}" + "  MISSED" * (ratio < target)
        _say(f"{name:<30}{1000 * times[name]:>10.2f}{ratio:>9.2f}{wanted}")
    return times["ours"]


def _medians(calls: dict[str, Call], case: Case) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(REPEATS + 1):
        for name, call in calls.items():
            if i > FEW_REPEATS and times[name][0] > 0.5:
                continue
            start = time.process_time()
            call(case)
            times[name].append(time.process_time() - start)
    # The first call of each warms its caches.
    return {name: float(np.median(values[1:])) for name, values in times.items()}


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    warnings.filterwarnings("ignore")
    _say(f"{'image and label':<30}{'ms':>10}{'/ ours':>9}{'at least':>9}")
    # Ours may take 1.35 times the floor.
    targets = {"MONAI": 20.0, "grid_sample, the floor": 1 / 1.35}
    small = _compare((64, 64, 64), targets)
    large = _compare((128, 128, 128), targets)
    _compare((512, 512), {"MONAI": 5.0})
    growth = large / small / 8
    _say(f"\ntime per voxel, 128 over 64: {growth:.2f}, at most 1.25" + "  MISSED" * (growth > 1.25))


if __name__ == "__main__":
    main()
