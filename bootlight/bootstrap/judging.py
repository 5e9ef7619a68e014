"""The networks that look at the images of a run, for what judges by them: curators, and modules that are trained on rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bootlight.distributed.processes import agree, in_group
from bootlight.errors import BootlightError

if TYPE_CHECKING:
    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.generation import Generation


def check_judges(who: str, judges_by: Sequence[str], builder: Builder) -> None:
    """See whether the run has what something judges by.

    Args:
        who: how messages begin.
        judges_by: `judge` and `features`, or one of them.
        builder: of the run.

    Raises:
        BootlightError: it has not.
    """
    there = {"judge": builder.evaluation.judge_steps > 0, "features": builder.evaluation.feature_network is not None}
    cures = {
        "judge": "evaluation.judge_steps is 0; raise it",
        "features": "the run has none; set evaluation.features or metrics",
    }
    for name in judges_by:
        if not there[name]:
            raise BootlightError(f"{who} needs the {name}, and {cures[name]}")


def for_all(generation: Generation, judges_by: Sequence[str]) -> Generation:
    """The generation, with these networks on every rank: rank 0 alone has trained or loaded them."""
    if not judges_by or not in_group():
        return generation
    features, judge = agree((generation.features, generation.judge))
    return replace(generation, features=features, judge=judge)
