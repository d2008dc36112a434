"""What a training of the partially reversible U-Net holds and takes, beside the same network that keeps all.

Without arguments: bytes that the graph holds and the peak of resident memory for 1 to 8 blocks, differences
of the gradients, and iterations on small volumes. With ``--size`` one iteration of the published network
alone: the Dice loss, its backward pass and a step of Adam, on one thread. Peaks are those of resident memory
above what was there before.
"""

import argparse
import ctypes
import gc
import sys
import time
from pathlib import Path
from typing import Any

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from segadv_monai.layers import ReversibleBlock, ReversibleSequence
from segadv_monai.networks import PartiallyReversibleUNet

BLOCKS = (1, 2, 4, 8)
MIB = 2**20


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _status(name: str) -> float:
    """MiB of this process, by the name of the kernel's line."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def _peak_from_here() -> float:
    """Forget the peak so far; what is resident now."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _sequence(blocks: int, half: int, *, reversible: bool) -> ReversibleSequence:
    torch.manual_seed(0)

    def function() -> nn.Module:
        convolution = nn.Conv3d(half, half, 3, padding=1, bias=False)
        return nn.Sequential(nn.GroupNorm(half, half), nn.LeakyReLU(0.01, inplace=True), convolution)

    pairs = [(function(), function()) for _ in range(blocks)]
    return ReversibleSequence([ReversibleBlock(f, g) for f, g in pairs], reversible=reversible)


def _held(network: nn.Module, x: Tensor) -> tuple[Tensor, int]:
    """The output, and bytes of the tensors that its graph has saved or carries, weights left out."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        y: Tensor = network(x)
    for value in vars(y.grad_fn).values() if hasattr(y.grad_fn, "__dict__") else ():
        for tensor in _tensors(value):
            keep(tensor)
    for parameter in network.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    return y, sum(kept.values())


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [tensor for part in value for tensor in _tensors(part)] if isinstance(value, list | tuple) else []


def _memory(half: int = 30, size: int = 48) -> None:
    _say(
        f"{2 * half} channels, {size}^3 voxels, float32; the input has {2 * half * size**3 * 4 / MIB:.1f} MiB"
    )
    _say("| blocks | held, reversible, MiB | held, plain, MiB | peak, reversible, MiB | peak, plain, MiB |")
    _say("| --- | --- | --- | --- | --- |")
    for blocks in BLOCKS:
        held, peaks = [], []
        for reversible in (True, False):
            network = _sequence(blocks, half, reversible=reversible)
            x = torch.randn(1, 2 * half, size, size, size, requires_grad=True)
            for p in network.parameters():
                p.grad = torch.zeros_like(p)
            before = _peak_from_here()
            y, count = _held(network, x)
            y.sum().backward()
            held.append(f"{count / MIB:.1f}")
            peaks.append(f"{_status('VmHWM') - before:.0f}")
            del y, x, network
        _say(f"| {blocks} | {' | '.join(held + peaks)} |")


def _differences(half: int = 16, size: int = 16) -> None:
    _say("| blocks | type | largest difference of a gradient, of the largest gradient of that weight |")
    _say("| --- | --- | --- |")
    for blocks in BLOCKS:
        for dtype in (torch.float32, torch.float64):
            found: list[list[Tensor]] = []
            for reversible in (True, False):
                network = _sequence(blocks, half, reversible=reversible).to(dtype)
                x = torch.randn(1, 2 * half, size, size, size, generator=torch.Generator().manual_seed(1))
                x = x.to(dtype).requires_grad_()
                network(x).square().mean().backward()
                found.append(
                    [tensor.grad for tensor in (x, *network.parameters()) if tensor.grad is not None]
                )
            worst = max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(*found, strict=True))
            _say(f"| {blocks} | {str(dtype).removeprefix('torch.')} | {worst:.1e} |")


def _iteration(
    size: tuple[int, ...], *, reversible: bool, in_channels: int, amp: bool
) -> tuple[float, float]:
    """CPU seconds and peak MiB of one step of the published network."""
    torch.manual_seed(0)
    network = PartiallyReversibleUNet(3, in_channels, 3, reversible=reversible)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4, weight_decay=1e-5)
    loss_function = DiceLoss(sigmoid=True)
    image = torch.randn(1, in_channels, *size)
    target = (torch.rand(1, 3, *size) > 0.9).float()
    before = _peak_from_here()
    started = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        loss = loss_function(network(image), target)
    loss.backward()
    optimizer.step()
    seconds = time.process_time() - started
    if not all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters()):
        raise SystemExit("bench_reversible: a weight has no finite gradient.")
    return seconds, _status("VmHWM") - before


def _iterations(
    sizes: list[tuple[int, ...]], *, kinds: list[bool], in_channels: int, amp: bool = False
) -> None:
    _say(f"{in_channels} to 3 channels, {'bfloat16 autocast' if amp else 'float32'}")
    _say("| size | reversible | CPU seconds | peak, GiB | peak, bytes per voxel |")
    _say("| --- | --- | --- | --- | --- |")
    for size in sizes:
        for reversible in kinds:
            seconds, peak = _iteration(size, reversible=reversible, in_channels=in_channels, amp=amp)
            voxels = torch.Size(size).numel()
            name = " x ".join(str(n) for n in size)
            cells = f"{seconds:.1f} | {peak / 1024:.2f} | {peak * MIB / voxels:.0f}"
            _say(f"| {name} | {'yes' if reversible else 'no'} | {cells} |")


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--size", type=int, nargs=3, help="one iteration on a volume of this size, and no more"
    )
    parser.add_argument("--plain", action="store_true", help="the network that keeps all, with --size")
    parser.add_argument("--amp", action="store_true", help="bfloat16 autocast, with --size")
    parser.add_argument("--in_channels", type=int, default=4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    # Every tensor above 64 KiB has pages of its own (M_MMAP_THRESHOLD), which go back when it does.
    ctypes.CDLL(None).mallopt(-3, 2**16)
    if given.size:
        kinds = [not given.plain]
        _iterations([tuple(given.size)], kinds=kinds, in_channels=given.in_channels, amp=given.amp)
        return
    _memory()
    _differences()
    _iterations([(48, 48, 48), (80, 80, 64)], kinds=[True, False], in_channels=given.in_channels)


if __name__ == "__main__":
    main()
