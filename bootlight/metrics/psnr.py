"""How near images are to those that they were made to resemble, pixel by pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from bootlight.errors import check_range
from bootlight.io.pictures import to_float
from bootlight.metrics.score import Score


class PSNR(Metric):
    """Mean over images of 10 log10(range^2 / mean squared error), in dB, against the good images of which theirs were made.

    For experiments whose noisy images are clean ones with noise added (`bootlight.Corrupted`): the restored images of a
    generation against the clean ones that no training sees.

    Args:
        data_range: from the least to the largest number of an image; of pictures, which are brought to [-1, 1], 2.
    """

    name = "psnr"
    higher_is_better = True
    total: Tensor
    squares: Tensor
    count: Tensor

    def __init__(self, data_range: float = 2.0) -> None:
        super().__init__()
        check_range("bootlight.PSNR data_range", data_range, 1e-9)
        self.data_range = data_range
        for name in ("total", "squares", "count"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, images: Tensor, *, partners: Tensor) -> None:
        """Images and their good ones (B, C, H, W), uint8 or float32; an image that equals its good one counts 100 dB."""
        off = (to_float(images) - to_float(partners)).double().square().flatten(1).mean(1)
        each = (20 * torch.log10(self.data_range / off.sqrt())).clamp(max=100.0)
        self.total += each.sum()
        self.squares += each.square().sum()
        self.count += len(images)

    def compute(self) -> Tensor:
        """Mean, dB."""
        return self.total / self.count

    def scores(self) -> dict[str, Score]:
        """The mean and, over images, its standard error."""
        n = int(self.count)
        mean = float(self.compute())
        variance = max(0.0, float(self.squares) / n - mean**2)
        error = (variance / (n - 1)) ** 0.5 if n > 1 else None
        return {self.name: Score(mean, error, n, {"metric": self.name, "data_range": self.data_range}, higher_is_better=True)}
