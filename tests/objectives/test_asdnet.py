"""The semi-supervised game of ASDNet: its terms by hand, and what carries a gradient in them."""

from math import exp, log, log1p

import pytest
import torch
from monai.losses import DiceLoss
from torch import Tensor, nn

from segadv_monai.critics import ASDNetCritic, LucCritic
from segadv_monai.objectives import ASDNet
from segadv_monai.protocols import CriticOutput, Play
from segadv_monai.trainers import AdversarialTrainer

# Probabilities 3/4, 1/2, 1/4 and 7/8, of which the critic makes the scores 1/2, 0, -1/2 and 3/4.
LOGITS = torch.tensor([[[[log(3), 0.0], [-log(3), log(7)]]]])
SCORES = (0.5, 0.0, -0.5, 0.75)
TARGET = torch.tensor([[[[1.0, 1.0], [0.0, 1.0]]]])


class Line(nn.Module):
    """A verdict per pixel: 2 times the first map less 1."""

    def forward(self, segmentation: Tensor, _image: Tensor) -> CriticOutput:
        return CriticOutput(2 * segmentation[:, :1] - 1, ())


class Fixed(nn.Module):
    """Whatever it is shown, the same verdict per pixel: logits of the confidences."""

    def __init__(self, confidences: Tensor) -> None:
        super().__init__()
        self.score = confidences.logit()

    def forward(self, segmentation: Tensor, _image: Tensor) -> CriticOutput:
        return CriticOutput(self.score.expand(len(segmentation), 1, *self.score.shape), ())


def two_by_two(*, labelled: bool) -> Play:
    return Play(torch.zeros(1, 1, 2, 2), TARGET if labelled else None, LOGITS.clone().requires_grad_())


def plain(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: term.item() for name, term in terms.items()}


def test_the_terms_of_a_labelled_batch_by_hand() -> None:
    """Real scores are 1, 1, -1 and 1."""
    play = two_by_two(labelled=True)
    judged = plain(ASDNet().critic_loss(Line(), play))
    real = (3 * log1p(exp(-1)) + log1p(exp(1))) / 4
    assert judged == pytest.approx({"real": real, "fake": sum(log1p(exp(s)) for s in SCORES) / 4})
    fooled = sum(log1p(exp(-s)) for s in SCORES) / 4
    assert plain(ASDNet().segmentor_loss(Line(), play)) == pytest.approx({"adversarial": 0.05 * fooled})


@pytest.mark.parametrize(
    ("threshold", "entropy"),
    [
        (0.0, (log(4 / 3) + log(2) + log(4 / 3) + log(8 / 7)) / 4),
        (0.5, (log(4 / 3) + log(8 / 7)) / 2),
        (0.65, log(8 / 7)),
        (0.7, 0.0),
    ],
)
def test_the_terms_of_an_unlabelled_batch_by_hand(threshold: float, entropy: float) -> None:
    """Confidences are 0.62, 0.5, 0.38 and 0.68: only what exceeds the threshold counts."""
    terms = plain(ASDNet(threshold=threshold).segmentor_loss(Line(), two_by_two(labelled=False)))
    fooled = sum(log1p(exp(-s)) for s in SCORES) / 4
    assert terms == pytest.approx({"adversarial": 0.05 * fooled, "self_taught": 0.5 * entropy})


def test_classes_are_decided_by_the_greatest_probability_and_overlapping_maps_one_by_one() -> None:
    """Three classes of 1/2, 1/4 and 1/4 and of 1/8, 1/8 and 3/4; as maps the first two have 1/2 each."""
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]]).T[None, :, :, None]
    sure = Fixed(torch.full((2, 1), 0.9))
    play = Play(torch.zeros(1, 1, 2, 1), None, probabilities.log())
    classes = ASDNet(0, unlabelled_weight=1).segmentor_loss(sure, play)["self_taught"]
    assert classes.item() == pytest.approx((log(2) + log(4 / 3)) / 2)
    play = Play(play.image, None, torch.tensor([[0.75, 0.25], [0.875, 0.5]]).T[None, :, :, None].logit())
    maps = ASDNet(0, unlabelled_weight=1, exclusive=False).segmentor_loss(sure, play)["self_taught"]
    assert maps.item() == pytest.approx((log(4 / 3) + log(4 / 3) + log(8 / 7) + log(2)) / 4)


