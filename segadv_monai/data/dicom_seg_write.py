"""DICOM-SEG objects out: a label map, overlapping maps or probabilities on the grid of their series.

The frames, their references to the source and the modules of the standard are highdicom's. The patient's
and study's fields pass from the series' files to the new one as they are: highdicom, who would quote them in
warnings, does not see their values.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segadv_monai.protocols import ConfigError, DataError, SegAdvError

from .atomic import atomic_write
from .dicom_header import load_pydicom, quiet, unreadable
from .dicom_series import DicomSeries, read_series

__all__ = ["write_dicom_seg"]

# Must be there, though they may be empty; anonymised files have often lost them.
_IDENTITY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "Modality")
# The lists of the standard (CID) in which the name of a segment is looked up, with the category of each.
_LISTS = (
    ("cid7192", "AnatomicalStructure"),
    ("cid7194", "MorphologicallyAbnormalStructure"),
    ("cid7191", "Tissue"),
)
_SYNONYMS = {"tumour": "neoplasm", "tumor": "neoplasm", "oedema": "edema"}
_MOST_CHARACTERS = 64


def write_dicom_seg(
    values: NDArray[Any],
    source: str | Path | DicomSeries,
    target: str | Path,
    *,
    segments: Mapping[int, str],
    codes: Mapping[str, Sequence[Sequence[str]]] | None = None,
    algorithm: str = "segadv_monai",
    description: str = "Segmentation",
) -> None:
    """Write one DICOM-SEG object, which appears complete or not at all.

    Segments are numbered from 1 in the order of their label values. A segment that does not occur is
    described and has no frames; a map without any is written with all its frames.

    Args:
        values: a label map ``(X, Y, Z)`` of unsigned integers; or one map per segment,
            ``(segments, X, Y, Z)``, of bool where segments may overlap, of floats from 0 to 1 for
            probabilities (a FRACTIONAL object).
        source: the series that was segmented, or its folder; ``values`` lie on its grid.
        target: the file to write.
        segments: the name of each label value, from 1 on; with one map per segment, in their order.
        codes: for names of segments, the property's category and type, each ``(value, scheme, meaning)``, for
            example ``("10200004", "SCT", "Liver")``. Names that are not given here are looked up in the
            standard's lists of structures, lesions and tissues; what is in none is a body structure.
        algorithm: what made the segmentation, such as the name of the network or the bundle.
        description: of the new series.

    Raises:
        ConfigError: highdicom is not installed, names or codes are wrong, or values are no labels.
        DataError: ``values`` are not on the grid of the series, the series lacks what a segmentation has to
            refer to, or the file cannot be written.
    """
    highdicom = _load_highdicom()
    series = source if isinstance(source, DicomSeries) else read_series(source)
    _check_names(segments, codes or {})
    frames = _frames(np.asarray(values), series, segments)
    described = _described(segments, codes or {}, algorithm=_short(algorithm), highdicom=highdicom)
    if len(series.files) not in (1, len(series.frames)):
        raise DataError(
            f"{series.files[0].parent} holds several multi-frame files, and a DICOM segmentation refers "
            "to one: save NIfTI (output='nifti')."
        )
    with _referring(series):
        headers = [_header(path, series) for path in series.files]
        identity = _taken(headers[0])
        result = highdicom.seg.Segmentation(
            headers,
            frames,
            "FRACTIONAL" if frames.dtype.kind == "f" else "BINARY",
            described,
            **_new_object(headers[0], _short(description), highdicom),
            omit_empty_frames=bool(frames.any()),
        )
        for element in identity:
            result[element.tag] = element
        _write(result, Path(target))


def _check_names(segments: Mapping[int, str], codes: Mapping[str, Sequence[Sequence[str]]]) -> None:
    numbers = all(isinstance(value, int) and 0 < value <= np.iinfo(np.uint16).max for value in segments)
    names = all(isinstance(name, str) and name for name in segments.values())
    if not segments or not numbers or not names:
        raise ConfigError(
            f"segments name the label values from 1 on, got {dict(segments)}: give them like "
            "{1: 'liver', 2: 'spleen'}."
        )
    for name, pair in codes.items():
        if name not in segments.values():
            raise ConfigError(f"codes are given for {name!r}, which is no segment: take it out or name it.")
        if len(pair) != 2 or any(isinstance(one, str) or len(one) != 3 or not all(one) for one in pair):
            raise ConfigError(
                f"the codes of {name!r} are {pair}: give the category's and the type's, each as "
                "(value, scheme, meaning)."
            )


def _short(text: str) -> str:
    """A name that a field of DICOM can hold, where a backslash would part two values."""
    if not 0 < len(text) <= _MOST_CHARACTERS or "\\" in text or not text.isprintable():
        raise ConfigError(
            f"{text!r} has {len(text)} characters: DICOM takes from 1 to {_MOST_CHARACTERS} that can be "
            "printed, and no backslash."
        )
    return text


def _frames(values: NDArray[Any], series: DicomSeries, segments: Mapping[int, str]) -> NDArray[Any]:
    """``(Z, Y, X)`` of segment numbers, or ``(Z, Y, X, segments)``, in the order of the source's frames."""
    stacked = values.ndim == 4 and values.dtype.kind in "bf"
    expected = (len(segments), *series.array.shape) if stacked else series.array.shape
    if values.shape != expected:
        raise DataError(
            f"the segmentation of {series.files[0].parent} is {_times(values.shape)} but the series is "
            f"{_times(expected)}: bring it back with Invertd before saving."
        )
    # A file of its own for every slice is in the order of k; the frames of one file may be in any.
    values = values[..., np.argsort(series.frames, kind="stable")]
    if not stacked:
        return _numbered(values, segments).T
    if values.dtype.kind == "b":
        return values.astype(np.uint8).T
    if not (values >= 0).all() or not (values <= 1).all():
        raise ConfigError("probabilities lie between 0 and 1: put a softmax or a sigmoid before saving.")
    return values.astype(np.float32).T


