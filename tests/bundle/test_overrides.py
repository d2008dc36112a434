"""Settings of the command line against the config."""

import json
from pathlib import Path

import pytest

from segadv_monai.bundle import check_overrides
from segadv_monai.protocols import ConfigError

CONFIG = {
    "epochs": 3,
    "critic": None,
    "network_def": {"_target_": "segadv_monai.networks.SegAN", "spatial_dims": 2},
    "steps": [{"_target_": "torch.nn.ReLU"}, 1],
}


@pytest.fixture
def config(tmp_path: Path) -> list[str]:
    (tmp_path / "a.json").write_text(json.dumps(CONFIG))
    (tmp_path / "b.json").write_text(json.dumps({"added": 1}))
    return ["training", "--config_file", str([str(tmp_path / "a.json"), str(tmp_path / "b.json")])]


@pytest.mark.parametrize(
    "good",
    [
        ["--epochs", "5"],
        ["--epochs=5"],
        ["--added", "2"],
        ["--network_def#width", "8"],
        ["--network_def::spatial_dims", "3"],
        ["--steps#0#inplace", "True"],
        ["--steps#1", "-5"],
        ["--logging_file", "False"],
    ],
)
def test_what_the_config_has_a_place_for_passes(config: list[str], good: list[str]) -> None:
    check_overrides([*config, *good])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (["--epoch", "5"], "no epoch: did you mean --epochs"),
        (["--epoch=5"], "no epoch: did you mean --epochs"),
        (["--network_def#widths", "8"], "no widths in network_def: did you mean --network_def#width"),
        (["--steps#2", "1"], "no 2 in steps"),
        (["--critic#width", "1"], "no width in critic"),
        (["--entirely_else", "1"], "no entirely_else: look into the config"),
    ],
)
def test_what_it_has_no_place_for_is_refused(config: list[str], bad: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_overrides([*config, *bad])


@pytest.mark.usefixtures("config")
def test_files_of_the_command_line_count_as_one_name_several_or_a_stored_list(
    tmp_path: Path,
) -> None:
    one = str(tmp_path / "b.json")
    check_overrides(["--config_file", one, "--added", "1"])
    check_overrides(["--config_file", f"{tmp_path / 'a.json'},{one}", "--epochs", "1"])
    stored = tmp_path / "arguments.json"
    stored.write_text(json.dumps({"config_file": one, "addde": 1}))
    with pytest.raises(ConfigError, match="did you mean --added"):
        check_overrides(["--args_file", str(stored)])
