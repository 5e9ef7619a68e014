"""The images of a configuration or of a run, to be looked at; nothing is trained or written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootlight.bootstrap.builder import Builder
from bootlight.bootstrap.causes import root_cause
from bootlight.data.resolve import resolve, split_suffix
from bootlight.data.side_by_side import LookedAt, of_generation, of_origins
from bootlight.errors import BootlightError
from bootlight.io.quiet import quiet
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import GenerationFolder, RunFolder

if TYPE_CHECKING:
    from bootlight.data.datamodule import BootstrapData


def rows_of_config(arguments: list[str], count: int) -> list[LookedAt]:
    """Of the origins of a configuration.

    Args:
        arguments: as of `bootlight fit`.
        count: images of each.

    Raises:
        BootlightError: a setting that cannot be meant, or unusable images.
    """
    return of_origins(_data(arguments), count)


def rows_of_run(text: str, settings: list[str], count: int) -> list[LookedAt]:
    """Of what a generation has made of others.

    Args:
        text: RUN, RUN@GENERATION or RUN@GENERATION/FOLDER.
        settings: what is other than in the configuration of the run, such as where its images lie now.
        count: images.

    Raises:
        BootlightError: there is no such generation, or its images were made of no others.
    """
    samples, _ = resolve(text)
    run = RunFolder(split_suffix(text)[0])
    if not run.config.exists():
        raise BootlightError(f"{run.path}: no run of bootlight fit; name a run, RUN@GENERATION or RUN@GENERATION/FOLDER")
    data = _data([f"--config={run.config}", *settings])
    return of_generation(data, GenerationFolder(samples.parent, into=samples.name), count)


def _data(arguments: list[str]) -> BootstrapData:
    """Set up, for generation 0, whose mixture needs nothing that is drawn."""
    quiet()
    try:
        builder = Builder(arguments)
        data: BootstrapData = builder.datamodule
        data.attach(GenerationContext(builder.run, 0, builder.seed))
        data.setup()
    except ValueError as error:  # jsonargparse wraps what constructors raise
        cause = root_cause(error)
        raise cause if isinstance(cause, BootlightError) else error from error
    return data
