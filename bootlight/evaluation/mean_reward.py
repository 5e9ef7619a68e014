"""How much the drawn images of a generation are liked."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bootlight.evaluation.sets.streamed import drawn_source
from bootlight.metrics.evaluator import Evaluator
from bootlight.metrics.reward import Reward, rewards
from bootlight.metrics.score import Score
from bootlight.runs.drawn import read_drawn

if TYPE_CHECKING:
    from bootlight.runs.generation import Generation

BATCH_SIZE = 100


class MeanReward(Evaluator):
    """The mean reward of the drawn images and, over images, its standard error: what `DDPO` and `ByReward` have come to.

    Args:
        reward: higher is better.
        name: of the score.
    """

    def __init__(self, reward: Reward, name: str = "reward") -> None:
        self.reward, self.name = reward, name

    def scores(self, generation: Generation, folders: Sequence[str]) -> dict[str, Score]:
        """See `Evaluator`.

        Raises:
            BootlightError: a reward that is no number, or the run does not have what it judges by.
        """
        self.reward.begin(generation)
        folder = generation.folder.of_images(folders[0])
        height, width, channels = generation.real.pick([0])[0].shape
        images = drawn_source(f"{folders[0]} of generation {generation.number}", folder, (channels, height, width))
        labels = [row.label for row in read_drawn(folder)]
        found = rewards(self.reward, images.batches(BATCH_SIZE), labels, generation.device)
        error = statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else None
        protocol = {"reward": type(self.reward).__name__}
        return {self.name: Score(statistics.fmean(found), error, len(found), protocol, higher_is_better=True)}
