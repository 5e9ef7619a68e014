"""How much each head of a mixed prediction counts: by its running error, the best one alone, or as the network says."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from bootlight.diffusion.schedule import SIGMA_MAX, SIGMA_MIN
from bootlight.errors import BootlightError

LEAST = 1e-12  # error of a head that makes none


class HeadWeights(nn.Module, ABC):
    """Weights of the heads of a `Mixed`; what is learned on the way is in buffers, and with them in checkpoints and weights."""

    observes = False  # whether it wants to know the errors of the heads
    trained = False  # whether it is trained, on the error of the combined image

    def setup(self, heads: int) -> None:
        """Know how many heads there are; buffers get their sizes here, before a checkpoint is loaded."""

    def num_outputs(self, heads: int) -> int:
        """Channels that the network answers for the weights."""
        return 0

    @abstractmethod
    def forward(self, answer: Tensor, log_sigma: Tensor, log_scale: Tensor) -> Tensor:
        """Logarithms of weights, up to a number for each image: (B, heads), or (B, heads, H, W).

        Args:
            answer: of the network for the weights, (B, `num_outputs`, H, W).
            log_sigma: (B,).
            log_scale: (B, heads), of `Prediction.scale`: an error of 1 in the units of a head is one of exp(-log_scale) in x0.
                Minus infinity where a head cannot say what the image is, and where its weight must be 0.
        """

    def observe(self, log_sigma: Tensor, errors: Tensor) -> None:
        """Learn from squared errors (n, heads), each in its head's own units, of a whole step, where `observes` is set."""


class RunningErrors(HeadWeights):
    """Weights by the running mean error of each head in equal bins of log sigma, from 0.002 to 80 and what lies beyond.

    What is kept is in the units of each head, 1 before anything is known, and becomes an error in x0 at the very level: so a
    bin need not be narrow, and a head that divides by a signal near 0 counts for nothing there from the first step on.

    Args:
        bins: how many.
        decay: of the running mean; of the first observations of a bin it is the plain one.

    Raises:
        BootlightError: no bins, or a decay that is not in [0, 1).
    """

    observes = True

    def __init__(self, bins: int = 20, decay: float = 0.99) -> None:
        super().__init__()
        if bins < 1 or not 0 <= decay < 1:
            raise BootlightError(
                f"{type(self).__name__} bins is {bins} and decay {decay}; they must be at least 1, and at least 0 and below 1"
            )
        self.bins = bins
        self.decay = decay

    def setup(self, heads: int) -> None:
        """See `HeadWeights`."""
        self.register_buffer("errors", torch.ones(self.bins, heads, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(self.bins, dtype=torch.int64))
        self.errors: Tensor
        self.seen: Tensor

    def forward(self, answer: Tensor, log_sigma: Tensor, log_scale: Tensor) -> Tensor:
        """See `HeadWeights`."""
        errors = self.errors[self.bin(log_sigma)].clamp(min=LEAST)
        return self.prefer(log_scale - errors.log().to(log_scale))

    @abstractmethod
    def prefer(self, goodness: Tensor) -> Tensor:
        """Logarithms of weights (B, heads) of minus the logarithms of errors in x0."""

    def bin(self, log_sigma: Tensor) -> Tensor:
        """int64 (B,)."""
        low, high = math.log(SIGMA_MIN), math.log(SIGMA_MAX)
        return ((log_sigma.double() - low) / (high - low) * self.bins).clamp(0, self.bins - 1).long()

    def observe(self, log_sigma: Tensor, errors: Tensor) -> None:
        """See `HeadWeights`; those of a bin in one step count together, those that are not finite not at all."""
        known = torch.isfinite(errors).all(1)
        # A product, whose sums are the same each time; those of index_add_ are not, on a GPU.
        where = nn.functional.one_hot(self.bin(log_sigma[known]), self.bins).double().T
        number = where.sum(1)
        mean = where @ errors[known].double() / number.clamp(min=1)[:, None]
        share = torch.where(number > 0, (1 / (self.seen.double() + 2)).clamp(min=1 - self.decay), 0.0)
        self.errors += share[:, None] * (mean - self.errors)
        self.seen += number > 0


class InverseError(RunningErrors):
    """Each head in proportion to a power of one over its error in x0: best of all weights where errors are independent.

    Args:
        sharpness: the power; infinity would be `Switch`.
        bins: of log sigma, in which errors are kept.
        decay: of their running means.

    Raises:
        BootlightError: numbers out of range.
    """

    def __init__(self, sharpness: float = 1.0, bins: int = 20, decay: float = 0.99) -> None:
        super().__init__(bins, decay)
        if not 0 < sharpness < math.inf:
            raise BootlightError(
                f"InverseError sharpness is {sharpness}; it must be above 0 and finite; bootlight.Switch is its limit"
            )
        self.sharpness = sharpness

    def prefer(self, goodness: Tensor) -> Tensor:
        """See `RunningErrors`."""
        return self.sharpness * goodness


class Switch(RunningErrors):
    """The head with the least error in x0 alone.

    Args:
        bins: of log sigma, in which errors are kept.
        decay: of their running means.

    Raises:
        BootlightError: numbers out of range.
    """

    def prefer(self, goodness: Tensor) -> Tensor:
        """See `RunningErrors`."""
        best = nn.functional.one_hot(goodness.argmax(1), goodness.shape[1])
        return best.to(goodness).log()


class Gate(HeadWeights):
    """A map of weights for each pixel, which the network answers (as in Benny and Wolf 2022, there of two heads).

    It is trained on the error of the combined image, with the heads detached. An answer of 0 stands for weights as if all heads
    were equally good, each in its own units, so that the combined error is bounded at both ends from the first step on.
    """

    trained = True

    def num_outputs(self, heads: int) -> int:
        """One for each head."""
        return heads

    def forward(self, answer: Tensor, log_sigma: Tensor, log_scale: Tensor) -> Tensor:
        """See `HeadWeights`."""
        return answer + log_scale[:, :, None, None].to(answer)
