"""What a network sees and answers, and how that becomes an estimate of the clean image and of the noise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from bootlight.diffusion.grid import Level


@dataclass(frozen=True)
class Estimate:
    """What a denoiser says about x_t.

    Args:
        x0: clean image (B, C, H, W).
        epsilon: noise (B, C, H, W).
        variance_fraction: where the log-variance of the reverse step lies between beta-tilde (0) and beta (1), (B, C, H, W);
            a fraction and not a variance, because the two ends depend on the steps that a sampler takes. None = not learned.
        x0_variance: Var[x0 | x_t], (B, C, H, W), where it is known: it makes ancestral steps exact in their first two moments.
        direction: noise (B, C, H, W) to walk along in the place of `epsilon`, of an estimate that was not perturbed.
    """

    x0: Tensor
    epsilon: Tensor
    variance_fraction: Tensor | None = None
    x0_variance: Tensor | None = None
    direction: Tensor | None = None

    def clipped(self, x_t: Tensor, level: Level) -> Estimate:
        """The estimate with x0 limited to [-1, 1] and the noise that goes with it; so too for the direction."""
        x0, direction = self.x0.clamp(-1, 1), self.direction
        if direction is not None:
            direction = noise_from(image_from(direction, x_t, level).clamp(-1, 1), x_t, level)
        return replace(self, x0=x0, epsilon=noise_from(x0, x_t, level), direction=direction)


def noise_from(x0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """The noise that makes `x_t` of `x0`."""
    return (x_t - level.signal * x0) / level.noise


def image_from(epsilon: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """The clean image that `epsilon` makes `x_t` of."""
    return (x_t - level.noise * epsilon) / level.signal


def per_image(values: Tensor) -> Tensor:
    """Mean over everything but the batch, (B,)."""
    return values.flatten(1).mean(1)


class Prediction(nn.Module, ABC):
    """A prediction type, linear in (x0, noise): one number for each of the image's."""

    needs_constant_variance = False  # whether it is meant for schedules with signal^2 + noise^2 = 1
    observes = False  # whether it wants to know its errors in training

    def num_outputs(self, channels: int) -> int:
        """Channels that the network answers for images of so many."""
        return channels

    def inputs(self, x_t: Tensor, level: Level, seen: Tensor) -> tuple[Tensor, Tensor]:
        """What the network sees of the noisy image and of its time; both as they are unless a type scales them."""
        return x_t, seen

    @abstractmethod
    def target(self, x0: Tensor, noise: Tensor, level: Level) -> Tensor:
        """What the network should answer, (B, C, H, W)."""

    @abstractmethod
    def x0(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        """The clean image that an answer stands for."""

    @abstractmethod
    def scale(self, level: Level) -> Tensor | float:
        """How many times larger the squared error of an answer is than that of its clean image."""

    def estimate(self, output: Tensor, x_t: Tensor, level: Level) -> Estimate:
        """The answer as an estimate."""
        x0 = self.x0(output, x_t, level)
        return Estimate(x0, noise_from(x0, x_t, level))

    def error(self, output: Tensor, x0: Tensor, noise: Tensor, level: Level, weight: Tensor | None = None) -> Tensor:
        """Mean squared error of each image, (B,).

        Args:
            output: of the network.
            x0: clean images.
            noise: that was added to them.
            level: how much of it.
            weight: (B, 1, 1, 1) of the squared error in x0; None = the error in this type's own units.
        """
        error = per_image((self.target(x0, noise, level) - output) ** 2)
        return error if weight is None else error * (weight / self.scale(level)).flatten()

    @contextmanager
    def watched(self) -> Iterator[list[Tensor]]:
        """What `error` notes meanwhile for `observe`: float64 rows (B, m) of each call."""
        yield []

    def observe(self, rows: Tensor) -> None:
        """Learn from what `error` has noted (n, m) in a whole optimizer step, on all devices; called where `observes` is set.

        What is learned belongs into buffers: they are in every checkpoint, and are published with the weights.
        """


class Epsilon(Prediction):
    """The network predicts the noise (Ho et al. 2020)."""

    def target(self, x0: Tensor, noise: Tensor, level: Level) -> Tensor:
        """The noise."""
        return noise

    def x0(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        """(x_t - noise * epsilon) / signal."""
        return image_from(output, x_t, level)

    def scale(self, level: Level) -> Tensor | float:
        """The signal-to-noise ratio."""
        return (level.signal / level.noise) ** 2


class V(Prediction):
    """The network predicts v = signal * epsilon - noise * x0 (Salimans and Ho 2022), where signal^2 + noise^2 = 1."""

    needs_constant_variance = True

    def target(self, x0: Tensor, noise: Tensor, level: Level) -> Tensor:
        """v."""
        return level.signal * noise - level.noise * x0

    def x0(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        """signal * x_t - noise * v."""
        return level.signal * x_t - level.noise * output

    def scale(self, level: Level) -> Tensor | float:
        """1 + the signal-to-noise ratio."""
        return 1 / level.noise**2


class X0(Prediction):
    """The network predicts the clean image."""

    def target(self, x0: Tensor, noise: Tensor, level: Level) -> Tensor:
        """The clean image."""
        return x0

    def x0(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        """The answer itself."""
        return output

    def scale(self, level: Level) -> Tensor | float:
        """1."""
        return torch.ones_like(torch.as_tensor(level.noise))


class LearnedVariance(Prediction):
    """Another type with as many channels again for the variance of the reverse step.

    An answer o in [-1, 1] there stands for the fraction (o + 1) / 2 (Nichol and Dhariwal 2021, equation 15).

    Args:
        inner: the type of the first channels.
    """

    def __init__(self, inner: Prediction) -> None:
        super().__init__()
        self.inner = inner
        self.needs_constant_variance = inner.needs_constant_variance
        self.observes = inner.observes

    def num_outputs(self, channels: int) -> int:
        """Those of the inner type, and the image's."""
        return self.inner.num_outputs(channels) + channels

    def inputs(self, x_t: Tensor, level: Level, seen: Tensor) -> tuple[Tensor, Tensor]:
        """See `Prediction`."""
        return self.inner.inputs(x_t, level, seen)

    def split(self, output: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The answer of the inner type, and that for the variance, for images like `x`."""
        count = self.inner.num_outputs(x.shape[1])
        return output[:, :count], output[:, count:]

    def target(self, x0: Tensor, noise: Tensor, level: Level) -> Tensor:
        """Of the inner type; the variance has no target but the bound."""
        return self.inner.target(x0, noise, level)

    def x0(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        """Of the inner type."""
        return self.inner.x0(self.split(output, x_t)[0], x_t, level)

    def scale(self, level: Level) -> Tensor | float:
        """Of the inner type."""
        return self.inner.scale(level)

    def estimate(self, output: Tensor, x_t: Tensor, level: Level) -> Estimate:
        """See `Prediction`."""
        answer, variance = self.split(output, x_t)
        return replace(self.inner.estimate(answer, x_t, level), variance_fraction=(variance + 1) / 2)

    def error(self, output: Tensor, x0: Tensor, noise: Tensor, level: Level, weight: Tensor | None = None) -> Tensor:
        """Of the inner type."""
        return self.inner.error(self.split(output, x0)[0], x0, noise, level, weight)

    @contextmanager
    def watched(self) -> Iterator[list[Tensor]]:
        """Of the inner type."""
        with self.inner.watched() as noted:
            yield noted

    def observe(self, rows: Tensor) -> None:
        """Of the inner type."""
        self.inner.observe(rows)
