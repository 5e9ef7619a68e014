"""How much the error at each noise level counts."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bootlight.diffusion.grid import Level


def snr(level: Level) -> Tensor:
    """Signal-to-noise ratio."""
    return torch.as_tensor((level.signal / level.noise) ** 2)


class Weighting(ABC):
    """A weight of the squared error in x0, whatever the network predicts.

    Attributes:
        identity: attributes, with their values, by which it is `Simple`; None = there are none.
    """

    identity: Mapping[str, Any] | None = None

    @abstractmethod
    def __call__(self, level: Level) -> Tensor:
        """(B, 1, 1, 1), at least 0."""


class Simple(Weighting):
    """The signal-to-noise ratio: the plain squared error of the noise (Ho et al. 2020, equation 14)."""

    identity: Mapping[str, Any] | None = {}

    def __call__(self, level: Level) -> Tensor:
        """See `Weighting`."""
        return snr(level)


class MinSNR(Weighting):
    """The same, but no more than `gamma` (Hang et al. 2023, equation 7).

    Args:
        gamma: limit; infinity is `Simple`.

    Raises:
        ValueError: it is not above 0.
    """

    identity: Mapping[str, Any] | None = {"gamma": math.inf}

    def __init__(self, gamma: float = 5.0) -> None:
        if not gamma > 0:
            raise ValueError(f"gamma is {gamma}; it must be above 0")
        self.gamma = gamma

    def __call__(self, level: Level) -> Tensor:
        """See `Weighting`."""
        return snr(level).clamp(max=self.gamma)


class P2(Weighting):
    """Less weight where only details are left to learn (Choi et al. 2022, equation 8).

    Args:
        k: added to the signal-to-noise ratio.
        gamma: exponent; 0 is `Simple`.

    Raises:
        ValueError: one of them is negative, or `k` is 0.
    """

    identity: Mapping[str, Any] | None = {"gamma": 0.0}

    def __init__(self, k: float = 1.0, gamma: float = 1.0) -> None:
        if not k > 0 or not gamma >= 0:
            raise ValueError(f"k is {k} and gamma {gamma}; they must be above 0 and at least 0")
        self.k = k
        self.gamma = gamma

    def __call__(self, level: Level) -> Tensor:
        """See `Weighting`."""
        ratio = snr(level)
        return ratio / (self.k + ratio) ** self.gamma


class EDMWeighting(Weighting):
    """Equal errors at every level for a network with EDM's inputs and answers (Karras et al. 2022, table 1).

    Args:
        sigma_data: deviation of the data.

    Raises:
        ValueError: it is not above 0.
    """

    def __init__(self, sigma_data: float = 0.5) -> None:
        if not sigma_data > 0:
            raise ValueError(f"sigma_data is {sigma_data}; it must be above 0")
        self.sigma_data = sigma_data

    def __call__(self, level: Level) -> Tensor:
        """1 / sigma^2 + 1 / sigma_data^2."""
        return snr(level) + 1 / self.sigma_data**2
