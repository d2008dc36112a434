"""Sliding windows in slabs: what MONAI's give, in bounded memory and without the slow convolution."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.inferers import SlidingWindowInferer
from monai.transforms import AsDiscreted
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from segadv_monai.inferers import StreamingSlidingWindow
from segadv_monai.inferers.forward_memory import _Living
from segadv_monai.inferers.onednn import fast_convolutions
from segadv_monai.inferers.pace import Pace


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def network(spatial_dims: int, classes: int = 5) -> nn.Module:
    """Its norm and its padding make every logit depend on where the window lies."""
    convolution, norm = ((nn.Conv2d, nn.InstanceNorm2d), (nn.Conv3d, nn.InstanceNorm3d))[spatial_dims - 2]
    layers = [convolution(1, 4, 3, padding=1), norm(4), nn.ReLU(), convolution(4, classes, 1)]
    return nn.Sequential(*layers).eval()


SIZES = [((33, 20, 41), (16, 16, 12)), ((8, 20, 30), (16, 16, -1)), ((50, 37), (16, 24)), ((9, 70), (16, 16))]
modes = pytest.mark.parametrize("mode", ["constant", "gaussian"])


# --- what MONAI gives


@modes
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, (0.1, 0.6, 0.3)])
@pytest.mark.parametrize(("size", "window"), SIZES)
def test_logits_and_labels_are_those_of_monai(
    size: Sequence[int], window: Sequence[int], overlap: float | tuple[float, ...], mode: Any
) -> None:
    net, image = network(len(size)), torch.randn(2, 1, *size)
    share = overlap if isinstance(overlap, float) else overlap[: len(size)]
    theirs = SlidingWindowInferer(window, 4, share, mode)(image, net)
    for axis in (None, 0, -1):
        ours = StreamingSlidingWindow(window, overlap=share, mode=mode, output="logits", stream_axis=axis)
        assert (ours(image, net) - theirs).abs().max() < 1e-5
    labels = StreamingSlidingWindow(window, overlap=share, mode=mode)(image, net)
    assert labels.dtype == torch.uint8
    assert torch.equal(labels, theirs.argmax(1, keepdim=True).to(torch.uint8))


@pytest.mark.parametrize("padding", ["constant", "reflect", "replicate"])
def test_an_image_smaller_than_a_window_is_padded_as_by_monai(padding: str) -> None:
    net, image = network(2), torch.randn(1, 1, 11, 40)
    value = 0.5 if padding == "constant" else 0.0
    theirs = SlidingWindowInferer(16, 4, padding_mode=padding, cval=value)(image, net)
    ours = StreamingSlidingWindow(16, padding_mode=padding, cval=value, output="logits")
    assert (ours(image, net) - theirs).abs().max() < 1e-5


@pytest.mark.parametrize("number", [1, 3, "auto"])
def test_the_number_of_windows_at_a_time_changes_nothing(number: Any) -> None:
    net, image = network(2), torch.randn(2, 1, 50, 50)
    theirs = SlidingWindowInferer(16, 2, 0.5)(image, net)
    ours = StreamingSlidingWindow(16, overlap=0.5, window_batch_size=number, output="logits")
    assert (ours(image, net) - theirs).abs().max() < 1e-5


def test_batches_are_full_across_slabs_and_cases() -> None:
    net, image = network(2), torch.randn(2, 1, 40, 70)
    numbers: list[int] = []
    net.register_forward_pre_hook(lambda _, inputs: numbers.append(len(inputs[0])))
    StreamingSlidingWindow(16, overlap=0.5, window_batch_size=7)(image, net)
    assert sum(numbers) == 2 * 4 * 8
    assert set(numbers[:-1]) == {7}


def test_arguments_reach_the_network() -> None:
    class Scaled(nn.Conv2d):
        def forward(self, x: Tensor, a: float, *, b: float) -> Tensor:
            return a * b * super().forward(x)

    ours, image = StreamingSlidingWindow(8, output="logits"), torch.randn(1, 1, 20, 20)
    net = Scaled(1, 2, 1)
    assert torch.allclose(ours(image, net, 2.0, b=3.0), 6 * ours(image, net, 1.0, b=1.0))


# --- without blending


@pytest.mark.parametrize(("size", "window"), SIZES)
def test_without_blending_each_position_is_of_the_window_with_the_nearest_centre(
    size: Sequence[int], window: Sequence[int]
) -> None:
    class Numbered(nn.Module):
        """Counts the windows: each has its own logit, in all positions."""

        seen = 0

        def forward(self, x: Tensor) -> Tensor:
            numbers = self.seen + torch.arange(len(x), dtype=x.dtype)
            self.seen += len(x)
            return numbers.view(-1, *[1] * (x.ndim - 1)).expand_as(x)

    ours = StreamingSlidingWindow(window, overlap=0.4, mode="none", output="logits", stream_axis=0)
    found = ours(torch.zeros(1, 1, *size), Numbered())
    lengths = [n if w < 0 else max(n, w) for n, w in zip(size, window, strict=True)]
    windows = [n if w < 0 else w for n, w in zip(lengths, window, strict=True)]
    starts, owners = [], []
    for n, w, wanted in zip(lengths, windows, size, strict=True):
        step = int(w * 0.6)
        begins = sorted({min(i * step, n - w) for i in range(n)}) if w < n else [0]
        while len(begins) > 1 and begins[-2] + w >= n:
            begins.pop(-2)
        centres = torch.tensor(begins).flip(0) + (w - 1) / 2
        positions = torch.arange(n)[(n - wanted) // 2 :][:wanted, None]
        owners.append(len(begins) - 1 - (positions - centres).abs().argmin(1))
        starts.append(len(begins))
    grids = torch.meshgrid(*owners, indexing="ij")
    number = torch.zeros_like(grids[0])
    for grid, count in zip(grids, starts, strict=True):
        number = number * count + grid
    assert torch.equal(found[0, 0].long(), number)


def test_without_blending_a_local_network_gives_what_one_pass_gives() -> None:
    net = nn.Conv3d(1, 4, 3, padding=1)
    image = torch.randn(2, 1, 30, 20, 25)
    labels = StreamingSlidingWindow(12, overlap=0.34, mode="none")(image, net)
    assert torch.equal(labels, net(image).argmax(1, keepdim=True).to(torch.uint8))


# --- what is kept


def test_labels_of_maps_are_those_above_a_threshold() -> None:
    net, image = network(2, 3), torch.randn(1, 1, 40, 40)
    logits = SlidingWindowInferer(16, 4, 0.5, "gaussian")(image, net)
    for activation, values in (("sigmoid", logits.sigmoid()), ("softmax", logits.softmax(1)), (None, logits)):
        ours = StreamingSlidingWindow(16, overlap=0.5, mode="gaussian", threshold=0.4, activation=activation)  # type: ignore[arg-type]
        assert torch.equal(ours(image, net), (values >= 0.4).to(torch.uint8))


def test_a_function_says_what_is_kept() -> None:
    def entropy(logits: Tensor) -> Tensor:
        return torch.special.entr(logits.softmax(0)).sum(0, keepdim=True)

    net, image = network(3), torch.randn(2, 1, 20, 30, 20)
    logits = SlidingWindowInferer(16, 4)(image, net)
    kept = StreamingSlidingWindow(16, output=entropy)(image, net)
    assert torch.allclose(kept, torch.special.entr(logits.softmax(1)).sum(1, keepdim=True), atol=1e-5)


def test_the_first_of_equal_logits_counts() -> None:
    image = torch.zeros(1, 1, 20, 20)
    assert not StreamingSlidingWindow(8)(image, network(2).double().float().apply(_zero)).any()


def _zero(module: nn.Module) -> None:
    for parameter in module.parameters(recurse=False):
        parameter.zero_()


def test_it_works_in_an_evaluator_and_keeps_metadata() -> None:
    images = [MetaTensor(torch.randn(1, 20, 30), affine=torch.eye(4) * (i + 2)) for i in range(2)]
    loader = DataLoader(Dataset([{"image": image, "label": image} for image in images]), batch_size=2)
    evaluator = SupervisedEvaluator(
        "cpu",
        loader,
        network(2),
        inferer=StreamingSlidingWindow(16),
        postprocessing=AsDiscreted("pred", to_onehot=5),
    )
    evaluator.run()
    predictions = [output["pred"] for output in evaluator.state.output]
    assert [p.shape for p in predictions] == [(5, 20, 30)] * 2
    assert [float(p.affine[0, 0]) for p in predictions] == [2, 3]


# --- memory


def peak(inferer: Callable[..., Tensor], length: int, net: nn.Module) -> int:
    """Bytes of tensors that are alive at once, without the image and the result."""
    image = torch.randn(1, 1, length, 24, 20)
    with _Living() as living:
        result = inferer(image, net)
    return living.most - result.numel() * result.element_size()


@pytest.mark.parametrize("mode", ["none", "constant", "gaussian"])
def test_memory_does_not_grow_along_the_streamed_axis(mode: Any) -> None:
    net = network(3, 30)
    ours = StreamingSlidingWindow(16, overlap=0.5, mode=mode, window_batch_size=2)
    assert peak(ours, 80, net) <= 1.02 * peak(ours, 40, net)


def test_memory_is_a_fraction_of_that_of_monai() -> None:
    net = network(3, 104)

    def theirs(image: Tensor, net: nn.Module) -> Tensor:
        return SlidingWindowInferer(12, 1)(image, net).argmax(1, keepdim=True).to(torch.uint8)

    without, blended = (
        StreamingSlidingWindow(12, mode=mode, window_batch_size=1) for mode in ("none", "gaussian")
    )
    reference = peak(theirs, 60, net)
    assert peak(without, 60, net) <= reference / 8
    # The logits of one window, and not those of the last one beside them.
    assert peak(without, 60, net) <= 1.5 * 104 * 12**3 * 4
    assert peak(blended, 60, net) <= 0.6 * reference


# --- speed


def operators(call: Callable[[], object]) -> set[str]:
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        call()
    return {event.key for event in profiler.key_averages()}


@pytest.mark.parametrize("number", [1, 2, "auto"])
def test_no_convolution_takes_the_slow_path(number: Any) -> None:
    net, image = network(3), torch.randn(1, 1, 20, 12, 12)
    assert any("slow_conv3d" in name for name in operators(lambda: net(image)))
    ours = StreamingSlidingWindow(12, window_batch_size=number)
    assert not any("slow_conv3d" in name for name in operators(lambda: ours(image, net)))


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv3d(2, 4, 3, padding=1, stride=2),
        nn.Conv3d(2, 4, (1, 3, 5), padding=(0, 1, 2), dilation=(1, 2, 1), bias=False),
        nn.Conv3d(2, 4, 3, groups=2, padding="same"),
        nn.Conv3d(2, 4, 3, groups=2),
        nn.Conv3d(2, 4, 1),
        nn.Conv3d(2, 4, 1, bias=False),
        nn.Conv3d(2, 4, 1, stride=2),
        nn.Conv3d(2, 4, 1, padding=1),
        nn.Conv3d(2, 4, 3).double(),
    ],
    ids=str,
)
def test_fast_convolutions_compute_the_same(convolution: nn.Conv3d) -> None:
    image = torch.randn(3, 2, 9, 8, 7, dtype=convolution.weight.dtype)
    plain = convolution(image)
    with fast_convolutions(convolution, image.device):
        fast = convolution(image)
    assert fast.shape == plain.shape
    assert torch.allclose(fast, plain, atol=1e-5)


def test_a_compiled_network_keeps_its_kernels() -> None:
    net, image = network(3), torch.randn(1, 1, 20, 12, 12)
    compiled = torch.compile(net, backend="eager")
    ours = StreamingSlidingWindow(12)
    assert torch.equal(ours(image, compiled), ours(image, net))


def test_the_pace_settles_on_the_fastest_and_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    net, image = network(2), torch.randn(1, 1, 300, 100)
    numbers: list[int] = []

    def seconds() -> float:
        # Every batch takes 1 second more than the last, but two windows take none.
        return 0.0 if numbers and numbers[-1] == 2 else float(next(clock))

    net.register_forward_pre_hook(lambda _, inputs: numbers.append(len(inputs[0])))
    monkeypatch.setattr("segadv_monai.inferers.streaming.time.perf_counter", lambda: 0.0)
    monkeypatch.setattr("segadv_monai.inferers.pace.time.perf_counter", seconds)
    ours = StreamingSlidingWindow(16)
    ours(image, net)
    assert numbers[:6] == [1, 1, 2, 2, 4, 4]
    assert set(numbers[6:-1]) == {2}
    numbers.clear()
    ours(image, net)
    assert set(numbers[:-1]) == {2}


def test_trials_stop_at_half_of_the_windows_and_where_logits_are_large() -> None:
    few = Pace(12)
    assert [few.next() for _ in range(4)] == [1, 1, 2, 2]
    large = Pace(1000)
    for _ in range(4):
        number = large.next()
        large.timed(number, 0.0, torch.empty(1, device="meta").expand(number, 2**23))
    assert large.best is None
    assert large.next() == large.best


# --- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"overlap": 1.0}, "overlap must be from 0 to less than 1, got 1.0"),
        ({"overlap": (0.5, -0.1)}, "overlap must be from 0"),
        ({"mode": "mean"}, "mode must be one of constant, gaussian, none, got mean"),
        ({"window_batch_size": 0}, "window_batch_size must be one of auto, a number from 1 on, got 0"),
        ({"output": "mask"}, "output must be one of labels, logits, a function, got mask"),
        ({"activation": "tanh", "threshold": 0.5}, "activation must be one of None, sigmoid, softmax"),
        ({"activation": "sigmoid"}, "activation to a threshold"),
        ({"output": "logits", "threshold": 0.5}, "threshold belongs to output='labels'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StreamingSlidingWindow(8, **arguments)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Conv2d(1, 1, 3, padding=1), "needs 2 to 256 maps, the network gave 1: set threshold"),
        (nn.Conv2d(1, 257, 1), "the network gave 257"),
        (nn.Conv2d(1, 2, 3), r"gave \[6, 6\] for a window of \[8, 8\].*take OverlapTileInferer"),
    ],
)
def test_logits_without_labels_are_refused(net: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StreamingSlidingWindow(8)(torch.zeros(1, 1, 20, 20), net)


def test_other_mistakes_are_named() -> None:
    class Pair(nn.Conv2d):
        def forward(self, x: Tensor) -> Any:
            return x, x

    image = torch.zeros(1, 1, 20, 20)
    with pytest.raises(TypeError, match="the network returned tuple, expected one tensor"):
        StreamingSlidingWindow(8)(image, Pair(1, 1, 1))
    with pytest.raises(ValueError, match=r"2 spatial axes, got \[1, 20, 20\] of float32"):
        StreamingSlidingWindow((8, 8))(image[0], network(2))
    with pytest.raises(ValueError, match="stream_axis must be one of 2 axes, got 2"):
        StreamingSlidingWindow(8, stream_axis=2)(image, network(2))
    with pytest.raises(ValueError, match="it may change the number of maps and nothing else"):
        StreamingSlidingWindow(8, output=lambda x: x[:, 1:])(image, network(2))
