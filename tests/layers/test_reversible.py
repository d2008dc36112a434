"""Reversible blocks: values and gradients of plain ones, memory of one."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor, nn
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks

from segadv_monai.layers import ReversibleBlock, ReversibleSequence

HALF = 4
Gradients = dict[str, Tensor]


def function(dims: int = 2, dropout: float = 0.0) -> nn.Module:
    convolution = (nn.Conv2d if dims == 2 else nn.Conv3d)(HALF, HALF, 3, padding=1, bias=False)
    layers = [nn.GroupNorm(2, HALF), nn.LeakyReLU(0.01, inplace=True), convolution, nn.Dropout(dropout)]
    return nn.Sequential(*layers)


def sequence(blocks: int, *, dropout: float = 0.0, **settings: Any) -> ReversibleSequence:
    torch.manual_seed(0)
    made = [ReversibleBlock(function(dropout=dropout), function(dropout=dropout)) for _ in range(blocks)]
    return ReversibleSequence(made, **settings)


def image(size: int = 12, batch: int = 2) -> Tensor:
    return torch.randn(batch, 2 * HALF, size, size, generator=torch.Generator().manual_seed(1))


def run(network: nn.Module, x: Tensor, seed: int = 3) -> tuple[Tensor, Gradients]:
    """Output and gradients of a loss that is not linear, the input's under the name ``x``."""
    network.zero_grad()
    torch.manual_seed(seed)
    x = x.detach().clone().requires_grad_()
    y = network(x)
    y.float().square().mean().backward()
    found = {name: p.grad for name, p in network.named_parameters()}
    assert x.grad is not None
    assert all(gradient is not None for gradient in found.values())
    return y.detach(), {"x": x.grad, **{name: g.clone() for name, g in found.items() if g is not None}}


def both(blocks: int, x: Tensor, **settings: Any) -> list[tuple[Tensor, Gradients]]:
    """What a reversible and a plain sequence of the same weights do."""
    return [
        run(sequence(blocks, reversible=reversible, **settings).to(x.dtype), x)
        for reversible in (True, False)
    ]


# --- values and gradients


@pytest.mark.parametrize("blocks", [1, 3, 8])
def test_the_output_and_every_gradient_are_those_of_plain_blocks(blocks: int) -> None:
    (y, gradients), (plain_y, plain) = both(blocks, image())
    assert torch.equal(y, plain_y)
    torch.testing.assert_close(gradients, plain, rtol=1e-5, atol=1e-5 * max(map(size, plain.values())))
    (y, gradients), (plain_y, plain) = both(blocks, image().double())
    assert torch.equal(y, plain_y)
    torch.testing.assert_close(gradients, plain, rtol=1e-11, atol=1e-13)


def size(x: Tensor) -> float:
    return x.abs().max().item()


def test_gradients_are_those_of_differences() -> None:
    network = sequence(2).double()
    x = image(4, 1).double().requires_grad_()
    # The weights are moved in place, where the network finds them.
    assert torch.autograd.gradcheck(lambda x, *_: network(x), (x, *network.parameters()), fast_mode=True)


def test_the_inverse_of_the_output_is_the_input() -> None:
    x = image()
    with torch.no_grad():
        network = sequence(8)
        torch.testing.assert_close(network.inverse(network(x)), x, rtol=0, atol=1e-4)
        block = network.blocks[0]
        torch.testing.assert_close(block.inverse(block(x)), x, rtol=0, atol=1e-5)


def test_a_block_is_its_equations() -> None:
    block = ReversibleBlock(nn.Identity(), nn.Identity())
    x = torch.tensor([[1.0, 10.0]])
    assert block(x).tolist() == [[11.0, 21.0]]
    y = ReversibleSequence([block, block])(x.requires_grad_())
    assert y.tolist() == [[32.0, 53.0]]
    y.backward(torch.tensor([[1.0, 0.0]]))
    assert x.grad is not None
    assert x.grad.tolist() == [[2.0, 3.0]]


@pytest.mark.parametrize("frozen", ["x", "blocks.0.", "blocks.1.f", ""])
def test_what_is_frozen_gets_no_gradient_and_the_rest_its_own(frozen: str) -> None:
    results = []
    for reversible in (True, False):
        network = sequence(2, reversible=reversible)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not frozen or not name.startswith(frozen))
        x = image().requires_grad_(frozen != "x")
        network(x).square().sum().backward()
        results.append({"x": x.grad} | {name: p.grad for name, p in network.named_parameters()})
    assert [name for name in results[0] if (results[0][name] is None) != (results[1][name] is None)] == []
    there = [{name: g for name, g in found.items() if g is not None} for found in results]
    torch.testing.assert_close(*there, rtol=1e-4, atol=1e-3)


