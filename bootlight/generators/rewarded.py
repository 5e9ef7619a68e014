"""What all generators have in common that are trained by rewards of the images that they draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bootlight.batch import Batch
from bootlight.errors import BootlightError
from bootlight.generators.base import GeneratorModule
from bootlight.io.pictures import to_uint8
from bootlight.metrics.reward import Reward, check_spread, rewards
from bootlight.rng import numpy_rng
from bootlight.terminal import say

if TYPE_CHECKING:
    from bootlight.runs.generation import Generation

AT_ONCE = 100  # images of a call of the reward
FEW = 8  # images of which equal rewards are chance


class Rewarded(GeneratorModule):
    """A generator with a reward, which is no part of its state; logs the rewards of a step."""

    def look_through(self, reward: Reward, shuffled: bool = False) -> None:
        """Take the reward; called once, by the constructor.

        Args:
            reward: higher is better.
            shuffled: give each image that of another one.
        """
        self._reward = [reward]  # in a list: no submodule
        self.judges_by: Sequence[str] = reward.judges_by
        self.shuffle_rewards = shuffled
        self._on_trial = self._is_later = self._has_told = False

    @property
    def reward(self) -> Reward:
        """Of the images."""
        return self._reward[0]

    def begin(self, generation: Generation | None) -> None:
        """See `PartModule.begin`."""
        self._on_trial = generation is None and len(self.judges_by) > 0
        self._is_later = generation is not None and generation.number > 0
        if generation is not None:
            self.reward.begin(generation)

    def judged(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Rewards, float64 (B,) on the device of the images, as whoever finds them on the disk would judge.

        On trial, where networks that the reward looks through are not there yet, the mean of an image stands for it.

        Args:
            images: (B, C, H, W) as drawn.
            labels: int64 (B,), -1 = none.

        Raises:
            BootlightError: see `metrics.reward.rewards`.
        """
        if self._on_trial:
            return images.double().flatten(1).mean(1)
        stored = to_uint8(images) if self._stored_as() == "uint8" else images.float()
        named: list[int | None] = [None] * len(images) if labels is None else [n if n >= 0 else None for n in labels.tolist()]
        with torch.autocast(images.device.type, enabled=False):
            found = rewards(self.reward, torch.split(stored, AT_ONCE), named, images.device)
        return torch.tensor(found, dtype=torch.float64, device=images.device)

    def _stored_as(self) -> str:
        """Of the data."""
        data: Any = getattr(self.trainer, "datamodule", None)
        real = getattr(data, "real", None)
        return self.image_dtype if real is None else str(real.store.images.dtype.name)

    def looked_at(self, found: Tensor, batch: Batch, first: bool) -> Tensor:
        """Rewards (N,) of all images of a step, logged; shuffled, where that is wanted.

        Args:
            found: in the order of the images.
            batch: of the step.
            first: whether nothing was trained yet.

        Raises:
            BootlightError: in the first step all are equal. In a later one, and in later generations, that is told once.
        """
        self.log("train/reward", found.mean(), batch_size=batch.total, prog_bar=True)
        self.log("train/reward_spread", found.std(correction=0), batch_size=batch.total)
        if len(found) >= FEW and not self._on_trial:
            self._check(found, first and not self._is_later)
        if not self.shuffle_rewards:
            return found
        order = numpy_rng(batch.seed, "shuffled rewards").permutation(len(found))
        return found[torch.from_numpy(order).to(found.device)]

    def _check(self, found: Tensor, first: bool) -> None:
        try:
            check_spread(type(self.reward).__name__, found.tolist())
        except BootlightError as error:
            if first:
                raise
            if not self._has_told and self.trainer.is_global_zero:
                say(f"{error}; nothing is learned from such a step")
            self._has_told = True
