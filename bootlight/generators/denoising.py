"""What all generators have in common that draw by denoising: schedule, sampler, composition."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bootlight.batch import Batch
from bootlight.diffusion.compose import Composition
from bootlight.diffusion.denoiser import Denoiser
from bootlight.diffusion.sampler import Ancestral, Sampler
from bootlight.diffusion.schedule import Schedule
from bootlight.diffusion.schedules import CosineSchedule
from bootlight.errors import BootlightError
from bootlight.generators.base import GeneratorModule
from bootlight.io.shape import Shape
from bootlight.rng import NoiseStreams


class DenoisingModule(GeneratorModule, ABC):
    """A generator that draws by a sampler from its denoiser.

    Args:
        image_size: edge of square images in pixels, or [height, width]; taken from the data section of a config.
        channels: 1 or more; taken from the data section of a config.
        num_classes: number of labels of a class-conditional model; None = unconditional.
        schedule: noise levels; cosine with 1000 timesteps if left out.
        sampler: how images are drawn; ancestral with every timestep if left out.
        compose: what the denoiser is composed with, in training and in drawing; nothing if left out.
        autoencoder: makes what images are encoded by, of their (C, H, W): see `bootlight.Autoencoder`. Its weights stay, and
            the sampler must not clip. None = the images themselves are denoised.
    """

    def __init__(
        self,
        image_size: int | list[int],
        channels: int = 3,
        num_classes: int | Literal["auto"] | None = None,
        schedule: Schedule | None = None,
        sampler: Sampler | None = None,
        compose: Composition | None = None,
        autoencoder: Callable[[Shape], nn.Module] | None = None,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        self.autoencoder = None if autoencoder is None else autoencoder(self.image_shape).requires_grad_(False)
        self.schedule = schedule or CosineSchedule()
        self.sampler = sampler or Ancestral(clip=autoencoder is None)
        self.compose = compose
        self.then: Composition | None = None  # in drawing alone
        self.references = {} if compose is None else compose.references
        self._check_sampler(self.sampler)

    @abstractmethod
    def own_denoiser(self, ema: bool = True) -> Denoiser:
        """The denoiser before any composition, by the average unless told otherwise."""

    @property
    def latent_shape(self) -> Shape:
        """(C, H, W) of what is denoised: of the images themselves where there is no autoencoder."""
        return self.image_shape if self.autoencoder is None else self.autoencoder.latent_shape  # type: ignore[return-value]

    def encode(self, images: Tensor) -> Tensor:
        """What is denoised, (B, *latent_shape), of images (B, C, H, W); without randomness."""
        if self.autoencoder is None:
            return images
        with torch.no_grad():
            return self.autoencoder.encode(images)  # type: ignore[operator,no-any-return]

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, C, H, W) of what was denoised, (B, *latent_shape)."""
        return latents if self.autoencoder is None else self.autoencoder.decode(latents)  # type: ignore[operator,no-any-return]

    def encoded(self, batch: Batch) -> Batch:
        """A batch with what is denoised in the place of its images.

        Raises:
            BootlightError: images are noisy or masked, which their latents are not in the same way.
        """
        if self.autoencoder is None:
            return batch
        if batch.noise is not None or batch.mask is not None:
            raise BootlightError(
                "model.autoencoder: noise and masks of images are not those of their latents; leave the autoencoder out, or "
                "train on clean images"
            )
        return batch._replace(images=self.encode(batch.images))

    def denoiser(self, ema: bool = True) -> Denoiser:
        """What is trained and drawn from: the own denoiser, composed with others where that is configured."""
        denoiser = self.own_denoiser(ema)
        for composition in (self.compose, self.then):
            denoiser = denoiser if composition is None else composition(denoiser)
        return denoiser

    def attach(self, parts: Mapping[str, Any]) -> None:
        """See `GeneratorModule.attach`."""
        super().attach(parts)
        if self.compose is not None:
            self.compose.attach(parts)
            self.compose.fits(self)

    def draw_through(self, composition: Composition, parts: Mapping[str, Any]) -> None:
        """Draw from now on by a composition of the denoiser that was trained.

        Args:
            composition: fresh.
            parts: published models that it refers to; they go where this module goes.
        """
        composition.attach(parts)
        composition.fits(self)
        super().attach({f"then.{name}": part for name, part in parts.items()})
        self.then = composition

    def draw(self, noise: NoiseStreams, labels: Tensor | None, **cond: Any) -> Tensor:
        """See `GeneratorModule.draw`; `cond` is whatever else the network takes, (B, ...)."""
        grid = self.sampler.grid(self.schedule)
        start = self.schedule.deviation(grid) * noise.normal(*self.latent_shape)
        return self.decode(self.sampler(self.denoiser(), start, noise, labels, grid=grid, **cond))

    def protocol(self) -> dict[str, Any]:
        """The sampler and its settings, and the composition."""
        protocol = self.sampler.protocol()
        protocol["num_steps"] = protocol["num_steps"] or self.schedule.num_timesteps
        for key, composition in (("compose", self.compose), ("then", self.then)):
            protocol |= {} if composition is None else {key: composition.protocol()}
        return protocol

    def set_num_steps(self, num_steps: int) -> None:
        """See `GeneratorModule.set_num_steps`."""
        sampler = copy(self.sampler)
        sampler.num_steps = num_steps
        self._check_sampler(sampler)
        self.sampler = sampler

    def shortened(self) -> tuple[GeneratorModule, float]:
        """The same network with two sampler steps."""
        short = copy(self)
        short.sampler = copy(self.sampler)
        short.sampler.num_steps, short.sampler.spacing = 2, "linspace"  # which takes two steps of any schedule
        steps = self.sampler.num_steps or self.schedule.num_timesteps or 2
        return short, self.sampler.calls(steps) / self.sampler.calls(2)

    def _check_sampler(self, sampler: Sampler) -> None:
        if self.autoencoder is not None and sampler.clip:
            raise BootlightError(
                "model.sampler.clip limits estimates to [-1, 1], and latents of an autoencoder have no range; set "
                "model.sampler.clip to false"
            )
        total = self.schedule.num_timesteps
        if sampler.num_steps is not None and not 1 <= sampler.num_steps <= (total or math.inf):
            raise BootlightError(
                f"model.sampler.num_steps is {sampler.num_steps}; this model allows "
                + ("1 or more" if total is None else f"1 to {total}")
            )
        try:
            sampler.grid(self.schedule)
        except ValueError as error:
            raise BootlightError(f"model.sampler.{error}") from error
