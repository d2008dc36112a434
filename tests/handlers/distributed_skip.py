"""Train as one of two processes, the second with a bad batch: ``python distributed_skip.py RANK FOLDER``."""

import sys
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from segadv_monai.handlers import Finite
from segadv_monai.trainers import AdversarialTrainer

if __name__ == "__main__":
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    store = f"file://{folder / 'store'}"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))
    images = torch.rand(4, 1, 1, 8, 8)
    if rank == 1:
        images[2, 0, 0, 0, 0] = torch.nan
    finite = Finite(skip=1)
    AdversarialTrainer(
        "cpu",
        1,
        [{"image": image, "label": (image > 0.5).float()} for image in images],
        network=DistributedDataParallel(network),
        optimizer=torch.optim.Adam(network.parameters(), lr=0.1),
        loss_function=nn.BCEWithLogitsLoss(),
        train_handlers=[finite],
        decollate=False,
    ).run()
    torch.save({**network.state_dict(), "left_out": torch.tensor(finite.left_out)}, folder / f"{rank}.pt")
    distributed.destroy_process_group()
