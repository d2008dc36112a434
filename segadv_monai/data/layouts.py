"""The description of a data set, in the layout of the Decathlon, whichever layout it has itself."""

import json
import logging
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from segadv_monai.protocols import DataError

from .files import stem
from .nnunet import from_version_1, from_version_2, is_version_2

__all__ = ["described", "description"]

_LOG = logging.getLogger("segadv_monai")

_SPLITS = "splits_final.json"
# How nnU-Net draws the validation cases if it has no such file.
_FOLDS = 5
_SEED = 12345


def described(root: Path) -> dict[str, Any]:
    """The content of a ``dataset.json``, with a validation list and the files of every channel.

    A set of nnU-Net or of the Decathlon itself, which tells its ``numTraining``, has no validation list and
    gets one: the cases of ``splits_final.json``, else a fifth of the cases, drawn as nnU-Net draws them, so
    that its numbers on that fold are of the same cases. ``"fold": 1`` in ``dataset.json`` chooses another
    fold than the first, which is 0.

    Args:
        root: the folder.

    Raises:
        DataError: folder or file is missing, no description, or names what is not there.
    """
    content = description(root)
    if isinstance(content.get("labels"), list) and len(content["labels"]) > 1:
        content["labels"] = {str(value): name for value, name in enumerate(content["labels"])}
    content = from_version_2(root, content) if is_version_2(content) else from_version_1(root, content)
    training = content.get("training")
    if "validation" in content or "numTraining" not in content or not isinstance(training, list):
        return content
    names = {_name(case): case for case in training}
    if len(names) < max(2, len(training)):
        return content
    chosen, kept = _fold(root, names, content.get("fold", 0))
    return {
        **content,
        "training": [case for name, case in names.items() if name in kept],
        "validation": [case for name, case in names.items() if name in chosen],
    }


def description(root: Path) -> dict[str, Any]:
    """The content of a ``dataset.json`` as it is.

    Args:
        root: the folder.

    Raises:
        DataError: folder or file is missing, or holds no description.
    """
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder; set dataset_dir to the folder of your data set.")
    file = root / "dataset.json"
    content = _json(
        file,
        f"{root} holds no dataset.json: write one in the layout of the Medical Segmentation Decathlon, or "
        "set dataset_dir to the folder that has it.",
    )
    if not isinstance(content, dict):
        raise DataError(
            f'{file} holds a {type(content).__name__}: it must be an object like {{"training": []}}.'
        )
    return content


def _json(file: Path, otherwise: str) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(otherwise) from error
    except RecursionError as error:
        raise DataError(f"{file} is not valid JSON (too deep): mend it there.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is not valid JSON ({error}): mend it there.") from error


def _name(case: Any) -> str:
    """Of the label, as nnU-Net names its cases, or of the image."""
    path = case.get("label", case.get("image")) if isinstance(case, dict) else case
    return stem(path) if isinstance(path, str) else ""


def _fold(root: Path, names: Collection[str], fold: Any) -> tuple[set[str], set[str]]:
    """Names of the cases to validate on, and of those to train on."""
    file = root / _SPLITS
    if file.is_file():
        splits = _json(file, f"{file} is gone: run again.")
        chosen, kept = _told(file, splits, names, fold)
        _say(f"{root} has no validation list: {len(chosen)} cases are it, by fold {fold} of {file.name}")
        return chosen, kept
    count = min(_FOLDS, len(names))
    if fold not in range(count):
        raise DataError(f"{root / 'dataset.json'} chooses the fold {fold!r}: give one from 0 to {count - 1}.")
    order = np.arange(len(names))
    np.random.RandomState(_SEED).shuffle(order)
    chosen_at = np.array_split(order, count)[fold]
    chosen = {sorted(names)[at] for at in chosen_at}
    _say(
        f"{root} has no validation list: {len(chosen)} of its {len(names)} cases are it, fold {fold} of the "
        f"{count} that nnU-Net draws; add a list to choose others"
    )
    return chosen, set(names) - chosen


def _told(file: Path, splits: Any, names: Collection[str], fold: Any) -> tuple[set[str], set[str]]:
    count = len(splits) if isinstance(splits, list) else 0
    if fold not in range(count):
        raise DataError(
            f"{file} has {count} folds, and fold {fold!r} is chosen: give one from 0 to {count - 1}."
        )
    lists = [_strings(splits[fold], key) for key in ("val", "train")]
    if not all(lists):
        raise DataError(f'{file}: fold {fold} is no {{"train": ["a case"], "val": ["another"]}}: mend it.')
    chosen, kept = map(set, lists)
    if unknown := sorted((chosen | kept) - set(names)):
        raise DataError(
            f"{file} names {unknown[0]}, and there is no such case: add it or take the name away."
        )
    if both := sorted(chosen & kept):
        raise DataError(f"{file} has {both[0]} in train and in val of fold {fold}: take it out of one.")
    return chosen, kept


def _strings(split: Any, key: str) -> list[str]:
    found = split.get(key) if isinstance(split, Mapping) else None
    is_list = isinstance(found, list) and all(isinstance(name, str) for name in found)
    return found if is_list and found else []


@cache
def _say(line: str) -> None:
    """Once, although the description is read for each list."""
    _LOG.info(line)
