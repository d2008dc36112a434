"""Train and segment, and print how fast resident memory grows: ``python memory.py FOLDER``.

In a process of its own, whose memory nothing else has stirred. Printed are MB per iteration of a training, MB
per case of an inference, and the latter with 2 MB leaked in every case.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from PIL import Image

from segadv_monai.data import sample_data

CONFIGS = Path(__file__).parents[2] / "bundles" / "segan" / "configs"
SMALL = {"image_size": [44, 44], "window": [44, 44], "network_def::width": 1, "device": "cpu"}


class Resident:
    """Megabytes of resident memory after each of an engine's iterations."""

    def __init__(self, leak: int = 0) -> None:
        self.megabytes: list[float] = []
        self.leak = leak
        self.leaked: list[bytes] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, _: Engine) -> None:
        self.leaked.append(os.urandom(self.leak))
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.megabytes.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)

    def slope(self, count: int) -> float:
        """Megabytes per iteration, over the last ones."""
        last = self.megabytes[-count:]
        assert len(last) == count
        return float(np.polyfit(np.arange(count), last, 1)[0])


def segment(folder: Path, output: Path, watch: Resident, model: Path) -> None:
    settings: dict[str, Any] = {**SMALL, "dataset_dir": str(folder), "output_dir": str(output)}
    files = [str(CONFIGS / "inference.json")]
    run = ConfigWorkflow(
        files, workflow_type="inference", logging_file=False, ckpt_dir=str(model), **settings
    )
    run.initialize()
    watch.attach(run.parser.get_parsed_content("evaluator"))
    run.run()


def measure(folder: Path) -> list[float]:
    source = Path(sample_data("dermoscopy"))
    description = json.loads((source / "dataset.json").read_text())
    for section, count in (("training", 10), ("validation", 2)):
        entries = description[section][:count]
        description[section] = [{key: str(source / path) for key, path in e.items()} for e in entries]
    (folder / "dataset.json").write_text(json.dumps(description))
    settings: dict[str, Any] = {
        **SMALL,
        "crop_size": [40, 40],
        "critic_def::widths": [1] * 6,
        "batch_size": 2,
        "epochs": 60,
        "val_interval": 10,
        "train#handlers#0#preview_cases": 0,
        "dataset_dir": str(folder),
        "output_dir": str(folder / "run"),
    }
    run = ConfigWorkflow([str(CONFIGS / "train.json")], logging_file=False, workflow_type="train", **settings)
    run.initialize()
    training, inference, leaking = Resident(), Resident(), Resident(leak=2 * 2**20)
    training.attach(run.parser.get_parsed_content("train#trainer"))
    run.run()
    (folder / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    for i in range(40):
        Image.fromarray(pixels).save(folder / "in" / f"{i}.png")
    segment(folder / "in", folder / "out", inference, folder / "run")
    segment(folder / "in", folder / "out", leaking, folder / "run")
    return [training.slope(200), inference.slope(20), leaking.slope(20)]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(Path(sys.argv[1]))) + "\n")
