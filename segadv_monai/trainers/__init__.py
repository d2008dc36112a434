from .adversarial import AdversarialTrainer
from .turns import Alternating, Simultaneous

__all__ = ["AdversarialTrainer", "Alternating", "Simultaneous"]
