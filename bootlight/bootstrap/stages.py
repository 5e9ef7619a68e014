"""Which stages a generation has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from bootlight.bootstrap.evaluate import Evaluate
from bootlight.bootstrap.parts import PublishedParts
from bootlight.bootstrap.stage import is_ours
from bootlight.bootstrap.synthesize import Synthesize
from bootlight.bootstrap.train import Train
from bootlight.errors import BootlightError
from bootlight.runs.folder import MODEL
from bootlight.runs.references import Reference, parse_reference

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
    parts = {stage.part for stage in stages if stage.publishes} | {MODEL}
    for stage in stages:
        if stage.into in parts:  # both would write <name>.json
            raise BootlightError(
                f"bootstrap.stages: {type(stage).__name__} draws into {stage.into}, the name of a part; give the folder "
                "another one"
            )


def check_needs(stages: list[Stage], num_generations: int, model_needs: Callable[[str, int], Iterable[str]]) -> None:
    """Look whether each stage will find what it needs; not where a stage of the user's own may leave it.

    What mixtures need is asked with the images open: see `Builder.drawn_by`.

    Args:
        stages: of a generation.
        num_generations: of the run.
        model_needs: references of the model of a part, by name and generation.

    Raises:
        BootlightError: one will not, which the run would find out after a training.
    """
    if not all(map(is_ours, stages)):
        return
    for number in range(min(num_generations, 2)):  # all later ones are as generation 1
        parts: set[str] = set()
        folders: set[str] = set()
        for stage in (stage for stage in stages if stage.takes_part(number)):
            of_model = model_needs(stage.part, number) if stage.trains else ()
            for reference in map(parse_reference, [*stage.networks(number), *of_model]):
                if not _is_there(reference, number, parts, stages):
                    raise BootlightError(
                        f"bootstrap.stages: generation {number}: {stage.name} needs {reference}, which no stage before it "
                        "publishes"
                    )
            for name in sorted(set(stage.images()) - folders):
                raise BootlightError(
                    f"bootstrap.stages: generation {number}: {stage.name} needs {name}, into which nobody has drawn"
                )
            parts |= {stage.part} if stage.publishes else set()
            folders |= {stage.into} - {""}


def _is_there(reference: Reference, number: int, parts: set[str], stages: list[Stage]) -> bool:
    """Whether a generation finds a network of this run when these parts of its own are published."""
    if reference.run is not None:
        return True
    of = reference.at(number)
    if of == number:
        return reference.part in parts
    published = any(stage.publishes and stage.part == reference.part and stage.takes_part(of) for stage in stages)
    return 0 <= of < number and published


def references_of(builder: Builder, part: str, number: int) -> Iterable[str]:
    """Of the model of a part in a generation."""
    return PublishedParts(builder).untrained(part, number).references.values()


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
    check_needs(stages, builder.bootstrap.num_generations, partial(references_of, builder))
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
