"""``segadv_monai check``: what it prints and what it ends with."""

import json
import shutil
from pathlib import Path

import pytest

from segadv_monai.cli import main

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "segan"
CONFIGS = BUNDLE / "configs"


def test_a_bundle_without_faults_gets_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(BUNDLE)]) == 0
    count = len(list(CONFIGS.glob("*.json"))) - 1
    assert capsys.readouterr().out == f"{BUNDLE}: {count} configs, no findings\n"


def test_every_fault_gets_a_line_once_and_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keeps B16."""
    bundle = shutil.copytree(BUNDLE, tmp_path / "segan")
    train = json.loads((CONFIGS / "train.json").read_text())
    train["network_def"]["widdth"] = train["network_def"].pop("width")
    (bundle / "configs" / "train.json").write_text(json.dumps(train))
    metadata = json.loads((CONFIGS / "metadata.json").read_text()) | {"numpy_version": "1.0"}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata))
    assert main(["check", str(bundle)]) == 1
    lines = capsys.readouterr().out.splitlines()
    wrong = f"{bundle}/configs/train.json: network_def::widdth: SegAN takes no widdth, did you mean width?"
    assert lines.count(wrong) == 1
    warnings = [line for line in lines if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "numpy 1.0 is named" in warnings[0]


def test_warnings_alone_end_with_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = shutil.copytree(BUNDLE, tmp_path / "segan")
    metadata = json.loads((CONFIGS / "metadata.json").read_text()) | {"numpy_version": "1.0"}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata))
    assert main(["check", str(bundle)]) == 0
    assert capsys.readouterr().out.startswith("warning: ")


def test_files_are_checked_as_they_are_merged(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(CONFIGS / "train.json"), str(CONFIGS / "volumes.json")]
    assert main(["check", *files, "--run-id", "training"]) == 0
    assert capsys.readouterr().out == f"{files[0]} + {files[1]}: no findings\n"
    assert main(["check", *files, "--run-id", "trainiing"]) == 1
    assert "did you mean training?" in capsys.readouterr().out
    assert main(["check", files[0], str(BUNDLE)]) == 2
    assert "one kind at a time" in capsys.readouterr().err


def test_a_foreign_bundle_is_judged_without_running_any_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keeps B16."""
    assert main(["check", "--static", str(BUNDLE)]) == 0
    assert capsys.readouterr().out.endswith(f"{BUNDLE}: safe\n")
    bundle = shutil.copytree(BUNDLE, tmp_path / "segan")
    (bundle / "configs" / "train.json").write_text("{\"run\": [\"$__import__('os').system('true')\"]}")
    assert main(["check", "--static", str(bundle)]) == 4
    assert capsys.readouterr().out.endswith(f"{bundle}: refused\n")
