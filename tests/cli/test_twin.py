"""``segadv_monai twin`` from end to end, and what it refuses."""

import json
from pathlib import Path

import pytest

from segadv_monai.cli import main
from segadv_monai.data import sample_data

BUNDLE = Path(__file__).parents[2] / "bundles" / "segan"
SMALL = {
    "epochs": "1",
    "batch_size": "2",
    "image_size": "[44,44]",
    "window": "[44,44]",
    "crop_size": "[40,40]",
    "network_def#width": "1",
    "device": "cpu",
}


@pytest.mark.slow
def test_both_runs_are_trained_measured_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(sample_data("dermoscopy"))
    description = json.loads((source / "dataset.json").read_text())
    for section, count in (("training", 4), ("validation", 3)):
        entries = description[section][:count]
        description[section] = [{key: str(source / path) for key, path in e.items()} for e in entries]
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    settings = {**SMALL, "dataset_dir": str(tmp_path), "output_dir": str(tmp_path / "out")}
    options = [part for key, value in settings.items() for part in (f"--{key}", value)]
    assert main(["twin", str(BUNDLE), "--seeds", "3", *options]) == 0
    told = capsys.readouterr().out
    text = (tmp_path / "out" / "twin.md").read_text()
    assert text in told
    assert {"| dice", "| hd95_voxels", "| components_error", "| holes_error"} <= {
        line.split(" | ")[0] for line in text.splitlines()
    }
    assert (tmp_path / "out" / "twin.png").stat().st_size > 0
    for kind, has_critic in (("critic", True), ("twin", False)):
        run = tmp_path / "out" / f"{kind}_seed_3"
        assert json.loads((run / "run.json").read_text())["seed"] == 3
        header = (run / "history.csv").read_text().splitlines()[0]
        assert ("critic/feature_distance" in header) == has_critic


def test_a_bundle_without_a_twin_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["twin", str(tmp_path), "--output_dir", str(tmp_path / "out")]) == 2
    assert "has no train.json" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_only_twin_takes_settings_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["check", str(BUNDLE), "--epochs", "3"])
    assert end.value.code == 2
    assert "there is no --epochs" in capsys.readouterr().err
