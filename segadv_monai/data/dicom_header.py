"""The header of one DICOM file, read in bounded memory, and where its pixels lie.

pydicom parses it. What stands around it here is what pydicom leaves to its caller: no more is read than the
file holds, no more is kept than is asked for (nothing of the patient), and a file whose pixels are cut short
is refused before one of them is decoded.
"""

import io
import logging
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from segadv_monai.protocols import ConfigError, DataError

from .dicom_stream import BoundedReader, DeflatedError, inflated, pixels_at

__all__ = [
    "Header",
    "load_pydicom",
    "pixel_stream",
    "quiet",
    "quotable",
    "read_header",
    "unreadable",
]

_UNREADABLE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, RuntimeError, TypeError),
    *(ValueError, struct.error, zlib.error),
)
_KEPT = (
    *("SOPClassUID", "Modality", "ImageType", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime", "EchoTime", "DiffusionBValue"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
_PIXEL_TAGS = (0x7FE00010, 0x7FE00009, 0x7FE00008)
_EXPLICIT, _BIG, _IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_QUOTABLE = re.compile(r"[0-9.]{1,64}|[A-Z0-9_]{1,16}")
_LOCK = threading.RLock()


@dataclass(frozen=True, eq=False, slots=True)
class Header:
    """What a file says of itself, without its pixels.

    Args:
        path: the file.
        dataset: pydicom's, with the elements that are used here and no others.
        syntax: the UID of its transfer syntax; empty if it is not told and the pixels are compressed.
        offset: where the value of PixelData starts, in the file or in its inflated data set.
        length: bytes of PixelData, without the marks between compressed frames; -1 if there is none.
        compressed: whether PixelData is a sequence of compressed frames.
        deflated_from: where the deflated data set begins, 0 if the file is not deflated.
    """

    path: Path
    dataset: Any
    syntax: str
    offset: int = 0
    length: int = -1
    compressed: bool = False
    deflated_from: int = 0

    def value(self, keyword: str, holder: Any = None) -> Any:
        """The value of an element, None where it is missing or empty.

        Args:
            keyword: its DICOM keyword.
            holder: the data set that holds it; the file's own by default.

        Raises:
            DataError: what stands there is no value of its kind.
        """
        try:
            found = (self.dataset if holder is None else holder).get(keyword)
        except unreadable():
            raise DataError(
                f"{self.path} has a {keyword} that cannot be read: mend its header or export it again."
            ) from None
        return None if found is None or found == "" else found

    def text(self, keyword: str) -> str:
        """The value of an element as text, empty where it is missing.

        Args:
            keyword: its DICOM keyword.
        """
        found = self.value(keyword)
        if found is None:
            return ""
        return found.strip() if isinstance(found, str) else "\\".join(str(one) for one in _listed(found))

    def integer(self, keyword: str) -> int:
        """The value of an element that has to be there.

        Args:
            keyword: its DICOM keyword.

        Raises:
            DataError: it is missing, or no whole number.
        """
        found = self.value(keyword)
        if found is None:
            raise DataError(f"{self.path} lacks {keyword}: mend its header or export it again.")
        if not isinstance(found, int):
            raise DataError(f"{self.path} has a {keyword} that is no whole number: mend its header.")
        return int(found)

    @property
    def frames(self) -> int:
        """How many frames it holds, by its header."""
        return 1 if self.value("NumberOfFrames") is None else self.integer("NumberOfFrames")


def load_pydicom() -> Any:
    """The library that reads DICOM, which not everyone has installed.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module("pydicom")
    except ImportError as error:
        raise ConfigError(
            "DICOM images need pydicom: install it with pip install 'segadv-monai[dicom]'."
        ) from error


def unreadable() -> tuple[type[Exception], ...]:
    """What pydicom and its decoders raise at damaged files; their words may quote the patient's values.

    Raises:
        ConfigError: pydicom is not installed.
    """
    errors = load_pydicom().errors
    return (*_UNREADABLE, OSError, errors.InvalidDicomError, errors.BytesLengthException)


def quotable(text: str) -> str:
    """A UID or a code word for a message; what is neither may be anything of a damaged file, a name, too.

    Args:
        text: what a file gives as one.
    """
    return text if _QUOTABLE.fullmatch(text) else "something illegible" if text else "nothing"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's warnings and log lines to itself: they quote values, and what matters is checked here.

    Both are settings of the whole process: one thread at a time changes them and puts them back.
    """
    log = logging.getLogger("pydicom")
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        passes_on, log.propagate = log.propagate, False
        try:
            yield
        finally:
            log.propagate = passes_on


def read_header(path: Path, *, bare: bool = False) -> Header:
    """Read what stands before the pixels, and follow the pixels' marks to their end.

    Args:
        path: the file.
        bare: whether it has to be read without the preamble that marks a DICOM file.

    Raises:
        DataError: the file cannot be read, is truncated or damaged, or its header is absurdly long.
        ConfigError: pydicom is not installed.
    """
    load_pydicom()
    try:
        file = BoundedReader(path.open("rb", buffering=0), path.stat().st_size)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): mend its permissions.") from None
    header = None
    with quiet(), file:
        try:
            header = _parsed(path, file, bare=bare)
        except DataError:
            raise
        except unreadable():
            file.check(path)
        file.check(path)
    if header is None:
        raise DataError(f"{path} is truncated or damaged: fetch or export it again.")
    return header


@contextmanager
def pixel_stream(header: Header) -> Iterator[BinaryIO]:
    """Open a file at the value of its PixelData.

    Args:
        header: of the file.
    """
    if header.deflated_from:
        stream: BinaryIO = io.BytesIO(inflated(header.path, header.deflated_from))
    else:
        stream = header.path.open("rb")
    with stream:
        stream.seek(header.offset)
        yield stream


def _listed(found: Any) -> list[Any]:
    return [found] if isinstance(found, (int, float)) else list(found)


def _parsed(path: Path, file: BoundedReader, *, bare: bool) -> Header:
    try:
        dataset = load_pydicom().dcmread(file, stop_before_pixels=True, force=bare, specific_tags=_KEPT)
    except DeflatedError:
        return _deflated(path, file.tell())
    implicit, little = dataset.original_encoding
    offset, length, compressed = pixels_at(file, implicit=implicit, little=little)
    syntax = str(dataset.file_meta.get("TransferSyntaxUID") or "").strip()
    if not syntax and not compressed:
        syntax = _IMPLICIT if implicit else _EXPLICIT if little else _BIG
    return Header(path, dataset, syntax, offset, length, compressed)


def _deflated(path: Path, start: int) -> Header:
    filereader: Any = import_module("pydicom.filereader")
    tag: Any = import_module("pydicom.tag").Tag
    content = inflated(path, start)
    with BoundedReader(io.BytesIO(content), len(content)) as file:
        dataset = filereader.read_dataset(
            *(file, False, True),
            stop_when=lambda found, _vr, _length: found in _PIXEL_TAGS,
            specific_tags=[tag(keyword) for keyword in _KEPT],
        )
        offset, length, compressed = pixels_at(file, implicit=False, little=True)
        file.check(path)
    if compressed:
        raise ValueError("deflated pixels are never compressed")
    return Header(path, dataset, _DEFLATED, offset, length, deflated_from=start)
