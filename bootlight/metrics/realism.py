"""Rewards for being like the real images, by the networks that measure a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bootlight.errors import BootlightError, check_range
from bootlight.io.pictures import to_float
from bootlight.metrics.features.frozen import Frozen
from bootlight.metrics.neighbours.neighbours import blocks, nearest
from bootlight.metrics.reward import Reward

if TYPE_CHECKING:
    from bootlight.runs.generation import Generation

BATCH_SIZE = 100
SMALLEST = 1e-12  # of a squared distance: an image that equals a real one is very real, and not infinitely so


class JudgeLogit(Reward):
    """How real the judge of the run takes an image to be: the logit of its probability.

    Of a discriminator that is optimal between real images and those that it was trained against, it is the logarithm of the
    ratio of their densities (Goodfellow et al. 2014). The judge was trained against images of its own GAN.
    """

    judges_by = ("judge",)

    def __init__(self) -> None:
        super().__init__()
        self._judge: Frozen | None = None  # no submodule: it is not this one's own

    def begin(self, generation: Generation) -> None:
        """See `Reward`."""
        if generation.judge is None:
            raise BootlightError("JudgeLogit: the run has no judge; set evaluation.judge_steps above 0")
        self._judge = Frozen(generation.judge)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """See `Reward`."""
        if self._judge is None:
            raise BootlightError("JudgeLogit looks through the judge of a run; use it in bootstrap.stages")
        return self._judge(to_float(images)).reshape(len(images))


class Realism(Reward):
    """How real an image is in the space of the evaluation's features (Kynkäänniemi et al. 2019, equation 3).

    The largest, over the real images, of the distance from that one to its k-th neighbor among them, over its distance to
    the image. At 1 and above the image lies within the estimated set of real images. The half of them whose neighbors are
    farthest do not count, as published.

    Args:
        k: neighbors of a real image.
    """

    judges_by = ("features",)

    def __init__(self, k: int = 3) -> None:
        super().__init__()
        check_range("k", k, 1)
        self.k = k
        self._network: Frozen | None = None
        self._real, self._radii = torch.empty(0, 0), torch.empty(0)

    def begin(self, generation: Generation) -> None:
        """See `Reward`."""
        if generation.features is None:
            raise BootlightError("Realism: the run has no feature network; set evaluation.features")
        self._network = Frozen(generation.features)
        self._real = torch.cat([self._features(images.to(generation.device)) for images in generation.real.batches(BATCH_SIZE)])
        if len(self._real) <= self.k:
            raise BootlightError(f"Realism: k is {self.k}, and there are only {len(self._real)} real images; lower it")
        radii = nearest(self._real, self._real, self.k, same=True)[0][:, -1]
        near = radii <= radii.quantile(0.5, interpolation="lower")
        self._real, self._radii = self._real[near], radii[near]

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """See `Reward`."""
        features = self._features(images)
        ratios = [(self._radii / block.squared.clamp(min=SMALLEST).sqrt()).amax(1) for block in blocks(features, self._real)]
        return torch.cat(ratios)

    def _features(self, images: Tensor) -> Tensor:
        if self._network is None:
            raise BootlightError("Realism looks through the features of a run; use it in bootstrap.stages")
        return self._network.outputs(images)["features"].flatten(1)
