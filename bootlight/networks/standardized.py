"""Numbers on a common scale."""

import torch
from torch import Tensor, nn

ROUNDING = 1e-6  # relative; a number that varies by less is constant


class Standardized(nn.Module):
    """Numbers less their mean, in units of their standard deviation over examples; constant ones are only moved to 0.

    Args:
        num_features: how many there are.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("deviation", torch.ones(num_features))

    @torch.no_grad()
    def learn(self, examples: Tensor) -> None:
        """Take mean and deviation (that of the examples, over n) from examples (N, D)."""
        examples = examples.double()
        mean, deviation = examples.mean(0), examples.std(0, correction=0)
        constant = deviation <= ROUNDING * (1 + mean.abs())
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(constant, torch.ones_like(deviation), deviation))

    def forward(self, values: Tensor) -> Tensor:
        """(B, D) to the same shape."""
        return (values - self.mean) / self.deviation
