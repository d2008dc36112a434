"""Events of the critic's turn, the twins of MONAI's ``IterationEvents`` of the segmentor's."""

from ignite.engine import EventEnum

__all__ = ["CriticEvents"]


class CriticEvents(EventEnum):
    """Fired by an adversarial trainer in every iteration in which the critic moves.

    ``FORWARD_COMPLETED``: the critic has seen both segmentations. ``LOSS_COMPLETED``: its terms are summed.
    ``BACKWARD_COMPLETED``: its gradients are there. ``STEP_COMPLETED``: its optimiser has moved it.
    """

    FORWARD_COMPLETED = "critic_forward_completed"
    LOSS_COMPLETED = "critic_loss_completed"
    BACKWARD_COMPLETED = "critic_backward_completed"
    STEP_COMPLETED = "critic_step_completed"
