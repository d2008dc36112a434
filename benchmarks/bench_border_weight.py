"""The U-Net's weight map beside a plain loop: one distance transform of the whole image for each instance.

The loop is scipy's exact transform and a running minimum of two, the least that it can do. Both run in turn
on one thread; the best time of each counts, in seconds of the processor, so that other work does not. What
both give is compared before it is timed. Real maps come from the folder of the data sets; without it, made-up
volumes alone are measured.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from segadv_monai.transforms import BorderWeightMap

TARGET = 12.0
W0, SIGMA = 10.0, 5.0
Instances = NDArray[np.int32]


def _plain(instances: Instances) -> NDArray[np.float64]:
    nearest = np.full(instances.shape, np.inf)
    second = nearest.copy()
    for number in np.unique(instances)[1:]:
        distance = distance_transform_edt(instances != number)
        np.minimum(second, np.maximum(nearest, distance), out=second)
        np.minimum(nearest, distance, out=nearest)
    cells = instances > 0
    share = cells.mean()
    weight = np.where(cells, 0.5 / share, 0.5 / (1 - share))
    weight += W0 * np.exp(-((nearest + second) ** 2) / (2 * SIGMA**2))
    return weight


def _ours(instances: Instances) -> Tensor:
    return BorderWeightMap(w0=W0, sigma=SIGMA)(torch.from_numpy(instances)[None])


def _balls(size: int, count: int) -> Instances:
    """A made-up set of cells of 4 to 9 voxels radius."""
    rng = np.random.default_rng(0)
    places = np.indices((size,) * 3)
    result = np.zeros((size,) * 3, np.int32)
    for number in range(1, count + 1):
        centre = rng.integers(0, size, (3, 1, 1, 1))
        result[((places - centre) ** 2).sum(axis=0) < rng.integers(4, 10) ** 2] = number
    return result


def _seconds(call: Callable[[Instances], Any], instances: Instances) -> float:
    start = time.process_time()
    call(instances)
    return time.process_time() - start


def _compare(title: str, instances: Instances, repeats: int) -> tuple[float, float]:
    expected, found = _plain(instances), _ours(instances)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=2e-6 * W0)
    calls = (_plain, _ours)
    times = np.array([[_seconds(call, instances) for call in calls] for _ in range(repeats)]).min(axis=0)
    count = len(np.unique(instances)) - 1
    _say(f"{title:<40}{count:>10}{times[0] * 1e3:>11.1f}{times[1] * 1e3:>11.1f}{times[0] / times[1]:>8.1f}")
    return float(times[0]), float(times[1])


def _compare_files(title: str, files: list[Path], repeats: int) -> None:
    """The sums over the files count: a training weighs them all."""
    totals = np.zeros(2)
    for file in files:
        with Image.open(file) as image:
            totals += _compare(f"{title}, {file.stem}", np.array(image).astype(np.int32), repeats)
    _verdict(f"{title}, {len(files)} maps", totals[0] / totals[1])


def _verdict(title: str, ratio: float) -> None:
    _say(f"{title:<72}{ratio:>8.1f}{'' if ratio >= TARGET else '  MISSED'}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Print the table."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=beside, help="folder of the data sets")
    parser.add_argument("--files", type=int, default=10, help="maps of each data set")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    _say(f"{'case':<40}{'instances':>10}{'plain ms':>11}{'ours ms':>11}{'ratio':>8}  target {TARGET:g}")
    for title, folder in (("hela_dic", "hela_dic/label_gt"), ("nuclei", "nuclei/labelsTr")):
        files = sorted((arguments.data / folder).glob("*.png"))[: arguments.files]
        if files:
            _compare_files(title, files, arguments.repeats)
    plain, ours = _compare("balls, 96 x 96 x 96", _balls(96, 60), min(2, arguments.repeats))
    _verdict("balls, 96 x 96 x 96", plain / ours)


if __name__ == "__main__":
    main()
