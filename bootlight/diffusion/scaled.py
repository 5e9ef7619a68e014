"""A sampler's bias on purpose: a score that is too strong or too weak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from bootlight.diffusion.compose import Composition, check_weight
from bootlight.diffusion.denoiser import Denoiser
from bootlight.diffusion.prediction import Estimate


class WithScaledScore(Denoiser):
    """`scale` times the score, so that epsilon is `scale` times its own, and x0 what belongs to it.

    Args:
        denoiser: whose score it is.
        scale: 1 changes nothing.
    """

    def __init__(self, denoiser: Denoiser, scale: float) -> None:
        super().__init__(denoiser.schedule)
        self.denoiser = denoiser
        self.scale = scale

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None, **cond: Tensor) -> Estimate:
        """See `Denoiser`."""
        own: Estimate = self.denoiser(x_t, t, labels, **cond)
        if self.scale == 1:
            return own
        level = self.schedule.level(t)
        return replace(
            own, x0=own.x0 - (self.scale - 1) * (level.noise / level.signal) * own.epsilon, epsilon=self.scale * own.epsilon
        )


class ScaledScore(Composition):
    """Draws with the score times a number: above 1 nearer to the modes, below 1 more diverse than what was learned.

    A knob for the sampling bias of a loop (Alemohammad et al. 2024, "MAD"; the two samplers of their "Neon", 2025).

    Args:
        scale: of the score, above 0; 1 changes nothing.
    """

    identity: Mapping[str, Any] | None = {"scale": 1.0}

    def __init__(self, scale: float) -> None:
        check_weight("ScaledScore scale", scale, least=0.0)
        self.scale = scale

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """See `Composition`."""
        return WithScaledScore(denoiser, self.scale)
