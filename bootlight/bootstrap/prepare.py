"""Before the first generation: check all input, then train (or load) the networks that look at the images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from bootlight.bootstrap.checks import check_input
from bootlight.bootstrap.smoke import mark
from bootlight.bootstrap.trackers import start_loggers
from bootlight.distributed.processes import rank
from bootlight.evaluation.networks.judge import train_judge
from bootlight.evaluation.networks.trained_networks import TrainedOnReal, real_images
from bootlight.evaluation.sets.real_images import list_skipped, note_images, write_real_previews
from bootlight.runs.config import save_config
from bootlight.runs.environment import note_environment
from bootlight.runs.timing import clock
from bootlight.terminal import say

if TYPE_CHECKING:
    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.stage import Stage
    from bootlight.runs.context import GenerationContext
    from bootlight.runs.folder import RunFolder


def prepare(
    builder: Builder, first: GenerationContext, stages: list[Stage], untrained: bool
) -> tuple[nn.Module | None, nn.Module | None]:
    """The feature network and the judge (None where there is none), after everything that can be wrong has been looked at.

    Args:
        builder: makes objects.
        first: generation 0.
        stages: that will run.
        untrained: whether a training is left to do, so that the first steps of each are taken on trial.

    Raises:
        BootlightError: see `check_input` and `rehearse`; until then the run folder is as it was.
    """
    run, settings = first.run, builder.bootstrap
    data = builder.data()
    evaluation = builder.evaluation if _looks(builder, stages) else None
    drawn = builder.num_drawn()
    count, many = settings.num_generations, builder.drawn_by
    features = check_input(builder.model, data, builder.trainer, first, count, drawn, evaluation, settings.compile, many)
    if evaluation is not None:
        evaluation.use(features, None)  # so that stages can see whether there is one
    for stage in stages:
        if untrained or not stage.trains:
            stage.rehearse(builder, first, data)
    begin(builder, run)
    note_images(run, data)
    list_skipped(run, data)
    write_real_previews(run, data, builder.synthesis.num_previews)
    if isinstance(features, TrainedOnReal) and rank() == 0:  # it alone evaluates
        with clock.part("references"):
            features.fit_real(real_images(data), run.references, builder.trainer.strategy.root_device)
    if evaluation is None or evaluation.judge_steps == 0:
        return features, None
    judge = train_judge(
        data,
        run.references,
        num_steps=evaluation.judge_steps,
        width=evaluation.judge_width,
        batch_size=evaluation.judge_batch_size,
        trainer=builder.judge_trainer,
    )
    return features, judge


def _looks(builder: Builder, stages: list[Stage]) -> bool:
    """Whether some stage needs the networks that look at images; modules are made only where nothing else tells."""
    return any(stage.measures for stage in stages) or any(stage.looks(builder) for stage in stages)


def begin(builder: Builder, run: RunFolder) -> None:
    """Nothing was found wrong: start the loggers, and note in the run folder what is run."""
    if builder.smoke is not None:
        mark(run.path)
    start_loggers(builder.loggers, run, builder.text)
    tell_changes(run, builder.trainer.world_size, str(builder.config.trainer.precision))
    save_config(run, builder.text)


@rank_zero_only
def tell_changes(run: RunFolder, world_size: int, precision: str) -> None:
    """Note where a run is begun, and say when it is continued elsewhere."""
    if changes := note_environment(run.environment, world_size, precision):
        say(f"continued elsewhere ({'; '.join(changes)}): results may differ in rounding")
