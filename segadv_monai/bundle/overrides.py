"""Settings of the command line against the config that they are meant to change.

MONAI takes any ``--key value``: one that no line of the config reads changes nothing, silently.
"""

import ast
import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.scripts import run
from monai.utils.module import optional_import

from segadv_monai.protocols import ConfigError

__all__ = ["check_overrides"]

_OWN_ARGUMENTS = frozenset(inspect.signature(run).parameters) - {"override"}


def check_overrides(arguments: Sequence[str]) -> None:
    """Refuse settings that the config has no place for.

    Args:
        arguments: what follows ``monai.bundle run`` on the command line.

    Raises:
        ConfigError: there is no such id, entry or argument; the nearest name is suggested.
    """
    given = _parse(arguments)
    files: Any = given.get("config_file")
    if "args_file" in given:
        stored = ConfigParser.load_config_file(given["args_file"])
        files = files or stored.get("config_file")
        given = {**stored, **given}
    if not files:
        return
    config = ConfigParser.load_config_files(_as_list(files) if isinstance(files, str) else files)
    for key in given.keys() - _OWN_ARGUMENTS:
        _check(key, config)


def _parse(arguments: Sequence[str]) -> dict[str, str]:
    given = {}
    for word, following in zip(arguments, [*arguments[1:], ""], strict=False):
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            given[key.replace("-", "_")] = value if equals else following
    return given


def _as_list(files: str) -> list[str]:
    try:
        parsed = ast.literal_eval(files)
    except (SyntaxError, ValueError):
        parsed = [name.strip() for name in files.strip("[]").split(",")]
    return [parsed] if isinstance(parsed, str) else list(parsed)


def _check(key: str, config: Mapping[str, Any]) -> None:
    place: Any = config
    done: list[str] = []
    for part in key.lstrip("+~").replace("::", "#").split("#"):
        names = _names_in(place)
        if part not in names:
            nearest = difflib.get_close_matches(part, names, n=1)
            hint = f"did you mean --{'#'.join([*done, nearest[0]])}?" if nearest else "look into the config."
            where = f" in {'#'.join(done)}" if done else ""
            raise ConfigError(f"--{key}: there is no {part}{where}: {hint}")
        place = _entry(place, part)
        done.append(part)


def _names_in(place: Any) -> list[str]:
    if isinstance(place, list):
        return [str(i) for i in range(len(place))]
    if not isinstance(place, dict):
        return []
    return [*place, *_arguments_of(place.get("_target_")), "_disabled_", "_requires_"]


def _arguments_of(target: Any) -> list[str]:
    """What the component would take although the config leaves it at its default."""
    if not isinstance(target, str) or "." not in target:
        return []
    module, _, name = target.rpartition(".")
    component, found = optional_import(module, name=name)
    return list(inspect.signature(component).parameters) if found else []


def _entry(place: Any, part: str) -> Any:
    return place[int(part)] if isinstance(place, list) else place.get(part)
