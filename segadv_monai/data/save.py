"""Segmentations back to files, on the voxel grid of the image they belong to."""

import colorsys
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, final

import nibabel
import numpy as np
from monai.config.type_definitions import KeysCollection
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from monai.transforms import MapTransform
from numpy.typing import NDArray
from PIL import Image

from segadv_monai.protocols import ConfigError, DataError

from .atomic import atomic_write
from .files import VOLUME_SUFFIXES, stem, suffix

__all__ = ["SaveSegmentationd"]

_GEOMETRY = (
    *("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("sform_code", "srow_x", "srow_y", "srow_z", "xyzt_units"),
)


@final
class SaveSegmentationd(MapTransform):
    """Write each label map to ``<input's stem>_segmentation``, as ``.png`` or ``.nii.gz`` like its input.

    A picture's map becomes a PNG whose palette indices are the label values: viewers show colours, readers
    get the values. A volume's map becomes an 8-bit NIfTI with the input's geometry, bit for bit. A file
    appears complete or not at all.

    Args:
        keys: the one key of the label map, which has been brought back to its input's grid (by ``Invertd``).
        output_dir: folder to write to, made if it is not there.
        allow_missing_keys: skip keys that a case does not have.

    Shape:
        ``(1, *S)``, ``S`` as the input was loaded; integers from 0 to 255.

    Raises:
        ConfigError: there are several keys; a map has several channels, values that are no labels, or does
            not tell its input file.
        DataError: a map is not on its input's grid, two inputs have one name, or a file cannot be written.
    """

    def __init__(
        self, keys: KeysCollection, output_dir: str | Path, *, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(self.keys) != 1:
            raise ConfigError(f"one label map is saved for each input, got keys {list(self.keys)}: give one.")
        self.output_dir = Path(output_dir)
        self.written: dict[Path, Path] = {}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        for key in self.key_iterator(dict(data)):
            self._save(str(key), data[key])
        return dict(data)

    def _save(self, key: str, label: Any) -> None:
        values = _label_values(key, label)
        source = Path(label.meta["filename_or_obj"])
        _check_grid(source, label)
        is_volume = suffix(source) in VOLUME_SUFFIXES
        target = self.output_dir / f"{stem(source)}_segmentation{'.nii.gz' if is_volume else '.png'}"
        if self.written.setdefault(target, source) != source:
            raise DataError(
                f"{source} and {self.written[target]} would both be written to {target}: give the inputs "
                "different names."
            )
        try:
            with atomic_write(target) as draft:
                if is_volume:
                    _write_volume(values, source, draft)
                else:
                    _write_picture(values, draft)
        except OSError as error:
            raise DataError(f"{target} cannot be written ({error}): choose another output_dir.") from error


def _label_values(key: str, label: Any) -> NDArray[np.uint8]:
    if not isinstance(label, MetaTensor) or not label.meta.get("filename_or_obj"):
        raise ConfigError(
            f"{key} does not tell its input file: load images with LoadImaged, keep MetaTensors."
        )
    if label.shape[0] != 1:
        raise ConfigError(
            f"{key} has {label.shape[0]} channels: put AsDiscreted(argmax=True) or RegionsToLabeld "
            "before saving."
        )
    values = label.detach().cpu().numpy()[0]
    with np.errstate(invalid="ignore"):
        result: NDArray[np.uint8] = values.astype(np.uint8)
    if not np.array_equal(result, values):
        raise ConfigError(
            f"{key} holds values that are no labels (integers from 0 to 255): put AsDiscreted before."
        )
    return result


def _check_grid(source: Path, label: MetaTensor) -> None:
    size = tuple(label.shape[1:])
    expected = tuple(int(n) for n in label.meta.get("spatial_shape", size))
    if size != expected:
        raise DataError(
            f"the segmentation of {source} is {_times(size)} but the file is {_times(expected)}: "
            "bring it back with Invertd before saving."
        )
    if suffix(source) not in VOLUME_SUFFIXES and len(size) != 2:
        raise DataError(
            f"the segmentation of {source} has {len(size)} axes: only NIfTI files can hold it, convert it."
        )
    original = to_affine_nd(3, np.asarray(label.meta.get("original_affine", np.eye(4)), float))
    if not np.allclose(to_affine_nd(3, np.asarray(label.affine.cpu())), original, atol=1e-3):
        raise DataError(
            f"the segmentation of {source} has another orientation or spacing than the file: bring it "
            "back with Invertd before saving."
        )


def _times(size: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in size)


def _write_picture(values: NDArray[np.uint8], path: Path) -> None:
    """MONAI has the columns first, pictures have the rows first."""
    picture = Image.fromarray(np.ascontiguousarray(values.T))
    picture.putpalette(_palette())
    picture.save(path)


def _palette() -> list[int]:
    """Black for the background, then hues a golden angle apart, so that neighbours differ."""
    colours = [colorsys.hsv_to_rgb(0.618034 * i % 1, 0.8 if i % 2 else 0.45, 1) for i in range(255)]
    return [0, 0, 0] + [round(255 * part) for colour in colours for part in colour]


def _write_volume(values: NDArray[np.uint8], source: Path, path: Path) -> None:
    """Copy the fields of the geometry, nothing else: no grey window, no remark about the patient."""
    original: Any = nibabel.load(source).header
    header = type(original)()
    for field in _GEOMETRY:
        header[field] = original[field]
    header.set_data_dtype(np.uint8)
    header.set_data_shape(values.shape)
    header["pixdim"][: values.ndim + 1] = original["pixdim"][: values.ndim + 1]
    kind: Any = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
    nibabel.save(kind(values, None, header), path)
