"""Train as one of some processes and save the weights: ``python distributed_game.py RANK WORLD FOLDER``."""

import sys
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from segadv_monai.critics import SegANCritic
from segadv_monai.networks import SegAN as Segmentor
from segadv_monai.objectives import SegAN
from segadv_monai.protocols import CriticOutput, Play
from segadv_monai.trainers import AdversarialTrainer


class Critic(nn.Module):
    """Two layers and no statistics of the batch, so that gradients of halves average exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, stride=2)
        self.second = nn.Conv2d(3, 2, 3, stride=2)

    def forward(self, segmentation: Tensor, image: Tensor) -> CriticOutput:
        first = self.first(segmentation * image).tanh()
        return CriticOutput(score=None, features=(first, self.second(first)))


class Game(SegAN):
    """SegAN's, which refuses a wrapped critic in the segmentor's turn."""

    def segmentor_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        if isinstance(critic, DistributedDataParallel):
            raise TypeError("the segmentor's turn would feed the reducer of the critic")
        return super().segmentor_loss(critic, play)


def players(kind: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    if kind == "published":
        critic = SegANCritic(2, 1, widths=(2, 2), kernels=(5, 3), norm="instance")
        return Segmentor(2, 1, 1, width=1), critic
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Conv2d(2, 1, 1)
    ).double(), Critic().double()


def play(kind: str, rank: int, world: int) -> dict[str, Tensor]:
    segmentor, critic = players(kind)
    image = torch.randn(4, 1, 36, 36, dtype=next(segmentor.parameters()).dtype)
    share = {"image": image[rank::world], "label": (image[rank::world] > 0.5).to(image.dtype)}
    optimizers = [torch.optim.SGD(player.parameters(), lr=0.1) for player in (segmentor, critic)]
    wrapped = [segmentor, critic]
    if world > 1:
        wrapped = [
            DistributedDataParallel(segmentor),
            DistributedDataParallel(critic, broadcast_buffers=False),
        ]
    AdversarialTrainer(
        device="cpu",
        max_epochs=2,
        train_data_loader=[share, share],
        network=wrapped[0],
        optimizer=optimizers[0],
        critic=wrapped[1],
        critic_optimizer=optimizers[1],
        objective=Game(),
        decollate=False,
    ).run()
    named = [*segmentor.named_parameters("segmentor"), *critic.named_parameters("critic")]
    return {f"{kind}.{name}": parameter.detach() for name, parameter in named}


if __name__ == "__main__":
    rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    if world > 1:
        store = f"file://{folder / 'store'}"
        distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    weights = play("plain", rank, world) | play("published", rank, world)
    torch.save(weights, folder / f"{rank}_of_{world}.pt")
    if world > 1:
        distributed.destroy_process_group()
