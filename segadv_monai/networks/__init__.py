from .genseg import GenSeg, GenSegTranslation
from .noise_generator import NoiseGenerator
from .partially_reversible_unet import NonReversibleUNet, PartiallyReversibleUNet
from .segan import SegAN
from .unet2015 import UNet2015
from .unet_3d import UNet3D
from .vnet import VNet

__all__ = [
    "GenSeg",
    "GenSegTranslation",
    "NoiseGenerator",
    "NonReversibleUNet",
    "PartiallyReversibleUNet",
    "SegAN",
    "UNet3D",
    "UNet2015",
    "VNet",
]
