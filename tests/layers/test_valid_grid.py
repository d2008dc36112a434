import pytest
import torch

from segadv_monai.layers import centre_crop, check_valid_size, fitting_size, total_loss


def followed(size: int, levels: int, loss: int) -> int | None:
    """What is left of an axis, step by step; None where a pooling would round or nothing is left."""
    skips = []
    for _ in range(levels - 1):
        size -= loss
        skips.append(size)
        if size % 2 or size <= 0:
            return None
        size //= 2
    size -= loss
    for skip in reversed(skips):
        size *= 2
        if size <= 0 or size > skip or (skip - size) % 2:
            return None
        size -= loss
    return size if size > 0 else None


@pytest.mark.parametrize("levels", [2, 3, 4, 5])
@pytest.mark.parametrize("loss", [0, 2, 4])
def test_the_closed_form_is_what_the_steps_give(levels: int, loss: int) -> None:
    for size in range(1, 300):
        left = followed(size, levels, loss)
        assert (fitting_size(size, levels, loss) == size) == (left is not None)
        if left is not None:
            assert left == size - total_loss(levels, loss)


def test_the_fitting_size_is_the_next_one_up() -> None:
    assert [fitting_size(size, 5, 4) for size in (1, 188, 189, 571, 572, 573)] == [
        188,
        188,
        204,
        572,
        572,
        588,
    ]
    assert [fitting_size(size, 3, 0) for size in (1, 4, 5)] == [4, 4, 8]


def test_a_size_that_does_not_fit_is_an_error_with_the_remedy() -> None:
    check_valid_size([572, 188], 5, 4)
    with pytest.raises(ValueError, match=r"\[572, 187\] does not fit 5 levels .* pad .* \[572, 188\]"):
        check_valid_size([572, 187], 5, 4)


def test_the_crop_is_the_middle() -> None:
    x = torch.arange(7.0).expand(1, 1, 5, 7)
    assert centre_crop(x, [3, 3])[0, 0, 0].tolist() == [2, 3, 4]
    assert centre_crop(x, [5, 4])[0, 0, 0].tolist() == [1, 2, 3, 4]
    assert centre_crop(x, [5, 7]).equal(x)
