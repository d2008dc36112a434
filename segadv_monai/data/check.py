"""One look at every file of a data set before training, so that a fault shows in seconds and by name."""

import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from PIL import ImageFile
from tqdm import tqdm

from segadv_monai.protocols import DataError

from .case_check import Case, Expected, check_case
from .ceiling import Room
from .decathlon import datalist, labels_and_instances
from .facts_cache import FactsCache, Stamp, stamp_of
from .file_facts import FileFacts, facts_of
from .findings import DataReport, Finding
from .hashes import image_digest, image_hashes
from .set_check import check_set

__all__ = ["check_dataset"]

_LOG = logging.getLogger("segadv_monai")


class _Wanted(NamedTuple):
    """An image that has to be read, as it was before it is."""

    path: str
    is_label: bool
    stamp: Stamp | None


class _Look(NamedTuple):
    """At one image in one role: its facts, or the line that says why there are none; hashes of its files."""

    path: str
    is_label: bool
    facts: FileFacts | str
    sha256: Mapping[str, str] = MappingProxyType({})
    is_known: bool = False


def check_dataset(
    dataset_dir: str,
    *,
    sections: Sequence[str] = ("training", "validation"),
    spatial_dims: int,
    in_channels: int,
    allow_shared: bool = False,
    label_keys: Sequence[str] = ("label",),
    quiet: bool = False,
) -> DataReport:
    """Decode every image and label once and compare them with each other, the labels' names and the network.

    What was found in a file is kept in the cache folder (``SEGADV_CACHE``): a file that has not changed is
    not read again. The findings are logged as a table, the worst first, and summed up in one line.

    Args:
        dataset_dir: the folder of the ``dataset.json``.
        sections: lists of cases to look at.
        spatial_dims: 2 or 3, as the network has it.
        in_channels: channels of an image, as the network has them.
        allow_shared: whether the same image may stand in two of the sections.
        label_keys: as of :func:`datalist`.
        quiet: whether to log nothing and show no progress, as all but one process of a distributed run do.

    Raises:
        DataError: the first fault in the order of the data set, and in how many more cases there are faults.
    """
    started = time.monotonic()
    root = Path(dataset_dir).expanduser().absolute()
    expected = Expected(spatial_dims, in_channels, *labels_and_instances(root))
    cases = [
        Case(section, _paths(case["image"]), case.get("label"))
        for section in sections
        for case in datalist(root, section, label_keys)
    ]
    looks = _look_at_all(cases, FactsCache(root), quiet=quiet)
    read = {look.path for look in looks if not look.is_known}
    report = DataReport(
        root=str(root),
        cases={section: sum(case.section == section for case in cases) for section in sections},
        findings=tuple(_findings(cases, looks, expected, allow_shared=allow_shared)),
        hashes={_relative(file, root): sha for look in looks for file, sha in look.sha256.items()},
        known=sum(read.isdisjoint((*case.images, *_labels(case))) for case in cases),
        seconds=time.monotonic() - started,
    )
    _tell(report, quiet=quiet)
    return report


def _findings(
    cases: Sequence[Case], looks: Sequence[_Look], expected: Expected, *, allow_shared: bool
) -> Iterator[Finding]:
    facts = {(look.path, look.is_label): look.facts for look in looks}
    for number, case in enumerate(cases):
        for severity, message in check_case(case, facts, expected):
            yield Finding(severity, message, number)
    hashes = {look.path: image_digest(look.sha256) for look in looks if look.sha256}
    for severity, message in check_set(
        cases, facts, hashes, labels=expected.labels, allow_shared=allow_shared
    ):
        yield Finding(severity, message)


def _paths(images: str | list[str]) -> tuple[str, ...]:
    return (images,) if isinstance(images, str) else tuple(images)


def _labels(case: Case) -> tuple[str, ...]:
    return () if case.label is None else (case.label,)


def _relative(path: str, root: Path) -> str:
    inside = Path(os.path.normpath(path))
    return inside.relative_to(root).as_posix() if inside.is_relative_to(root) else str(inside)


def _look_at_all(cases: Sequence[Case], cache: FactsCache, *, quiet: bool) -> list[_Look]:
    """Each file once for each role, several at a time; decoding and hashing let other threads run."""
    wanted: dict[tuple[str, bool], None] = {}
    for case in cases:
        wanted |= dict.fromkeys((path, False) for path in case.images)
        wanted |= dict.fromkeys((path, True) for path in _labels(case))
    looks: list[_Look] = []
    unknown: list[_Wanted] = []
    for path, is_label in wanted:
        stamp = stamp_of(Path(path))
        known = None if stamp is None else cache.unchanged(Path(path), stamp, is_label=is_label)
        if known is None:
            unknown.append(_Wanted(path, is_label, stamp))
        else:
            looks.append(_Look(path, is_label, known[1], known[0], is_known=True))
    workers, room = min(8, os.cpu_count() or 1), Room()
    with _whole_pictures_only(), ThreadPoolExecutor(workers) as pool:
        found = pool.map(lambda item: _look(item, cache, room), unknown)
        # None: a bar on a terminal and nothing elsewhere.
        hidden = True if quiet else None
        looks += tqdm(found, "checking files", len(unknown), leave=False, disable=hidden, dynamic_ncols=True)
    cache.write()
    return looks


def _look(wanted: _Wanted, cache: FactsCache, room: Room) -> _Look:
    path, is_label, stamp = wanted
    sha256: dict[str, str] = {}
    try:
        sha256 = image_hashes(path)
        facts = cache.same_content(Path(path), sha256, is_label=is_label)
        if facts is None:
            with room.share():
                facts = facts_of(Path(path), is_label=is_label)
    except DataError as error:
        return _Look(path, is_label, str(error), sha256)
    if stamp is not None:
        cache.keep(Path(path), stamp, sha256=sha256, facts=facts, is_label=is_label)
    return _Look(path, is_label, facts, sha256)


@contextmanager
def _whole_pictures_only() -> Iterator[None]:
    """Pillow fills the rest of a truncated picture with grey if another library has told it to.

    What it remarks on a damaged one stands in the finding.
    """
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _tell(report: DataReport, *, quiet: bool) -> None:
    errors = report.of("error")
    if not quiet:
        level = logging.ERROR if errors else logging.WARNING if report.of("warning") else logging.INFO
        # A single fault is told by the error itself.
        if len(report.findings) > bool(errors):
            _LOG.log(level, report.table())
        _LOG.info(report.summary())
    if errors:
        more = len({finding.case for finding in errors} - {errors[0].case})
        ending = f" (and {more} more {'case' if more == 1 else 'cases'} with faults)" if more else ""
        raise DataError(errors[0].message + ending)
