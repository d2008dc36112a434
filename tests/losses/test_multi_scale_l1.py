"""The two readings of SegAN's loss, by hand on a critic of two blocks."""

import pytest
import torch
from torch import Tensor, nn

from segadv_monai.critics import SegANCritic
from segadv_monai.losses import MultiScaleL1Loss, ReleasedMultiScaleL1Loss

LOSSES = [MultiScaleL1Loss(), ReleasedMultiScaleL1Loss((1, 2, 4))]
BATCH_NORM = (1 + 1e-5) ** -0.5


@pytest.fixture(params=LOSSES, ids=lambda loss: type(loss).__name__)
def loss(request: pytest.FixtureRequest) -> nn.Module:
    chosen: nn.Module = request.param
    return chosen


def random_features(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((2, 1, 4, 4), (2, 3, 2, 2), (2, 5, 1, 1))
    return [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]


@pytest.fixture
def by_hand() -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Features of a mask of one quarter and of an empty one.

    Both blocks sum 2x2 neighbours. The masked image has 4 ones among 16; the first block 4, 0, 0, 0; the
    second one 4, scaled by the batch norm in eval.
    """
    critic = SegANCritic(2, 1, widths=(1, 1), kernels=(2, 2)).eval()
    for parameter in critic.parameters():
        nn.init.constant_(parameter, 1.0)
    critic.blocks[1][1].bias.data.zero_()
    quarter = torch.zeros(1, 1, 4, 4)
    quarter[..., :2, :2] = 1
    image = torch.ones(1, 1, 4, 4)
    return critic(quarter, image).features, critic(torch.zeros_like(quarter), image).features


def test_the_paper_s_loss_is_a_mean_of_means(by_hand: tuple[tuple[Tensor, ...], ...]) -> None:
    value = MultiScaleL1Loss()(*by_hand)
    assert value.item() == pytest.approx((4 / 16 + 4 / 4 + 4 * BATCH_NORM / 1) / 3)


def test_the_released_loss_is_one_mean_with_weights(by_hand: tuple[tuple[Tensor, ...], ...]) -> None:
    value = ReleasedMultiScaleL1Loss((1, 1, 2))(*by_hand)
    assert value.item() == pytest.approx((1 * 4 + 1 * 4 + 2 * 4 * BATCH_NORM) / (16 + 4 + 1))


def test_signs_do_not_cancel() -> None:
    features, reference = [torch.tensor([[1.0, -1.0]])], [torch.zeros(1, 2)]
    assert MultiScaleL1Loss()(features, reference).item() == 1
    assert ReleasedMultiScaleL1Loss((1,))(features, reference).item() == 1


def test_a_batch_of_two_equal_cases_costs_what_one_does(loss: nn.Module) -> None:
    features, reference = random_features(0), random_features(1)
    one = loss([f[:1] for f in features], [r[:1] for r in reference])
    two = loss([f[:1].repeat(2, 1, 1, 1) for f in features], [r[:1].repeat(2, 1, 1, 1) for r in reference])
    torch.testing.assert_close(one, two)


def test_only_the_paper_s_loss_is_blind_to_the_size_of_a_scale() -> None:
    small = ([torch.ones(1, 1), torch.zeros(1, 1)], [torch.zeros(1, 1), torch.zeros(1, 1)])
    large = ([torch.ones(1, 9), torch.zeros(1, 1)], [torch.zeros(1, 9), torch.zeros(1, 1)])
    assert MultiScaleL1Loss()(*small) == MultiScaleL1Loss()(*large) == 0.5
    released = ReleasedMultiScaleL1Loss((1, 1))
    assert released(*small).item() == 0.5
    assert released(*large).item() == pytest.approx(0.9)


def test_the_released_weights_are_the_default() -> None:
    features = [torch.zeros(1, 1) for _ in range(7)]
    values = []
    for i in range(7):
        changed = list(features)
        changed[i] = torch.ones(1, 1)
        values.append(ReleasedMultiScaleL1Loss()(changed, features).item() * 7)
    assert values == pytest.approx([1, 1, 2, 2, 2, 2, 4])


def test_identical_features_cost_nothing_and_pull_nowhere(loss: nn.Module) -> None:
    features = random_features(0)
    value = loss(features, [f.detach() for f in features])
    value.backward()
    assert value.item() == 0
    assert not any(f.grad is None or f.grad.any() for f in features)


def test_both_sides_count_alike(loss: nn.Module) -> None:
    features, reference = random_features(0), random_features(1)
    torch.testing.assert_close(loss(features, reference), loss(reference, features))


def test_the_gradient_is_the_derivative(loss: nn.Module) -> None:
    features, reference = random_features(0), random_features(1)

    def value(*tensors: Tensor) -> Tensor:
        result: Tensor = loss(tensors[:3], tensors[3:])
        return result

    assert torch.autograd.gradcheck(value, (*features, *reference))


@pytest.mark.parametrize("empty", ["target", "both"])
def test_an_empty_mask_gives_a_finite_loss_and_gradient(loss: nn.Module, empty: str) -> None:
    torch.manual_seed(0)
    critic = SegANCritic(2, 1, widths=(2, 2), kernels=(3, 3))
    image, nothing = torch.randn(2, 1, 9, 9), torch.zeros(2, 1, 9, 9)
    prediction = (nothing if empty == "both" else torch.rand(2, 1, 9, 9)).clone().requires_grad_()
    value = loss(critic(prediction, image).features, critic(nothing, image).features)
    value.backward()
    assert value.isfinite()
    assert (value.item() == 0) == (empty == "both")
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()


@pytest.mark.parametrize(("one", "other"), [(3, 2), (2, 3), (0, 0)])
def test_scales_that_do_not_pair_are_an_error(loss: nn.Module, one: int, other: int) -> None:
    features = [torch.ones(1, 1) for _ in range(3)]
    with pytest.raises(ValueError, match=f"same scales, at least one; got {one} and {other}"):
        loss(features[:one], features[:other])


def test_the_released_loss_wants_one_weight_per_scale() -> None:
    features = [torch.ones(1, 1) for _ in range(3)]
    with pytest.raises(ValueError, match="7 weights for 3 scales: give one per scale"):
        ReleasedMultiScaleL1Loss()(features, features)
