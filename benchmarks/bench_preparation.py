"""What N4 takes out of heads under a known field, and what histogram matching and cleaning cost.

``python benchmarks/bench_preparation.py $DATA``: the folder of the real data sets. Each T1 volume of
``subcortical`` is multiplied by a smooth field and corrected. Correlation and deviations are those of the
field's logarithm inside the brain; the spread is deviation over mean inside four structures, left and right
together. Time is CPU time of one thread.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import LoadImage
from torch import Tensor

from segadv_monai.data import N4BiasFieldCorrection, RandMatchHistogramd, datalist
from segadv_monai.transforms import CleanLabelsd

PAIRS = ([1, 2], [3, 4], [5, 6], [7, 8])


def seconds(work: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """CPU time of one call, and its result."""
    start = time.process_time()
    for _ in range(repeats):
        result = work()
    return (time.process_time() - start) / repeats, result


def say(line: str) -> None:
    """At once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def known_field(size: torch.Size) -> Tensor:
    """From 0.6 to 1.9 of the brightness."""
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in size], indexing="ij")
    return torch.exp(0.3 * (0.8 * x + 0.5 * y * y - 0.6 * z + 0.4 * x * y))


def correct(case: dict[str, Any]) -> None:
    """One head."""
    load = LoadImage(reader="NibabelReader", ensure_channel_first=True)
    image, label = load(case["image"]), load(case["label"])[0].as_tensor()
    biased = image * known_field(image.shape[1:])
    taken, corrected = seconds(lambda: N4BiasFieldCorrection()(biased))
    plain, bad, good = (x[0].as_tensor() for x in (image, biased, corrected))
    inside = plain > np.quantile(plain[plain > 0].numpy(), 0.2)
    true, found = (torch.log(x[inside]) for x in (bad / plain, bad / good))
    spreads = []
    for values in (plain, bad, good):
        parts = [values[torch.isin(label, torch.tensor(pair).float())] for pair in PAIRS]
        spreads.append(f"{np.mean([float(part.std() / part.mean()) for part in parts]):.3f}")
    say(
        f"N4 {Path(case['image']).name} {tuple(plain.shape)}: {taken:.1f} s, correlation "
        f"{np.corrcoef(true, found)[0, 1]:.3f}, deviation {true.std():.3f}, left {(true - found).std():.3f}, "
        f"spread without, with, corrected: {', '.join(spreads)}",
    )


def match(folder: Path) -> None:
    """One crop of the size that a training takes."""
    cases = datalist(folder)[:10]
    matching = RandMatchHistogramd("image", cases, prob=1, preload=True).set_random_state(0)
    crop = torch.from_numpy(matching.references.values(0, "image"))
    crop = torch.nn.functional.interpolate(crop[None], (40, 40, 40))[0]
    taken, _ = seconds(lambda: matching({"image": crop}), 50)
    say(f"histogram matching of 40 x 40 x 40: {1000 * taken:.1f} ms")


def clean() -> None:
    """Three balls, one of them hollow and in another."""
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in (512, 512, 300)], indexing="ij")
    labels = (x * x + y * y + z * z < 0.5).to(torch.uint8)[None]
    labels[0][x * x + (y - 0.3) ** 2 + z * z < 0.05] = 2
    labels[0][(x + 0.3) ** 2 + y * y + z * z < 0.04] = 3
    labels[0][x * x + (y - 0.3) ** 2 + z * z < 0.0005] = 0
    for option in ("none", "largest", "fill", "largest_fill"):
        cleaning = CleanLabelsd("pred", [[1], [2], [3]], [option] * 3)
        taken, _ = seconds(lambda cleaning=cleaning: cleaning({"pred": labels}))
        say(f"cleaning of three regions in 512 x 512 x 300, {option}: {taken:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the real data sets")
    data = parser.parse_args().data
    for section in ("training", "validation"):
        for entry in datalist(data / "subcortical", section):
            correct(entry)
    match(data / "hippocampus")
    clean()
