"""The loop: train, synthesize, evaluate; mix; train again. Nothing but files passes from one stage to the next."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lightning.pytorch.utilities import rank_zero_only

from bootlight.bootstrap.checks import open_images
from bootlight.bootstrap.generation import Generation
from bootlight.bootstrap.prepare import prepare
from bootlight.bootstrap.trackers import close_generation, complete_wandb
from bootlight.distributed.processes import barrier, gather, rank, sees_folder_of_rank_0
from bootlight.distributed.stopping import leave_if_asked
from bootlight.io.atomic import remove_temporaries
from bootlight.report.current import carries, scores_mark
from bootlight.report.report import write_report
from bootlight.report.seconds import format_seconds
from bootlight.report.strip import write_strip
from bootlight.report.table import format_table, table_is_current, write_table
from bootlight.runs.config import check_streams, names_other_images
from bootlight.runs.context import GenerationContext
from bootlight.runs.ended import ends_run
from bootlight.runs.spent_checkpoints import remove_left, remove_spent
from bootlight.runs.timing import clock
from bootlight.runs.trainings import read_generation_metrics
from bootlight.terminal import say
from bootlight.training.step_clock import note_times

if TYPE_CHECKING:
    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.stage import Stage
    from bootlight.runs.folder import RunFolder


def run_bootstrap(builder: Builder, stages: list[Stage]) -> RunFolder:
    """Run all stages that are not done yet, generation after generation; then write table, strip and report.

    Args:
        builder: makes objects.
        stages: of a generation, in their order.

    Raises:
        BootlightError: bad input, found before any training.
        SystemExit: with 75 when training was stopped early (`max_time`, a signal); the same command continues.
    """
    run = builder.run
    first = open_run(builder)
    todo = left_to_do(first, stages)
    if not todo:
        tell_finished(first)
    else:
        check_streams(run)
        prepared = prepared_for(first, stages, todo)
        for number in todo:
            generation = prepared.at(number)
            for stage in stages:
                if not is_done(stage, generation):
                    leave_if_asked()
                    stage.run(generation)
                    note_time(generation)
            close(generation)
            if has_ended(generation):
                break
    complete_wandb(builder.loggers, run)
    finish(run, rebuild=bool(todo))
    return run


def is_done(stage: Stage, generation: Generation) -> bool:
    """Whether no process misses anything of a stage."""
    return all(gather(not stage.takes_part(generation.number) or stage.is_done(generation)))


def all_done(generation: Generation, stages: list[Stage]) -> bool:
    """Whether nothing is left to do in a generation."""
    return all(is_done(stage, generation) for stage in stages)


def left_to_do(first: Generation, stages: list[Stage]) -> list[int]:
    """Generations of which something is missing, up to one that says that no other follows."""
    found = []
    for number in range(first.builder.bootstrap.num_generations):
        generation = first.at(number)
        if not all_done(generation, stages):
            found.append(number)
        elif has_ended(generation):
            break
    return found


def has_ended(generation: Generation) -> bool:
    """Whether some process sees that no generation follows this one, see `ends_run`."""
    return any(gather(ends_run(generation.folder)))


def open_run(builder: Builder) -> Generation:
    """Generation 0, once nobody is writing and nothing of a write that was cut off is left."""
    run = builder.run
    barrier()
    remove_temporaries(run.path)
    barrier()
    read_generation_metrics(run)  # a torn file is better found now than after a training
    shared = sees_folder_of_rank_0(run.path)
    return Generation(GenerationContext(run, 0, builder.seed, shared=shared), builder)


def prepared_for(first: Generation, stages: list[Stage], todo: list[int]) -> Generation:
    """Generation 0 with the networks that look at images; everything that can be wrong has been looked at."""
    clock.take()  # what was before is not of this run
    with clock.part("preparation"):
        trainings = [stage for stage in stages if stage.trains]
        untrained = any(not is_done(stage, first.at(number)) for number in todo for stage in trainings)
        features, judge = prepare(first.builder, first.context, stages, untrained)
    return replace(first, features=features, judge=judge)


def close(generation: Generation) -> None:
    """Scores to the loggers, table and strip to the disk: a running run can be looked at. Then stop, if that was asked for."""
    with clock.part("pages"):
        close_generation(generation.builder.loggers, generation.context)
        if generation.is_rank_0:
            write_table(generation.context.run)
            write_strip(generation.context.run)
    note_time(generation)
    builder, trainer = generation.builder, generation.builder.trainer
    remove_spent(generation.context, builder.bootstrap.keep_checkpoints, rank(), trainer.local_rank)
    leave_if_asked()


def note_time(generation: Generation) -> None:
    """Write down where the time went since this was last done."""
    if generation.is_rank_0:
        note_times(generation.folder)


def tell_finished(first: Generation) -> None:
    """Nothing is left to do: say so, and look at the images again where they are said to lie elsewhere."""
    builder, run, asked_for = first.builder, first.context.run, first.builder.bootstrap.num_generations
    if any(gather(names_other_images(run, builder.text))):
        open_images(builder.data(), builder.trainer, first.context)
    if builder.config.stages is not None:
        announce(f"{run.path}: nothing is left of {builder.config.stages} in {asked_for} generations")
    else:
        done = sum(folder.is_done for folder in run.generations())
        ended = any(has_ended(first.at(number)) for number in range(min(done, asked_for)))
        done = done if ended else max(asked_for, done)
        asked = "" if done == asked_for else f"; {asked_for} of them were asked for"
        announce(f"{run.path} is finished: {done} generations{asked}")
    remove_left(run, builder.bootstrap.keep_checkpoints, rank())


@rank_zero_only
def finish(run: RunFolder, *, rebuild: bool) -> None:
    """Write what is missing (everything with `rebuild`) and say where it is."""
    mark = scores_mark(run)
    if rebuild or not table_is_current(run):
        write_table(run)
    for page, write in ((run.strip, write_strip), (run.report, write_report)):
        if rebuild or not carries(page, mark):  # killed between the scores and the pages
            write(run)
    announce("\n".join(filter(None, [format_table(run), format_seconds(run)])))
    announce(f"images   {run.path}/gen_*/samples\nstrip    {run.strip}\nreport   {run.report}")


@rank_zero_only
def announce(text: str) -> None:
    """Tell the user, on standard output, once."""
    say(text)
