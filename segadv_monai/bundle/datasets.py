"""The data set of a run against its config, as far as its ``dataset.json`` tells."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from segadv_monai.data import datalist, labels_of
from segadv_monai.protocols import DataError

from .findings import Finding
from .merged import MISSING, Merged
from .references import plain_value

__all__ = ["data_faults"]

_LIST_OF_CASES = "segadv_monai.data.datalist"
_PREFLIGHT = "segadv_monai.bundle.preflight"


def data_faults(merged: Merged, read: Collection[str]) -> Iterator[Finding]:
    """Lists of cases and labels that are not there, and regions that do not fit.

    Args:
        merged: the config, with macros expanded.
        read: ids of what the run reads.
    """
    for id_, entry in merged.nodes():
        target = entry.get("_target_") if isinstance(entry, dict) and id_ in read else None
        if target not in (_LIST_OF_CASES, _PREFLIGHT):
            continue
        origin, folder = _given(merged, id_, entry, "dataset_dir")
        try:
            if target == _PREFLIGHT:
                yield from _region_faults(merged, id_, entry, folder)
            elif folder and isinstance(folder, str):
                section = _given(merged, id_, entry, "section")[1]
                keys = _given(merged, id_, entry, "label_keys")[1]
                datalist(folder, section if isinstance(section, str) else "training", keys or ("label",))
        except DataError as error:
            yield Finding(*merged.place(origin), str(error))


def _region_faults(merged: Merged, id_: str, entry: Mapping[str, Any], folder: Any) -> Iterator[Finding]:
    origin, regions = _given(merged, id_, entry, "regions")
    _, maps = _given(merged, id_, entry, "out_channels")
    if not isinstance(regions, list) or not all(isinstance(region, list) for region in regions):
        return
    labels = labels_of(folder) if folder and isinstance(folder, str) else None
    unknown = [value for region in regions for value in region if labels and value not in labels]
    if labels and unknown:
        known = ", ".join(f"{value} {name}" for value, name in labels.items())
        yield Finding(*merged.place(origin), f"{folder} has no label {unknown[0]}", f"it has {known}.")
    elif isinstance(maps, int) and len(regions) != maps:
        reason = f"there are {len(regions)} for {maps} maps of the network"
        remedy = f"set network_def#out_channels to {len(regions)}, or mend the regions."
        yield Finding(*merged.place(origin), reason, remedy)


def _given(merged: Merged, id_: str, entry: Mapping[str, Any], name: str) -> tuple[str, Any]:
    """An argument, through references, and where its value stands; nothing if it is left at its default."""
    origin, value = plain_value(merged, f"{id_}::{name}", entry.get(name))
    return origin, (None if value is MISSING else value)
