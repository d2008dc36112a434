"""The game of Luc et al.: its terms, and the label maps that follow the prediction."""

from math import exp, log, log1p

import pytest
import torch
from torch import Tensor, nn

from segadv_monai.objectives import Luc
from segadv_monai.protocols import CriticOutput, Play


class First(nn.Module):
    """One verdict: four times the mean of the first map, less 2. It remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, segmentation: Tensor, _image: Tensor) -> CriticOutput:
        self.seen.append(segmentation)
        return CriticOutput(4 * segmentation[:, :1].flatten(1).mean(1, keepdim=True) - 2, ())


def two_by_two() -> Play:
    """Two classes, 3/4 for the first in every pixel; it is the true one in three of four pixels."""
    first = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    logits = torch.stack([torch.full((2, 2), log(3)), torch.zeros(2, 2)])
    return Play(torch.zeros(1, 1, 2, 2), torch.stack([first, 1 - first])[None], logits[None])


def test_the_terms_by_hand() -> None:
    """Both scores are 4 * 3/4 - 2 = 1."""
    judged = Luc().critic_loss(First(), two_by_two())
    assert judged["real"].item() == pytest.approx(log1p(exp(-1)))
    assert judged["fake"].item() == pytest.approx(log1p(exp(1)))
    assert list(judged) == ["real", "fake"]
    practical = Luc(2.0).segmentor_loss(First(), two_by_two())
    assert {k: v.item() for k, v in practical.items()} == pytest.approx({"adversarial": 2 * log1p(exp(-1))})
    minimax = Luc(2.0, form="minimax").segmentor_loss(First(), two_by_two())
    assert {k: v.item() for k, v in minimax.items()} == pytest.approx({"adversarial": -2 * log1p(exp(1))})


@pytest.mark.parametrize(("form", "least", "most"), [("minimax", 0, 1e-3), ("practical", 0.1, 4)])
def test_a_sure_critic_silences_the_minimax_form_but_not_the_practical_one(
    form: str, least: float, most: float
) -> None:
    logits = torch.full((1, 1, 1, 1), -2.0, requires_grad=True)  # a score of -10
    game = Luc(form=form, activation=nn.Identity())
    game.segmentor_loss(First(), Play(logits, None, logits))["adversarial"].backward()
    assert logits.grad is not None
    assert least < -logits.grad.item() / 4 < most


def test_several_maps_are_classes_and_one_map_is_a_class_against_the_rest() -> None:
    critic = First()
    play = two_by_two()
    Luc().segmentor_loss(critic, play)
    Luc().segmentor_loss(critic, Play(play.image, None, play.logits[:, :1]))
    Luc(activation=nn.Sigmoid()).segmentor_loss(critic, play)
    torch.testing.assert_close(critic.seen[0].sum(1), torch.ones(1, 2, 2))
    torch.testing.assert_close(critic.seen[1], critic.seen[0][:, :1])
    torch.testing.assert_close(critic.seen[2][:, 1], torch.full((1, 2, 2), 0.5))


# --- scaled labels


def shown(target: Tensor, probabilities: Tensor, tau: float = 0.9) -> Tensor:
    """The label maps that the critic is shown as real."""
    critic = First()
    game = Luc(scaling=tau, activation=nn.Identity())
    game.critic_loss(critic, Play(target, target, probabilities))
    real, fake = critic.seen
    assert torch.equal(fake, probabilities)
    return real


def test_scaled_labels_by_hand() -> None:
    """Unsure of the true class, sure of it, and sure of another one."""
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.95, 0.04, 0.01], [0.1, 0.9, 0.0]])[:, :, None, None]
    target = torch.tensor([1.0, 0.0, 0.0]).expand(3, 3)[:, :, None, None]
    expected = torch.tensor([[0.9, 0.06, 0.04], [0.95, 0.04, 0.01], [0.9, 0.1, 0.0]])
    torch.testing.assert_close(shown(target, probabilities)[:, :, 0, 0], expected)


@pytest.mark.parametrize("tau", [0.6, 0.9])
def test_scaled_labels_sum_to_one_and_peak_at_the_true_class(tau: float) -> None:
    torch.manual_seed(0)
    probabilities = (5 * torch.randn(4, 5, 6, 7)).softmax(dim=1)
    classes = torch.randint(0, 5, (4, 6, 7))
    real = shown(torch.nn.functional.one_hot(classes, 5).movedim(-1, 1).float(), probabilities, tau)
    torch.testing.assert_close(real.sum(dim=1), torch.ones(4, 6, 7))
    assert torch.equal(real.argmax(dim=1), classes)
    assert (real.amax(dim=1) >= tau).all()
    sure = probabilities.gather(1, classes[:, None]) >= tau
    assert sure.any()
    torch.testing.assert_close(torch.where(sure, real, 0), torch.where(sure, probabilities, 0))


def test_a_prediction_that_is_sure_gives_no_nan() -> None:
    one_hot = torch.eye(3)[:, :, None, None]
    assert torch.equal(shown(one_hot, one_hot), one_hot)
    wrong = shown(one_hot, one_hot.roll(1, 0))
    torch.testing.assert_close(wrong, 0.9 * one_hot + 0.1 * one_hot.roll(1, 0))


def test_one_map_is_scaled_against_the_rest() -> None:
    probabilities = torch.tensor([0.5, 0.95, 0.5, 0.05])[:, None, None, None]
    target = torch.tensor([1.0, 1.0, 0.0, 0.0])[:, None, None, None]
    torch.testing.assert_close(shown(target, probabilities).flatten(), torch.tensor([0.9, 0.95, 0.1, 0.05]))


def test_a_position_without_a_class_stays_without() -> None:
    target = torch.zeros(1, 3, 2, 2)
    assert not shown(target, torch.full((1, 3, 2, 2), 1 / 3)).any()


def test_scaled_labels_give_the_segmentor_no_gradient() -> None:
    critic, play = First(), two_by_two()
    play.logits.requires_grad_()
    Luc(scaling=0.9).critic_loss(critic, play)
    assert not any(maps.requires_grad for maps in critic.seen)


# --- ignored positions


def with_an_ignored_position() -> Play:
    play = two_by_two()
    assert play.target is not None
    target = play.target.clone()
    target[..., 1, 1] = 0
    return Play(play.image, target, play.logits)


@pytest.mark.parametrize("scaling", [None, 0.9])
def test_an_ignored_position_has_no_class_in_what_the_critic_sees_real_or_fake(scaling: float | None) -> None:
    """Keeps N10."""
    critic, play, whole = First(), with_an_ignored_position(), First()
    Luc(scaling=scaling).critic_loss(critic, play)
    Luc(scaling=scaling).segmentor_loss(critic, play)
    Luc(scaling=scaling).critic_loss(whole, two_by_two())
    for seen in critic.seen:
        torch.testing.assert_close(seen.sum(1), torch.tensor([[[1.0, 1.0], [1.0, 0.0]]]))
    for seen, before in zip(critic.seen, whole.seen, strict=False):
        torch.testing.assert_close(seen[..., 0, :], before[..., 0, :])


def test_a_prediction_that_is_right_wherever_there_is_a_class_looks_like_the_target() -> None:
    critic, play = First(), with_an_ignored_position()
    assert play.target is not None
    Luc().critic_loss(critic, Play(play.image, play.target, 200 * play.target))
    assert torch.equal(*critic.seen)


def test_an_ignored_position_gives_the_segmentor_no_gradient() -> None:
    play = with_an_ignored_position()
    play.logits.requires_grad_()
    Luc().segmentor_loss(First(), play)["adversarial"].backward()
    assert play.logits.grad is not None
    assert (play.logits.grad[0, 0] != 0).tolist() == [[True, True], [True, False]]


def test_maps_that_overlap_or_one_map_have_a_background_and_nothing_to_ignore() -> None:
    critic, play = First(), with_an_ignored_position()
    assert play.target is not None
    Luc(activation=nn.Sigmoid()).critic_loss(critic, play)
    Luc().critic_loss(critic, Play(play.image, play.target[:, :1], play.logits[:, :1]))
    assert all((fake > 0).all() for fake in critic.seen[1::2])


# --- errors


def test_what_is_unknown_or_out_of_range_is_one_line() -> None:
    with pytest.raises(ValueError, match="form must be one of practical, minimax, got saturating"):
        Luc(form="saturating")
    for scaling in (0.5, 1.0):
        with pytest.raises(ValueError, match=r"scaling must be greater than 0\.5 and less than 1, got"):
            Luc(scaling=scaling)
