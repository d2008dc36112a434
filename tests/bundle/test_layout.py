"""Which configs of a bundle are laid over which."""

import json
from pathlib import Path

import pytest

from segadv_monai.bundle import check_bundle, config_sets
from segadv_monai.protocols import ConfigError

ROOT = Path(__file__).parents[2]


def test_overlays_find_their_base_by_name_or_by_what_they_change() -> None:
    sets = [[path.stem for path in files] for files in config_sets(ROOT / "bundles" / "segan")]
    for expected in (
        ["train"],
        ["inference"],
        ["train", "baseline"],
        ["train", "evaluate"],
        ["train", "multi_gpu_train"],
        ["inference", "inference_volumes"],
    ):
        assert expected in sets


def test_an_overlay_can_lie_on_an_overlay(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    whole = {"bundle_root": ".", "network_def": {}, "validate": {"dataset": 1}}
    contents = {
        "train": whole,
        "evaluate": {"validate::dataset": 2},
        "multi_gpu_evaluate": {"device": "cuda"},
    }
    for name, content in contents.items():
        (tmp_path / "configs" / f"{name}.json").write_text(json.dumps(content))
    sets = [[path.stem for path in files] for files in config_sets(tmp_path)]
    assert sets == [["train", "evaluate"], ["train", "evaluate", "multi_gpu_evaluate"], ["train"]]
    assert "metadata.json: is missing" in " ".join(str(finding) for finding in check_bundle(tmp_path)[1])


def test_a_folder_without_configs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no configs"):
        check_bundle(tmp_path)