def _numbered(values: NDArray[Any], segments: Mapping[int, str]) -> NDArray[Any]:
    """Label values, which may have gaps, to segment numbers, which may not."""
    if values.dtype.kind not in ("b", "i", "u"):
        raise ConfigError(f"a label map holds integers, got {values.dtype}: put AsDiscreted before saving.")
    # Slice by slice, because a sorted copy of a large volume takes too much memory.
    found = {int(value) for k in range(values.shape[2]) for value in np.unique(values[..., k])}
    if unnamed := sorted(found - {0, *segments}):
        raise ConfigError(f"the label values {unnamed} have no name: add them to segments.")
    table = np.zeros(max(segments) + 1, np.uint8 if len(segments) <= np.iinfo(np.uint8).max else np.uint16)
    if max(segments) == len(segments):
        return values.astype(table.dtype)
    table[sorted(segments)] = np.arange(1, len(segments) + 1)
    result: NDArray[Any] = table[values.astype(np.int64)]
    return result


def _times(size: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in size)


def _described(
    segments: Mapping[int, str],
    codes: Mapping[str, Sequence[Sequence[str]]],
    *,
    algorithm: str,
    highdicom: Any,
) -> list[Any]:
    known: Any = import_module("pydicom.sr.codedict").codes
    made_by = highdicom.AlgorithmIdentificationSequence(
        name=algorithm,
        family=known.cid7162.ArtificialIntelligence,
        version=version("segadv-monai"),
        source="segadv_monai",
    )
    result = []
    for number, value in enumerate(sorted(segments), 1):
        name = _short(segments[value])
        given = [highdicom.sr.CodedConcept(*one) for one in codes.get(name, ())]
        category, kind = given or _looked_up(name)
        result.append(highdicom.seg.SegmentDescription(number, name, category, kind, "AUTOMATIC", made_by))
    return result


