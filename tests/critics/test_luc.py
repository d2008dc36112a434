"""Facts of the published critics of Luc et al."""

import pytest
import torch
from torch import Tensor, nn

from segadv_monai.critics import LucCritic, LucTwoBranchCritic

# Variant, parameters of the paper's two scores and of our one (21 classes times 3 colours), of one map alone.
COUNTS = [
    ("large_fov", 2_387_458, 2_382_849, 2_329_281),
    ("large_fov_light", 907_778, 905_473, 851_905),
    ("small_fov", 1_609_090, 1_608_577, 1_555_009),
    ("small_fov_light", 526_722, 526_465, 472_897),
]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def last_convolution(critic: nn.Module) -> nn.Conv2d:
    return [module for module in critic.modules() if isinstance(module, nn.Conv2d)][-1]


@pytest.mark.parametrize(("variant", "two_scores", "one_score", "one_map"), COUNTS)
def test_the_parameters_are_those_of_the_paper_but_for_its_second_score(
    variant: str, two_scores: int, one_score: int, one_map: int
) -> None:
    with torch.device("meta"):
        critic = LucCritic(2, 3, 21, variant=variant, label_input="product")
        smaller = LucCritic(2, 3, variant=variant)
    assert parameters(critic) == one_score
    assert one_score + parameters(last_convolution(critic)) == two_scores
    assert parameters(smaller) == one_map


def test_the_parameters_of_the_two_branches() -> None:
    with torch.device("meta"):
        critic, smaller = LucTwoBranchCritic(2, 3, 8), LucTwoBranchCritic(2, 3)
    by_hand = 64 * (8 * 25 + 1) + 16 * (3 * 25 + 1) + 64 * (16 * 25 + 1)
    by_hand += 128 * (128 * 9 + 1) + 256 * (128 * 9 + 1) + 512 * (256 * 9 + 1) + 512 * 9 + 1
    assert parameters(critic) == by_hand == 1_667_265
    assert parameters(smaller) == 1_656_065


@pytest.mark.parametrize(
    ("critic", "width"),
    [
        *((LucCritic(2, 1, variant=v, width=1), 34) for v in ("large_fov", "large_fov_light")),
        *((LucCritic(2, 1, variant=v, width=1), 18) for v in ("small_fov", "small_fov_light")),
        (LucTwoBranchCritic(2, 1, width=1), 30),
    ],
    ids=["large", "large light", "small", "small light", "two branches"],
)
@torch.no_grad()
def test_a_verdict_sees_a_field_as_wide_as_the_paper_says(critic: nn.Module, width: int) -> None:
    for parameter in critic.parameters():
        parameter.fill_(1.0 if parameter.ndim > 1 else 0.0)
    verdicts: list[Tensor] = []
    last_convolution(critic).register_forward_hook(lambda _, __, output: verdicts.append(output))
    points = torch.zeros(64, 1, 64, 8)
    points[range(64), 0, range(64), 4] = 1
    critic(points, torch.zeros(64, 1, 64, 8))
    assert int(verdicts[0][:, 0, 8, 1].count_nonzero()) == width


def test_the_image_is_seen_in_the_product_alone_or_by_its_branch() -> None:
    torch.manual_seed(0)
    maps, image, other = torch.rand(2, 2, 8, 8), torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    for critic, seen in [
        (LucCritic(2, 3, 2, width=2), False),
        (LucCritic(2, 3, 2, width=2, label_input="product"), True),
        (LucTwoBranchCritic(2, 3, 2, width=2), True),
    ]:
        assert torch.equal(critic(maps, image).score, critic(maps, other).score) is not seen


@pytest.mark.parametrize("size", [(4, 5), (4, 5, 6)], ids=["2D", "3D"])
def test_the_product_is_each_map_times_each_channel(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    critic = LucCritic(len(size), 2, 3, label_input="product", width=1)
    maps, image = torch.rand(2, 3, *size), torch.randn(2, 2, *size)
    seen = critic.labels(maps, image)
    assert seen.shape == (2, 6, *size)
    for i in range(3):
        for channel in range(2):
            assert torch.equal(seen[:, 2 * i + channel], maps[:, i] * image[:, channel])


@pytest.mark.parametrize("critic", [LucCritic(2, 1, width=1), LucTwoBranchCritic(2, 1, width=1)])
def test_a_pair_is_given_one_verdict_the_mean_of_many(critic: nn.Module) -> None:
    verdicts: list[Tensor] = []
    last_convolution(critic).register_forward_hook(lambda _, __, output: verdicts.append(output))
    score = critic(torch.rand(3, 1, 13, 8), torch.rand(3, 1, 13, 8)).score
    assert verdicts[0].shape == (3, 1, 3, 2)
    torch.testing.assert_close(score, verdicts[0].mean(dim=(2, 3)))


def test_what_is_unknown_or_does_not_fit_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"variant must be one of large_fov, .*, got huge"):
        LucCritic(2, 1, variant="huge")
    with pytest.raises(ValueError, match="label_input must be one of basic, product, got scaling"):
        LucTwoBranchCritic(2, 1, label_input="scaling")
    with pytest.raises(ValueError, match="pad them to at least 4 per side"):
        LucCritic(2, 1, width=1)(torch.rand(1, 1, 8, 3), torch.rand(1, 1, 8, 3))
    with pytest.raises(ValueError, match=r"one grid, got .*: bring the segmentation to the image's"):
        LucCritic(2, 1, width=1)(torch.rand(1, 1, 4, 4), torch.rand(1, 1, 8, 8))
