"""The cases and labels of a data set: a folder with a ``dataset.json``, of the Decathlon or of nnU-Net."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segadv_monai.protocols import ConfigError, DataError

from .layouts import described
from .nnunet import is_there

__all__ = [
    "datalist",
    "identity_of",
    "labelled_cases",
    "labels_and_instances",
    "labels_of",
    "sections_of",
    "unlabelled_cases",
]

# The lists whose cases need no label.
_UNLABELLED = "unlabelled"
_WITHOUT_LABELS = (_UNLABELLED, "test")

# The key of labels that stands for the number of any instance.
_INSTANCES = ">0"


def datalist(
    dataset_dir: str | Path, section: str = "training", label_keys: Sequence[str] = ("label",)
) -> list[dict[str, Any]]:
    """Cases of one section with absolute paths, as MONAI's data sets take them.

    Args:
        dataset_dir: the folder of the ``dataset.json``.
        section: "training", "validation" or another list of cases in it. Each case has a label, but for those
            of "unlabelled".
        label_keys: the first of these that a case has is its label.

    Raises:
        DataError: the folder, the file or the section is missing or does not hold what it has to.
    """
    root = Path(dataset_dir).expanduser().absolute()
    return _section(root, described(root), section, label_keys)


def labelled_cases(dataset_dir: str | Path, share: float = 1.0) -> list[dict[str, Any]]:
    """Training cases whose labels a semi-supervised training sees.

    Args:
        dataset_dir: the folder of the ``dataset.json``.
        share: of the training cases, the first in the order of the file; 0.25 of 120 are 30.

    Raises:
        DataError: as :func:`datalist`.
        ConfigError: the share is of no case, or more than 1.
    """
    cases = datalist(dataset_dir)
    count = round(share * len(cases)) if 0 < share <= 1 else 0
    if not count:
        raise ConfigError(
            f"{share} of the {len(cases)} training cases cannot be the labelled ones: set a share from "
            f"{1 / len(cases):.2g} to 1."
        )
    return cases[:count]


def unlabelled_cases(dataset_dir: str | Path, share: float = 1.0) -> list[dict[str, Any]]:
    """Images alone: of the list "unlabelled", and of the training cases that :func:`labelled_cases` leaves.

    Args:
        dataset_dir: the folder of the ``dataset.json``.
        share: as given to :func:`labelled_cases`.

    Raises:
        DataError: as :func:`datalist`; there is no such case.
        ConfigError: as :func:`labelled_cases`.
    """
    root = Path(dataset_dir).expanduser().absolute()
    rest = datalist(root)[len(labelled_cases(root, share)) :]
    listed = _section(root, described(root), _UNLABELLED) if _UNLABELLED in sections_of(root) else []
    if not rest and not listed:
        raise DataError(
            f"{root / 'dataset.json'} has no unlabelled cases, and this training needs some: add "
            '"unlabelled": [{"image": "a path"}], or let fewer of the training cases count as labelled.'
        )
    return [{"image": case["image"]} for case in rest] + listed


def sections_of(dataset_dir: str | Path) -> list[str]:
    """Lists of cases that a semi-supervised training uses: "unlabelled" is one of them where it is there.

    Args:
        dataset_dir: the folder of the ``dataset.json``.

    Raises:
        DataError: the folder or the file is missing or no description.
    """
    content = described(Path(dataset_dir).expanduser().absolute())
    return ["training", "validation", *([_UNLABELLED] if content.get(_UNLABELLED) else [])]


def labels_of(dataset_dir: str | Path) -> dict[int, str]:
    """Name of each label value.

    Args:
        dataset_dir: the folder of the ``dataset.json``.

    Raises:
        DataError: the folder or the file is missing, or its labels are not integers with names.
    """
    root = Path(dataset_dir).expanduser().absolute()
    return _labels(root, described(root))


def labels_and_instances(dataset_dir: str | Path) -> tuple[dict[int, str], bool]:
    """As :func:`labels_of`, and whether ``labels`` has the key ``">0"``: the number of any instance.

    Args:
        dataset_dir: the folder of the ``dataset.json``.

    Raises:
        DataError: the folder or the file is missing, or its labels are not integers with names.
    """
    root = Path(dataset_dir).expanduser().absolute()
    content = described(root)
    labels = content.get("labels")
    if not isinstance(labels, dict) or _INSTANCES not in labels:
        return _labels(root, content), False
    classes = {value: name for value, name in labels.items() if value != _INSTANCES}
    return _labels(root, {**content, "labels": classes}), True


def identity_of(dataset_dir: str | Path) -> str:
    """One line by which a data set is known again, wherever it lies.

    Args:
        dataset_dir: the folder of the ``dataset.json``.

    Returns:
        its name, the number of cases in each section, and the beginning of the SHA-256 of its description.

    Raises:
        DataError: the folder or the file is missing or no description.
    """
    root = Path(dataset_dir).expanduser().absolute()
    content = described(root)
    counts = [f"{len(cases)} {section}" for section, cases in content.items() if isinstance(cases, list)]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"{content.get('name', root.name)} ({', '.join(counts)} {digest[:12]})"


def _labels(root: Path, content: dict[str, Any]) -> dict[int, str]:
    file, labels = root / "dataset.json", content.get("labels")
    example = 'write for example "labels": {"0": "background", "1": "lesion"}.'
    if not isinstance(labels, dict) or not labels:
        raise DataError(f"{file} names no labels: {example}")
    try:
        return {int(value): str(name) for value, name in labels.items()}
    except ValueError as error:
        wrong = ", ".join(repr(value) for value in labels if not value.strip().lstrip("-").isdigit())
        raise DataError(f"{file}: the keys of labels must be integers, got {wrong}: {example}") from error


def _section(
    root: Path, content: dict[str, Any], section: str, label_keys: Sequence[str] = ("label",)
) -> list[dict[str, Any]]:
    file, entries = root / "dataset.json", content.get(section)
    if not isinstance(entries, list) or not entries:
        others = [key for key, value in content.items() if isinstance(value, list) and value]
        raise DataError(
            f"{file} has no cases under {section!r}: it has {', '.join(others) or 'no list of cases'}; "
            f'add "{section}": [{{"image": "a path", "label": "a path"}}].'
        )
    needed = ("image",) if section in _WITHOUT_LABELS else ("image", "label")
    entries = [
        {"image": entry} if isinstance(entry, str) and len(needed) == 1 else entry for entry in entries
    ]
    for number, entry in enumerate(entries):
        missing = [key for key in needed if not _has(entry, _first(entry, label_keys, key))]
        if missing:
            raise DataError(
                f"{file}: entry {number} of {section!r} has no {' and no '.join(missing)}: give each case "
                f"an {' and a '.join(needed)}, as paths relative to the folder."
            )
    if len(needed) == 1:
        return [{"image": _absolute(root, entry["image"])} for entry in entries]
    cases = [{key: _found(root, key, value) for key, value in entry.items()} for entry in entries]
    return [{**case, "label": _absolute(root, case[_first(case, label_keys, "label")])} for case in cases]


def _found(root: Path, key: str, value: Any) -> Any:
    """Paths of an image; of another key, where there are such files."""
    paths = value if isinstance(value, list) else [value]
    if not paths or not all(isinstance(path, str) and path for path in paths):
        return value
    are_paths = key in ("image", "label") or all(is_there(root / path) for path in paths)
    return _absolute(root, value) if are_paths else value


def _absolute(root: Path, path: str | list[str]) -> Any:
    """A list of one is that one."""
    if isinstance(path, list) and len(path) > 1:
        return [_absolute(root, part) for part in path]
    return os.path.normpath(root / (path if isinstance(path, str) else path[0]))


def _first(entry: Any, label_keys: Sequence[str], key: str) -> str:
    """The key under which a case has what is asked for."""
    return next((name for name in label_keys if _has(entry, name)), key) if key == "label" else key


def _has(entry: Any, key: str) -> bool:
    """Whether the entry has a path there; an image may be a list of them, one for each channel."""
    value = entry.get(key) if isinstance(entry, dict) else None
    paths = value if isinstance(value, list) and (key == "image" or len(value) == 1) else [value]
    return bool(paths) and all(isinstance(path, str) and path for path in paths)
