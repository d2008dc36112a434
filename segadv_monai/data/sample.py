"""Data sets that are generated on first use, so that every bundle runs before any data is at hand."""

import json
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segadv_monai.protocols import ConfigError, DataError

from .cache import cache_dir
from .sample_brains import BRAINS, write_brain_case
from .sample_cells import CELLS, MEMBRANES, write_cell_case, write_membrane_case
from .sample_ct import CT_VOLUMES, write_ct_case
from .sample_dermoscopy import DERMOSCOPY, write_dermoscopy_case
from .sample_streets import STREETS, write_street_case
from .sample_vessels import VESSELS, write_vessel_case

__all__ = ["sample_data"]


@dataclass(frozen=True)
class _Recipe:
    properties: dict[str, Any]
    write_case: Callable[[int, Path, Path], None]
    suffix: str
    training: int
    validation: int


# The folder's name ends in the version: raise it with any change of the drawn bytes.
_VERSION = "v1"
_RECIPES = {
    "brains": _Recipe(BRAINS, write_brain_case, ".nii.gz", training=4, validation=2),
    "cells": _Recipe(CELLS, write_cell_case, ".png", training=24, validation=6),
    "ct_volumes": _Recipe(CT_VOLUMES, write_ct_case, ".nii.gz", training=16, validation=4),
    "dermoscopy": _Recipe(DERMOSCOPY, write_dermoscopy_case, ".png", training=160, validation=40),
    "membranes": _Recipe(MEMBRANES, write_membrane_case, ".png", training=24, validation=6),
    "streets": _Recipe(STREETS, write_street_case, ".png", training=80, validation=20),
    "vessels": _Recipe(VESSELS, write_vessel_case, ".png", training=32, validation=8),
}


def sample_data(name: str, directory: str | Path | None = None) -> str:
    """Folder of a sample data set in the Medical Segmentation Decathlon's layout, generated when missing.

    The same name gives the same bytes. A generation that is killed leaves no half set behind, and two at
    a time do not disturb each other: the set is written beside its place and then moved there in one step.

    Args:
        name: "brains" (3D, FLAIR and T1 with contrast agent, four labels of a tumour), "cells" (2D, grey,
            instance numbers of cells that touch), "ct_volumes" (3D, HU, three organs), "dermoscopy" (2D, RGB,
            one lesion), "membranes" (2D, grey, cells behind membranes), "streets" (2D, RGB, eleven classes
            and a label that is ignored) or "vessels" (2D, RGB, vessels of a retina).
        directory: where the set is or shall be; by default ``<name>-v1`` in the folder ``SEGADV_CACHE`` or,
            if that is not set, in ``segadv_monai`` of the user's cache.

    Raises:
        ConfigError: there is no sample set of that name.
        DataError: the folder holds something else, or cannot be written.
    """
    if name not in _RECIPES:
        raise ConfigError(f"there is no sample data set {name!r}: choose one of {', '.join(_RECIPES)}.")
    target = Path(directory) if directory is not None else cache_dir() / f"{name}-{_VERSION}"
    target = target.expanduser().absolute()
    if not _is_complete(target, name):
        try:
            _generate(_RECIPES[name], target)
        except OSError as error:
            if not _is_complete(target, name):
                raise DataError(
                    f"{target}: the sample data set cannot be written here ({error.strerror or error}); "
                    "set the environment variable SEGADV_CACHE to a folder that can be written."
                ) from error
    return str(target)


def _is_complete(target: Path, name: str) -> bool:
    """Whether the set is there; its ``dataset.json`` came with all the rest."""
    if not target.exists():
        return False
    try:
        found = json.loads((target / "dataset.json").read_text(encoding="utf-8"))["name"]
    except FileNotFoundError:
        found = None
    except (OSError, ValueError, KeyError, TypeError):
        found = "something unreadable"
    if found == name:
        return True
    if found is None and target.is_dir() and not any(target.iterdir()):
        return False
    holds = "other files" if found is None else found
    raise DataError(f"{target} holds {holds} but not the sample data set {name}: give an empty folder.")


def _generate(recipe: _Recipe, target: Path) -> None:
    workshop = target.parent / f".{target.name}-{uuid.uuid4().hex}"
    try:
        workshop.mkdir(parents=True)
        sections = {
            "training": _write_section(recipe, workshop, "Tr", range(recipe.training)),
            "validation": _write_section(
                recipe, workshop, "Va", range(recipe.training, recipe.training + recipe.validation)
            ),
        }
        text = json.dumps({**recipe.properties, **sections}, indent=1)
        (workshop / "dataset.json").write_text(text + "\n", encoding="utf-8")
        workshop.rename(target)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _write_section(recipe: _Recipe, directory: Path, ending: str, indices: range) -> list[dict[str, str]]:
    entries = []
    for index in indices:
        entry = {}
        for key in ("image", "label"):
            entry[key] = f"./{key}s{ending}/case_{index:03d}{recipe.suffix}"
            (directory / entry[key]).parent.mkdir(exist_ok=True)
        recipe.write_case(index, directory / entry["image"], directory / entry["label"])
        entries.append(entry)
    return entries
