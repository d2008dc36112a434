"""Components of a config: whether their targets are there and take the arguments that they are given."""

from collections.abc import Iterator, Mapping
from typing import Any

from monai.utils import CompInitMode

from .findings import Finding, nearest
from .kinds import fits, named
from .merged import MISSING, Merged
from .references import plain_value
from .signatures import Accepted, accepted, locate

__all__ = ["component_faults", "kind_faults", "misspelt_keys"]

_SPECIAL = ("_target_", "_disabled_", "_requires_", "_desc_", "_mode_", "_debug_")
_MODES = [mode.value for mode in CompInitMode]


def component_faults(merged: Merged, id_: str, component: Mapping[str, Any]) -> Iterator[Finding]:
    """What its target would refuse, as far as that is certain without making it.

    Args:
        merged: the config, with macros expanded.
        id_: of the component.
        component: its entry.
    """
    target, mode = component["_target_"], component.get("_mode_", "default")
    if not isinstance(target, str) or target[:1] in ("$", "@") or _may_be_disabled(component):
        return
    if isinstance(mode, str) and mode[:1] not in ("$", "@") and mode not in _MODES:
        remedy = nearest(mode, _MODES) or f"it can be {', '.join(_MODES)}."
        yield Finding(*merged.place(f"{id_}::_mode_"), f"there is no mode {mode}", remedy)
    found, reason, remedy = locate(target)
    if found is None:
        yield Finding(*merged.place(f"{id_}::_target_"), reason, remedy)
        return
    takes = accepted(found)
    if takes is None:
        return
    name = target.rpartition(".")[2]
    arguments = {key: value for key, value in component.items() if key not in _SPECIAL}
    yield from _unknown(merged, id_, name, arguments=arguments, takes=takes)
    if mode != "callable":
        yield from _missing(merged, id_, name, arguments=arguments, takes=takes)


def kind_faults(merged: Merged, id_: str, component: Mapping[str, Any]) -> Iterator[Finding]:
    """Plain values that cannot be what its target's annotations ask for, each where it stands.

    Args:
        merged: the config, with macros expanded.
        id_: of the component.
        component: its entry.
    """
    target = component["_target_"]
    found = locate(target)[0] if isinstance(target, str) and target[:1] not in ("$", "@") else None
    takes = accepted(found) if found and not _may_be_disabled(component) else None
    is_ours = str(getattr(found, "__module__", "")).startswith("segadv_monai.")
    for key, hint in takes.hints.items() if takes else ():
        if key in component:
            yield from _wrong_kind(merged, f"{id_}::{key}", component[key], hint=hint, is_exact=is_ours)


def misspelt_keys(merged: Merged, id_: str, entry: Mapping[str, Any]) -> Iterator[Finding]:
    """Keys that look like ``_target_`` and its like but are none of them.

    Args:
        merged: the config.
        id_: of the entry.
        entry: a group of the config.
    """
    for key in entry:
        remedy = nearest(str(key), _SPECIAL) if str(key)[:1] == "_" == str(key)[-1:] else ""
        if remedy and key not in _SPECIAL:
            yield Finding(*merged.place(f"{id_}::{key}"), f"MONAI knows no {key}", remedy)


def _may_be_disabled(component: Mapping[str, Any]) -> bool:
    flag = component.get("_disabled_", False)
    return str(flag).strip().lower() not in ("false", "0", "")


def _unknown(
    merged: Merged, id_: str, name: str, *, arguments: Mapping[str, Any], takes: Accepted
) -> Iterator[Finding]:
    for key in arguments if not takes.is_open else ():
        if key in takes.names:
            continue
        remedy = nearest(key, takes.names)
        if not remedy:
            listed = ", ".join(sorted(takes.names)) or "nothing by name"
            remedy = f"it takes {listed}." if len(takes.names) <= 12 else "look into its signature."
        yield Finding(*merged.place(f"{id_}::{key}"), f"{name} takes no {key}", remedy)


def _missing(
    merged: Merged, id_: str, name: str, *, arguments: Mapping[str, Any], takes: Accepted
) -> Iterator[Finding]:
    source = merged.place(f"{id_}::_target_")[0]
    if takes.unreachable:
        reason = f"{name} takes {', '.join(takes.unreachable)} by position only"
        yield Finding(source, id_, reason, "a config gives arguments by name: choose another target.")
        return
    missing = [key for key in takes.required if key not in arguments]
    misnamed = not takes.is_open and any(key not in takes.names for key in arguments)
    if missing and not misnamed:
        yield Finding(source, id_, f"{name} needs {', '.join(missing)}", "add it.")


def _wrong_kind(merged: Merged, id_: str, value: Any, *, hint: Any, is_exact: bool) -> Iterator[Finding]:
    origin, plain = plain_value(merged, id_, value)
    if plain is MISSING or fits(plain, hint, is_exact=is_exact):
        return
    reason = (
        f"must be {named(hint)}, got {plain!r}" if plain is not None else f"must be {named(hint)}, got null"
    )
    if origin != id_:
        reason += f" (it becomes {id_})"
    yield Finding(*merged.place(origin), reason, "")
