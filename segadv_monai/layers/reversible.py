"""Reversible blocks (Gomez et al., NIPS 2017, arXiv 1707.04585): inputs are computed from outputs.

As in the paper: ``y1 = x1 + F(x2)``, ``y2 = x2 + G(y1)``, so that ``x2 = y2 - G(y1)``, ``x1 = y1 - F(x2)``. A
sequence keeps the output of its last block for the backward pass and nothing else: each block's input is
computed anew, and one function's graph at a time. That costs one more forward pass.

Under autocast the halves stay in float32 and only the functions have the lower precision, else every block
would lose bits of what the next one back needs.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.jit import is_scripting  # type: ignore[attr-defined]  # torch does not list it

__all__ = ["ReversibleBlock", "ReversibleSequence"]

# Those whose generators are known here.
_DEVICES = ("cpu", "cuda")


class ReversibleBlock(nn.Module):
    """``y1 = x1 + f(x2)``, ``y2 = x2 + g(y1)`` on the two halves of the channels.

    Args:
        f: keeps the shape of half of the channels.
        g: the same.

    Shape:
        - Input: ``(B, C, *S)``, ``C`` even.
        - Output: the same.

    Raises:
        ValueError: the number of channels is odd.
    """

    def __init__(self, f: nn.Module, g: nn.Module) -> None:
        super().__init__()
        self.f = f
        self.g = g

    def forward(self, x: Tensor) -> Tensor:
        _check_even(x)
        x1, x2 = x.chunk(2, dim=1)
        y1 = x1 + self.f(x2)
        return torch.cat((y1, x2 + self.g(y1)), dim=1)

    def inverse(self, y: Tensor) -> Tensor:
        """The input that has this output, but for rounding.

        Args:
            y: an output.
        """
        y1, y2 = y.chunk(2, dim=1)
        x2 = y2 - self.g(y1)
        return torch.cat((y1 - self.f(x2), x2), dim=1)


class ReversibleSequence(nn.Module):
    """Blocks in sequence that hold for the backward pass the output of the last one.

    So it is with gradients on, on CPU or CUDA. Else, in a script or in an export the blocks simply follow one
    another. Values and gradients are those of plain blocks. Random numbers are drawn again as they were, for
    which each function that draws some keeps the state of the generator, a few kilobytes. What a hook sees
    inside a block has no graph.

    Args:
        blocks: the blocks, one or more, all of the same number of channels.
        reversible: whether to compute inputs anew; else all are kept, and gradients of gradients exist.

    Shape:
        - Input: ``(B, C, *S)``, ``C`` even.
        - Output: the same.

    Raises:
        ValueError: there is no block; the number of channels is odd; a block in training has buffers, which
            change when it runs.
        RuntimeError: a gradient of a gradient is asked for; the mode, training or evaluation, has changed
            between the passes.
    """

    def __init__(self, blocks: Sequence[ReversibleBlock], *, reversible: bool = True) -> None:
        super().__init__()
        if not blocks:
            raise ValueError("a reversible sequence needs a block, got none.")
        self.blocks = nn.ModuleList(blocks)
        self.reversible = reversible

    def forward(self, x: Tensor) -> Tensor:
        if not is_scripting():  # of what is behind this nothing is compiled
            x = _in_full_precision(x)
            if self._computes_anew(x):
                y: Tensor = _Reversed.apply(x, self.blocks, *self.parameters())  # type: ignore[no-untyped-call]
                return y
        for block in self.blocks:
            x = block(x)
        return x

    def inverse(self, y: Tensor) -> Tensor:
        """The input that has this output, but for rounding.

        Args:
            y: an output.
        """
        for block in reversed(list(self.blocks)):
            y = cast("ReversibleBlock", block).inverse(y)
        return y

    @torch.jit.unused
    def _computes_anew(self, x: Tensor) -> bool:
        is_known = x.device.type in _DEVICES and not torch.compiler.is_compiling()
        if not (self.reversible and is_known and torch.is_grad_enabled()):
            return False
        _check_even(x)
        buffers = [name for name, _ in self.named_buffers()] if self.training else []
        if buffers:
            raise ValueError(
                f"a block runs twice, which would change {buffers[0]} twice: use group norm instead of batch "
                "norm and no spectral norm, or reversible=False."
            )
        return True


class _Reversed(torch.autograd.Function):
    """The forward pass without a graph, the backward pass block by block from the last output.

    The parameters are inputs, so that their gradients arrive as those of any layer do and meet the hooks of
    ``DistributedDataParallel``. They are saved so that a step between the passes is an error as everywhere.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, blocks: nn.ModuleList, *parameters: Tensor) -> Tensor:
        ctx.blocks, ctx.modes = blocks, _modes(blocks)
        ctx.functions = [function for block in blocks for function in (block.f, block.g)]
        ctx.precision = _precision(x.device)
        ctx.states = []
        y = x.clone()
        halves = y.chunk(2, dim=1)
        for i, function in enumerate(ctx.functions):
            before = _states(x.device)
            with torch.autocast(**ctx.precision):
                halves[i % 2].add_(function(halves[1 - i % 2]))
            drew = not all(map(torch.equal, before, _states(x.device)))
            ctx.states.append(before if drew else [])
        ctx.save_for_backward(y, *parameters)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        _check_repeatable(ctx)
        y = ctx.saved_tensors[0]
        halves = list(y.chunk(2, dim=1))
        gradients = list(gradient.chunk(2, dim=1))
        gathered: dict[Tensor, Tensor] = {}
        for i in reversed(range(len(ctx.functions))):
            function, target, source = ctx.functions[i], i % 2, 1 - i % 2
            start = halves[source].detach().requires_grad_()
            with torch.enable_grad(), _as_before(y.device, ctx.precision, ctx.states[i]):
                value = function(start)
            # Nothing is computed from what the first function was added to.
            halves[target] = halves[target] - value.detach() if i else halves[target]
            weights = [p for p in function.parameters() if p.requires_grad]
            edge, pulled = get_gradient_edge(value), gradients[target].to(value.dtype)
            # Volumes are large: what is used up goes before the next is made.
            del value
            part, *parts = torch.autograd.grad(edge, (start, *weights), pulled, allow_unused=True)
            gradients[source] = gradients[source] if part is None else gradients[source] + part
            del start, part
            for weight, found in zip(weights, parts, strict=True):
                if found is not None:
                    gathered[weight] = gathered[weight] + found if weight in gathered else found
        return torch.cat(gradients, dim=1), None, *map(gathered.get, ctx.blocks.parameters())


