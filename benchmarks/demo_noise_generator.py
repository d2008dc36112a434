"""The textbook game on masks alone: does a generator that sees nothing but noise learn how large lesions are?

Masks of lesions, brought to 32 x 32, against :class:`segadv_monai.networks.NoiseGenerator`, in a plain loop
over :class:`segadv_monai.objectives.NonSaturating`. A mask's area is its share of the picture. Printed is the
Wasserstein distance of the areas of 800 generated masks from those of the training, 0 for one distribution,
and beside it their mean, their deviation and the mean number of pieces. The row of the validation's masks
says how near one can expect to come.

    python benchmarks/demo_noise_generator.py FOLDER [STEPS]

FOLDER is a data set in the layout of the Decathlon with a training and a validation; 2000 steps by default.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from monai.transforms import LoadImage
from scipy.stats import wasserstein_distance
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from segadv_monai.critics import PatchCritic
from segadv_monai.data import datalist
from segadv_monai.metrics import components
from segadv_monai.networks import NoiseGenerator
from segadv_monai.objectives import NonSaturating
from segadv_monai.protocols import Play

SIZE, NOISE, BATCH, GENERATED = 32, 64, 32, 800


def _masks(folder: Path, section: str) -> Tensor:
    """``(N, 1, 32, 32)``, values 0 and 1."""
    load = LoadImage(ensure_channel_first=True)
    labels = [load(case["label"]).as_tensor() > 0 for case in datalist(folder, section)]
    return torch.stack([(adaptive_avg_pool2d(label.float(), SIZE) > 0.5).float() for label in labels])


def _say(title: str, masks: Tensor, real: Tensor) -> None:
    areas, others = (x.mean(dim=(1, 2, 3)).numpy() for x in (masks, real))
    pieces = np.mean([components(mask) for mask in masks[:, 0]])
    distance = wasserstein_distance(areas, others)
    _print(f"{title:<22}{distance:>10.3f}{areas.mean():>8.3f}{areas.std():>11.3f}{pieces:>8.2f}")


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@torch.no_grad()
def _generated(generator: nn.Module) -> Tensor:
    generator.eval()
    masks = (generator(torch.randn(GENERATED, NOISE)) > 0).float()
    generator.train()
    return masks


def _train(generator: nn.Module, real: Tensor, steps: int) -> None:
    critic = PatchCritic(2, 1, 1, scope="patch1", width=8)
    game = NonSaturating(noise=0.1)
    optimizers = [torch.optim.Adam(x.parameters(), lr=2e-4, betas=(0.5, 0.999)) for x in (critic, generator)]
    # No picture belongs to noise, so the critic gets an empty one.
    image = torch.zeros(BATCH, 1, SIZE, SIZE)
    for step in range(1, steps + 1):
        target = real[torch.randint(len(real), (BATCH,))]
        play = Play(image, target, generator(torch.randn(BATCH, NOISE)))
        for optimizer, turn in zip(optimizers, (game.critic_loss, game.segmentor_loss), strict=True):
            optimizer.zero_grad()
            torch.stack(list(turn(critic, play).values())).sum().backward()
            optimizer.step()
        if step % 500 == 0 or step == steps:
            _say(f"generated, step {step}", _generated(generator), real)


def main(folder: Path, steps: int) -> None:
    """Train and say before, meanwhile and after how far the areas are from those of real masks."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    real = _masks(folder, "training")
    _print(f"{'areas of masks':<22}{'distance':>10}{'mean':>8}{'deviation':>11}{'pieces':>8}")
    _say("training", real, real)
    _say("validation", _masks(folder, "validation"), real)
    generator = NoiseGenerator(2, NOISE, 1, size=(SIZE, SIZE), widths=(64, 32, 16, 8))
    _say("generated, untrained", _generated(generator), real)
    begun = time.process_time()
    _train(generator, real, steps)
    _print(f"{steps} steps of {BATCH} masks took {time.process_time() - begun:.0f} s of one core")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2000)
