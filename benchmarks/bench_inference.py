"""From a volume to its labels: CPU time, peak memory and redundancy of MONAI's sliding window and of ours.

Time is CPU time of one thread, with everything to compare in turn in every round; the median counts. It is
set against the pure forward pass over the same windows, four at a time, whose logits are thrown away. MONAI's
inferer has four windows at a time too, and an argmax behind it.

Memory is the peak of a process of its own, less what it held before the call, with a network of two layers:
what counts is what the inferer keeps beside a window's logits. MONAI with 104 classes on the large volume
would need 21.8 GB for its sums alone; it is left out, and ours is set against these.

nnU-Net's predictor is not measured here.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import BasicUNet
from torch import Tensor, nn

from segadv_monai.inferers import OverlapTileInferer, StreamingSlidingWindow
from segadv_monai.inferers.tiling import Tiling, valid_fit
from segadv_monai.inferers.windows import Windows
from segadv_monai.networks import UNet2015

WINDOW = 64
OVERLAP = 0.25
SMALL = (160, 160, 96)
LARGE = (512, 512, 200)
Method = Callable[[Tensor, nn.Module], object]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _unet(classes: int, width: int = 16) -> nn.Module:
    torch.manual_seed(0)
    return BasicUNet(3, 1, classes, features=(width, width, 2 * width, 4 * width, 8 * width, width)).eval()


def _two_layers(classes: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, classes, 1)).eval()


def _windows(image: Tensor) -> Windows:
    return Windows.over(image.shape[2:], (WINDOW,) * 3, (OVERLAP,) * 3, axis=None)


def _forward(image: Tensor, network: nn.Module) -> None:
    windows = _windows(image)
    places = windows.places(len(image))
    while group := list(islice(places, 4)):
        network(torch.stack([windows.of(image, place) for place in group]))


def _monai() -> Method:
    inferer = SlidingWindowInferer(WINDOW, 4, OVERLAP, "gaussian")
    return lambda image, network: inferer(image, network).argmax(1, keepdim=True).to(torch.uint8)


def _ours(mode: Literal["gaussian", "none"]) -> Method:
    return StreamingSlidingWindow(WINDOW, overlap=OVERLAP, mode=mode)


def _ours_by_four(mode: Literal["gaussian", "none"]) -> Method:
    return StreamingSlidingWindow(WINDOW, overlap=OVERLAP, mode=mode, window_batch_size=4)


METHODS: dict[str, Callable[[], Method]] = {
    "forward": lambda: _forward,
    "MONAI": _monai,
    "ours, gaussian": lambda: _ours("gaussian"),
    "ours, none": lambda: _ours("none"),
}
# Of a longer image more windows at a time are tried: a number makes the two peaks comparable.
BY_FOUR: dict[str, Callable[[], Method]] = {
    "MONAI": _monai,
    "ours, gaussian, 4 windows": lambda: _ours_by_four("gaussian"),
    "ours, none, 4 windows": lambda: _ours_by_four("none"),
}


def _medians(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.process_time()
            call()
            seconds[name].append(time.process_time() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


def _times(size: Sequence[int], classes: Sequence[int], rounds: int) -> None:
    image = torch.rand(1, 1, *size)
    windows = _windows(image)
    redundancy = len(windows) * WINDOW**3 / image.numel()
    _say(
        f"\nCPU time, BasicUNet of width 16, {list(size)}, {len(windows)} windows, "
        f"redundancy {redundancy:.2f}"
    )
    _say(
        "| classes | forward, seconds | " + " | ".join(f"{name}, of it" for name in list(METHODS)[1:]) + " |"
    )
    _say("| --- |" + " --- |" * len(METHODS))
    for number in classes:
        network = _unet(number)
        results: dict[str, object] = {}
        calls = {}
        for name, make in METHODS.items():
            calls[name] = _kept(make(), name, results, image=image, network=network)
        medians = _medians(calls, rounds)
        ratios = [f"{seconds / medians['forward']:.2f}" for name, seconds in list(medians.items())[1:]]
        differing = int((results["MONAI"] != results["ours, gaussian"]).sum())
        cells = [f"{medians['forward']:.2f}", *ratios, f"{differing} of {image.numel()} differ"]
        _say(f"| {number} | {' | '.join(cells)} |")


def _kept(
    method: Method, name: str, results: dict[str, object], *, image: Tensor, network: nn.Module
) -> Callable[[], None]:
    def call() -> None:
        results[name] = method(image, network)

    return call


def _windows_at_a_time(rounds: int) -> None:
    network = _unet(14, width=8)
    image = torch.rand(1, 1, 128, 128, 64)
    places = list(_windows(image).places(1))[:4]
    shown = torch.stack([_windows(image).of(image, place) for place in places])
    corner = image[..., :WINDOW, :WINDOW, :]
    ours = StreamingSlidingWindow(WINDOW, mode="none", window_batch_size=1)
    calls = {
        "four": lambda: network(shown),
        "one": lambda: [network(window[None]) for window in shown],
        "one, ours": lambda: [ours(corner, network) for _ in shown],
    }
    medians = _medians(calls, rounds)
    _say("\nCPU time of four 64 x 64 x 64 windows, BasicUNet of width 8")
    for name, seconds in medians.items():
        _say(f"  {name} at a time: {seconds:.2f} s, {seconds / medians['four']:.2f} of four")


def _tiles(rounds: int) -> None:
    network = UNet2015(2, 1, 2, widths=(8, 16, 32, 64, 128)).eval()
    image = torch.rand(1, 1, 1024, 1024)
    axis = Tiling.within(valid_fit(network.output_size, 2)[0], 1024, limit=572)
    tiles = torch.rand(1, 1, axis.tile, axis.tile)
    ours = OverlapTileInferer(572)
    calls = {
        "forward": lambda: [network(tiles) for _ in range(axis.count**2)],
        "ours": lambda: ours(image, network),
    }
    medians = _medians(calls, rounds)
    output = network.output_size((axis.tile,))[0]
    _say(
        f"\nOverlap-tile, U-Net 2015 of width 8, 1024 x 1024, {axis.count**2} tiles {axis.tile} -> {output}: "
        f"CPU time {medians['ours'] / medians['forward']:.2f} of the forward pass, redundancy of the output "
        f"{(axis.count * output / 1024) ** 2:.2f}, of the input {(axis.count * axis.tile / 1024) ** 2:.2f}"
    )


def _peak_mb(method: str, classes: int, size: Sequence[int]) -> float:
    """Peak of a fresh process, less what it held before."""
    task = json.dumps([method, classes, list(size)])
    command = [sys.executable, __file__, "--child", task]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(result.stdout.splitlines()[-1])


def _child(method: str, classes: int, size: Sequence[int]) -> None:
    inferer = {**METHODS, **BY_FOUR}[method]()
    net = _two_layers(classes)
    image = torch.rand(1, 1, *size)
    net(image[..., :32, :32, :32])
    before = _status("VmRSS")
    inferer(image, net)
    _say(str((_status("VmHWM") - before) / 1024))


def _status(name: str) -> int:
    """Kilobytes; the peak that getrusage tells begins with that of the parent process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _memory(size: Sequence[int], classes: Sequence[int], *, largest: int) -> None:
    names = list(METHODS)[1:]
    _say(f"\nPeak memory in MB, {list(size)}; in brackets over MONAI's")
    _say("| classes | " + " | ".join(names) + " |")
    _say("| --- |" + " --- |" * len(names))
    for number in classes:
        peaks = {name: _peak_mb(name, number, size) for name in names if number <= largest or name != "MONAI"}
        reference = peaks.get("MONAI", number * torch.Size(size).numel() * 4 / 2**20)
        cells = [f"{peaks[n]:.0f} ({peaks[n] / reference:.2f})" if n in peaks else "-" for n in names]
        _say(f"| {number} | {' | '.join(cells)} |")


def _growth(classes: int) -> None:
    twice = (2 * SMALL[0], *SMALL[1:])
    voxels = torch.Size(SMALL).numel()
    _say(f"\nPeak memory of {list(twice)} over that of {list(SMALL)}, {classes} classes, less the labels")
    for name in BY_FOUR:
        once, double = (_peak_mb(name, classes, size) for size in (SMALL, twice))
        ratio = (double - 2 * voxels / 2**20) / (once - voxels / 2**20)
        _say(f"  {name}: {once:.0f} -> {double:.0f} MB, ratio {ratio:.2f}")


def main() -> None:
    """Measure and print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller volume, fewer classes, one round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    if given.child:
        _child(*given.child)
        return
    rounds = 1 if given.quick else given.rounds
    _windows_at_a_time(rounds)
    _tiles(rounds)
    if given.quick:
        _times((112, 112, 64), (14,), rounds)
        _memory(SMALL, (14,), largest=14)
        return
    _times(SMALL, (3, 14, 104), rounds)
    _memory(SMALL, (3, 14, 104), largest=104)
    _memory(LARGE, (3, 104), largest=3)
    _growth(14)


if __name__ == "__main__":
    main()
