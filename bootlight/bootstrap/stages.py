"""Which stages a generation has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootlight.bootstrap.evaluate import Evaluate
from bootlight.bootstrap.synthesize import Synthesize
from bootlight.bootstrap.train import Train
from bootlight.errors import BootlightError
from bootlight.runs.folder import MODEL

if TYPE_CHECKING:
    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.stage import Stage


def default_stages(warm_start: bool) -> list[Stage]:
    """Train, Synthesize, Evaluate."""
    return [Train(start_from=f"@-1/{MODEL}" if warm_start else None), Synthesize(), Evaluate()]


def check_stages(stages: list[Stage]) -> None:
    """Look at the stages and their order.

    Raises:
        BootlightError: they cannot work.
    """
    for i, stage in enumerate(stages):
        stage.check(stages[:i], stages)
    both = {stage.into for stage in stages if stage.into} & {stage.part for stage in stages if stage.trains}
    if both:
        raise BootlightError(f"bootstrap.stages: {both.pop()} is a part and a folder of images; give one of them another name")


def stages_of(builder: Builder) -> list[Stage]:
    """Of a generation, in their order."""
    return builder.bootstrap.stages or default_stages(builder.bootstrap.warm_start)


def chosen_stages(builder: Builder) -> list[Stage]:
    """Those that are asked for (`--stages`), all if none are.

    Raises:
        BootlightError: no stage has such a name, or the stages cannot work together.
    """
    stages, names = stages_of(builder), builder.config.stages
    check_stages(stages)
    if names is None:
        return stages
    wanted = [name.strip().lower() for name in names.split(",")]
    known = {stage.name for stage in stages}
    for name in wanted:
        if name not in known:
            raise BootlightError(
                f"--stages: there is no {name!r}; this run has {', '.join(dict.fromkeys(s.name for s in stages))}"
            )
    return [stage for stage in stages if stage.name in wanted]
