"""What a network predicts, and how that becomes an estimate of the clean image and of the noise."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from torch import Tensor

from bootlight.diffusion.schedule import Level


@dataclass(frozen=True)
class Estimate:
    """What a denoiser says about x_t.

    Args:
        x0: clean image (B, C, H, W).
        epsilon: noise (B, C, H, W).
        variance_fraction: where the log-variance of the reverse step lies between beta-tilde (0) and beta (1), (B, C, H, W);
            a fraction and not a variance, because the two ends depend on the steps that a sampler takes. None = not learned.
    """

    x0: Tensor
    epsilon: Tensor
    variance_fraction: Tensor | None = None

    def clipped(self, x_t: Tensor, level: Level) -> "Estimate":
        """The estimate with x0 limited to [-1, 1] and the noise that goes with it."""
        x0 = self.x0.clamp(-1, 1)
        return replace(self, x0=x0, epsilon=noise_from(x0, x_t, level))


def noise_from(x0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """The noise that makes `x_t` of `x0`."""
    return (x_t - level.signal * x0) / level.noise


class Prediction(ABC):
    """A prediction type. All types are linear in (x0, noise)."""

    @abstractmethod
    def target(self, x0: Tensor, noise: Tensor, level: Level) -> Tensor:
        """What the network should answer, (B, C, H, W)."""

    @abstractmethod
    def x0(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        """The clean image that an answer stands for."""

    def estimate(self, output: Tensor, x_t: Tensor, level: Level) -> Estimate:
        """The answer as an estimate without variance."""
        x0 = self.x0(output, x_t, level)
        return Estimate(x0, noise_from(x0, x_t, level))


class Epsilon(Prediction):
    """The network predicts the noise (Ho et al. 2020)."""

    def target(self, x0: Tensor, noise: Tensor, level: Level) -> Tensor:
        """The noise."""
        return noise

    def x0(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        """(x_t - sqrt(1 - abar) epsilon) / sqrt(abar)."""
        return (x_t - level.noise * output) / level.signal


class V(Prediction):
    """The network predicts v = sqrt(abar) epsilon - sqrt(1 - abar) x0 (Salimans and Ho 2022)."""

    def target(self, x0: Tensor, noise: Tensor, level: Level) -> Tensor:
        """v."""
        return level.signal * noise - level.noise * x0

    def x0(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        """sqrt(abar) x_t - sqrt(1 - abar) v."""
        return level.signal * x_t - level.noise * output


class X0(Prediction):
    """The network predicts the clean image."""

    def target(self, x0: Tensor, noise: Tensor, level: Level) -> Tensor:
        """The clean image."""
        return x0

    def x0(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        """The answer itself."""
        return output
