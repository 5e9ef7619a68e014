"""How much better than expected the images of a round are."""

from typing import Literal

import torch
from torch import Tensor, nn

from bootlight.errors import BootlightError, check_range

Against = Literal["batch", "label", "none"]


class Advantages(nn.Module):
    """Rewards of a round in deviations from the expected one, and clipped (Black et al. 2024, section 4.3).

    Args:
        against: batch: mean and deviation of the round; label: of the last rewards of images of the same label, as soon as
            there are enough, before that of the round; none: rewards as they are.
        clip: largest absolute value; None = no limit.
        num_labels: how many there are.
        history: rewards of each label that are remembered.
        least: so many must be there.
    """

    history: Tensor
    count: Tensor

    def __init__(
        self, against: Against = "batch", clip: float | None = 5.0, num_labels: int = 1, history: int = 32, least: int = 16
    ) -> None:
        super().__init__()
        if clip is not None and not clip > 0:
            raise BootlightError(f"model.clip_advantages is {clip}; it must be above 0, or null for no limit")
        check_range("model.history", history, 2)
        self.against = against
        self.clip = clip
        self.least = min(least, history)
        remembered = history if against == "label" else 0
        self.register_buffer("history", torch.zeros(num_labels, remembered, dtype=torch.float64))  # the newest last
        self.register_buffer("count", torch.zeros(num_labels, dtype=torch.int64))

    def forward(self, rewards: Tensor, labels: Tensor | None = None) -> Tensor:
        """Advantages (N,) of the rewards of a whole round, which are remembered.

        Args:
            rewards: float64 (N,).
            labels: int64 (N,), from 0.
        """
        if self.against == "none":
            found = rewards
        elif self.against == "label" and labels is not None:
            found = self._by_label(rewards, labels)
        else:
            found = standardized(rewards, rewards)
        return found if self.clip is None else found.clamp(-self.clip, self.clip)

    def _by_label(self, rewards: Tensor, labels: Tensor) -> Tensor:
        found = standardized(rewards, rewards)
        for label in set(labels.tolist()):
            here = labels == label
            new = torch.cat([self.history[label], rewards[here]])[-self.history.shape[1] :]
            self.history[label] = new
            self.count[label] = (self.count[label] + here.sum()).clamp(max=len(new))
            if self.count[label] >= self.least:
                found[here] = standardized(rewards[here], new[-int(self.count[label]) :])
        return found


def standardized(rewards: Tensor, among: Tensor) -> Tensor:
    """Rewards in deviations from the mean of others; 0 where those are all equal."""
    deviation = among.std(correction=0)
    scaled = (rewards - among.mean()) / deviation
    return torch.where(deviation > 0, scaled, torch.zeros_like(scaled))
