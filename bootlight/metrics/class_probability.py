"""A reward for looking like a class to the classifier of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bootlight.errors import BootlightError, check_range
from bootlight.metrics.features.frozen import Frozen
from bootlight.metrics.reward import Reward

if TYPE_CHECKING:
    from bootlight.runs.generation import Generation


class ClassProbability(Reward):
    """The probability of a class, by the classifier whose features the evaluation uses (`bootlight.ClassifierFeatures`).

    Distances in those same features see what this reward sees; what exploits it shows better in others, and in the pictures.

    Args:
        label: the class, from 0.
        logarithm: of the probability, which still tells images apart where all are near 0 or 1.
    """

    judges_by = ("features",)

    def __init__(self, label: int, logarithm: bool = False) -> None:
        super().__init__()
        check_range("label", label, 0)
        self.label = label
        self.logarithm = logarithm
        self._network: Frozen | None = None

    def begin(self, generation: Generation) -> None:
        """See `Reward`."""
        if not callable(getattr(generation.features, "logits", None)):
            raise BootlightError(
                "ClassProbability: the run has no classifier; set evaluation.features to bootlight.ClassifierFeatures"
            )
        self._network = Frozen(generation.features)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """See `Reward`.

        Raises:
            BootlightError: the classifier does not know the class.
        """
        if self._network is None:
            raise BootlightError("ClassProbability looks through the classifier of a run; use it in bootlight fit")
        logits = self._network.ask("logits", images)
        if self.label >= logits.shape[1]:
            raise BootlightError(f"ClassProbability: label is {self.label}, of {logits.shape[1]} classes; they count from 0")
        logs = torch.log_softmax(logits, 1)[:, self.label]
        return logs if self.logarithm else logs.exp()
