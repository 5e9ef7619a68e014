"""How much an image without a label counts, by the confidence of its prediction."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bootlight.errors import BootlightError, check_range


class SoftMatch(nn.Module):
    """Weight 1 above a running mean of the confidence, below it a Gaussian's tail (Chen et al. 2023, equations 6 to 9).

    Confidence is the largest probability. Mean and variance begin at 1 / C and 1, and follow those of each step by an
    exponential average; a step with one image has no variance, and one without any changes nothing.

    Args:
        momentum: of the average; 0.999 in the paper.
        n_sigma: the Gaussian's deviation is that of the confidences over `n_sigma`; 2 in the authors' settings.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, momentum: float = 0.999, n_sigma: float = 2.0) -> None:
        super().__init__()
        check_range("momentum", momentum, 0, 1)
        if not n_sigma > 0:
            raise BootlightError(f"n_sigma is {n_sigma}; it must be above 0")
        self.momentum, self.n_sigma = momentum, n_sigma
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("variance", torch.tensor(1.0))

    def setup(self, num_classes: int) -> None:
        """Begin at the confidence of one who knows nothing."""
        self.mean.fill_(1 / num_classes)
        self.variance.fill_(1.0)

    @torch.no_grad()
    def observe(self, sums: Tensor) -> None:
        """Follow the confidences of a step.

        Args:
            sums: float64 (3,), their number, sum, and sum of squares, over all processes.
        """
        count, total, squares = sums.tolist()
        if count >= 1:
            self.mean.lerp_(self.mean.new_tensor(total / count), 1 - self.momentum)
        if count >= 2:
            found = max(0.0, squares - total**2 / count) / (count - 1)
            self.variance.lerp_(self.variance.new_tensor(found), 1 - self.momentum)

    @torch.no_grad()
    def forward(self, probabilities: Tensor) -> Tensor:
        """Weights (U,), in (0, 1], of predictions (U, C)."""
        below = (probabilities.amax(1) - self.mean).clamp(max=0)
        return torch.exp(-(below**2) * self.n_sigma**2 / (2 * self.variance))


def sums_of(probabilities: Tensor) -> Tensor:
    """What `SoftMatch.observe` takes, of predictions (U, C)."""
    confidence = probabilities.detach().amax(1).double()
    return torch.stack([confidence.new_tensor(float(len(confidence))), confidence.sum(), (confidence**2).sum()])
