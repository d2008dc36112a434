"""Gradients of one of two processes, and of one alone: ``python distributed_reversible.py RANK FOLDER``."""

import sys
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from segadv_monai.layers import ReversibleBlock, ReversibleSequence


def gradients(images: slice, *, alone: bool) -> dict[str, Tensor]:
    torch.manual_seed(0)
    functions = [
        nn.Sequential(nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)) for _ in range(4)
    ]
    blocks = [ReversibleBlock(*functions[:2]), ReversibleBlock(*functions[2:])]
    network = nn.Sequential(nn.Conv2d(1, 8, 3), ReversibleSequence(blocks), nn.Conv2d(8, 1, 1)).double()
    image = torch.randn(4, 1, 8, 8, dtype=torch.float64)[images]
    # Buckets of a few weights, so that the reducer sends some before the pass is over.
    wrapped = network if alone else DistributedDataParallel(network, bucket_cap_mb=1e-4)
    for _ in range(2):
        network.zero_grad()
        wrapped(image).square().mean().backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


if __name__ == "__main__":
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    if rank == 0:
        torch.save(gradients(slice(None), alone=True), folder / "alone.pt")
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    torch.save(gradients(slice(rank, None, 2), alone=False), folder / f"{rank}.pt")
    distributed.destroy_process_group()
