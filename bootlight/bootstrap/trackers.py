"""Loggers of other people's services: whether they can be used, known before anything is trained."""

import os
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

import yaml  # type: ignore[import-untyped]
from lightning.pytorch.loggers import Logger, WandbLogger

from bootlight.compat import wandb_arguments
from bootlight.distributed.processes import rank
from bootlight.errors import BootlightError, told_in_a_line
from bootlight.loggers.history import HistoryLogger
from bootlight.loggers.wandb_logger import BootstrapWandbLogger
from bootlight.loggers.wandb_settings import MODES, SERVER, settings_of_files, source_of_key
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import GenerationFolder, RunFolder
from bootlight.runs.trainings import steps_of, trainings_of
from bootlight.terminal import say


def check_loggers(loggers: Sequence[Logger]) -> None:
    """Refuse W&B online where nobody is logged in: it would ask, or fail, in the middle.

    Raises:
        BootlightError: says how to log in, or to do without.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger) and rank() == 0:
            settings = settings_of_files()
            chosen = wandb_arguments(logger).get("mode") or os.environ.get("WANDB_MODE") or settings.get("mode") or "online"
            server = os.environ.get("WANDB_BASE_URL") or settings.get("base_url") or SERVER
            if MODES.get(chosen) == "online" and not source_of_key(urlsplit(server).netloc, settings):
                raise BootlightError(
                    f"trainer.logger: W&B is online, but nobody is logged in at {server}; run wandb login, or set "
                    "WANDB_MODE=offline"
                )


def start_loggers(loggers: Sequence[Logger], run: RunFolder, config: str) -> None:
    """Let each logger connect with what it writes to.

    Args:
        loggers: of the run.
        run: its folder.
        config: the resolved configuration, YAML, which is not in the folder yet.

    Raises:
        BootlightError: one cannot: no network, no key, no such server.
    """
    for logger in loggers:
        if isinstance(logger, HistoryLogger) or rank() > 0:
            continue
        if isinstance(logger, BootstrapWandbLogger):
            logger.attach(run.path, yaml.safe_load(config))
        try:
            getattr(logger, "experiment", None)  # where a logger has one, it begins when it is asked for
        except BootlightError:
            raise
        except Exception as error:  # of any kind: each service has its own
            raise BootlightError(
                f"trainer.logger: {type(logger).__name__} cannot begin: {told_in_a_line(error)}; mend that, or leave it out"
            ) from error


def complete_wandb(loggers: Sequence[Logger], run: RunFolder) -> None:
    """Log what W&B lacks of a run that is done, maybe one killed before W&B had everything; only says so where it cannot."""
    for logger in wandb_loggers(loggers) if rank() == 0 else ():
        logger.attach(run.path)
        try:
            if not logger.is_complete():
                check_loggers([logger])
                logger.catch_up()
            logger.finish()
        except BootlightError as error:
            say(f"W&B may lack rows of this run: {error}")


def follow(loggers: Sequence[Logger], context: GenerationContext) -> None:
    """Tell the loggers which training comes next."""
    for logger in wandb_loggers(loggers):
        logger.attach(context.run.path)
        logger.start_generation(context.generation, steps_before(context), context.part)


def close_generation(loggers: Sequence[Logger], context: GenerationContext) -> None:
    """Log the scores of a generation, if it has some."""
    if context.folder.is_evaluated:
        for logger in wandb_loggers(loggers):
            logger.log_generation(context.folder, steps_before(replace(context, generation=context.generation + 1)))


def wandb_loggers(loggers: Sequence[Logger]) -> list[BootstrapWandbLogger]:
    """Those that follow generations."""
    return [logger for logger in loggers if isinstance(logger, BootstrapWandbLogger)]


def steps_before(context: GenerationContext) -> int:
    """Training steps before those of a part, for axes that never run backwards; of use on rank 0, which logs."""
    if rank() > 0:
        return 0
    earlier = sum(steps_of(context.run.generation(generation)) for generation in range(context.generation))
    return earlier + steps_in_generation(context.folder)


def steps_in_generation(folder: GenerationFolder) -> int:
    """Training steps of the parts of a generation before the one that it is seen from."""
    trainings = trainings_of(folder)
    published = sum(training.steps or 0 for training in trainings)
    return next((training.before for training in trainings if training.folder == folder), published)
