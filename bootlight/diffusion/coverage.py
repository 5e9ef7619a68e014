"""How many of several views have a direction of images: their parts averaged where they overlap."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from bootlight.diffusion.corruption import View


class Coverage:
    """Of views whose projections commute, see `check_together`.

    C = sum of P_i^T P_i has whole eigenvalues then, the counts 0 to n. So a polynomial in C of degree n that is 0 at 0 and
    1 / k at k divides each direction by its count, without any matrix.

    Args:
        views: in any order.
    """

    def __init__(self, views: Sequence[View]) -> None:
        self.views = list(views)

    def averaged(self, total: Tensor) -> Tensor:
        """A sum of adjoints (B, C, H, W), each direction divided by how many views have it."""
        return self._polynomial(total, self._by_count)

    def covered(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) without the directions that no view has."""
        return self._polynomial(self.summed(x), self._by_count)

    def summed(self, x: Tensor) -> Tensor:
        """C x."""
        return sum((view.adjoint(view.project(x)) for view in self.views), torch.zeros_like(x))

    @cached_property
    def _by_count(self) -> list[float]:
        """Coefficients of c_1 k + ... + c_n k^n = 1 / k at k = 1 to n."""
        counts = torch.arange(1, len(self.views) + 1, dtype=torch.float64)
        powers = counts[:, None] ** counts[None]
        return [float(value) for value in torch.linalg.solve(powers, 1 / counts)]

    def _polynomial(self, x: Tensor, coefficients: Sequence[float]) -> Tensor:
        """By Horner's rule."""
        found = torch.zeros_like(x)
        for coefficient in reversed(coefficients):
            found = self.summed(found + coefficient * x)
        return found
