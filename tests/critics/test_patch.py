"""Facts of the published critics of the retina GAN."""

import pytest
import torch
from torch import nn

from segadv_monai.critics import PatchCritic

SCOPES = ("pixel", "patch1", "patch2", "image")


@pytest.mark.parametrize(
    ("scope", "count"), [("pixel", 93_665), ("patch1", 287_873), ("patch2", 4_715_009), ("image", 4_715_009)]
)
def test_the_parameters_are_those_of_the_release(scope: str, count: int) -> None:
    with torch.device("meta"):
        critic = PatchCritic(2, 3, scope=scope)
    assert sum(p.numel() for p in critic.parameters()) == count


@pytest.mark.parametrize(
    ("scope", "grid"), [("pixel", (640, 640)), ("patch1", (80, 80)), ("patch2", (10, 10)), ("image", ())]
)
def test_a_picture_of_640_gets_the_verdicts_of_the_paper(scope: str, grid: tuple[int, ...]) -> None:
    with torch.device("meta"):
        output = PatchCritic(2, 3, scope=scope)(torch.empty(1, 1, 640, 640), torch.empty(1, 3, 640, 640))
    assert output.score.shape == (1, 1, *grid)


@pytest.mark.parametrize(
    ("scope", "width", "length"), [("pixel", 7, 64), ("patch1", 61, 128), ("patch2", 537, 640)]
)
@torch.no_grad()
def test_a_verdict_sees_a_field_of_known_width(scope: str, width: int, length: int) -> None:
    critic = PatchCritic(2, 1, scope=scope, width=1).eval()
    for parameter in critic.parameters():
        parameter.fill_(1.0 if parameter.ndim > 1 else 0.0)
    for norm in critic.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight.fill_(1.0)
    seen = 0
    for start in range(0, length, 64):
        points = torch.zeros(64, 1, length, 64)
        points[range(64), 0, range(start, start + 64), 32] = 1
        score = critic(points, torch.zeros_like(points)).score
        seen += int(score[:, 0, score.shape[2] // 2, score.shape[3] // 2].count_nonzero())
    assert seen == width


def test_the_image_critic_says_the_mean_of_patch2() -> None:
    torch.manual_seed(0)
    patch, image = PatchCritic(2, 1, scope="patch2", width=1), PatchCritic(2, 1, width=1)
    image.load_state_dict(patch.state_dict())
    pair = torch.rand(2, 1, 128, 64), torch.rand(2, 1, 128, 64)
    verdicts = patch(*pair).score
    assert verdicts.shape == (2, 1, 2, 1)
    torch.testing.assert_close(image(*pair).score, verdicts.mean(dim=(2, 3)))


def test_the_pixel_critic_has_biases_and_no_norm_and_the_others_the_reverse() -> None:
    for scope in SCOPES:
        modules = list(PatchCritic(2, 1, scope=scope, width=1).stages.modules())
        convolutions = [m for m in modules if isinstance(m, nn.Conv2d)]
        assert len(convolutions) == {"pixel": 3, "patch1": 6}.get(scope, 10)
        norms = [m for m in modules if isinstance(m, nn.BatchNorm2d)]
        assert len(norms) == (0 if scope == "pixel" else len(convolutions))
        assert all((m.bias is None) is (scope != "pixel") for m in convolutions)
        assert all(m.negative_slope == 0.2 for m in modules if isinstance(m, nn.LeakyReLU))


def test_thick_slices_are_kept_apart_by_a_stride_per_axis() -> None:
    critic = PatchCritic(3, 1, scope="patch1", width=1, stride=(1, 2, 2))
    assert critic(torch.rand(2, 1, 3, 16, 24), torch.rand(2, 1, 3, 16, 24)).score.shape == (2, 1, 3, 2, 3)
    with pytest.raises(ValueError, match="stride must be a number or 3 of them, got"):
        PatchCritic(3, 1, stride=(2, 2))


def test_another_norm_is_a_name_or_a_name_with_arguments() -> None:
    for norm in ("instance", ["instance", {"affine": True}]):
        modules = list(PatchCritic(2, 1, scope="patch1", width=1, norm=norm).modules())
        norms = [m for m in modules if isinstance(m, nn.InstanceNorm2d)]
        assert [m.affine for m in norms] == [norm != "instance"] * 6


@pytest.mark.parametrize(("scope", "smallest"), [("pixel", 1), ("patch1", 7), ("patch2", 59), ("image", 59)])
def test_the_smallest_image_passes_and_one_less_does_not(scope: str, smallest: int) -> None:
    critic = PatchCritic(2, 1, scope=scope, width=1).eval()
    pair = torch.rand(2, 1, 64, smallest), torch.rand(2, 1, 64, smallest)
    assert critic(*pair).score.isfinite().all()
    if scope != "pixel":
        with pytest.raises(ValueError, match=f"vanish in the poolings of the {scope} critic: pad them"):
            critic(pair[0][..., 1:], pair[1][..., 1:])


def test_what_is_unknown_or_does_not_fit_is_one_line() -> None:
    with pytest.raises(ValueError, match="scope must be one of pixel, patch1, patch2, image, got patch80"):
        PatchCritic(2, 1, scope="patch80")
    with pytest.raises(ValueError, match=r"one grid, got .*: bring the segmentation to the image's"):
        PatchCritic(2, 1, scope="pixel")(torch.rand(1, 1, 4, 4), torch.rand(1, 1, 8, 8))
