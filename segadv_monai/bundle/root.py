"""Where a bundle lies, from wherever its command is typed."""

import json
import os
from pathlib import Path

from segadv_monai.protocols import ConfigError

__all__ = ["root"]


def root(name: str) -> str:
    """Folder of the bundle of that name.

    Looked for in this order: the environment variable ``SEGADV_BUNDLE_ROOT``, the working directory, and
    ``bundles/<name>`` in it, in its parents and in the source tree of this package.

    Args:
        name: the bundle's folder, in lower case the ``name`` of its metadata.

    Raises:
        ConfigError: it is in none of these places.
    """
    given = os.environ.get("SEGADV_BUNDLE_ROOT")
    here = Path.cwd()
    above = [here, *here.parents, Path(__file__).parents[2]]
    places = [Path(given)] if given else [here, *(folder / "bundles" / name for folder in above)]
    for place in places:
        if _is_bundle(place, name):
            return str(place)
    raise ConfigError(
        f"the bundle {name} is not in {given or here}: start in its folder or above it, or set --bundle_root."
    )


def _is_bundle(folder: Path, name: str) -> bool:
    try:
        metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(metadata, dict) and str(metadata.get("name", "")).lower() == name
