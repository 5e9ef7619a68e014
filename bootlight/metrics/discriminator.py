"""The opinion of a frozen discriminator (Bootstrapping Diffusion Models, section 5.3 and table 1)."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.utilities import dim_zero_cat

from bootlight.errors import BootlightError
from bootlight.io.pictures import to_float
from bootlight.metrics.features.frozen import Frozen
from bootlight.metrics.score import SHARE, Score
from bootlight.metrics.scored_metric import ScoredMetric
from bootlight.metrics.uncertainty import PLUS_FOUR, Z95, bounded_interval, bounded_mean


class DiscriminatorScore(ScoredMetric):
    """Mean probability of being real that a discriminator, trained beforehand on real images, gives to images.

    The judge runs in evaluation mode: batch norm then uses its running statistics, and the score of an image is a function of
    that image. In training mode a batch would be normalised by its own mean and variance, which takes away the very shift
    between real and synthetic images that is to be judged, and makes a score depend on its neighbours in the batch.

    The ± of the paper's table is the standard deviation over images, given here as `standard_deviation` in the protocol; the
    uncertainty of the mean is the standard error, √n times smaller. The interval is that of `bounded_mean`. Both cover the draw
    of the images, not of the judge. Where all images are given one probability there is no standard error: it is not 0.

    Args:
        judge: maps float images (B, C, H, W) in [-1, 1] to one logit each, (B,) or (B, 1, 1, 1).
        settings: of `torchmetrics.Metric`; `sync_on_compute=False` where one process measures alone.
    """

    higher_is_better = True
    name = "discriminator_score"
    logits: list[Tensor]

    def __init__(self, judge: nn.Module, **settings: Any) -> None:
        super().__init__(**settings)
        self._judge = Frozen(judge)
        self.add_state("logits", [], dist_reduce_fx="cat")

    def update(self, images: Tensor) -> None:
        """Score images, uint8 (B, C, H, W).

        Raises:
            TypeError: not uint8.
            ValueError: the judge does not answer with one logit for each image.
        """
        if images.dtype != torch.uint8:
            raise TypeError(f"DiscriminatorScore takes uint8 images, not {images.dtype}: io.pictures.to_uint8 converts")
        logits = self._judge(to_float(images))
        if logits.numel() != len(images):
            raise ValueError(f"the judge answered {tuple(logits.shape)} to {len(images)} images; expected one logit for each")
        self.logits = [*self.logits, logits.flatten()]  # not changed: a compute group may hold the list from before

    def reset(self) -> None:
        """Forget all images."""
        self.logits = []  # torchmetrics would empty that of the compute group too
        super().reset()

    def _measured(self) -> dict[str, Score]:
        """The score; a single image has neither standard deviation nor standard error (None).

        Raises:
            BootlightError: no image was scored, or a logit is not a number.
        """
        if len(self.logits) == 0:
            raise BootlightError("the discriminator was given no images to score; check num_synthetic")
        return {self.name: discriminator_score(dim_zero_cat(self.logits))}


class JudgeLogits(nn.Module):
    """A judge as a network from uint8 images (B, C, H, W) to (B, 1), so that its answers can be kept like features.

    Args:
        judge: as for `DiscriminatorScore`.
        channels: of the images it was trained on.
    """

    name = "judge"

    def __init__(self, judge: nn.Module, channels: int) -> None:
        super().__init__()
        self.judge = judge
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 1)."""
        logits: Tensor = self.judge(to_float(images)).reshape(len(images), 1)
        return logits


def discriminator_score(logits: Tensor) -> Score:
    """The score from a judge's logits, (N,) or (N, 1); see `DiscriminatorScore.compute`."""
    probabilities = logits.flatten().cpu().double().sigmoid()
    if probabilities.isnan().any():
        raise BootlightError("the discriminator answered with NaN; its training diverged, train it again")
    n = len(probabilities)
    deviation = probabilities.std().item() if n > 1 else None
    centre, error = bounded_mean(probabilities)
    return Score(
        value=probabilities.mean().item(),
        standard_error=deviation / n**0.5 if deviation else None,
        n=n,
        protocol={"standard_deviation": deviation, "num_synthetic": n, SHARE: PLUS_FOUR},
        interval=bounded_interval(centre, Z95 * error),
        higher_is_better=True,
    )