def test_a_function_that_two_blocks_share_gets_the_sum() -> None:
    results = []
    for reversible in (True, False):
        torch.manual_seed(0)
        shared = ReversibleBlock(function(), function())
        results.append(
            run(ReversibleSequence([shared, shared], reversible=reversible).double(), image().double())
        )
    torch.testing.assert_close(results[0][1], results[1][1])


def test_a_graph_may_be_walked_twice() -> None:
    network = sequence(2).double()
    y = network(image().double())
    first, second = (
        torch.autograd.grad(y.sum(), list(network.parameters()), retain_graph=True) for _ in "ab"
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_tensor_of_monai_goes_through() -> None:
    x = MetaTensor(image(), affine=torch.eye(4))
    network = sequence(2)
    y = network(x)
    y.sum().backward()
    torch.testing.assert_close(torch.as_tensor(y).as_subclass(Tensor), network(image()))


# --- random numbers


def test_dropout_draws_the_same_mask_again() -> None:
    (y, gradients), (plain_y, plain) = both(3, image().double(), dropout=0.5)
    assert torch.equal(y, plain_y)
    torch.testing.assert_close(gradients, plain)
    other = run(sequence(3, dropout=0.5).double(), image().double(), seed=4)[0]
    assert not torch.allclose(other, y)


def test_the_generator_goes_on_as_without_the_backward_pass() -> None:
    draws = []
    for reversible in (True, False):
        run(sequence(3, dropout=0.5, reversible=reversible), image())
        draws.append(torch.rand(3))
    assert torch.equal(*draws)


def test_masks_differ_between_blocks_and_in_evaluation_there_are_none() -> None:
    network = sequence(2, dropout=0.5)
    x = image()
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


# --- memory


def held(network: nn.Module, x: Tensor) -> int:
    """Bytes of what a graph keeps, saved or carried by its nodes, each storage once; not of weights."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        y = network(x)
    for node in nodes(y.grad_fn):
        for tensor in tensors(vars(node) if hasattr(node, "__dict__") else {}):
            keep(tensor)
    for parameter in network.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    return sum(kept.values())


def nodes(first: Any) -> Iterator[Any]:
    waiting, seen = [first], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]
            yield node


def tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors(part)


def test_what_is_held_does_not_grow_with_the_blocks() -> None:
    x = image(16).requires_grad_()
    counts = range(1, 9)
    reversible = [held(sequence(n), x) for n in counts]
    plain = [held(sequence(n, reversible=False), x) for n in counts]
    assert set(reversible) == {x.nbytes}
    steps = {b - a for a, b in pairwise(plain)}
    assert len(steps) == 1
    assert steps.pop() > 1.5 * x.nbytes
    assert plain[7] > 10 * reversible[7]


def test_dropout_holds_states_of_the_generator_and_no_mask() -> None:
    x = image(64).requires_grad_()
    state = torch.get_rng_state().nbytes
    grown = held(sequence(3, dropout=0.5), x) - held(sequence(2, dropout=0.5), x)
    assert grown == 2 * state
    assert held(sequence(2, dropout=0.5).eval(), x) == x.nbytes


def test_the_held_output_may_be_kept_elsewhere() -> None:
    network = sequence(2).double()
    x = image().double()
    expected = run(network, x)[1]
    with save_on_cpu():
        torch.testing.assert_close(run(network, x)[1], expected)


@pytest.mark.gpu
def test_the_peak_of_a_gpu_is_flat() -> None:
    peaks = {}
    for reversible in (True, False):
        for blocks in (1, 8):
            network = sequence(blocks, reversible=reversible).cuda()
            x = image(512, 4).cuda().requires_grad_()
            network(x).sum().backward()
            network.zero_grad(set_to_none=False)
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            network(x).sum().backward()
            peaks[reversible, blocks] = torch.cuda.max_memory_allocated() - before
    assert peaks[True, 8] < 1.1 * peaks[True, 1]
    assert peaks[False, 8] > 3 * peaks[False, 1]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_gpu_draws_the_same_mask_again_under_autocast(dtype: torch.dtype) -> None:
    results = []
    for reversible in (True, False):
        network = sequence(3, dropout=0.5, reversible=reversible).cuda()
        with torch.autocast("cuda", dtype):
            results.append(run(network, image().cuda()))
        results[-1][1]["next"] = torch.rand(3, device="cuda")
    torch.testing.assert_close(results[0][1], results[1][1], rtol=2e-2, atol=2e-3)
    assert torch.equal(results[0][1]["next"], results[1][1]["next"])


# --- precision


def under_autocast(network: nn.Module, x: Tensor, *, backward_inside: bool = False) -> Gradients:
    """The gradients; the input is of the lower precision, as a layer before has it."""
    network.zero_grad()
    x = x.to(torch.bfloat16).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = network(x)
        assert y.dtype == torch.float32
        if backward_inside:
            y.square().mean().backward()
    if not backward_inside:
        y.square().mean().backward()
    found = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    assert x.grad is not None
    assert {name: g.dtype for name, g in found.items()} == dict.fromkeys(found, torch.float32)
    return {"x": x.grad, **{name: g.clone() for name, g in found.items()}}


@pytest.mark.parametrize("backward_inside", [False, True])
def test_autocast_gives_the_gradients_of_plain_blocks(backward_inside: bool) -> None:
    found, plain = (
        under_autocast(sequence(4, reversible=reversible), image(), backward_inside=backward_inside)
        for reversible in (True, False)
    )
    assert set(found) == set(plain)
    for name, gradient in plain.items():
        scale = gradient.float().abs().max().item()
        # Far below what bfloat16 itself costs.
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=2e-2 * scale)
    exact = run(sequence(4), image().to(torch.bfloat16).float())[1]
    names = [name for name in plain if name.endswith("2.weight")]
    own = [(found[name] - plain[name]).norm() / plain[name].norm() for name in names]
    cost = [(plain[name] - exact[name]).norm() / exact[name].norm() for name in names]
    assert max(own) < max(cost)


def test_a_pass_without_a_graph_leaves_no_weights_in_the_cache_of_autocast() -> None:
    network = sequence(2)
    with torch.autocast("cpu", torch.bfloat16):
        network(image())
        network.reversible = False
        network(image()).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


# --- refusals


def test_a_gradient_of_a_gradient_is_refused() -> None:
    network = sequence(1)
    x = image().requires_grad_()
    for value in (network(x).sum(), network(x).square().sum()):
        with pytest.raises(RuntimeError, match="reversible=False"):
            torch.autograd.grad(value, x, create_graph=True)
    network.reversible = False
    (gradient,) = torch.autograd.grad(network(x).square().sum(), x, create_graph=True)
    gradient.square().sum().backward()


def test_a_change_of_the_output_before_the_backward_pass_is_an_error() -> None:
    y = sequence(1)(image())
    y.relu_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_a_step_before_the_backward_pass_is_an_error() -> None:
    network = sequence(1)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    network(image()).sum().backward()
    loss = network(image()).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_another_mode_in_the_backward_pass_is_an_error() -> None:
    network = sequence(1, dropout=0.5)
    loss = network(image()).sum()
    network.eval()
    with pytest.raises(RuntimeError, match=r"call train\(\) or eval\(\) behind backward"):
        loss.backward()


def test_what_a_second_run_would_change_is_refused_in_training() -> None:
    functions = [nn.Sequential(nn.BatchNorm2d(HALF), nn.Conv2d(HALF, HALF, 1)) for _ in "fg"]
    network = ReversibleSequence([ReversibleBlock(*functions)])
    with pytest.raises(ValueError, match=r"blocks\.0\.f\.0\.running_mean .* group norm .* reversible=False"):
        network(image())
    run(network.eval(), image())
    network.reversible = False
    run(network.train(), image())


def test_a_function_that_changes_its_input_is_refused_on_both_ways() -> None:
    for reversible in (True, False):
        block = ReversibleBlock(nn.ReLU(inplace=True), nn.Identity())
        with pytest.raises(RuntimeError, match=r"inplace|in-place"):
            run(ReversibleSequence([block], reversible=reversible), image())


def test_what_cannot_be_halved_and_no_block_at_all_get_one_line() -> None:
    with pytest.raises(ValueError, match="needs a block, got none"):
        ReversibleSequence([])
    for network in (sequence(1), sequence(1, reversible=False)):
        with pytest.raises(ValueError, match="halves the channels, got 7"):
            network(torch.zeros(1, 7, 4, 4))


# --- other surroundings


def test_without_gradients_in_a_script_and_in_an_export_the_blocks_are_plain() -> None:
    network, x = sequence(2).eval(), image()
    y = network(x)
    assert "_Reversed" in type(y.grad_fn).__name__
    with torch.no_grad():
        assert torch.equal(network(x), y)
    scripted: nn.Module = torch.jit.script(network)
    torch.testing.assert_close(scripted(x), y)
    exported: Callable[[Tensor], Tensor] = torch.export.export(network, (x,)).module()
    torch.testing.assert_close(exported(x), y)
    assert network.to("meta")(x.to("meta")).shape == x.shape


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("distributed_reversible.py"))]
    running = [subprocess.Popen([*command, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    alone, first, second = (torch.load(tmp_path / f"{name}.pt") for name in ("alone", "0", "1"))
    assert len(alone) == 20
    for name, gradient in alone.items():
        assert torch.equal(first[name], second[name])
        assert gradient.any()
        torch.testing.assert_close(first[name], gradient, rtol=1e-9, atol=1e-12)
