"""The rules of the house: what is public is complete and documented, and what is written about it is true."""

import ast
import importlib
import inspect
import json
import os
import pydoc
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from torch import nn

import segadv_monai
from segadv_monai.bundle import judge

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "segadv_monai"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [path for path in FILES if path.name != "__init__.py"]
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
CONFIGS = sorted(ROOT.glob("bundles/*/configs/*.json"))
METADATA = sorted(ROOT.glob("bundles/*/configs/metadata.json"))
TEXTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bundles/*/docs/*.md")])
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

files = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
modules = pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
rooms = pytest.mark.parametrize("room", ROOMS, ids=lambda p: p.name)
configs = pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parts[-3]}/{p.name}")
texts = pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
bundles = pytest.mark.parametrize("path", [path.parents[1] for path in METADATA], ids=lambda p: p.name)
metadata = pytest.mark.parametrize("path", METADATA, ids=lambda p: p.parts[-3])


def imported(path: Path) -> ModuleType:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return importlib.import_module(".".join(part for part in parts if part != "__init__"))


def public() -> list[Any]:
    """Every class and function that a file of the package exports."""
    found = {}
    for module in map(imported, MODULES):
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                found[f"{module.__name__.removeprefix('segadv_monai.')}.{name}"] = thing
    return [pytest.param(thing, id=name) for name, thing in sorted(found.items())]


each_public = pytest.mark.parametrize("thing", public())


def parameters(thing: Callable[..., Any]) -> list[str]:
    """Names of what a caller may give; nothing for what inherits an open constructor."""
    if inspect.isclass(thing) and issubclass(thing, Enum | Exception):
        return []
    fixed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in inspect.signature(thing).parameters.values() if p.kind not in fixed]


def imports_of(path: Path) -> list[ast.ImportFrom]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]


# --- rooms and files


@rooms
def test_a_room_exports_what_its_files_export_for_others(room: Path) -> None:
    """A name may stay inside the room if another file of the room takes it."""
    inside = [path for path in MODULES if path.parent == room]
    exported = {name for path in inside for name in imported(path).__all__}
    taken = {
        alias.name for path in inside for node in imports_of(path) if node.level == 1 for alias in node.names
    }
    room_exports = imported(room / "__init__.py").__all__
    assert set(room_exports) <= exported
    assert exported - set(room_exports) <= taken
    assert len(room_exports) == len(set(room_exports))


@rooms
def test_an_init_file_holds_sorted_imports_and_all_and_nothing_else(room: Path) -> None:
    tree = ast.parse((room / "__init__.py").read_text())
    *imports, last = tree.body
    assert all(isinstance(node, ast.ImportFrom) and node.level == 1 for node in imports)
    names = [alias.name for node in imports for alias in node.names]  # type: ignore[attr-defined]
    assert "__all__" in ast.unparse(last)
    listed = imported(room / "__init__.py").__all__
    assert sorted(names) == sorted(listed)
    assert [node.module for node in imports] == sorted(node.module for node in imports)  # type: ignore[attr-defined]


@modules
def test_a_file_says_what_it_is_and_what_it_exports(path: Path) -> None:
    module = imported(path)
    assert module.__doc__
    assert module.__all__ == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


@files
def test_a_file_can_be_read_in_one_go(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 330


@files
def test_no_file_imports_from_a_parent(path: Path) -> None:
    assert all(node.level < 2 for node in imports_of(path))


def test_the_import_contracts_hold() -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr


def test_every_room_stands_in_the_stack_and_only_missing_ones_in_parentheses() -> None:
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    stack = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    places = [place.strip() for line in stack for place in line.split("|")]
    there = {path.name for path in ROOMS} | {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert {place for place in places if not place.startswith("(")} == there


# --- docstrings


@each_public
def test_what_is_public_has_a_docstring_of_its_own(thing: Any) -> None:
    assert thing.__doc__
    assert thing.__doc__.strip()


@each_public
def test_what_takes_arguments_explains_them(thing: Any) -> None:
    if names := parameters(thing):
        text = inspect.getdoc(thing) or ""
        if re.search(r"(?i)\barguments\b.*as :func:", text, flags=re.DOTALL):
            return
        assert "Args:" in text
        explained = re.findall(r"^    (\w+(?:, \w+)*):", text, flags=re.MULTILINE)
        missing = set(names) - {name for entry in explained for name in entry.split(", ")}
        assert not missing


@each_public
def test_a_module_tells_its_shapes(thing: Any) -> None:
    if inspect.isclass(thing) and issubclass(thing, nn.Module):
        assert "Shape:" in thing.__doc__


# --- bundles


def nodes(value: Any) -> Iterator[Any]:
    yield value
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield from nodes(child)


def test_there_are_bundles_and_they_hold_no_python() -> None:
    assert METADATA
    assert not list((ROOT / "bundles").rglob("*.py"))


@configs
def test_a_config_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 250


@configs
def test_every_target_of_a_config_is_there(path: Path) -> None:
    entries = [node for node in nodes(json.loads(path.read_text())) if isinstance(node, dict)]
    found = [entry["_target_"] for entry in entries if "_target_" in entry]
    assert [target for target in found if pydoc.locate(target) is None] == []


@bundles
def test_a_bundle_of_ours_does_listed_things_only(path: Path) -> None:
    """Keeps B5."""
    made = [name for name in path.iterdir() if generated(str(name.relative_to(ROOT)))]
    judgement = judge([part for part in sorted(path.iterdir()) if part not in made])
    assert [str(finding) for finding in judgement.findings] == []


@metadata
def test_a_bundle_names_the_versions_that_are_pinned(path: Path) -> None:
    content = json.loads(path.read_text())
    named = content["required_packages_version"] | {
        "monai": content["monai_version"],
        "torch": content["pytorch_version"],
        "numpy": content["numpy_version"],
    }
    pinned = constraints() | {"segadv-monai": segadv_monai.__version__}
    assert {canonicalize_name(name): version for name, version in named.items()} == {
        canonicalize_name(name): pinned[canonicalize_name(name)] for name in named
    }


@metadata
def test_a_bundle_carries_the_licence_and_what_the_model_zoo_asks_for(path: Path) -> None:
    bundle = path.parents[1]
    assert (bundle / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    for name in ("train.json", "evaluate.json", "inference.json", "multi_gpu_train.json", "logging.conf"):
        assert (bundle / "configs" / name).is_file()
    for name in ("README.md", "data_license.txt"):
        assert (bundle / "docs" / name).is_file()


# --- dependencies


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.partition("==") for line in lines if not line.startswith("#")]
    assert all(equals and version for _, equals, version in pins)
    return {canonicalize_name(name): version for name, _, version in pins}


def requirements() -> list[Requirement]:
    project = PYPROJECT["project"]
    lines = PYPROJECT["build-system"]["requires"] + project["dependencies"]
    return [Requirement(line) for line in sum(project["optional-dependencies"].values(), lines)]


def test_every_dependency_is_pinned_to_a_version_that_it_may_have() -> None:
    pinned = constraints()
    missing = [r.name for r in requirements() if canonicalize_name(r.name) not in pinned]
    assert missing == []
    assert [str(r) for r in requirements() if pinned[canonicalize_name(r.name)] not in r.specifier] == []
    assert pinned["torch"] == "2.13.0"


# --- texts and scripts


def tracked() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip("this is not a git repository")
    found = [ROOT / name for name in result.stdout.split("\0") if name]
    return [path for path in found if path.is_file()]


def test_no_file_knows_a_path_of_one_machine() -> None:
    machine = re.compile(r"(?<![\w.}\])/-])/(" + "|".join(("work", "home", "Users", "root")) + r")/\w")
    found = []
    for path in tracked():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [f"{path.name}:{i}: {line}" for i, line in enumerate(lines, 1) if machine.search(line)]
    assert found == []


def test_the_readme_begins_with_two_commands_that_exist_and_are_tested() -> None:
    block = re.search(r"^```\w*\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE)
    assert block
    commands = [line.split("#")[0].strip() for line in block.group(1).splitlines()]
    assert commands == ["scripts/train", "scripts/test"]
    assert "scripts/test" in (ROOT / ".ci" / "run").read_text()
    # The tests of the bundle run the command that the script runs.
    assert "bundles/segan/configs/train.json" in (ROOT / "scripts" / "train").read_text()


def test_every_script_can_be_started_and_stops_at_the_first_fault() -> None:
    scripts = [*sorted((ROOT / "scripts").iterdir()), ROOT / ".ci" / "run"]
    assert [path.name for path in scripts] == ["bench", "check", "setup", "soak", "test", "train", "run"]
    for path in scripts:
        assert os.access(path, os.X_OK)
        assert path.read_text().startswith("#!/usr/bin/env bash\n")
        assert "set -euo pipefail" in path.read_text()


@texts
def test_every_file_that_a_text_names_is_there(path: Path) -> None:
    text = path.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    assert [link for link in links if not (path.parent / link).exists()] == []
    places = r"(?<![\w/])(?:bundles|scripts|docs|tests|segadv_monai)/[\w./-]*\w(?![\w/<*{-]|\.\w)"
    named = re.findall(places, text)
    assert [name for name in named if not (ROOT / name).exists() and not generated(name)] == []


def generated(name: str) -> bool:
    """What a run makes: it need not be there."""
    return bool(re.match(r"bundles/\w+/(models|runs|eval|segmentations)\b", name))


def test_the_catalogue_lists_every_part_of_a_paper() -> None:
    text = (ROOT / "docs" / "catalogue.md").read_text()
    for room in ("networks", "critics", "losses", "objectives"):
        names = imported(PACKAGE / room / "__init__.py").__all__
        assert [name for name in names if f"`{room}.{name}`" not in text] == []
    assert [path.parts[-3] for path in METADATA if f"`{path.parts[-3]}`" not in text] == []
