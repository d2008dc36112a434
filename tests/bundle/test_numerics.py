"""Seeds and the choices of CUDA."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from segadv_monai.bundle import numerics


@pytest.fixture(autouse=True)
def _left_as_it_was() -> Iterator[None]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32)
    yield
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = before


def test_the_same_seed_draws_the_same_numbers() -> None:
    drawn = []
    for seed in (3, 3, 4):
        numerics(seed)
        drawn.append((torch.rand(1).item(), float(np.random.rand()), random.random()))  # noqa: NPY002
    assert drawn[0] == drawn[1]
    assert all(one != other for one, other in zip(drawn[1], drawn[2], strict=True))


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("cudnn_benchmark", [False, True])
def test_cuda_rounds_and_chooses_as_the_config_says(tf32: bool, cudnn_benchmark: bool) -> None:
    numerics(0, tf32=tf32, cudnn_benchmark=cudnn_benchmark)
    assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == tf32
    assert torch.backends.cudnn.benchmark == cudnn_benchmark
    assert torch.backends.cudnn.deterministic == (not cudnn_benchmark)