def _looked_up(name: str) -> tuple[Any, Any]:
    """The category and the type that the standard gives a structure, lesion or tissue of this name."""
    plain = " ".join(name.casefold().replace("_", " ").split())
    known = _known_names()
    return known.get(_SYNONYMS.get(plain, plain), known[""])


@cache
def _known_names() -> dict[str, tuple[Any, Any]]:
    codes: Any = import_module("pydicom.sr.codedict").codes
    result = {"": (codes.cid7150.AnatomicalStructure, codes.SCT.BodyStructure)}
    for name, category in _LISTS:
        entries = getattr(codes, name)
        for code in (getattr(entries, keyword) for keyword in entries.dir()):
            result.setdefault(code.meaning.casefold(), (getattr(codes.cid7150, category), code))
    return result


def _load_highdicom() -> Any:
    try:
        highdicom = import_module("highdicom")
    except ImportError as error:
        raise ConfigError(
            "DICOM segmentations need highdicom: install it with pip install 'segadv-monai[dicom]'."
        ) from error
    # Its remarks on every step would bring the identifiers of a study into the log.
    if not (log := logging.getLogger("highdicom")).level:
        log.setLevel(logging.WARNING)
    return highdicom


@contextmanager
def _referring(series: DicomSeries) -> Iterator[None]:
    """Tell only what highdicom misses: words about values may quote the patient's."""
    try:
        with quiet():
            yield
    except SegAdvError:
        raise
    except unreadable() as error:
        reason = str(error).partition("\n")[0] if isinstance(error, AttributeError) else type(error).__name__
        raise DataError(
            f"{series.files[0].parent} has headers that no segmentation can refer to ({reason}): export the "
            "series again, or save NIfTI (output='nifti')."
        ) from None


def _header(path: Path, series: DicomSeries) -> Any:
    """Of one file of the series, without its pixels; distances as they were measured, not as declared."""
    header = load_pydicom().dcmread(path, stop_before_pixels=True, force=True)
    missing = [keyword for keyword in _NEEDED if not header.get(keyword)]
    if missing:
        raise DataError(
            f"{path} has no {', '.join(missing)}, which a DICOM segmentation has to refer to: export the "
            "series again, or save NIfTI (output='nifti')."
        )
    spacing = f"{np.linalg.norm(series.affine[:3, 2]):.10g}"
    shared = header.get("SharedFunctionalGroupsSequence")
    measures = shared[0].PixelMeasuresSequence[0] if shared else header
    measures.SpacingBetweenSlices = spacing
    measures.SliceThickness = measures.get("SliceThickness") or spacing
    return header


def _taken(header: Any) -> list[Any]:
    """Take the identity of patient and study out of a header, and leave empty fields in its place."""
    result = [header[keyword] for keyword in _IDENTITY if keyword in header]
    for element in result:
        del header[element.tag]
    for keyword in _IDENTITY:
        setattr(header, keyword, "")
    return result


def _new_object(header: Any, description: str, highdicom: Any) -> dict[str, Any]:
    return {
        "series_instance_uid": highdicom.UID(),
        "sop_instance_uid": highdicom.UID(),
        # Beside the series of the scanner, whose numbers are small.
        "series_number": int(header.get("SeriesNumber") or 0) + 1000,
        "instance_number": 1,
        "series_description": description,
        "content_label": "SEGMENTATION",
        # UTF-8, which holds the patient's name and those of the segments.
        "specific_character_set": "ISO_IR 192",
        "manufacturer": "segadv_monai",
        "manufacturer_model_name": "segadv_monai",
        "software_versions": version("segadv-monai"),
        "device_serial_number": "none",
    }


def _write(result: Any, target: Path) -> None:
    try:
        with atomic_write(target) as draft:
            result.save_as(draft, enforce_file_format=True)
    except OSError as error:
        raise DataError(f"{target} cannot be written ({error}): choose another folder.") from error
