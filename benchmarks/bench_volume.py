"""A CT of 512 x 512 x 300 from its file to its labels' file: memory and seconds, MONAI's way and ours.

``python benchmarks/bench_volume.py $DATA/ct_liver_dicom/DICOM_anon``: a series of 512 x 512. Its slices,
there and back, are interpolated to 300 and written as 16-bit NIfTI with voxels of 0.8 x 0.8 x 1.0 mm. That is
segmented into five classes by windows of 96, at a spacing of 1.5 mm, of 3 mm and as it is.

Memory is the peak of a process of its own, less what it held with the network loaded; the step in which it
lay stands beside it. Time is CPU time of one thread. The network that is fast gives each voxel the nearest
of five HU: real borders, at which the labels of both ways are compared. V-Net shows what a real one adds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import monai.transforms as mt
import nibabel
import numpy as np
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.inferers import SlidingWindowInferer
from torch import nn

from segadv_monai.data import SaveSegmentationd, image_files
from segadv_monai.data.dicom_series import read_series
from segadv_monai.inferers import StreamingSlidingWindow
from segadv_monai.networks import VNet
from segadv_monai.transforms import RegionsToLabel, RegionsToLabeld, ToImageGridd

SIZE = (512, 512, 300)
WINDOW = 96
REGIONS = [[1], [2], [3], [4], [5]]
HU = (-1000.0, -100.0, 50.0, 150.0, 400.0)


class Steps:
    """The peak of every step, told by a transform behind each."""

    def __init__(self) -> None:
        self.before = _status("VmRSS")
        self.peaks: dict[str, float] = {}
        _forget_peak()

    def behind(self, transforms: Mapping[str, Any]) -> list[Any]:
        """The transforms, each followed by one that notes its peak."""
        return [
            each for name, one in transforms.items() for each in (one, lambda x, n=name: self._note(n, x))
        ]

    def _note(self, name: str, data: Any) -> Any:
        self.peaks[name] = (_status("VmHWM") - self.before) / 1024
        _forget_peak()
        return data


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _network(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "nearest HU":
        network = nn.Conv3d(1, len(HU), 1)
        centres = (torch.tensor(HU) + 1000) / 2400
        network.weight.data[:, 0, 0, 0, 0] = 120 * centres
        network.bias.data[:] = -60 * centres**2  # type: ignore[union-attr]
        return network
    widths = {"V-Net": (16, 32, 64, 128, 256), "V-Net of a quarter": (4, 8, 16, 32, 64)}[name]
    return VNet(3, 1, len(REGIONS), widths=widths).eval()


def _preprocessing(spacing: float, steps: Steps, *, ours: bool) -> mt.Compose:
    transforms: dict[str, Any] = {
        "load": mt.LoadImaged("image", reader="NibabelReader", ensure_channel_first=True),
        "orient": mt.Orientationd("image", axcodes="RAS", labels=None),
    }
    if spacing:
        dtype = torch.float32 if ours else np.float64
        transforms["resample"] = mt.Spacingd("image", pixdim=[spacing] * 3, dtype=dtype)
    transforms["scale"] = mt.ScaleIntensityRanged("image", -1000, 1400, 0, 1)
    return mt.Compose(steps.behind(transforms))


def _usual(preprocessing: mt.Compose) -> tuple[Any, dict[str, Any]]:
    return SlidingWindowInferer(WINDOW, 1, 0.25, "gaussian"), {
        "infer": mt.Identityd("pred"),
        "activate": mt.Activationsd("pred", softmax=True),
        "bring back": mt.Invertd("pred", preprocessing, "image", nearest_interp=False),
        "label": RegionsToLabeld("pred", REGIONS),
    }


def _ours(spacing: float) -> tuple[Any, dict[str, Any]]:
    labels = RegionsToLabel(REGIONS)
    if spacing:
        output: Any = "logits"
        back = ToImageGridd("pred", activation="softmax", labels=labels)
    else:
        output = mt.Compose([mt.Activations(softmax=True), labels])
        back = ToImageGridd("pred", mode="nearest")
    inferer = StreamingSlidingWindow(
        WINDOW, overlap=0.25, mode="gaussian", window_batch_size=1, output=output
    )
    return inferer, {"infer": mt.Identityd("pred"), "bring back": back}


def _child(task: Mapping[str, Any]) -> None:
    """One volume as a bundle's ``inference.json`` segments it."""
    network = _network(task["network"])
    network(torch.zeros(1, 1, 32, 32, 32))
    steps = Steps()
    preprocessing = _preprocessing(task["spacing"], steps, ours=task["ours"])
    inferer, last = _ours(task["spacing"]) if task["ours"] else _usual(preprocessing)
    last["save"] = SaveSegmentationd("pred", task["output"])
    started = time.process_time()
    SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(image_files(task["input"]), preprocessing), batch_size=1),
        network=network,
        inferer=inferer,
        postprocessing=mt.Compose(steps.behind(last)),
    ).run()
    _say(json.dumps([steps.peaks, time.process_time() - started]))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _measured(folder: Path, network: str, spacing: float, *, ours: bool) -> tuple[dict[str, float], float]:
    output = str(folder / ("ours" if ours else "usual"))
    task = {"network": network, "spacing": spacing, "ours": ours, "input": str(folder), "output": output}
    command = [sys.executable, __file__, "--child", json.dumps(task)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    peaks, seconds = json.loads(result.stdout.splitlines()[-1])
    return peaks, seconds


def _write_volume(series: str, folder: Path) -> None:
    """The slices, there and back, interpolated to as many as are wanted."""
    values = read_series(series).array
    places = np.linspace(0, 2 * (values.shape[2] - 1), SIZE[2])
    places = values.shape[2] - 1 - np.abs(values.shape[2] - 1 - places)
    volume = np.empty(SIZE, np.int16)
    for k, place in enumerate(places):
        low = min(int(place), values.shape[2] - 2)
        mixed = (low + 1 - place) * values[:, :, low] + (place - low) * values[:, :, low + 1]
        volume[:, :, k] = np.round(mixed)
    affine = np.diag([-0.8, -0.8, 1.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(volume, affine), folder / "ct.nii")


def _differing(folder: Path) -> int:
    names = (folder / way / "ct_segmentation.nii.gz" for way in ("usual", "ours"))
    usual, ours = (np.asarray(nibabel.load(name).dataobj) for name in names)
    return int((usual != ours).sum())


def _compare(folder: Path, spacings: list[float]) -> None:
    _say("| mm | MONAI, MiB (step) | ours, MiB (step) | of it | MONAI, CPU s | ours, CPU s | labels differ |")
    _say("| --- |" + " --- |" * 6)
    for spacing in spacings:
        peaks, seconds = zip(
            *(_measured(folder, "nearest HU", spacing, ours=ours) for ours in (False, True)), strict=True
        )
        most = [max(each, key=lambda name, each=each: each[name]) for each in peaks]
        told = [f"{each[name]:.0f} ({name})" for each, name in zip(peaks, most, strict=True)]
        ratio = max(peaks[1].values()) / max(peaks[0].values())
        share = f"{_differing(folder)} of {np.prod(SIZE)}"
        cells = [str(spacing or "as it is"), *told, f"{ratio:.2f}", *(f"{s:.0f}" for s in seconds), share]
        _say(f"| {' | '.join(cells)} |")


def _networks(folder: Path, names: list[str], spacing: float) -> None:
    for name in names:
        peaks, seconds = _measured(folder, name, spacing, ours=True)
        told = ", ".join(f"{step} {peak:.0f}" for step, peak in peaks.items())
        _say(f"{name}, {spacing} mm, ours: {max(peaks.values()):.0f} MiB, {seconds:.0f} s; {told}")


def main() -> None:
    """Write the volume, segment it in every way and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("series", nargs="?", help="folder with a CT series of 512 x 512")
    parser.add_argument("--spacings", type=float, nargs="*", default=[1.5, 3.0, 0.0], help="0: as it is")
    parser.add_argument("--networks", nargs="*", default=["V-Net of a quarter", "V-Net"], help="at 3 mm")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    if given.child:
        _child(given.child)
        return
    if not given.series:
        parser.error("give the folder of a CT series, such as $DATA/ct_liver_dicom/DICOM_anon")
    with tempfile.TemporaryDirectory() as folder:
        _write_volume(given.series, Path(folder))
        _compare(Path(folder), given.spacings)
        _networks(Path(folder), given.networks, 3.0)


if __name__ == "__main__":
    main()
