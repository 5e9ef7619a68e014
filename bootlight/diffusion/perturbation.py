"""Noise on the way from noise back to an image, by which an image that was inverted becomes variants of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bootlight.diffusion.settings import settings_of
from bootlight.errors import check_range

if TYPE_CHECKING:
    from torch import Tensor

    from bootlight.diffusion.denoiser import Denoiser
    from bootlight.diffusion.sampler import MarkovSampler, Noise


class StepNoise:
    """Noise of the steps of a descent: whatever asks for some within a step gets the same, as both calls of guidance do.

    Args:
        noise: of each image, of which every step takes fresh draws.
    """

    def __init__(self, noise: Noise) -> None:
        self._noise = noise
        self._drawn: list[Tensor] = []  # in this step
        self._next = 0

    def begin(self) -> None:
        """The next step begins."""
        self._drawn, self._next = [], 0

    def again(self) -> None:
        """What this step has drawn comes again from its first on."""
        self._next = 0

    def normal(self, *shape: int) -> Tensor:
        """The next standard normal draw of each image, (B, *shape)."""
        if self._next == len(self._drawn):
            self._drawn.append(self._noise.normal(*shape))
        self._next += 1
        return self._drawn[self._next - 1]


class Perturbation(ABC):
    """Where noise joins a descent that would lead back to an image. Each method changes nothing unless a class says otherwise.

    Args:
        sigma: deviation of the noise; 0 = none.
        relative: sigma counts in deviations of what the noise is added to, over all numbers of one image's; otherwise it is
            absolute.

    Attributes:
        identity: attributes, with their values, by which it changes nothing; None = there are none.
    """

    identity: Mapping[str, Any] | None = None

    @abstractmethod
    def __init__(self, sigma: float = 1.0, relative: bool = True) -> None:
        check_range(f"{type(self).__name__} sigma", sigma, 0)
        self.sigma = sigma
        self.relative = relative

    @property
    def calls(self) -> float:
        """Network calls of a step, in units of a whole one."""
        return 1.0

    def fits(self, model: Any, sampler: MarkovSampler) -> None:  # noqa: B027  (most fit all)
        """Refuse a model or a sampler that cannot be perturbed so; called before any training.

        Raises:
            BootlightError: says why.
        """

    def at_start(self, x: Tensor, noise: Noise) -> Tensor:
        """x (B, C, H, W) at the first level, before any step."""
        return x

    def at_level(self, x: Tensor, noise: Noise) -> Tensor:
        """x after each step but the last."""
        return x

    def at_end(self, x: Tensor, noise: Noise) -> Tensor:
        """x after the last step: the image, or what it is decoded from."""
        return x

    def inside(self, denoiser: Denoiser, noise: StepNoise) -> Denoiser:
        """What is asked in the place of the denoiser."""
        return denoiser

    def protocol(self) -> dict[str, Any]:
        """What a reader must know of it; its settings unless said otherwise."""
        return {"class": type(self).__name__, **settings_of(self)}

    def noisy(self, x: Tensor, noise: Noise) -> Tensor:
        """x (B, ...) with noise of deviation `sigma`."""
        return x + self.sigma * (deviation(x) if self.relative else 1.0) * noise.normal(*x.shape[1:]).to(x.dtype)


def deviation(x: Tensor) -> Tensor:
    """Standard deviation of all numbers of each image's (B, ...), over their number, as (B, 1, ...)."""
    return x.flatten(1).std(1, correction=0).view(-1, *[1] * (x.dim() - 1))


class StartNoise(Perturbation):
    """Noise on x_T, from which the descent starts.

    Args:
        sigma: deviation of the noise; 0 = none.
        relative: sigma counts in deviations of what the noise is added to, over all numbers of one image's; otherwise it is
            absolute.
    """

    identity: Mapping[str, Any] | None = {"sigma": 0.0}

    def __init__(self, sigma: float = 1.0, relative: bool = True) -> None:
        super().__init__(sigma, relative)

    def at_start(self, x: Tensor, noise: Noise) -> Tensor:
        """With noise, by which its deviation grows, relatively by sqrt(1 + sigma^2)."""
        return self.noisy(x, noise)


class LevelNoise(Perturbation):
    """Noise on every x_t between the first level and the image.

    Args:
        sigma: deviation of the noise; 0 = none.
        relative: sigma counts in deviations of what the noise is added to, over all numbers of one image's; otherwise it is
            absolute.
    """

    identity: Mapping[str, Any] | None = {"sigma": 0.0}

    def __init__(self, sigma: float = 0.1, relative: bool = True) -> None:
        super().__init__(sigma, relative)

    def at_level(self, x: Tensor, noise: Noise) -> Tensor:
        """With noise."""
        return self.noisy(x, noise)


class ImageNoise(Perturbation):
    """Noise on x_0, to which the descent leads.

    Args:
        sigma: deviation of the noise; 0 = none.
        relative: sigma counts in deviations of what the noise is added to, over all numbers of one image's; otherwise it is
            absolute.
    """

    identity: Mapping[str, Any] | None = {"sigma": 0.0}

    def __init__(self, sigma: float = 0.1, relative: bool = True) -> None:
        super().__init__(sigma, relative)

    def at_end(self, x: Tensor, noise: Noise) -> Tensor:
        """With noise."""
        return self.noisy(x, noise)
