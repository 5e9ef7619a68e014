"""When a label that several heads give is believed."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Agreement(NamedTuple):
    """What heads say of some images.

    Attributes:
        labels: int64 (heads, B), the class that each finds most likely.
        guess: int64 (B,), the class of the mean over all heads.
        confidence: (B,), the mean probability of that class.
        uncertainty: (B,), the largest over heads of the variance, over passes, of the probability of the head's own class.
        agrees: bool (B,), whether all heads have one class.
    """

    labels: Tensor
    guess: Tensor
    confidence: Tensor
    uncertainty: Tensor
    agrees: Tensor

    def accepted(self, tau: float) -> Tensor:
        """Bool (B,): all heads agree, and each is sure: max u_i < tau (Fu et al. 2024, section 4.3, stage 2)."""
        return self.agrees & (self.uncertainty < tau)


def agreement(opinions: Tensor) -> Agreement:
    """What probabilities (passes, heads, B, C) of several passes with dropout come to; one pass has no variance."""
    opinions = opinions.double()
    means = opinions.mean(0)  # (heads, B, C)
    labels = means.argmax(2)
    own = opinions.gather(3, labels[None, :, :, None].expand(len(opinions), -1, -1, 1))[..., 0]  # (passes, heads, B)
    variance = own.var(0) if len(opinions) > 1 else torch.zeros_like(own[0])
    mean = means.mean(0)
    guess = mean.argmax(1)
    agrees = (labels == labels[:1]).all(0)
    return Agreement(labels, guess, mean.gather(1, guess[:, None])[:, 0], variance.amax(0), agrees)