@pytest.mark.parametrize("exclusive", [True, False])
def test_the_segmentor_is_drawn_to_its_decision_where_the_critic_is_confident_and_nowhere_else(
    exclusive: bool,
) -> None:
    """Neither the decision nor the confidence carries a gradient: what is left is the cross entropy's."""
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    confidence = torch.rand(4, 5, dtype=torch.float64)
    game = ASDNet(0, unlabelled_weight=1, exclusive=exclusive)
    game.segmentor_loss(Fixed(confidence), Play(logits[:, :1], None, logits))["self_taught"].backward()
    values = logits.detach()
    if exclusive:
        wanted = torch.nn.functional.one_hot(values.argmax(1), 3).movedim(-1, 1)
        slope = values.softmax(1) - wanted
    else:
        slope = (values.sigmoid() - (values > 0).double()) / 3
    mask = confidence > 0.5
    torch.testing.assert_close(logits.grad, slope * mask / (2 * mask.sum()))
    assert 0 < mask.sum() < mask.numel()


@pytest.mark.parametrize("exclusive", [True, False])
def test_the_gradient_of_an_unlabelled_batch_is_that_of_its_terms(exclusive: bool) -> None:
    torch.manual_seed(0)
    critic = ASDNetCritic(2, 1, 2, width=1, norm="instance").double()
    image = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    fixed = Fixed(torch.rand(8, 8, dtype=torch.float64))

    def taught(logits: Tensor) -> Tensor:
        play = Play(image, None, logits)
        adversarial = ASDNet(unlabelled_weight=0, exclusive=exclusive).segmentor_loss(critic, play)
        own = ASDNet(exclusive=exclusive).segmentor_loss(fixed, play)
        return torch.stack([adversarial["adversarial"], own["self_taught"]]).sum()

    assert torch.autograd.gradcheck(taught, torch.randn(1, 2, 8, 8, dtype=torch.float64, requires_grad=True))


def test_the_critic_has_nothing_to_learn_without_labels() -> None:
    assert ASDNet().critic_loss(Line(), two_by_two(labelled=False)) == {}


def test_without_a_confident_voxel_nothing_is_self_taught_and_all_is_finite() -> None:
    play = two_by_two(labelled=False)
    ASDNet(threshold=1).segmentor_loss(Line(), play)["self_taught"].backward()
    assert play.logits.grad is not None
    assert not play.logits.grad.any()


def test_the_critic_learns_to_tell_drawn_maps_from_soft_ones() -> None:
    torch.manual_seed(0)
    critic = ASDNetCritic(2, 1, 2, width=4, norm=("group", {"num_groups": 2}))
    optimizer = torch.optim.Adam(critic.parameters(), 5e-3)
    target = (nn.functional.avg_pool2d(torch.randn(4, 2, 22, 22), 7, 1) > 0).float()
    play = Play(torch.randn(4, 1, 16, 16), target, 4 * target - 2)
    for _ in range(100):
        optimizer.zero_grad()
        sum(ASDNet(exclusive=False).critic_loss(critic, play).values()).backward()
        optimizer.step()
    with torch.no_grad():
        assert (critic(target, play.image).score > 0).float().mean() > 0.95
        assert (critic(play.logits.sigmoid(), play.image).score < 0).float().mean() > 0.95


def test_with_labels_alone_and_no_weight_it_is_its_twin() -> None:
    """Bit for bit."""
    torch.manual_seed(0)
    images = torch.randn(6, 1, 16, 16)
    batches = [{"image": x, "label": (x > 0).float()} for x in images.split(2)]
    found = []
    for objective in (None, ASDNet(weight=0)):
        torch.manual_seed(1)
        network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))
        critic = ASDNetCritic(2, 1, 1, width=2) if objective else None
        trainer = AdversarialTrainer(
            "cpu",
            2,
            batches,
            network=network,
            optimizer=torch.optim.Adam(network.parameters(), 1e-2),
            loss_function=DiceLoss(sigmoid=True),
            critic=critic,
            critic_optimizer=torch.optim.Adam(critic.parameters()) if critic else None,
            objective=objective,
        )
        trainer.run()
        found.append([p.detach() for p in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


# --- errors


def test_a_threshold_out_of_its_range_is_one_line() -> None:
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="threshold must be from 0 to 1, got"):
            ASDNet(threshold=threshold)


def test_a_critic_of_whole_images_cannot_say_where() -> None:
    play = Play(torch.zeros(1, 1, 8, 8), None, torch.zeros(1, 2, 8, 8))
    with pytest.raises(
        ValueError, match=r"each voxel of \(8, 8\), the critic gives \(\): use critics"
    ) as caught:
        ASDNet().segmentor_loss(LucCritic(2, 1, 2, width=1), play)
    assert "\n" not in str(caught.value)
