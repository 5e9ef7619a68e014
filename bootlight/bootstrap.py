"""The loop: train, synthesize, evaluate; mix; train again. Nothing but files passes from one generation to the next."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from bootlight.atomic import file_sha256, read_json, remove_temporaries
from bootlight.callbacks.checkpoints import newest_readable, restoring_explained
from bootlight.callbacks.evaluation import Evaluation
from bootlight.callbacks.generation_end import GenerationEnd, note_times, skip_training
from bootlight.callbacks.progress import GenerationProgressBar
from bootlight.checks import open_images
from bootlight.clock import clock
from bootlight.data.datamodule import BootstrapData
from bootlight.errors import RUN_AGAIN, BootlightError, check_range
from bootlight.finished import Keep, check_keep, remove_left, remove_spent
from bootlight.generators.base import GeneratorModule
from bootlight.lines import MAX_IMAGES
from bootlight.paths import expanded_text
from bootlight.prepare import Tools, prepare
from bootlight.processes import agree, barrier, check_same, gather, in_group, rank, sees_folder_of_rank_0, send_file
from bootlight.published import published_weights
from bootlight.rng import seed_everywhere
from bootlight.run_config import check_streams
from bootlight.run_folder import GenerationContext, GenerationFolder, RunFolder, read_generation_metrics
from bootlight.stopping import leave_if_asked, stop_request, stops_explained
from bootlight.terminal import say
from bootlight.trackers import complete_wandb
from bootlight.tracking.current import carries, scores_mark
from bootlight.tracking.report import write_report
from bootlight.tracking.seconds import format_seconds
from bootlight.tracking.strip import write_strip
from bootlight.tracking.table import format_table, table_is_current, write_table
from bootlight.tracking.wandb_logger import BootstrapWandbLogger


@dataclass
class BootstrapSettings:
    """The loop over generations.

    Args:
        num_generations: how many; generation 0 trains on real images only.
        run_dir: folder of the run; the same command with the same folder continues the run.
        num_synthetic: images drawn at the end of each generation.
        warm_start: start each generation from the weights of the one before, instead of anew.
        checkpoint_every: training steps between checkpoints to resume from.
        keep_checkpoints: of which finished generations `trained.ckpt` is kept: all, last or none; no command needs it.
        compile: let torch compile the networks, for training and drawing: a minute or more before the first step, which pays
            on GPUs and in long trainings; numbers then differ in the last digits from those without.
    """

    num_generations: int = 3
    run_dir: str = "runs/bootstrap"
    num_synthetic: int = 1000
    warm_start: bool = False
    checkpoint_every: int = 1000
    keep_checkpoints: Keep = "last"
    compile: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        for key in ("num_generations", "checkpoint_every"):
            check_range(f"bootstrap.{key}", getattr(self, key), 1)
        check_keep("bootstrap.keep_checkpoints", self.keep_checkpoints)
        check_range("bootstrap.num_synthetic", self.num_synthetic, 1, MAX_IMAGES)
        if not self.run_dir:
            raise BootlightError("bootstrap.run_dir is empty; give it the name of a folder")
        self.run_dir = expanded_text(self.run_dir)


class Parts(NamedTuple):
    """Fresh objects for one generation."""

    model: GeneratorModule
    data: BootstrapData
    trainer: Trainer
    context: GenerationContext


class Build(Tools, Protocol):
    """Makes everything anew for a generation, and what comes before the first one."""

    def __call__(self, context: GenerationContext) -> Parts:
        """Fresh model, data and trainer."""
        ...

    def names_other_images(self) -> bool:
        """Whether the images are said to lie elsewhere than before."""
        ...

    @property
    def loggers(self) -> Sequence[Logger]:
        """Those that the user has named, the same for all generations."""
        ...


def run_bootstrap(settings: BootstrapSettings, seed: int, build: Build) -> RunFolder:
    """Run all generations that are not done yet, then write table, strip and report.

    Raises:
        BootlightError: bad input, found before any training.
        SystemExit: with 75 when training was stopped early (`max_time`, a signal); the same command continues.
    """
    run = RunFolder(Path(settings.run_dir))
    barrier()  # nobody is writing
    remove_temporaries(run.path)
    barrier()
    first = GenerationContext(run, 0, seed, shared=sees_folder_of_rank_0(run.path))
    read_generation_metrics(run)  # a torn file is better found now than after a training
    todo = [g for g in range(settings.num_generations) if not is_done_everywhere(run.generation(g))]
    if not todo:
        if any(gather(build.names_other_images())):
            _, data, trainer, context = build(first)
            open_images(data, trainer, context)
        done = sum(folder.is_done for folder in run.generations())
        asked = "" if done <= settings.num_generations else f"; {settings.num_generations} of them were asked for"
        announce(f"{run.path} is finished: {max(done, settings.num_generations)} generations{asked}")
        remove_left(run, settings.keep_checkpoints, rank())
    else:
        check_streams(run)
        with stops_explained():
            clock.take()  # what was before is not of this run
            with clock.part("preparation"):
                untrained = not all(gather(all(run.generation(g).is_trained for g in todo)))
                features, judge = prepare(*build(first), build, settings.num_generations, untrained, settings.compile)
            for generation in todo:
                run_generation(replace(first, generation=generation), settings, build, features, judge)
    complete_wandb(build.loggers, run)
    finish(run, rebuild=bool(todo))
    return run


def run_generation(
    context: GenerationContext, settings: BootstrapSettings, build: Build, features: nn.Module | None, judge: nn.Module | None
) -> None:
    """Train, synthesize and evaluate one generation, or what of that is left to do."""
    seed_everywhere(context.seed, context.generation, "weights")
    model, data, trainer, context = build(context)
    attach(context, data, trainer, settings, features, judge)
    if settings.warm_start and context.generation > 0:
        earlier = context.run.generation(context.generation - 1)
        model.load_published(published_weights(earlier))
    if settings.compile:
        model.compile_networks()
    checkpoint = checkpoint_for_all(context, trainer)
    if checkpoint is None and all(gather(context.folder.is_trained)):  # it was not kept, nor is it needed
        skip_training(trainer, model, context.folder)
    with stop_request.saving(), restoring_explained(checkpoint, trainer):
        trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    if not agree(context.folder.is_evaluated):
        announce(f"generation {context.generation} was stopped early; run the same command again to continue")
        raise SystemExit(RUN_AGAIN if rank() == 0 else 0)
    with clock.part("pages"):
        publish_scores(trainer, context, data)
    if trainer.is_global_zero:
        note_times(context.folder)
    remove_spent(context, settings.keep_checkpoints, rank(), trainer.local_rank)
    leave_if_asked()


def attach(
    context: GenerationContext,
    data: BootstrapData,
    trainer: Trainer,
    settings: BootstrapSettings,
    features: nn.Module | None,
    judge: nn.Module | None,
) -> None:
    """Tell the fresh objects which generation they serve."""
    data.attach(context)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, GenerationEnd | GenerationProgressBar):
            callback.attach(context)
        if isinstance(callback, Evaluation):
            callback.use(features, judge)
    for logger in wandb_loggers(trainer.loggers):
        logger.attach(context.run.path)
        logger.start_generation(context.generation, steps_before(context))


def is_done_everywhere(folder: GenerationFolder) -> bool:
    """Whether no rank misses anything of a generation; only rank 0 evaluates."""
    return all(gather(folder.is_trained and folder.is_synthesized and (rank() > 0 or folder.is_evaluated)))


def checkpoint_for_all(context: GenerationContext, trainer: Trainer) -> Path | None:
    """The checkpoint that rank 0 continues from, on every rank; it is sent to nodes that have a run folder of their own.

    Raises:
        BootlightError: a rank sees another file.
    """
    newest = newest_readable(context.folder) if rank() == 0 else None
    name = agree(newest and newest.name)
    if name is None:
        return None
    path = context.folder.checkpoints / name
    if not context.shared:
        send_file(path, keep=trainer.local_rank == 0)
    barrier()
    if in_group():
        digest = file_sha256(path) if path.exists() else "no file"
        check_same(f"checkpoint {name}", digest, "put --bootstrap.run_dir where all nodes see the same files")
    return path


def steps_before(context: GenerationContext) -> int:
    """Training steps of all earlier generations, for axes that never run backwards; of use on rank 0, which logs."""
    if rank() > 0:
        return 0
    return sum(read_json(context.run.generation(g).metrics)["steps"] for g in range(context.generation))


def wandb_loggers(loggers: list[Logger]) -> list[BootstrapWandbLogger]:
    """Those that follow generations."""
    return [logger for logger in loggers if isinstance(logger, BootstrapWandbLogger)]


def publish_scores(trainer: Trainer, context: GenerationContext, data: BootstrapData) -> None:
    """Scores to the logger, table and strip to the disk: after each generation, so that a running run can be looked at."""
    for logger in wandb_loggers(trainer.loggers):
        logger.log_generation(context.folder, steps_before(context) + data.num_steps)
    if trainer.is_global_zero:
        write_table(context.run)
        write_strip(context.run)


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
