"""One matrix seen through another, without the work that symmetry and triangles save."""

import torch
from torch import Tensor

BLOCK = 256  # columns at a time: of narrower blocks less is computed in vain, wider ones are multiplied faster


def congruence(matrix: Tensor, factor: Tensor) -> Tensor:
    """factorᵀ matrix factor, (R, R) and exactly symmetric, of a symmetric matrix (D, D) and a factor (D, R).

    Half of the second product is left out, and all that meets the zeros of a lower triangular factor.
    """
    size = factor.shape[1]
    triangular = len(factor) == size and bool((factor.triu(1) == 0).all())
    blocks = [slice(start, start + BLOCK) for start in range(0, size, BLOCK)]
    half, product = torch.empty_like(factor), factor.new_zeros(size, size)
    for block in blocks:
        rows = slice(block.start if triangular else 0, None)
        half[:, block] = matrix[:, rows] @ factor[rows, block]
    for block in blocks:
        rows = slice(block.start if triangular else 0, None)
        product[block, : block.stop] = factor[rows, block].T @ half[rows, : block.stop]
    return product.tril() + product.tril(-1).T
