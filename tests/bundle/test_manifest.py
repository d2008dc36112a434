"""run.json tells what ran and what became of it, whatever became of it."""

import hashlib
import json
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import monai.bundle
import pytest
import torch
from monai.bundle import ConfigWorkflow

from segadv_monai.bundle import Manifest
from segadv_monai.data import DataReport
from segadv_monai.protocols import ConfigError

CONFIG = {
    "output_dir": "",
    "seed": 3,
    "start": {"_target_": "torch.Generator"},
    "draw": "$torch.rand(4, generator=@start.manual_seed(@seed))",
    "manifest": {
        "_target_": "segadv_monai.bundle.Manifest",
        "output_dir": "@output_dir",
        "data": {"a.png": "0123", "b.png": "4567"},
        "seed": "@seed",
    },
    "initialize": ["@manifest"],
    "running": ["$torch.save(@draw, @output_dir + '/draw.pt')", "$@manifest.complete()"],
    "run": "%running",
}


def told(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "toy.json").write_text(json.dumps(CONFIG))
    return tmp_path / "config" / "toy.json"


def run(config: Path, output: Path, **overrides: object) -> dict[str, Any]:
    workflow = ConfigWorkflow([str(config)], logging_file=False, output_dir=str(output), **overrides)
    workflow.initialize()
    assert told(output)["status"] == "running"
    workflow.run()
    return told(output)


def test_a_run_leaves_what_it_was_and_what_it_made(config: Path, tmp_path: Path) -> None:
    """Keeps S20."""
    output = tmp_path / "out"
    record = run(config, output)
    assert record["status"] == "completed"
    assert record["seed"] == 3
    assert record["directory"] == str(Path.cwd())
    assert datetime.fromisoformat(record["started"]) <= datetime.fromisoformat(record["ended"])
    assert 0 <= record["seconds"] < 60
    assert record["device"]["name"] == "cpu"
    assert record["versions"]["torch"].startswith("2.")
    assert record["peak_memory_mb"]["process"] > 50
    assert record["threads"] == torch.get_num_threads()
    assert record["data"] == {
        "count": 2,
        "sha256": hashlib.sha256(b"0123  a.png\n4567  b.png\n").hexdigest(),
        "files": {"a.png": "0123", "b.png": "4567"},
    }
    assert record["outputs"] == {name: sha256(output / name) for name in ("config.json", "draw.pt")}
    assert record["config"]["sha256"] == sha256(output / record["config"]["merged"])
    assert record["earlier"] == []
    assert not list(output.glob(".*"))


def test_the_kept_config_is_what_ran_and_runs_again_to_the_same_bits(config: Path, tmp_path: Path) -> None:
    """Keeps S21."""
    first = run(config, tmp_path / "first", seed=11)
    kept = json.loads((tmp_path / "first" / "config.json").read_text())
    assert kept["seed"] == 11
    assert kept["run"] == CONFIG["running"]
    again = run(tmp_path / "first" / "config.json", tmp_path / "again")
    assert again["seed"] == 11
    assert again["outputs"]["draw.pt"] == first["outputs"]["draw.pt"]
    other = run(config, tmp_path / "other")
    assert other["outputs"]["draw.pt"] != first["outputs"]["draw.pt"]
    assert other["config"]["sha256"] != first["config"]["sha256"]


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
def test_the_files_of_a_command_are_named_and_their_merge_is_kept(config: Path, tmp_path: Path) -> None:
    """Keeps S20."""
    overlay = config.with_name("overlay.json")
    overlay.write_text('{"manifest::seed": 5, "note": "from the overlay"}')
    files = [str(config), str(overlay)]
    monai.bundle.run(config_file=files, output_dir=str(tmp_path / "out"), logging_file=False)
    record = told(tmp_path / "out")
    assert record["config"]["files"] == files
    assert record["seed"] == 5
    assert json.loads((tmp_path / "out" / "config.json").read_text())["note"] == "from the overlay"


DEATHS = {
    "completed": "completed",
    "user_fault": "failed: a.png is broken: mend it.",
    "bug": "failed: IndexError: list index out of range",
    "exit_code": "stopped",
    "keyboard": "stopped",
    "kill": "running",
}
PROGRAM = """
import os, signal, sys
from segadv_monai.bundle import Manifest
from segadv_monai.protocols import DataError

def completed(): manifest.complete()
def bug(): [][1]
def exit_code(): sys.exit(75)
def keyboard(): signal.raise_signal(signal.SIGINT)
def kill(): os.kill(os.getpid(), signal.SIGKILL)
def user_fault():
    try:
        raise DataError("a.png is\\nbroken: mend it.")
    except DataError as error:
        raise RuntimeError("Failed to evaluate") from error

signal.signal(signal.SIGINT, signal.default_int_handler)
children = []
for death in sys.argv[2:]:
    child = os.fork()
    if child:
        children.append(child)
        continue
    manifest = Manifest(f"{sys.argv[1]}/{death}")
    open(f"{sys.argv[1]}/{death}/result", "w").close()
    globals()[death]()
    sys.exit()
for child in children:
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What runs leave that end in every way, each a process of its own."""
    folder = tmp_path_factory.mktemp("dead")
    command = [sys.executable, "-c", PROGRAM, str(folder), *DEATHS]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    return {death: told(folder / death) for death in DEATHS}


