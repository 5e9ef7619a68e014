"""The stage that ends a run before its last generation, when a score no longer improves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from bootlight.bootstrap.evaluate import Evaluate
from bootlight.bootstrap.stage import Stage, Work
from bootlight.distributed.processes import barrier, wait_for
from bootlight.errors import BootlightError, check_range
from bootlight.io.atomic import read_json, write_json
from bootlight.runs.ended import decision_file
from bootlight.terminal import say

if TYPE_CHECKING:
    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.generation import Generation
    from bootlight.runs.folder import GenerationFolder


class EarlyStop(Stage):
    """Looks at a score of every generation so far, and ends the run where the last ones are no better than the best before.

    It leaves `gen_000/early_stop.json`: which generation is the best, and whether another one follows. To go on after all,
    delete the last of them and raise `patience`.

    Args:
        monitor: a score in `metrics.json`, such as `denoising-loss/holdout` or `fd-learned/holdout`.
        patience: generations in a row that may be no better than the best before them; the next one ends the run.
        min_delta: a score that is better by no more than this is no better.
        of: folder of images whose score it is; the first one of Evaluate if left out.
    """

    def __init__(self, monitor: str, patience: int = 0, min_delta: float = 0.0, of: str | None = None) -> None:
        check_range("bootstrap.stages: EarlyStop patience", patience, 0)
        check_range("bootstrap.stages: EarlyStop min_delta", min_delta, 0)
        self.monitor, self.patience, self.min_delta, self.of = monitor, patience, min_delta, of

    def check(self, earlier: list[Stage], every: list[Stage]) -> None:
        """See `Stage`."""
        measured = [stage for stage in earlier if isinstance(stage, Evaluate)]
        if not measured:
            raise BootlightError("bootstrap.stages: EarlyStop reads scores; put an Evaluate before it")
        if self.of is not None and not any(self.of in stage.of for stage in measured):
            raise BootlightError(f"bootstrap.stages: EarlyStop of is {self.of}, which no Evaluate before it measures")

    def work(self, builder: Builder, number: int) -> Work:
        """See `Stage`."""
        return Work()

    def is_done(self, generation: Generation) -> bool:
        """See `Stage`."""
        return decision_file(generation.folder).exists()

    def run(self, generation: Generation) -> None:
        """See `Stage`."""
        file = decision_file(generation.folder)
        if generation.writes:
            found = self.decided([self._score(generation.at(number).folder) for number in range(generation.number + 1)])
            write_json(file, {"monitor": self.monitor, **found})
            if generation.is_rank_0:
                say(
                    f"generation {generation.number}: {self.monitor} is best in generation {found['best']}"
                    + ("; no other generation follows" if found["ends"] else "")
                )
        barrier()
        if generation.context.shared:
            wait_for(file)

    def decided(self, scores: list[tuple[float, bool]]) -> dict[str, Any]:
        """Which generation is the best, and whether it was too long ago.

        Args:
            scores: of each generation, and whether a higher one is better.
        """
        sign = 1 if scores[-1][1] else -1
        values = [sign * value for value, _ in scores]
        best = 0
        for number, value in enumerate(values):
            best = number if value > values[best] + self.min_delta else best
        return {
            "values": [value for value, _ in scores],
            "best": best,
            "ends": len(values) - 1 - best > self.patience,
        }

    def _score(self, folder: GenerationFolder) -> tuple[float, bool]:
        """Of a generation.

        Raises:
            BootlightError: it has none of this name, or it does not say which direction is better.
        """
        content: Any = read_json(folder.metrics)
        measured = content.get("folders", {}).get(self.of, content) if self.of is not None else content
        scores = measured.get("scores", {})
        score = scores.get(self.monitor)
        if score is None:
            known = ", ".join(scores) or "none"
            raise BootlightError(f"bootstrap.stages: EarlyStop: {folder.metrics} has no score {self.monitor}; it has {known}")
        value, higher = score.get("value"), score.get("higher_is_better")
        if not isinstance(value, int | float) or not math.isfinite(value) or not isinstance(higher, bool):
            raise BootlightError(
                f"bootstrap.stages: EarlyStop: {self.monitor} in {folder.metrics} is {value}, of which nobody says whether "
                "more is better; monitor another score"
            )
        return float(value), higher
