"""What is to be segmented: the images of a folder, whatever kinds they are of."""

from pathlib import Path
from typing import Any

from segadv_monai.protocols import DataError

from .files import PICTURE_SUFFIXES, VOLUME_SUFFIXES, is_dicom, known_kinds, stem, suffix
from .layouts import description
from .nnunet import channel_groups, is_version_2

__all__ = ["image_files"]

_FILES = (*PICTURE_SUFFIXES, *VOLUME_SUFFIXES)
# Suffix of the segmentation by that of the image.
_OUTPUTS = {
    **dict.fromkeys(PICTURE_SUFFIXES, ".png"),
    **dict.fromkeys((".nii", ".nii.gz"), ".nii.gz"),
    **dict.fromkeys((".mha", ".mhd"), ".mha"),
    **dict.fromkeys((".nrrd", ".nhdr"), ".nrrd"),
}


def image_files(directory: str | Path) -> list[dict[str, Any]]:
    """Cases for inference, in the order of their names.

    Args:
        directory: a folder of images and of folders that hold a DICOM series each; the folder of one series;
            the path of one image; or a folder such as ``imagesTs`` beside the ``dataset.json`` of nnU-Net,
            where a case has a file for each channel. Other folders inside it and hidden files are left out.

    Raises:
        DataError: there is no such folder, no image in it, two whose segmentations would have one name, or
            DICOM files beside other images.
    """
    root = Path(directory).expanduser().absolute()
    if not root.exists():
        raise DataError(f"{root}: there is no such folder; set dataset_dir to the folder of your images.")
    if root.is_file() and not _is_image(root):
        raise DataError(
            f"{root} is not an image that can be read here: give a file that ends in {known_kinds()}, or the "
            "folder of a DICOM series."
        )
    if root.is_dir() and (groups := _of_nnunet(root)):
        return [{"image": paths[0] if len(paths) == 1 else paths} for paths in groups]
    found = [root] if root.is_file() or is_dicom(root) else _inside(root)
    if root.is_dir() and found == [root] and (others := _inside(root)):
        raise DataError(f"{root} holds a DICOM series and {others[0].name}: give each a folder of its own.")
    if not found:
        raise DataError(
            f"{root} holds no images: put files there that end in {known_kinds()}, or folders with a DICOM "
            "series each."
        )
    _check_names(found)
    return [{"image": str(path)} for path in found]


def _of_nnunet(root: Path) -> list[list[str]]:
    """Files of each case, if the folder belongs to a data set of nnU-Net, which tells the channels."""
    if not (root.parent / "dataset.json").is_file() or not root.name.startswith("images"):
        return []
    content = description(root.parent)
    if not is_version_2(content):
        return []
    return [[str(path) for path in paths] for paths in channel_groups(root, content).values()]


def _inside(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if not path.name.startswith(".") and _is_image(path))


def _is_image(path: Path) -> bool:
    return is_dicom(path) if path.is_dir() or suffix(path) not in _FILES else path.is_file()


def _check_names(found: list[Path]) -> None:
    seen: dict[tuple[str, str], Path] = {}
    for path in found:
        other = seen.setdefault((stem(path), _OUTPUTS.get(suffix(path), "")), path)
        if other != path:
            raise DataError(
                f"{other} and {path.name} would give segmentations of one name: rename one of them."
            )
