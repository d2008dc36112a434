"""The module inside wrappers for several processes and for compilation."""

from torch import nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["unwrapped"]


def unwrapped(module: nn.Module) -> nn.Module:
    """The module itself, whose weights have its own names and whose sizes can be asked for.

    Args:
        module: a module that may be wrapped, more than once.
    """
    while True:
        # The second is what ``torch.compile`` returns.
        name = "module" if isinstance(module, DistributedDataParallel) else "_orig_mod"
        inner = getattr(module, name, None)
        if not isinstance(inner, nn.Module):
            return module
        module = inner
