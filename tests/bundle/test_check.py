"""The check of a run: our bundles pass, nothing is made, what MONAI takes is not refused."""

import json
import resource
import sys
from pathlib import Path

import pytest

from segadv_monai.bundle import Finding, check, check_bundle

ROOT = Path(__file__).parents[2]
BUNDLES = sorted(path.parents[1] for path in (ROOT / "bundles").rglob("configs/metadata.json"))
CONFIGS = ROOT / "bundles" / "segan" / "configs"


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_every_bundle_of_ours_passes_with_every_overlay(bundle: Path) -> None:
    """Keeps B11."""
    count, findings = check_bundle(bundle)
    assert count == len(list(bundle.glob("configs/*.json"))) - 1
    assert [str(finding) for finding in findings if finding.severity == "error"] == []


def test_our_metadata_pass_the_schema_of_the_model_zoo_and_faults_are_found_by_it(
    tmp_path: Path, shared_data: Path
) -> None:
    schema = shared_data.parent / "schema" / "meta_schema_20240725.json"
    assert errors_of(check([CONFIGS / "inference.json"], schema=schema)) == []
    content = json.loads((CONFIGS / "metadata.json").read_text()) | {"task": 3}
    (tmp_path / "metadata.json").write_text(json.dumps(content))
    found = check([CONFIGS / "inference.json"], meta_file=tmp_path / "metadata.json", schema=schema)
    assert errors_of(found) == [f"{tmp_path / 'metadata.json'}: task: 3 is not of type 'string'"]


def errors_of(findings: list[Finding]) -> list[str]:
    return [str(finding) for finding in findings if finding.severity == "error"]


def test_the_check_of_a_wide_network_costs_no_memory() -> None:
    """Keeps B12."""
    check([CONFIGS / "train.json"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert errors_of(check([CONFIGS / "train.json", CONFIGS / "published.json"])) == []
    # Its weights alone are 600 MB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_nothing_of_a_config_is_made(tmp_path: Path) -> None:
    """Keeps B13."""
    canary = tmp_path / "canary"
    config = {
        "imports": ["$import os"],
        "network_def": {"_target_": "os.mkdir", "path": str(canary)},
        "other": {"_target_": "builtins.print", "end": {"_target_": "os.mkdir", "path": str(canary)}},
        "run": [f"$os.mkdir({str(canary)!r})", "$@network_def"],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert check([tmp_path / "config.json"]) == []
    assert not canary.exists()


def test_a_network_that_would_fetch_weights_is_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = {"_target_": "monai.networks.nets.EfficientNetBN", "model_name": "efficientnet-b0"}
    config = {"network_def": network | {"pretrained": True}, "run": ["$@network_def.eval()"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("asked for weights"))
    assert errors_of(check([tmp_path / "config.json"])) == []


def test_a_setting_that_a_run_does_not_come_to_is_a_warning() -> None:
    files = [CONFIGS / "train.json", CONFIGS / "baseline.json"]
    (found,) = check(files, {"critic_learning_rate": 0.1})
    assert found.severity == "warning"
    assert str(found) == "command line: --critic_learning_rate: this run does not read it"


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("numpy_version", "1.0.0", "numpy_version: numpy 1.0.0 is named, "),
        ("required_packages_version", {"segadv-nothing": "1.2"}, "segadv-nothing is not installed, install"),
    ],
)
def test_another_version_than_the_one_that_is_installed_is_a_warning(
    tmp_path: Path, key: str, value: object, line: str
) -> None:
    content = json.loads((CONFIGS / "metadata.json").read_text())
    (tmp_path / "metadata.json").write_text(json.dumps(content | {key: value}))
    found = check([CONFIGS / "inference.json"], meta_file=tmp_path / "metadata.json")
    (warning,) = [finding for finding in found if finding.severity == "warning"]
    assert line in str(warning)
    assert errors_of(found) == []


def test_an_id_that_the_command_line_has_to_give_is_given_by_it(tmp_path: Path) -> None:
    config = {"size": "$@side * 2", "run": ["$print(@size)"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "@side refers to nothing" in errors_of(check([tmp_path / "config.json"]))[0]
    assert check([tmp_path / "config.json"], {"side": 3}) == []


def test_a_bundle_can_bring_a_package_of_its_own(tmp_path: Path) -> None:
    for name in ("configs", "own_of_a_bundle"):
        (tmp_path / name).mkdir()
    (tmp_path / "own_of_a_bundle" / "__init__.py").write_text("def part(size): return size\n")
    config = {"part": {"_target_": "own_of_a_bundle.part", "size": 1}, "run": ["$@part + 1"]}
    (tmp_path / "configs" / "config.json").write_text(json.dumps(config))
    before = list(sys.path)
    assert check([tmp_path / "configs" / "config.json"]) == []
    assert sys.path == before


@pytest.mark.parametrize(
    "config",
    [
        {
            "imports": ["$import glob", "$from pathlib import Path"],
            "run": ["$[Path(x) for x in glob.glob('*')]"],
        },
        {"a": {"b": [1, {"c": "@::::::::d"}]}, "d": 1, "run": ["$(lambda x: x)(@a#b#1#c)", "$@a"]},
        {"a": "%b", "b": [1, 2], "run": ["$sum(@a) + max(@a)"]},
        {"a": {"_target_": "Compose", "transforms": []}, "run": ["$@a"]},
        {"a": {"_target_": "torch.nn.no", "_disabled_": True}, "run": ["$@a"]},
        {"a": {"_target_": "$@b", "x": 1}, "b": "$dict", "run": ["$@a"]},
        {"a": {"_target_": "torch.nn.Conv2d", "_mode_": "callable", "in_channels": 1}, "run": ["$@a(2, 3)"]},
        {
            "a": {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 1, "_desc_": ""},
            "run": ["$@a"],
        },
        {"mail": "me@example.com", "note": "100 % of #1", "run": ["$len(@mail)"]},
    ],
)
def test_what_monai_takes_is_not_refused(tmp_path: Path, config: dict[str, object]) -> None:
    """Keeps B14."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert check([tmp_path / "config.json"]) == []
