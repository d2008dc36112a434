"""Training and inference as a user starts them, on a machine whose sockets refuse to speak to anybody."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segadv_monai.data import sample_data

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundles" / "segan" / "configs"
SMALL = {
    "image_size": "[48,48]",
    "window": "[48,48]",
    "network_def#width": "2",
    "device": "cpu",
}
TRAINING = {
    "epochs": "1",
    "val_interval": "1",
    "batch_size": "2",
    "crop_size": "[40,40]",
    "critic_def#widths": "[2,2,4,4,4,4]",
}
# Imported by every Python process before anything else. Processes of one machine may speak (AF_UNIX).
BLOCK = """
import os, socket, sys

def refuse(what):
    with open(os.environ["WITNESS"], "a") as witness:
        witness.write(f"{what}\\n")
    raise OSError(f"no network here: {what}")

def guard(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"):
        refuse(f"{event} {arguments}")
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind"):
        if arguments[0].family != socket.AF_UNIX:
            refuse(f"{event} {arguments[1:]}")

sys.addaudithook(guard)
open(os.environ["WITNESS"] + ".on", "w").close()
"""
# Both commands in one process: most of the time goes into imports.
BOTH = """
import json, runpy, sys
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["monai.bundle", *arguments]
    try:
        runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
"""


@pytest.fixture
def offline(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "block").mkdir()
    (tmp_path / "block" / "sitecustomize.py").write_text(BLOCK)
    witness = {"WITNESS": str(tmp_path / "witness"), "PYTHONPATH": str(tmp_path / "block")}
    return {**os.environ, **witness}


def command(run_id: str, config: str, **settings: str) -> list[str]:
    options = [word for key, value in settings.items() for word in (f"--{key}", value)]
    return ["run", run_id, "--config_file", str(CONFIGS / config), *options]


def test_training_and_inference_ask_nobody(tmp_path: Path, offline: dict[str, str]) -> None:
    """Keeps S2."""
    folder = Path(sample_data("dermoscopy"))
    description = json.loads((folder / "dataset.json").read_text())
    for section, count in (("training", 4), ("validation", 1)):
        cases = description[section][:count]
        description[section] = [{key: str(folder / path) for key, path in case.items()} for case in cases]
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(tmp_path / "pictures" / "a.png")
    model = str(tmp_path / "model")
    train = command(
        "training", "train.json", **SMALL, **TRAINING, dataset_dir=str(tmp_path), output_dir=model
    )
    places = {
        "dataset_dir": str(tmp_path / "pictures"),
        "ckpt_dir": model,
        "output_dir": str(tmp_path / "out"),
    }
    infer = command("run", "inference.json", **SMALL, **places)
    result = subprocess.run(
        [sys.executable, "-c", BOTH, json.dumps([train, infer])],
        cwd=ROOT,
        env=offline,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "a_segmentation.png").is_file()
    assert (tmp_path / "witness.on").exists()
    assert not (tmp_path / "witness").exists(), (tmp_path / "witness").read_text()


@pytest.mark.parametrize(
    "attempt",
    [
        "socket.create_connection(('127.0.0.1', 9), timeout=1)",
        "socket.getaddrinfo('example.org', 80)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
        "__import__('urllib.request').request.urlopen('http://127.0.0.1:9')",
    ],
)
def test_an_attempt_would_be_seen(tmp_path: Path, offline: dict[str, str], attempt: str) -> None:
    program = f"import socket\ntry:\n    {attempt}\nexcept OSError:\n    pass"
    subprocess.run([sys.executable, "-c", program], env=offline, check=True)
    assert (tmp_path / "witness").read_text()


def test_processes_of_one_machine_may_speak_by_a_file(tmp_path: Path, offline: dict[str, str]) -> None:
    program = f"import socket\nsocket.socket(socket.AF_UNIX).bind({str(tmp_path / 's')!r})"
    subprocess.run([sys.executable, "-c", program], env=offline, check=True)
    assert not (tmp_path / "witness").exists()
