"""Where a bundle lies."""

import json
from pathlib import Path

import pytest

from segadv_monai.bundle import root
from segadv_monai.protocols import ConfigError

SOURCE = Path(__file__).parents[2] / "bundles" / "segan"


def make(folder: Path, name: str = "SegAN") -> Path:
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps({"name": name}))
    return folder


def test_the_working_directory_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make(tmp_path / "mine"))
    assert Path(root("segan")) == tmp_path / "mine"


def test_a_bundle_is_found_from_above_and_from_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make(tmp_path / "bundles" / "segan")
    for place in (tmp_path, bundle / "configs"):
        monkeypatch.chdir(place)
        assert Path(root("segan")) == bundle


def test_elsewhere_the_source_tree_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make(tmp_path / "other", name="another"))
    assert Path(root("segan")) == SOURCE


def test_the_environment_overrides_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGADV_BUNDLE_ROOT", str(make(tmp_path / "named")))
    assert Path(root("segan")) == tmp_path / "named"


def test_a_place_that_is_no_bundle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGADV_BUNDLE_ROOT", str(tmp_path))
    with pytest.raises(ConfigError, match="set --bundle_root"):
        root("segan")