@contextmanager
def _as_before(device: torch.device, precision: dict[str, Any], states: list[Tensor]) -> Iterator[None]:
    """The precision of the forward pass, and its random numbers if it has drawn any."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices, enabled=bool(states)), torch.autocast(**precision):
        if states:
            torch.set_rng_state(states[0])
        for one, state in zip(devices, states[1:], strict=bool(states)):
            torch.cuda.set_rng_state(state, one)
        yield


def _check_repeatable(ctx: Any) -> None:
    if torch.is_grad_enabled():
        raise RuntimeError(
            "a reversible sequence has no gradient of its gradient: build it with reversible=False, or call "
            "backward without create_graph."
        )
    if ctx.modes != _modes(ctx.blocks):
        raise RuntimeError(
            "a reversible sequence runs again in its backward pass, and its blocks are no longer in the mode "
            "of the forward pass: call train() or eval() behind backward."
        )


def _modes(blocks: nn.ModuleList) -> list[bool]:
    return [module.training for module in blocks.modules()]


def _precision(device: torch.device) -> dict[str, Any]:
    """Arguments of the autocast in force, without its cache.

    Torch before 2.11 keeps weights there that were cast without a graph, for passes with one to find.
    """
    kind = device.type
    return {
        "device_type": kind,
        "dtype": torch.get_autocast_dtype(kind),
        "enabled": torch.is_autocast_enabled(kind),
        "cache_enabled": False,
    }


def _in_full_precision(x: Tensor) -> Tensor:
    is_cast = x.device.type in _DEVICES and torch.is_autocast_enabled(x.device.type)
    return x.float() if is_cast and x.dtype in (torch.float16, torch.bfloat16) else x


def _states(device: torch.device) -> list[Tensor]:
    """Of the generators that a function on this device may draw from."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _check_even(x: Tensor) -> None:
    if x.shape[1] % 2:
        raise ValueError(f"a reversible block halves the channels, got {x.shape[1]}: give an even number.")
