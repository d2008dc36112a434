"""MetaImage and NRRD files: ITK reads their geometry, and the values are read as they are declared.

ITK itself takes the declared memory before it looks whether the file has as much.
"""

import gzip
import io
import os
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from segadv_monai.protocols import DataError

from .ceiling import check_declared
from .exact import Inflated, Readable, read_exactly
from .itk_headers import ITK_SUFFIXES, StoredValues, declared
from .nifti_files import check_affine

__all__ = ["ITK_SUFFIXES", "itk_files", "read_itk", "write_label_like"]

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def itk_files(path: str | Path) -> tuple[Path, ...]:
    """The header and, if its values lie in another file, that.

    Args:
        path: the header, or the file that holds both.

    Raises:
        DataError: the values are not where the header says.
        OSError, ValueError: it is no such header.
    """
    header = Path(path)
    values = declared(header).file
    return (header,) if values == header else (header, values)


def read_itk(path: str | Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Read a MetaImage or NRRD volume to its last byte.

    Args:
        path: the file or the header.

    Returns:
        the array ``(*S, channels)`` in the order in which it is stored, the fastest axis first; and the
        affine ``(4, 4)`` from indices to mm, RAS.

    Raises:
        DataError: it is larger than allowed, of a rare form, or places its voxels nowhere.
        OSError, EOFError, ValueError, zlib.error: it is truncated or damaged.
    """
    path = Path(path)
    told = declared(path)
    size = [length for axis, length in enumerate(told.shape) if axis != told.channel_axis]
    check_declared(path, told.shape, told.dtype.itemsize)
    if len(size) not in (2, 3):
        raise DataError(f"{path} has {len(size)} axes: a volume has 3, and channels are stored as vectors.")
    affine = _affine(_geometry(path, size))
    check_affine(path, affine)
    array = _values(told)
    if told.channel_axis is None:
        return array[..., None], affine
    return np.moveaxis(array, told.channel_axis, -1), affine


def write_label_like(values: NDArray[Any], source: str | Path, draft: str | Path) -> None:
    """Write a label map with the geometry of its image, compressed, and nothing else of its header.

    Args:
        values: ``(*S)``, 8 or 16 bits without sign, ``S`` as the image is stored.
        source: the image.
        draft: file to write, ``.mha`` or ``.nrrd``.

    Raises:
        DataError: the size is not that of the image.
        OSError: the file cannot be written.
    """
    told = declared(source)
    size = [length for axis, length in enumerate(told.shape) if axis != told.channel_axis]
    if list(values.shape) != size:
        raise DataError(f"the labels of {source} have the size {list(values.shape)}, the image {size}.")
    geometry = _geometry(Path(source), size)
    image = _simpleitk().GetImageFromArray(np.ascontiguousarray(values.T))
    image.SetSpacing(geometry.GetSpacing())
    image.SetOrigin(geometry.GetOrigin())
    image.SetDirection(geometry.GetDirection())
    try:
        _simpleitk().WriteImage(image, os.fspath(draft), useCompression=True)
    except RuntimeError as error:
        raise OSError(f"{draft} cannot be written") from error


def _simpleitk() -> Any:
    """Where it is needed: its import takes longer than that of all the rest of this room."""
    return import_module("SimpleITK")


def _geometry(path: Path, size: list[int]) -> Any:
    reader = _simpleitk().ImageFileReader()
    reader.SetImageIO("MetaImageIO" if path.suffix.lower() in (".mha", ".mhd") else "NrrdImageIO")
    reader.SetFileName(os.fspath(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ValueError(str(error).rpartition("ITK ERROR:")[2].strip() or "ITK refuses it") from error
    if list(reader.GetSize()) != size:
        raise ValueError(f"its size is {size} by its header and {list(reader.GetSize())} to ITK")
    return reader


def _affine(geometry: Any) -> NDArray[np.float64]:
    """In three dimensions; a plane lies at 0 and is 1 mm thick."""
    axes = geometry.GetDimension()
    in_lps = np.eye(4)
    in_lps[:axes, :axes] = np.reshape(geometry.GetDirection(), (axes, axes)) * geometry.GetSpacing()
    in_lps[:axes, 3] = geometry.GetOrigin()
    result: NDArray[np.float64] = _TO_RAS @ in_lps
    return result


def _values(told: StoredValues) -> NDArray[Any]:
    with told.file.open("rb") as file:
        return read_exactly(_unpacked(file, told), told.shape, told.dtype)


def _unpacked(file: BinaryIO, told: StoredValues) -> Readable:
    length = int(np.prod(told.shape, dtype=object)) * told.dtype.itemsize
    there = os.fstat(file.fileno()).st_size
    if told.packing == "raw" and there < max(told.offset, 0) + length:
        raise EOFError(f"{there} of {max(told.offset, 0) + length} bytes are there")
    file.seek(told.offset if told.offset >= 0 else there - length)
    if told.packing == "gzip":
        return gzip.GzipFile(fileobj=file)
    return io.BufferedReader(Inflated(file)) if told.packing == "zlib" else file
