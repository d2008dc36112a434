"""A cached training case with MONAI's CacheDataset and with ours, side by side, on one thread.

Each case is run several times, all in turn, and the median processor time of each counts, from the data set
to the batch. The values of both are compared before they are timed. Where cases are cropped, the time is
compared with that of the crops themselves: slices of plain tensors at random places, stacked.
"""

import sys
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import CacheDataset, MetaTensor, list_data_collate
from monai.transforms import (
    Compose,
    EnsureTyped,
    FgBgToIndicesd,
    RandCropByPosNegLabeld,
    RandSpatialCropSamplesd,
)
from torch import Tensor

from segadv_monai.data import FrozenCacheDataset

KEYS = ("image", "label")
SIZE = (192, 192, 128)
REPEATS = 32
BUNDLES = Path(__file__).parents[1] / "bundles"
SETTINGS = {"label_key": "label", "num_samples": 2}
INDICES = {"fg_indices_key": "label_fg_indices", "bg_indices_key": "label_bg_indices"}


def _volume() -> dict[str, Any]:
    """Noise with a ball as label, and as much metadata as a NIfTI file has."""
    torch.manual_seed(0)
    grid = torch.stack(torch.meshgrid(*(torch.linspace(-1, 1, n) for n in SIZE), indexing="ij"))
    label = (grid.norm(dim=0, keepdim=True) < 0.5).float()
    meta = {f"field {i}": np.ones(3) for i in range(40)}
    return {"image": MetaTensor(torch.rand(1, *SIZE), meta=meta), "label": MetaTensor(label, meta=dict(meta))}


def _crops(edge: int) -> dict[str, Compose]:
    return {
        f"two {edge}^3 around labels, as MONAI does by default": Compose(
            [EnsureTyped(KEYS), RandCropByPosNegLabeld(KEYS, spatial_size=(edge,) * 3, **SETTINGS)]
        ),
        f"two {edge}^3 around labels, their indices cached": Compose(
            [
                EnsureTyped(KEYS),
                FgBgToIndicesd("label"),
                RandCropByPosNegLabeld(KEYS, spatial_size=(edge,) * 3, **SETTINGS, **INDICES),
            ]
        ),
        f"two {edge}^3 anywhere": Compose(
            [EnsureTyped(KEYS), RandSpatialCropSamplesd(KEYS, (edge,) * 3, num_samples=2, random_size=False)]
        ),
    }


def _slices(case: dict[str, Any], edge: int) -> Callable[[], Any]:
    images = [case[key].as_tensor() for key in KEYS]

    generator = np.random.default_rng(0)

    def crop() -> list[Tensor]:
        starts = generator.integers(0, np.array(SIZE) - edge, (2, 3)).tolist()
        return [
            torch.stack([image[:, x : x + edge, y : y + edge, z : z + edge] for x, y, z in starts])
            for image in images
        ]

    return crop


def _compare(title: str, data: list[Any], transform: Compose, crops: Callable[[], Any] | None = None) -> None:
    """One line of the table."""
    datasets = [
        kind(data, deepcopy(transform), progress=False) for kind in (CacheDataset, FrozenCacheDataset)
    ]
    for dataset in datasets:
        dataset.transform.set_random_state(0)
    batches = [_batch(dataset) for dataset in datasets]
    for key in KEYS:
        torch.testing.assert_close(*(batch[key].as_subclass(Tensor) for batch in batches), rtol=0, atol=0)
    calls: list[Callable[[], Any]] = [lambda dataset=dataset: _batch(dataset) for dataset in datasets]
    times = _medians([*calls, crops] if crops else calls)
    line = f"{title:<56}{times[0]:>9.2f}{times[1]:>9.2f}{times[0] / times[1]:>7.1f}"
    if crops:
        line += f"{times[2]:>9.2f}{times[0] / times[2]:>9.1f}{times[1] / times[2]:>8.1f}"
        if "default" not in title:
            line += "  MISSED" * bool(times[1] / times[2] > 4)
    _say(line)


def _batch(dataset: Any) -> Any:
    item = dataset[0]
    return list_data_collate(item if isinstance(item, list) else [item])


def _medians(calls: list[Callable[[], Any]]) -> Any:
    """In milliseconds."""
    times: list[list[float]] = [[] for _ in calls]
    # Random transforms happen or not: as often for each.
    for i in range(REPEATS + 1):
        for call, values in zip(calls, times, strict=True):
            np.random.seed(i)  # noqa: NPY002  # of transforms that draw from it
            start = time.process_time()
            call()
            values.append(1000 * (time.process_time() - start))
    return np.median([values[1:] for values in times], axis=1)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    columns = f"{'MONAI':>9}{'ours':>9}{'ratio':>7}{'crops':>9}{'MONAI/':>9}{'ours/':>8}"
    _say(f"{'milliseconds from the cache to the batch':<56}{columns}")
    volume = _volume()
    for edge in (96, 64):
        for title, transform in _crops(edge).items():
            _compare(title, [volume], transform, _slices(volume, edge))
    for bundle in ("asdnet_hippocampus", "segan"):
        parser = ConfigParser()
        parser.read_config(BUNDLES / bundle / "configs" / "train.json")
        data = parser.get_parsed_content("train#dataset#data")[:1]
        _compare(f"a case of {bundle}", data, parser.get_parsed_content("train#preprocessing"))


if __name__ == "__main__":
    main()