@pytest.mark.parametrize(("death", "status"), DEATHS.items())
def test_the_end_of_a_run_is_told(dead: dict[str, dict[str, Any]], death: str, status: str) -> None:
    """Keeps S22."""
    record = dead[death]
    assert record["status"] == status
    has_ended = status != "running"
    assert (record["ended"] is not None) == has_ended
    assert record["outputs"] == ({"result": hashlib.sha256(b"").hexdigest()} if has_ended else {})


def test_the_command_is_the_one_that_was_typed(dead: dict[str, dict[str, Any]]) -> None:
    command = dead["completed"]["command"]
    assert re.fullmatch(r"python[\d.]*", command[0])
    assert command[1:3] == ["-c", PROGRAM]


def test_what_earlier_runs_left_said_stays_without_their_lists(config: Path, tmp_path: Path) -> None:
    """Keeps S23."""
    output = tmp_path / "out"
    workflow = ConfigWorkflow([str(config)], logging_file=False, output_dir=str(output))
    workflow.initialize()  # and no end: as after a kill
    for seed in (1, 2):
        run(config, output, seed=seed)
    record = told(output)
    assert [run["status"] for run in record["earlier"]] == ["running", "completed"]
    assert [run["seed"] for run in record["earlier"]] == [3, 1]
    assert all("outputs" not in run and "files" not in run["data"] for run in record["earlier"])
    assert record["earlier"][1]["data"]["sha256"] == record["data"]["sha256"]
    assert sorted(record["outputs"]) == ["config.json", "draw.pt"]


def test_the_list_of_earlier_runs_does_not_grow_for_ever(tmp_path: Path) -> None:
    for number in range(24):
        Manifest(tmp_path, seed=number).complete()
    assert [run["seed"] for run in told(tmp_path)["earlier"]] == list(range(3, 23))


def test_files_of_an_earlier_run_that_was_killed_are_outputs(tmp_path: Path) -> None:
    Manifest(tmp_path)
    (tmp_path / "first.txt").write_text("1")
    Manifest(tmp_path).complete()
    assert sorted(told(tmp_path)["outputs"]) == ["first.txt"]


def test_files_that_were_there_before_and_runs_of_other_folders_are_no_outputs(tmp_path: Path) -> None:
    (tmp_path / "before.txt").write_text("1")
    os.utime(tmp_path / "before.txt", ns=(0, 10**18))
    outer, inner = Manifest(tmp_path), Manifest(tmp_path / "inner")
    (tmp_path / "inner" / "a.txt").write_text("2")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.txt").write_text("3")
    inner.complete()
    outer.complete()
    assert sorted(told(tmp_path)["outputs"]) == ["deep/b.txt"]
    assert sorted(told(tmp_path / "inner")["outputs"]) == ["a.txt"]


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_a_damaged_record_is_said_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    (tmp_path / "run.json").write_text(content)
    Manifest(tmp_path).complete()
    assert told(tmp_path)["status"] == "completed"
    assert caplog.messages == [f"{tmp_path / 'run.json'} is damaged: what it said of earlier runs is lost."]


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"output_dir .* cannot be written \(.*\): set --output_dir to a"):
        Manifest(tmp_path / "file" / "out")


def test_a_record_that_cannot_be_written_at_the_end_does_not_undo_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "out"
    manifest = Manifest(output)
    (output / "run.json").unlink()
    (output / "run.json").mkdir()
    (output / "run.json" / "x").write_text("")
    manifest.complete()
    assert "run.json cannot be written" in caplog.text


def test_a_refused_run_writes_nothing(config: Path, tmp_path: Path) -> None:
    """Keeps S24."""
    content = json.loads(config.read_text())
    content["manifest"]["data"] = {
        "_target_": "segadv_monai.bundle.preflight",
        "dataset_dir": str(tmp_path / "nowhere"),
        "spatial_dims": 2,
        "in_channels": 3,
        "out_channels": 1,
        "regions": [[1]],
    }
    config.write_text(json.dumps(content))
    with pytest.raises(RuntimeError, match="Failed to instantiate"):
        run(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_processes_of_a_distributed_run_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    Manifest(tmp_path / "out").complete()
    assert not (tmp_path / "out").exists()


def test_weights_that_a_run_starts_from_are_told_by_their_hash(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    inputs = [str(tmp_path / "model.pt"), str(tmp_path / "none.pt")]
    Manifest(tmp_path / "out", inputs=inputs).complete()
    expected = {inputs[0]: sha256(tmp_path / "model.pt"), inputs[1]: None}
    assert told(tmp_path / "out")["inputs"] == expected


@pytest.mark.parametrize(("count", "is_listed"), [(1999, True), (2000, False)])
def test_of_very_many_files_the_digest_alone_is_kept(tmp_path: Path, count: int, is_listed: bool) -> None:
    hashes = {str(i): "0" for i in range(count)}
    report = DataReport(root="/set", cases={}, findings=(), hashes=hashes, known=0, seconds=0)
    Manifest(tmp_path, data=report).complete()
    record = told(tmp_path)["data"]
    assert record["count"] == count
    assert ("files" in record) == is_listed


def test_what_json_has_no_word_for_is_told_by_its_text(tmp_path: Path) -> None:
    Manifest(tmp_path, config={"device": torch.device("cpu")}).complete()
    assert json.loads((tmp_path / "config.json").read_text()) == {"device": "cpu"}


def test_nothing_tells_which_machine_it_was(tmp_path: Path) -> None:
    Manifest(tmp_path).complete()
    text = (tmp_path / "run.json").read_text()
    assert sys.executable not in text
    assert f'"{os.uname().nodename}"' not in text
