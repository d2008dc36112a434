"""The check of every run before it starts: what a config says against what is there; nothing of it is made.

The modules that a config names are imported. A bundle of unknown origin is judged by ``judge`` first.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai.bundle.properties import InferProperties, TrainProperties
from monai.utils.enums import BundleProperty, BundlePropertyConfig

from .components import component_faults, kind_faults, misspelt_keys
from .datasets import data_faults
from .findings import Finding, nearest
from .merged import COMMAND_LINE, MISSING, Merged, at, load, split
from .metadata import metadata_faults, version_warnings
from .network_format import network_faults
from .reading import idle, read_ids, unread
from .references import circles, dangling, expand
from .syntax import expression_faults, imported_names

__all__ = ["check"]

_RUN_IDS = ("run", "training", "evaluating")


def check(
    config_files: Sequence[str | Path],
    overrides: Mapping[str, Any] | None = None,
    *,
    run_id: str | None = None,
    init_id: str = "initialize",
    final_id: str = "finalize",
    meta_file: str | Path | None = None,
    schema: str | Path | None = None,
    sources: Mapping[str, str] | None = None,
) -> list[Finding]:
    """What is wrong with a run, by one line each; empty if nothing is.

    Args:
        config_files: paths, in the order in which MONAI merges them.
        overrides: values by id, as the command line gives them.
        run_id: what the run starts from; by default ``run``, ``training`` or ``evaluating``.
        init_id: what is done before it.
        final_id: what is done after it.
        meta_file: the metadata; by default ``metadata.json`` beside the first config, if it is there.
        schema: the Model Zoo's schema of metadata; without it, rules of our own.
        sources: for overrides that a file gives, that file.
    """
    loaded = [(str(path), *load(path)) for path in config_files]
    findings = [finding for _, _, faults in loaded for finding in faults]
    if any(faults and not content for _, content, faults in loaded):
        return findings
    contents = [(file, content) for file, content, _ in loaded]
    merged, base = Merged(contents), Merged(contents[:1])
    for key, value in (overrides or {}).items():
        merged.put(key, value, (sources or {}).get(key, COMMAND_LINE))
    findings += [*merged.findings, *expand(merged)]
    list(expand(base))
    runs = [run_id] if run_id else [name for name in _RUN_IDS if name in merged.content]
    roots = [init_id, *runs, final_id]
    folder = Path(config_files[0]).absolute().parent
    with _importable(folder.parent if folder.name == "configs" else folder):
        findings += [*_entries(merged), *_kinds(merged)]
    findings += [*circles(merged), *unread(merged, [*roots, *_RUN_IDS])]
    findings += [*_runs(merged, run_id, runs), *_properties(merged)]
    beside = Path(config_files[0]).with_name("metadata.json")
    file = str(meta_file or beside)
    metadata, faults = load(file) if meta_file or beside.is_file() else ({}, [])
    findings += faults
    if metadata:
        findings += [*metadata_faults(metadata, file, schema=schema), *version_warnings(metadata, file)]
    if not any(finding.severity == "error" for finding in findings):
        read = read_ids(merged, roots)
        findings += idle(merged, read)
        findings += network_faults(merged, base, read, metadata=metadata, file=file)
        findings += data_faults(merged, read)
    return list(dict.fromkeys(findings))


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """MONAI lets a run import from the bundle's own folder."""
    sys.path.insert(1, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _kinds(merged: Merged) -> list[Finding]:
    """One finding for each value, however many components it goes to."""
    first: dict[tuple[str, str], Finding] = {}
    for id_, entry in merged.nodes():
        if isinstance(entry, dict) and "_target_" in entry:
            for finding in kind_faults(merged, id_, entry):
                first.setdefault((finding.file, finding.key), finding)
    return list(first.values())


def _entries(merged: Merged) -> Iterator[Finding]:
    """What can be said of each entry by itself."""
    known = imported_names(merged)
    for id_, entry in merged.nodes():
        if isinstance(entry, str):
            yield from dangling(merged, id_, entry)
            if entry.startswith("$"):
                for reason, remedy in expression_faults(entry, known):
                    yield Finding(*merged.place(id_), reason, remedy)
        elif isinstance(entry, dict):
            yield from misspelt_keys(merged, id_, entry)
            if "_target_" in entry:
                yield from component_faults(merged, id_, entry)


def _runs(merged: Merged, run_id: str | None, runs: Sequence[str]) -> Iterator[Finding]:
    if run_id and at(merged.content, split(run_id)) is MISSING:
        remedy = nearest(run_id, merged.content) or f"there are {', '.join(_run_ids(merged))}."
        yield Finding(COMMAND_LINE, "run_id", f"there is no {run_id}", remedy)
    if not runs:
        file = merged.place(next(iter(merged.content)))[0]
        yield Finding(file, "run", "there is nothing to run", 'add for example "run": ["$@evaluator.run()"].')


def _run_ids(merged: Merged) -> list[str]:
    return [key for key in merged.content if key in _RUN_IDS] or ["no ids to run"]


def _properties(merged: Merged) -> Iterator[Finding]:
    """What MONAI asks of a config for training, or for inference."""
    is_training = at(merged.content, ["train", "trainer"]) is not MISSING
    is_inference = at(merged.content, ["evaluator"]) is not MISSING
    properties = TrainProperties if is_training else InferProperties if is_inference else {}
    file = merged.place(next(iter(merged.content)))[0]
    for entry in properties.values():
        id_ = str(entry[BundlePropertyConfig.ID])
        reference = str(entry.get(BundlePropertyConfig.REF_ID, ""))
        if at(merged.content, split(id_)) is MISSING:
            if entry[BundleProperty.REQUIRED]:
                yield Finding(file, id_, "is missing, and MONAI asks for it", "add it.")
        elif "::" in reference:
            value = at(merged.content, split(reference))
            if isinstance(value, str) and value[:1] != "$" and split(value[1:]) != split(id_):
                reason = f"is {value}, MONAI expects @{'#'.join(split(id_))}"
                yield Finding(*merged.place(reference), reason, "its tools will not find it.", "warning")
