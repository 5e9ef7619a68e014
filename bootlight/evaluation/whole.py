"""What evaluators say of a generation as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bootlight.evaluation.attempt import attempt
from bootlight.evaluation.own_metrics import as_written, check_new
from bootlight.evaluation.suite import finite
from bootlight.runs.timing import clock

if TYPE_CHECKING:
    from bootlight.metrics.evaluator import Evaluator
    from bootlight.metrics.score import Score
    from bootlight.runs.generation import Generation

MOST = 200  # scores of one evaluator


def scores_of_generation(
    evaluators: Sequence[tuple[str, Evaluator]],
    generation: Generation,
    folders: Sequence[str],
    there: Mapping[str, Score],
    failed: dict[str, str],
) -> dict[str, Score]:
    """Scores by name.

    Args:
        evaluators: by their class paths.
        generation: that is measured.
        folders: of images that are measured.
        there: scores whose names are taken.
        failed: notes why one has none, by its class path.
    """
    scores: dict[str, Score] = {}
    for label, evaluator in evaluators:
        with clock.part("evaluation"), attempt(label, failed):
            found = finite(as_written(evaluator.scores(generation, folders), label, MOST), failed)
            check_new(tuple(found), {**there, **scores})
            scores |= found
    return scores
