"""The folder of a bundle: its metadata, its configs, and which of them are laid over which."""

from pathlib import Path
from typing import Any

from segadv_monai.protocols import ConfigError

from .check import check
from .findings import Finding
from .merged import Merged, load, split

__all__ = ["check_bundle", "config_sets"]

# What a config has that can be run without another one.
_WHOLE = {"bundle_root", "network_def"}
_SUFFIXES = (".json", ".yaml", ".yml")


def check_bundle(
    folder: str | Path, *, run_id: str | None = None, schema: str | Path | None = None
) -> tuple[int, list[Finding]]:
    """Number of configs of a bundle, and what is wrong with any of them, alone or laid over its base.

    Args:
        folder: the one that ``configs`` is in.
        run_id: what is meant to be run; by default each config says so itself.
        schema: the Model Zoo's schema of metadata; without it, rules of our own.

    Raises:
        ConfigError: the folder has no configs.
    """
    configs, findings = Path(folder) / "configs", list[Finding]()
    sets = config_sets(folder)
    if not (configs / "metadata.json").is_file():
        findings.append(Finding(str(configs / "metadata.json"), "", "is missing", "a bundle needs it."))
    for files in sets:
        findings += check(files, run_id=run_id, schema=schema)
    return len(sets), list(dict.fromkeys(findings))


def config_sets(folder: str | Path) -> list[tuple[Path, ...]]:
    """Every config of a bundle, behind those that it is laid over.

    A config that names its bundle and its network is whole. Any other is an overlay: on the config whose name
    is part of its own (``inference_volumes`` on ``inference``, ``multi_gpu_train`` on ``train``), or else on
    the whole config that has a place for most of its keys; of equal ones, the one with most of its ids, of
    equal ones ``train``.

    Args:
        folder: the one that ``configs`` is in.

    Raises:
        ConfigError: the folder has no configs.
    """
    found = sorted(path for path in Path(folder).glob("configs/*") if path.suffix in _SUFFIXES)
    contents = {path: load(path)[0] for path in found if path.stem != "metadata"}
    if not contents:
        raise ConfigError(f"{folder} has no configs: give the folder of a bundle, or config files.")
    return [_below(path, contents) for path in contents]


def _below(path: Path, contents: dict[Path, dict[str, Any]]) -> tuple[Path, ...]:
    """A config behind its base, and that behind its own."""
    whole = [other for other, content in contents.items() if content.keys() >= _WHOLE]
    if path in whole:
        return (path,)
    named = [other for other in contents if other != path and f"_{other.stem}_" in f"_{path.stem}_"]
    if named:
        return (*_below(max(named, key=lambda other: len(other.stem)), contents), path)

    def closeness(other: Path) -> tuple[int, int, bool]:
        both = [(str(other), contents[other]), (str(path), contents[path])]
        shared = {split(key)[0] for key in contents[path]} & contents[other].keys()
        return -len(Merged(both).findings), len(shared), other.stem == "train"

    return (max(whole, key=closeness), path) if whole else (path,)
