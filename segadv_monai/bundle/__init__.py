from .check import check
from .device import resolve_device
from .errors import begin
from .findings import Finding
from .judge import Judgement, StaticFinding, judge
from .layout import check_bundle, config_sets
from .manifest import Manifest
from .numerics import numerics
from .preflight import preflight
from .root import root

__all__ = [
    "Finding",
    "Judgement",
    "Manifest",
    "StaticFinding",
    "begin",
    "check",
    "check_bundle",
    "config_sets",
    "judge",
    "numerics",
    "preflight",
    "resolve_device",
    "root",
]
