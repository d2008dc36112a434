"""Data sets in the layouts of nnU-Net (Isensee et al., Nature Methods 2021), told in that of the Decathlon.

Version 2: ``channel_names``, ``labels`` from names to values, ``imagesTr/case_0000.nii.gz`` for the first
channel, ``labelsTr/case.nii.gz``. Version 1: the Decathlon's ``dataset.json`` whose image paths lack the
channel's number.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segadv_monai.protocols import DataError

from .files import PICTURE_SUFFIXES, stem, suffix

__all__ = ["channel_groups", "from_version_1", "from_version_2", "is_there", "is_version_2"]

_CHANNEL = r"(.+)_(\d{4})"


def is_version_2(content: Mapping[str, Any]) -> bool:
    """Whether a ``dataset.json`` is of version 2.

    Args:
        content: of the file.
    """
    return "channel_names" in content or "file_ending" in content


def from_version_2(root: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """The same description with lists of cases, and labels from values to names.

    Args:
        root: the folder of the ``dataset.json``.
        content: of it.

    Raises:
        DataError: a channel, an image or a label is missing, or the labels are no values.
    """
    cases = _named_cases(root, content) if "dataset" in content else _found_cases(root, content)
    wanted = content.get("numTraining", len(cases))
    if not cases:
        raise DataError(
            f"{root} has no training cases: put images such as case_0000.nii.gz into imagesTr and labels "
            "such as case.nii.gz into labelsTr."
        )
    if wanted != len(cases):
        raise DataError(
            f"{root / 'dataset.json'} declares {wanted} training cases and there are {len(cases)}: fetch the "
            "others, or mend numTraining."
        )
    test = channel_groups(root / "imagesTs", content) if (root / "imagesTs").is_dir() else {}
    lists = {"training": [cases[name] for name in sorted(cases)]}
    if test:
        lists["test"] = [{"image": _relative(root, paths)} for paths in test.values()]
    return {**content, "numTraining": len(cases), "labels": _labels(root, content), **lists}


def from_version_1(root: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """The same description with the files of every channel, if it is of version 1, else as it is.

    Args:
        root: the folder of the ``dataset.json``.
        content: of it.

    Raises:
        DataError: a channel is missing.
    """
    lists = {key: value for key, value in content.items() if isinstance(value, list) and key != "labels"}
    images = [image for entries in lists.values() for entry in entries if (image := _image_of(entry))]
    if "modality" not in content or not any(_lacks_channel(root, image) for image in images):
        return dict(content)
    count = len(content["modality"])
    expanded = {key: [_expanded(root, entry, count) for entry in value] for key, value in lists.items()}
    return {**content, **expanded}


def channel_groups(folder: Path, content: Mapping[str, Any]) -> dict[str, list[Path]]:
    """Files of each case in a folder of images, the first channel first.

    Args:
        folder: ``imagesTr`` or ``imagesTs``.
        content: of the ``dataset.json``.

    Raises:
        DataError: a channel of a case is missing.
    """
    ending = str(content.get("file_ending", ".nii.gz"))
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if match := re.fullmatch(_CHANNEL + re.escape(ending), path.name):
            found.setdefault(match[1], {})[int(match[2])] = path
    count = _channels(folder.parent, content)
    return {case: _all_channels(folder, case, paths, count=count) for case, paths in sorted(found.items())}


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder; a text that can be no name is none.

    Args:
        path: the file.
    """
    try:
        return path.exists()
    except OSError:
        return False


def _all_channels(folder: Path, case: str, found: Mapping[int, Path], *, count: int) -> list[Path]:
    # The colours of a picture are channels, too, and lie in one file.
    if list(found) == [0] and suffix(found[0]) in PICTURE_SUFFIXES:
        return [found[0]]
    if sorted(found) != list(range(count)):
        told = ", ".join(f"{channel:04d}" for channel in sorted(found))
        raise DataError(
            f"{folder / case}: there are the channels {told}, and channel_names of dataset.json has {count}, "
            "counted from 0000: add the others or mend it."
        )
    return [found[channel] for channel in range(count)]


