"""Segmentations back to files, on the voxel grid and of the kind of the image they belong to."""

import colorsys
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

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
from .dicom_seg_write import write_dicom_seg
from .dicom_series import read_series
from .files import PICTURE_SUFFIXES, is_dicom, known_kinds, stem, suffix
from .itk_files import write_label_like
from .nifti_files import NIFTI_SUFFIXES

__all__ = ["SaveSegmentationd"]

_GEOMETRY = (
    *("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("sform_code", "srow_x", "srow_y", "srow_z", "xyzt_units"),
)
_ITK = {".mha": ".mha", ".mhd": ".mha", ".nrrd": ".nrrd", ".nhdr": ".nrrd"}
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
# mm: affines that differ less are those of one grid.
_TOLERANCE = 1e-3


@final
class SaveSegmentationd(MapTransform):
    """Write each label map to ``<input's name>_segmentation``, as a file of the kind of its input.

    ===============================  ==========================================================
    input                            segmentation
    ===============================  ==========================================================
    picture                          ``.png``: palette indices are the labels, viewers show colours
    NIfTI                            ``.nii.gz`` with the input's geometry, bit for bit
    ``.mha``, ``.mhd``               ``.mha`` with the input's geometry
    ``.nrrd``, ``.nhdr``             ``.nrrd`` with the input's geometry
    folder or file of a DICOM series ``.dcm``, a DICOM segmentation that refers to the series
    ===============================  ==========================================================

    A file appears complete or not at all. No field about the patient is copied but to a DICOM segmentation,
    which has to have them.

    Args:
        keys: the one key of the label map, which has been brought back to its input's grid (by ``Invertd``).
        output_dir: folder to write to, made if it is not there.
        segments: the names of the label values, ``{1: "liver", 2: "spleen"}``, or in their order from 1 on;
            keys may be text, as in a config. Only DICOM needs them.
        codes: for DICOM, codes of segments by their names, as in :func:`write_dicom_seg`.
        algorithm: for DICOM, what made the segmentation, such as the bundle's name.
        output: ``"like_input"`` as above, or ``"nifti"`` for every volume, on its affine.
        allow_missing_keys: skip keys that a case does not have.

    Shape:
        ``(1, *S)``, ``S`` as the input was loaded; integers from 0 to 65535, of a picture to 255.

    Raises:
        ConfigError: there are several keys; names or ``output`` are wrong; a map has several channels, values
            that are no labels, or does not tell its input file.
        DataError: a map is not on its input's grid, two inputs have one name, the input is of a kind that
            is not known, or a file cannot be written.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        *,
        segments: Mapping[int | str, str] | Sequence[str] | None = None,
        codes: Mapping[str, Sequence[Sequence[str]]] | None = None,
        algorithm: str = "segadv_monai",
        output: Literal["like_input", "nifti"] = "like_input",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(self.keys) != 1:
            raise ConfigError(f"one label map is saved for each input, got keys {list(self.keys)}: give one.")
        if output not in ("like_input", "nifti"):
            raise ConfigError(f"output is {output!r}: set it to 'like_input' or 'nifti'.")
        self.output_dir = Path(output_dir)
        self.segments = _named(segments)
        self.codes = codes
        self.algorithm = algorithm
        self.output = output
        self.written: dict[Path, Path] = {}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        for key in self.key_iterator(dict(data)):
            self._save(str(key), data[key])
        return dict(data)

    def _save(self, key: str, label: Any) -> None:
        values = _label_values(key, label)
        source = Path(label.meta["filename_or_obj"]).absolute()
        _check_grid(source, label)
        kind = _kind(source, self.output)
        target = self.output_dir / f"{_name(source)}_segmentation{kind}"
        if self.written.setdefault(target, source) != source:
            raise DataError(
                f"{source} and {self.written[target]} would both be written to {target}: give the inputs "
                "different names."
            )
        if kind == ".dcm":
            self._write_dicom(values, label, source=source, target=target)
            return
        try:
            with atomic_write(target) as draft:
                _write(values, label, source=source, path=draft)
        except OSError as error:
            raise DataError(f"{target} cannot be written ({error}): choose another output_dir.") from error

    def _write_dicom(self, values: NDArray[Any], label: MetaTensor, *, source: Path, target: Path) -> None:
        if not self.segments:
            raise ConfigError(
                f"{source} is a DICOM series, whose segments have names: give segments, such as "
                "{'1': 'liver'}, or set output to 'nifti'."
            )
        series = read_series(source)
        if not np.allclose(_affine(label), series.affine, atol=_TOLERANCE):
            raise DataError(
                f"{source} was loaded with its axes in another order: load it with the reader "
                "segadv_monai.data.VolumeReader."
            )
        write_dicom_seg(
            values, series, target, segments=self.segments, codes=self.codes, algorithm=self.algorithm
        )


def _named(segments: Mapping[int | str, str] | Sequence[str] | None) -> dict[int, str]:
    if segments is None:
        return {}
    if isinstance(segments, str):
        raise ConfigError(f"segments is the text {segments!r}: give a list, or a mapping from label values.")
    pairs = segments.items() if isinstance(segments, Mapping) else enumerate(segments, 1)
    try:
        return {int(value): name for value, name in pairs}
    except ValueError as error:
        raise ConfigError(f"segments has keys that are no label values ({error}): give integers.") from error


def _kind(source: Path, output: str) -> str:
    """The suffix of the segmentation."""
    if suffix(source) in PICTURE_SUFFIXES:
        return ".png"
    if output == "nifti" or suffix(source) in NIFTI_SUFFIXES:
        return ".nii.gz"
    if source.suffix.lower() in _ITK:
        return _ITK[source.suffix.lower()]
    if is_dicom(source):
        return ".dcm"
    raise DataError(
        f"{source} is of a kind that cannot be followed: convert it to one of {known_kinds()}, or set output "
        "to 'nifti'."
    )


def _name(source: Path) -> str:
    """Without a known suffix; dots belong to the names of many a DICOM file and folder."""
    if source.suffix.lower() in (*_ITK, *_DICOM_SUFFIXES) and not source.is_dir():
        return source.stem
    return stem(source)


def _label_values(key: str, label: Any) -> NDArray[Any]:
    """As 8 bits where that is enough."""
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
        result: NDArray[Any] = values.astype(np.uint16)
    if not np.array_equal(result, values):
        raise ConfigError(
            f"{key} holds values that are no labels (integers from 0 to 65535): put AsDiscreted before."
        )
    return result.astype(np.uint8) if result.max(initial=0) <= np.iinfo(np.uint8).max else result


def _check_grid(source: Path, label: MetaTensor) -> None:
    size = tuple(label.shape[1:])
    expected = tuple(int(n) for n in label.meta.get("spatial_shape", size))
    if size != expected:
        raise DataError(
            f"the segmentation of {source} is {_times(size)} but the file is {_times(expected)}: "
            "bring it back with Invertd before saving."
        )
    if suffix(source) in PICTURE_SUFFIXES and len(size) != 2:
        raise DataError(
            f"the segmentation of {source} has {len(size)} axes: a picture's has 2; save it as a volume's."
        )
    now = to_affine_nd(3, np.asarray(label.affine.cpu()))
    if not np.allclose(now, _affine(label), atol=_TOLERANCE):
        raise DataError(
            f"the segmentation of {source} has another orientation or spacing than the file: bring it "
            "back with Invertd before saving."
        )


def _affine(label: MetaTensor) -> NDArray[np.float64]:
    """Of the file, as it was loaded."""
    result: NDArray[np.float64] = to_affine_nd(
        3, np.asarray(label.meta.get("original_affine", np.eye(4)), float)
    )
    return result


def _times(size: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in size)


def _write(values: NDArray[Any], label: MetaTensor, *, source: Path, path: Path) -> None:
    if path.suffix == ".png":
        _write_picture(values, source, path)
    elif path.suffix in _ITK:
        write_label_like(values, source, path)
    elif suffix(source) in NIFTI_SUFFIXES:
        _write_nifti_like(values, source, path)
    else:
        _write_nifti(values, _affine(label), path)


def _write_picture(values: NDArray[Any], source: Path, path: Path) -> None:
    """MONAI has the columns first, pictures have the rows first."""
    if values.dtype != np.uint8:
        raise ConfigError(
            f"the segmentation of {source} holds the label {values.max()}, a PNG takes up to 255: give the "
            "labels smaller values."
        )
    picture = Image.fromarray(np.ascontiguousarray(values.T))
    picture.putpalette(_palette())
    picture.save(path)


def _palette() -> list[int]:
    """Black for the background, then hues a golden angle apart, so that neighbours differ."""
    colours = [colorsys.hsv_to_rgb(0.618034 * i % 1, 0.8 if i % 2 else 0.45, 1) for i in range(255)]
    return [0, 0, 0] + [round(255 * part) for colour in colours for part in colour]


def _write_nifti_like(values: NDArray[Any], source: Path, path: Path) -> None:
    """Copy the fields of the geometry, nothing else: no grey window, no remark about the patient."""
    original: Any = nibabel.load(source).header
    header = type(original)()
    for field in _GEOMETRY:
        header[field] = original[field]
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    header["pixdim"][: values.ndim + 1] = original["pixdim"][: values.ndim + 1]
    kind: Any = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
    nibabel.save(kind(values, None, header), path)


def _write_nifti(values: NDArray[Any], affine: NDArray[np.float64], path: Path) -> None:
    kind: Any = nibabel.Nifti1Image
    volume = kind(values, affine)
    volume.header.set_xyzt_units("mm")
    # 1: the coordinates of the scanner, which those of the input were.
    volume.set_qform(affine, 1)
    volume.set_sform(affine, 1)
    nibabel.save(volume, path)
