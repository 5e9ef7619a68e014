"""Diffusion models that learn from what they draw themselves, and how far they have come from where they began."""

from __future__ import annotations

from abc import abstractmethod
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bootlight.batch import Batch
from bootlight.diffusion.denoiser import Denoiser, NetworkDenoiser
from bootlight.diffusion.grid import Grid
from bootlight.diffusion.policy import Trajectory, divergence, roll_out
from bootlight.diffusion.sampler import MarkovSampler
from bootlight.errors import BootlightError
from bootlight.generators.advantages import Advantages
from bootlight.generators.diffusion import Diffusion
from bootlight.generators.rewarded import Rewarded
from bootlight.io.sizes import size_text
from bootlight.rng import NoiseStreams, derive_seed

REFERENCE = "reference"


class Round(NamedTuple):
    """What this process has drawn in a round.

    Attributes:
        grid: S levels.
        trajectory: of its B images.
        labels: int64 (B,), num_classes = no label; None where the model knows none.
        advantages: float64 (B,).
        positions: of the images in the round, int64 (B,).
    """

    grid: Grid
    trajectory: Trajectory
    labels: Tensor | None
    advantages: Tensor
    positions: Tensor


class OnPolicy(Rewarded, Diffusion):
    """Draws rounds of images by its present weights; a subclass trains on them."""

    images_at_once: int

    def follow(self, advantages: Advantages, reference: str | None) -> None:
        """Called once, by the constructor.

        Args:
            advantages: what becomes of the rewards of a round.
            reference: published network that the divergence is counted from; None = the weights at the start.

        Raises:
            BootlightError: the sampler is no policy.
        """
        self._check_policy()
        self.advantages = advantages
        self.unpublished = (*self.unpublished, "advantages.")
        self.references = {**self.references, **({} if reference is None else {REFERENCE: reference})}
        self._start: list[nn.Module] = []  # in a list: no part of the state

    def _check_policy(self) -> None:
        sampler = self.sampler
        if not isinstance(sampler, MarkovSampler) or not sampler.adds_noise:
            raise BootlightError(
                f"model.sampler is {type(sampler).__name__} without noise, of which no image has a probability; take "
                "bootlight.DDIM with eta 1, or bootlight.Ancestral"
            )
        if sampler.num_steps == 1:
            raise BootlightError("model.sampler.num_steps is 1; the last step adds no noise, so give at least 2")

    @property
    def policy(self) -> MarkovSampler:
        """The sampler."""
        assert isinstance(self.sampler, MarkovSampler)
        return self.sampler

    def planned(self, batch_size: int) -> list[str]:
        """See `PartModule.planned`."""
        levels = self.policy.grid(self.schedule).num_steps
        size = 4 * levels * batch_size * int(np.prod(self.image_shape))
        return [f"a round keeps {levels} states of each of its {batch_size} images: {size_text(size)} on a device"]

    def setup(self, stage: str) -> None:
        """Keep the weights that the training starts from, before those of a checkpoint take their place."""
        if stage == "fit" and REFERENCE not in self.references:
            self._start = [deepcopy(self.network).eval().requires_grad_(False)]

    def reference_denoiser(self) -> Denoiser:
        """What the divergence is counted from."""
        if REFERENCE in self.references:
            found: Denoiser = self.attached[REFERENCE].denoiser()  # type: ignore[operator]
            return found
        own = NetworkDenoiser(self._start[0].to(self.device), self.prediction, self.schedule)
        return own if self.compose is None else self.compose(own)

    @torch.no_grad()
    def draw_round(self, batch: Batch) -> Round:
        """Draw this process's images of a round, and have them judged; every process logs the same.

        Args:
            batch: whose positions, labels and seed count.
        """
        grid, denoiser, reference = self.policy.grid(self.schedule), self.denoiser(ema=False), self.reference_denoiser()
        labels, positions = self._labels(batch), batch.positions()
        states = torch.empty(grid.num_steps, len(positions), *self.image_shape, device=self.device)
        nats = torch.zeros(len(positions), dtype=torch.float64, device=self.device)
        parts: list[Trajectory] = []
        for here in torch.split(torch.arange(len(positions), device=self.device), self.images_at_once):
            own = None if labels is None else labels[here]
            noise = NoiseStreams([derive_seed(batch.seed, "trajectory", p) for p in positions[here].tolist()], self.device)
            start = self.schedule.deviation(grid) * noise.normal(*self.image_shape)

            def watch(i: int, x: Tensor, mean: Tensor, deviation: Tensor, own: Any = own, here: Tensor = here) -> None:
                nats[here] += divergence(mean, deviation, *self.policy.transition(reference, x, grid, i, own))

            part = roll_out(self.policy, denoiser, start, noise, own, grid, watch)
            states[:, here] = part.states
            parts.append(part._replace(states=states[:, :0]))
        torch.clear_autocast_cache()  # of weights cast without a gradient, which the updates would find
        log_probs, images = torch.cat([p.log_probs for p in parts], 1), torch.cat([p.images for p in parts])
        rewards, divergences = self._of_all(
            torch.stack([self.judged(images, None if labels is None else batch.labels), nats], 1)
        ).unbind(1)
        numbers = int(np.prod(self.image_shape))
        self.log("train/kl", numbers * divergences.mean(), batch_size=batch.total)
        advantages = self._advantages(rewards, labels, batch)
        return Round(grid, Trajectory(states, log_probs, images), labels, advantages, positions)

    @abstractmethod
    def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]  # it steps its optimizer
        """A round, and what is learned of it."""

    def _labels(self, batch: Batch) -> Tensor | None:
        """Of the images that are drawn."""
        if self.num_classes is None:
            return None
        if batch.labels is None:
            raise BootlightError("model.num_classes is set, but the data have no labels: use class folders, or leave it out")
        return torch.where(batch.labels < 0, self.num_classes, batch.labels)

    def _advantages(self, rewards: Tensor, labels: Tensor | None, batch: Batch) -> Tensor:
        """Of this process's images, from the rewards of all."""
        rewards = self.looked_at(rewards, batch, first=self.global_step == 0)
        everyone = None if labels is None else self._of_all(labels.unsqueeze(1)).squeeze(1)
        found: Tensor = self.advantages(rewards, everyone)
        return found[batch.start : batch.start + len(batch.images)]
