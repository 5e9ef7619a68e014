"""The prediction of Karras et al. 2022, whose network sees and answers numbers of one size at every level."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bootlight.diffusion.prediction import Prediction

if TYPE_CHECKING:
    from bootlight.diffusion.grid import Level


class EDM(Prediction):
    """Inputs, answers and errors of unit variance at every level, for data of a known deviation (Karras et al. 2022, table 1).

    Args:
        sigma_data: deviation of the data.

    Raises:
        ValueError: it is not above 0.
    """

    def __init__(self, sigma_data: float = 0.5) -> None:
        super().__init__()
        if not sigma_data > 0:
            raise ValueError(f"sigma_data is {sigma_data}; it must be above 0")
        self.sigma_data = sigma_data

    def coefficients(self, level: Level) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """sigma, c_skip, c_out and c_in."""
        sigma = torch.as_tensor(level.noise / level.signal)
        total = sigma**2 + self.sigma_data**2
        return sigma, self.sigma_data**2 / total, sigma * self.sigma_data / total.sqrt(), 1 / total.sqrt()

    def inputs(self, x_t: Tensor, level: Level, seen: Tensor) -> tuple[Tensor, Tensor]:
        """c_in x, and 250 log sigma, a thousand times c_noise."""
        sigma, _, _, c_in = self.coefficients(level)
        return c_in * x_t / level.signal, 250 * sigma.flatten().log()

    def target(self, x0: Tensor, noise: Tensor, level: Level) -> Tensor:
        """(x0 - c_skip x) / c_out, where x = x0 + sigma * noise."""
        sigma, c_skip, c_out, _ = self.coefficients(level)
        return (x0 - c_skip * (x0 + sigma * noise)) / c_out

    def x0(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        """c_skip x + c_out * output."""
        _, c_skip, c_out, _ = self.coefficients(level)
        return c_skip * x_t / level.signal + c_out * output

    def scale(self, level: Level) -> Tensor | float:
        """1 / c_out^2."""
        return 1 / self.coefficients(level)[2] ** 2
