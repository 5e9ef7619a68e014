"""One matrix seen through another."""

import pytest
import torch
from torch import Tensor

from bootlight.metrics.distances.congruence import BLOCK, congruence


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 5, BLOCK, BLOCK + 1, 2 * BLOCK + 30])
@pytest.mark.parametrize("kind", ["triangular", "square", "upper", "narrow"])
def test_it_is_the_product(size: int, kind: str) -> None:
    matrix, factor = normal(size, size, seed=size), normal(size, size, seed=size + 1)
    matrix = matrix + matrix.T
    factor = {"triangular": factor.tril(), "square": factor, "upper": factor.triu(), "narrow": factor[:, : size // 2 + 1]}[kind]
    found = congruence(matrix, factor)
    # Two sums of `size` products of numbers up to 6, each rounded to 1e-16: 5e4 * 36 * 1e-16 for the largest, in units of 1.
    assert (found - factor.T @ matrix @ factor).abs().max() < 1e-13 * size**1.5
    assert torch.equal(found, found.T)
