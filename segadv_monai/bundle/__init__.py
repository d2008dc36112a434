from .device import resolve_device
from .errors import begin
from .overrides import check_overrides
from .preflight import preflight
from .root import root

__all__ = ["begin", "check_overrides", "preflight", "resolve_device", "root"]
