"""The training command, in processes that are forked from one that has imported everything."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from segadv_monai.data import sample_data

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "bundles" / "segan" / "configs" / "train.json"
SETTINGS = {
    "epochs": 6,
    "val_interval": 2,
    "batch_size": 2,
    "image_size": "[44,44]",
    "window": "[44,44]",
    "crop_size": "[40,40]",
    "network_def#width": 1,
    "critic_def#widths": "[1,1,1,1,1,1]",
    "device": "cpu",
    "train#handlers#0#preview_cases": 0,
}


@dataclass
class Ended:
    code: int
    text: str

    @property
    def lines(self) -> list[str]:
        return [line for line in self.text.splitlines() if line]


class Command:
    """Starts the command again and again, and waits for its end."""

    def __init__(self, server: subprocess.Popen[str], dataset: Path) -> None:
        self.server = server
        self.dataset = dataset

    def start(self, output: Path, settings: dict[str, Any] | None = None, **limits: Any) -> int:
        self.log = output.parent / f"{output.name}.log"
        self.log.unlink(missing_ok=True)
        given = {"dataset_dir": self.dataset, "output_dir": output, **SETTINGS, **(settings or {})}
        options = [str(part) for key, value in given.items() for part in (f"--{key}", value)]
        arguments = ["run", "training", "--config_file", str(CONFIG), *options]
        task = {"arguments": arguments, "log": str(self.log), **limits}
        assert self.server.stdin
        assert self.server.stdout
        self.server.stdin.write(json.dumps(task) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def end(self) -> Ended:
        assert self.server.stdout
        code = int(self.server.stdout.readline())
        return Ended(code, self.log.read_text())

    def run(self, output: Path, settings: dict[str, Any] | None = None, **limits: Any) -> Ended:
        self.start(output, settings, **limits)
        return self.end()

    def wait_for(self, word: str) -> None:
        deadline = time.monotonic() + 60
        while word not in (self.log.read_text() if self.log.exists() else ""):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)

    @staticmethod
    def assert_same(output: Path, expected: Path) -> None:
        """Both players and both optimisers at the end, the best segmentor, and all curves."""
        for name in ("last.safetensors", "model.safetensors"):
            a, b = load_file(output / name), load_file(expected / name)
            assert a.keys() == b.keys()
            assert [key for key in b if not torch.equal(a[key], b[key])] == []
        assert curves(output) == curves(expected)
        assert not list(output.glob(".draft*"))

    @staticmethod
    def assert_one_line(ended: Ended, word: str) -> None:
        assert ended.code == 1, ended.text
        errors = [line for line in ended.lines if line.startswith("error: ")]
        assert len(errors) == 1, ended.text
        assert word in errors[0]
        assert "Traceback" not in ended.text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def command(folder: Path) -> Iterator[Command]:
    source = Path(sample_data("dermoscopy"))
    description = json.loads((source / "dataset.json").read_text())
    for section, count in (("training", 8), ("validation", 2)):
        for entry in description[section][:count]:
            for name in entry.values():
                target = folder / "data" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source / name, target)
        description[section] = description[section][:count]
    (folder / "data" / "dataset.json").write_text(json.dumps(description))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SEGADV_CACHE": str(folder / "cache")}
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("forks.py"))],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        yield Command(server, folder / "data")
        assert server.stdin
        server.stdin.close()


@pytest.fixture(scope="module")
def undisturbed(command: Command, folder: Path) -> Path:
    ended = command.run(folder / "undisturbed")
    assert ended.code == 0, ended.text
    return folder / "undisturbed"


def curves(output: Path) -> list[dict[str, str]]:
    """All numbers but the seconds."""
    rows = csv.DictReader((output / "history.csv").read_text().splitlines())
    return [{**row, "seconds": ""} for row in rows]


@pytest.fixture(scope="session")
def kills() -> int:
    """How often each fault is made; ``scripts/soak`` sets it to what the project promises."""
    return int(os.environ.get("SEGADV_KILLS", "20"))
