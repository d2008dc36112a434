"""CT and MR series for the tests: one valid file per slice, of any orientation; and why one is refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import DSfloat

from segadv_monai.data.dicom_series import read_series
from segadv_monai.protocols import DataError

__all__ = ["PRIVATE", "refusal", "write_series"]

# What identifies the patient in every file: none of it may be found in a message, a log or a report.
PRIVATE = {
    "PatientName": "Hidden^Person",
    "PatientID": "SECRET-4711",
    "PatientBirthDate": "19330322",
    "AccessionNumber": "SECRET-4712",
    "ReferringPhysicianName": "Hidden^Doctor",
    "InstitutionName": "Hidden Hospital",
}
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_CT_INTERCEPT = -1024


def write_series(
    folder: Path,
    array: NDArray[np.int16],
    affine: NDArray[np.float64],
    *,
    modality: str = "CT",
    **changes: Any,
) -> list[Path]:
    """Write a series, uncompressed and signed: slope 1 and intercept -1024 of a CT, neither of an MR.

    Args:
        folder: where the files ``0000.dcm``, ``0001.dcm``, ... go; it is made if it is missing.
        array: ``(X, Y, Z)``, the values after the intercept; ``i`` counts columns, ``j`` rows, ``k`` files.
        affine: from ``(i, j, k)`` to mm, RAS, at a right angle to one another: its first column is the
            direction of the rows, its second that of the columns. Where the third points against
            ``row x column`` a reader returns the slices in the opposite order.
        modality: ``"CT"`` or ``"MR"``.
        changes: attributes by their DICOM keyword, set after all others: a value for every slice, a function
            of ``k``, or a mapping from some ``k`` to values. None removes the attribute.

    Returns:
        the files in the order of ``k`` of ``array``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    common = _common(array.shape, affine, modality)
    intercept = _CT_INTERCEPT if modality == "CT" else 0
    stored = array.astype(np.int32) - intercept
    if stored.min() < -(2**15) or stored.max() >= 2**15:
        raise ValueError(f"the values less the intercept {intercept} have to fit 16 bits, signed.")
    in_lps = _TO_LPS @ affine
    files = []
    for k in range(array.shape[2]):
        # The elements are shared: none of them may be changed in place.
        one = Dataset({element.tag: element for element in common})
        one.SOPInstanceUID = generate_uid()
        one.InstanceNumber = k + 1
        one.ImagePositionPatient = _decimal(in_lps[:3, 3] + k * in_lps[:3, 2])
        one.PixelData = stored[:, :, k].T.astype("<i2").tobytes()
        for keyword, value in changes.items():
            _change(one, keyword, value, k)
        files.append(folder / f"{k:04d}.dcm")
        _save(one, files[-1])
    return files


def refusal(place: Path, *, series_uid: str | None = None) -> str:
    """The one line with which the gate refuses a series; it names the place and nothing of the patient."""
    with pytest.raises(DataError) as caught:
        read_series(place, series_uid=series_uid)
    told = str(caught.value)
    assert "\n" not in told
    assert str(place) in told
    assert not any(value in told for value in PRIVATE.values())
    return told


def _common(shape: tuple[int, ...], affine: NDArray[np.float64], modality: str) -> Dataset:
    """What all slices of a series share."""
    steps = (_TO_LPS @ affine)[:3, :3]
    spacing = np.linalg.norm(steps, axis=0)
    cosines = steps / spacing
    common = Dataset()
    common.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    common.Modality = modality
    common.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    for keyword, value in PRIVATE.items():
        setattr(common, keyword, value)
    common.PatientSex = "O"
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(common, keyword, generate_uid())
    common.StudyID, common.SeriesNumber = "1", 1
    common.StudyDate = common.SeriesDate = common.ContentDate = "20200102"
    common.StudyTime = common.SeriesTime = common.ContentTime = "030405"
    common.Manufacturer, common.ManufacturerModelName = "segadv tests", "series"
    common.PatientPosition, common.PositionReferenceIndicator = "HFS", ""
    common.Columns, common.Rows = shape[:2]
    common.SliceThickness = DSfloat(float(spacing[2]), auto_format=True)
    # DICOM gives the distance of the rows first.
    common.PixelSpacing = _decimal(spacing[[1, 0]])
    common.ImageOrientationPatient = _decimal(np.concatenate([cosines[:, 0], cosines[:, 1]]))
    common.SamplesPerPixel, common.PhotometricInterpretation = 1, "MONOCHROME2"
    common.BitsAllocated, common.BitsStored, common.HighBit, common.PixelRepresentation = 16, 16, 15, 1
    if modality == "CT":
        common.RescaleIntercept, common.RescaleSlope, common.RescaleType = _CT_INTERCEPT, 1, "HU"
        common.KVP, common.AcquisitionNumber = "120", 1
    else:
        common.ScanningSequence, common.SequenceVariant, common.ScanOptions = "SE", "NONE", ""
        common.MRAcquisitionType, common.EchoTime, common.RepetitionTime = "3D", "10", "600"
    return common


def _decimal(values: NDArray[np.float64]) -> list[DSfloat]:
    """As text of 16 characters at most, the most that DICOM allows."""
    return [DSfloat(float(value), auto_format=True) for value in values]


def _change(one: Dataset, keyword: str, value: Any, k: int) -> None:
    if isinstance(value, Mapping):
        if k not in value:
            return
        value = value[k]
    elif callable(value):
        value = value(k)
    if keyword in one:
        delattr(one, keyword)
    if value is not None:
        with disable_value_validation():
            setattr(one, keyword, value)


def _save(one: Dataset, path: Path) -> None:
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.file_meta.MediaStorageSOPClassUID = one.get("SOPClassUID") or CTImageStorage
    one.file_meta.MediaStorageSOPInstanceUID = one.get("SOPInstanceUID") or generate_uid()
    one.save_as(path, enforce_file_format=True)
