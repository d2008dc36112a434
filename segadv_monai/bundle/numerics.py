"""How a run computes: its seeds, and what CUDA may round or choose by itself."""

import torch
from monai.utils import set_determinism

__all__ = ["numerics"]


def numerics(seed: int, *, tf32: bool = False, cudnn_benchmark: bool = False) -> None:
    """Seed all generators, and make the same run the same bits unless the speed is wanted more.

    Args:
        seed: of torch, numpy, python and MONAI.
        tf32: on CUDA, products of float32 with the mantissa rounded to 10 bits, in convolutions and matrices.
        cudnn_benchmark: on CUDA, the convolution algorithm that was fastest in a trial. Its choice may differ
            from run to run, and with it the last bits.
    """
    set_determinism(seed)
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = cudnn_benchmark
    torch.backends.cudnn.deterministic = not cudnn_benchmark
