"""The preflight of ``python -m monai.bundle run``, through the command itself."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from segadv_monai.bundle import begin

BEGIN = {"_target_": "segadv_monai.bundle.begin"}
WRITE = "$open(@output_dir + '/written', 'xb', 0).write(b'some bytes')"
CONFIG = {
    "output_dir": ".",
    "epochs": 3,
    "spare": 1,
    "reduction": {"_target_": "monai.losses.DiceLoss", "smooth_nr": 0.1},
    "initialize": [BEGIN],
    "run": ["$print('epochs', @epochs)", WRITE],
}


@pytest.fixture(autouse=True)
def config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "config.json", *words]
    settings = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=settings)


def told(result: subprocess.CompletedProcess[str]) -> list[str]:
    lines = result.stderr.splitlines()
    return [line for line in lines if line.startswith(("error: ", "warning: ", "Traceback"))]


def test_every_mistake_gets_its_line_before_anything_is_written(tmp_path: Path) -> None:
    """Keeps B15."""
    result = run(tmp_path, "--epoch", "5", "--reduction#smoth_nr", "1")
    assert told(result) == [
        "error: command line: --reduction#smoth_nr: DiceLoss takes no smoth_nr, did you mean smooth_nr?",
        "error: command line: --epoch: nothing reads epoch, did you mean --epochs?",
    ]
    assert result.returncode == 1
    assert not (tmp_path / "written").exists()


def test_a_right_command_says_nothing_more_and_a_warning_does_not_stop_it(tmp_path: Path) -> None:
    right = run(tmp_path, "--epochs", "5")
    assert (right.returncode, told(right)) == (0, [])
    assert "epochs 5" in right.stdout
    (tmp_path / "written").unlink()
    warned = run(tmp_path, "--spare", "5")
    assert warned.returncode == 0
    assert told(warned) == ["warning: command line: --spare: this run does not read it"]
    assert (tmp_path / "written").exists()


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("1", 0)])
def test_of_several_processes_the_first_tells_and_all_end(
    rank: str, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--config_file", str(tmp_path / "config.json"), "--epoch", "5"]
    monkeypatch.setattr(sys, "argv", ["monai/bundle/__main__.py", *words])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setenv("RANK", rank)
    with pytest.raises(SystemExit, match="1"):
        begin()
    assert capsys.readouterr().err.count("did you mean --epochs?") == lines


def test_a_disk_that_takes_no_more_gets_one_line(tmp_path: Path) -> None:
    """Keeps B15."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        result = run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert result.returncode == 1
    remedy = "choose another --output_dir; the same command goes on from the last checkpoint."
    assert told(result) == [f"error: File too large: free space or {remedy}"]


def test_readers_that_nobody_asked_for_are_quiet(tmp_path: Path) -> None:
    loads = {"_target_": "monai.transforms.LoadImage", "reader": "PILReader"}
    (tmp_path / "config.json").write_text(
        json.dumps({**CONFIG, "load": loads, "run": ["$@load", "$@epochs"]})
    )
    result = run(tmp_path)
    assert result.returncode == 0
    assert "nvimg" not in (result.stdout + result.stderr).lower()
