"""The steps of an adversarial iteration: who moves, when, and what the engine says of it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.inferers import SimpleInferer
from monai.losses import DiceLoss
from monai.transforms import AsDiscreted
from torch import Tensor, nn

from segadv_monai.critics import SegANCritic
from segadv_monai.handlers import CriticEvents, Overlap
from segadv_monai.metrics import dice_score
from segadv_monai.networks import SegAN as Segmentor
from segadv_monai.objectives import SegAN
from segadv_monai.protocols import CriticOutput, Play
from segadv_monai.trainers import AdversarialTrainer

SIZE = 36
Batch = dict[str, Tensor]


class Critic(nn.Module):
    """The masked image and one convolution of it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3, stride=2)

    def forward(self, segmentation: Tensor, image: Tensor) -> CriticOutput:
        masked = segmentation * image
        return CriticOutput(score=None, features=(masked, self.convolution(masked)))


class Recorder(SegAN):
    """SegAN's game that keeps what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.plays: list[Play] = []
        self.learning: dict[str, list[bool]] = {}

    def critic_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        self.learning["critic"] = [p.requires_grad for p in critic.parameters()]
        return super().critic_loss(critic, play)

    def segmentor_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        self.plays.append(play)
        self.learning["segmentor"] = [p.requires_grad for p in critic.parameters()]
        return super().segmentor_loss(critic, play)


def discs(cases: int = 4) -> Batch:
    """Bright discs in noise, and where they are."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randint(12, SIZE - 12, (cases, 2, 1, 1), generator=generator)
    radii = torch.randint(5, 10, (cases, 1, 1), generator=generator)
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    inside = (rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2 < radii**2
    label = inside.float()[:, None]
    return {"image": label + 0.5 + 0.3 * torch.randn(label.shape, generator=generator), "label": label}


def game(loader: list[Batch] | None = None, **changes: Any) -> AdversarialTrainer:
    """Two small players, four cases in two batches."""
    torch.manual_seed(0)
    network = changes.pop("network", None) or nn.Conv2d(1, 1, 3, padding=1)
    critic = changes.pop("critic", None) or Critic()
    batch = discs()
    settings: dict[str, Any] = {
        "device": "cpu",
        "max_epochs": 1,
        "train_data_loader": loader or [{k: v[:2] for k, v in batch.items()}, {k: v[2:] for k, v in batch.items()}],
        "network": network,
        "optimizer": torch.optim.Adam(network.parameters(), lr=0.01),
        "critic": critic,
        "critic_optimizer": torch.optim.Adam(critic.parameters(), lr=0.01),
        "objective": SegAN(),
    }
    return AdversarialTrainer(**{**settings, **changes})


def baseline(**changes: Any) -> AdversarialTrainer:
    alone = {"critic_optimizer": None, "objective": None, "loss_function": DiceLoss(sigmoid=True), **changes}
    trainer = game(**alone)
    trainer.critic = None
    return trainer