def _channels(root: Path, content: Mapping[str, Any]) -> int:
    names = content.get("channel_names")
    if not isinstance(names, dict | list) or not names:
        raise DataError(
            f'{root / "dataset.json"} has no channel_names: write for example "channel_names": {{"0": "CT"}}.'
        )
    return len(names)


def _found_cases(root: Path, content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    ending = str(content.get("file_ending", ".nii.gz"))
    images = channel_groups(root / "imagesTr", content)
    folder = root / "labelsTr"
    labels = {path.name.removesuffix(ending): path for path in folder.glob(f"*{ending}")}
    labels = {name: path for name, path in labels.items() if not name.startswith(".")}
    for name in sorted(images.keys() ^ labels.keys()):
        has, lacks = ("a label", "no image") if name in labels else ("an image", "no label")
        place = root / ("imagesTr" if name in labels else "labelsTr")
        raise DataError(f"{name} has {has} but {lacks} in {place}: add it, or take the other away.")
    return {
        name: {"image": _relative(root, images[name]), "label": _relative(root, [labels[name]])}
        for name in images
    }


def _named_cases(root: Path, content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    given, count = content["dataset"], _channels(root, content)
    cases = {}
    for name, entry in given.items() if isinstance(given, dict) else ():
        images = entry.get("images") if isinstance(entry, dict) else None
        if not isinstance(images, list) or not isinstance(entry.get("label"), str):
            raise DataError(
                f'{root / "dataset.json"}: {name} of dataset is no {{"images": [], "label": ""}}: mend it.'
            )
        one_picture = len(images) == 1 and suffix(str(images[0])) in PICTURE_SUFFIXES
        if len(images) != count and not one_picture:
            raise DataError(
                f"{root / 'dataset.json'}: {name} of dataset has {len(images)} images, channel_names has "
                f"{count}: name one file for each channel."
            )
        cases[str(name)] = {
            "image": images[0] if len(images) == 1 else [str(path) for path in images],
            "label": entry["label"],
        }
    return cases


def _relative(root: Path, paths: Sequence[Path]) -> str | list[str]:
    found = [path.relative_to(root).as_posix() for path in paths]
    return found[0] if len(found) == 1 else found


def _labels(root: Path, content: Mapping[str, Any]) -> dict[str, str]:
    """A value of several regions has the name of the smallest."""
    labels = content.get("labels")
    example = 'write for example "labels": {"background": 0, "tumour": [1, 2], "core": 2}.'
    if not isinstance(labels, dict) or not labels:
        raise DataError(f"{root / 'dataset.json'} names no labels: {example}")
    regions = {name: value if isinstance(value, list) else [value] for name, value in labels.items()}
    for name, values in regions.items():
        if not values or not all(type(value) is int and value >= 0 for value in values):
            raise DataError(
                f"{root / 'dataset.json'}: the label {name!r} has no whole values from 0 on, got {values}: "
                f"{example}"
            )
    by_size = sorted(regions, key=lambda name: len(regions[name]), reverse=True)
    names = {value: name for name in by_size for value in regions[name]}
    return {str(value): names[value] for value in sorted(names)}


def _image_of(entry: Any) -> str:
    image = entry.get("image") if isinstance(entry, dict) else entry
    return image if isinstance(image, str) else ""


def _lacks_channel(root: Path, image: str) -> bool:
    return not is_there(root / image) and is_there(_channel(root / image, 0))


def _channel(path: Path, number: int) -> Path:
    return path.with_name(f"{stem(path)}_{number:04d}{path.name[len(stem(path)) :]}")


def _expanded(root: Path, entry: Any, count: int) -> Any:
    if not (image := _image_of(entry)):
        return entry
    paths = [_channel(root / image, channel) for channel in range(count)]
    if missing := next((path for path in paths if not is_there(path)), None):
        raise DataError(f"{missing}: the channel is not there; modality of dataset.json has {count}: add it.")
    found = _relative(root, paths)
    return {**entry, "image": found} if isinstance(entry, dict) else {"image": found}
