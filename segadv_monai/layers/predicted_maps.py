"""What a game shows a critic of a prediction: probabilities, and no class where the label ignores.

Where a label map ignores positions, its one-hot target has no class there. A prediction that sums to 1 where
the target is 0 would give itself away.
"""

from torch import Tensor, nn

__all__ = ["predicted_maps"]


def predicted_maps(logits: Tensor, target: Tensor | None, *, activation: nn.Module) -> Tensor:
    """Probabilities as a critic sees them: 0 in every map of a position that is ignored.

    Ignored is a position whose target has no class. There are such positions only where classes exclude one
    another: with a softmax of several maps. Maps that overlap, or a single one, have a background instead,
    and nothing of them is hidden. The segmentor gets no gradient from what is.

    Args:
        logits: ``(B, K, *S)``.
        target: one map per class, ``(B, K, *S)``; None hides nothing.
        activation: turns logits into probabilities; ``torch.nn.Softmax`` says that the maps are classes that
            exclude one another.
    """
    probabilities: Tensor = activation(logits)
    if target is None or logits.shape[1] == 1 or not isinstance(activation, nn.Softmax | nn.Softmax2d):
        return probabilities
    return probabilities * (target.sum(dim=1, keepdim=True) > 0)
