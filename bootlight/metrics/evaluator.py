"""What measures a generation as a whole: more than its images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bootlight.metrics.score import Score
    from bootlight.runs.generation import Generation


class Evaluator(ABC):
    """Scores of a generation, from all that it has left: its parts, what a curator has said, the images that are held out.

    Named among `evaluation.metrics`; measured once in each generation, by one process, with the first folder of `Evaluate`.

    Attributes:
        references: published parts that it needs, by names of its choice.
    """

    references: Mapping[str, str] = {}

    @abstractmethod
    def scores(self, generation: Generation, folders: Sequence[str]) -> dict[str, Score]:
        """By name, as tables have them.

        Args:
            generation: that is measured.
            folders: of images that `Evaluate` looks at.

        Raises:
            BootlightError: what it needs is not there; the other scores are measured all the same.
        """
