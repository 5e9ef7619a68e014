"""Lightning trainers from a user's settings: for a generation, for the judge, for the first steps on trial."""

import math
from collections.abc import Sequence
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar, Timer
from lightning.pytorch.cli import instantiate_class
from lightning.pytorch.loggers import Logger

from bootlight.errors import BootlightError
from bootlight.loggers.history import HistoryLogger
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import GenerationFolder, RunFolder
from bootlight.training.checkpoints import AtomicCheckpointIO, periodic_checkpoint
from bootlight.training.portable_states import PortableStates
from bootlight.training.progress import GenerationProgressBar
from bootlight.training.publish import Publish
from bootlight.training.step_clock import StepClock
from bootlight.training.stop import StopBetweenSteps

Found = TypeVar("Found", bound=Callback)
# Settings that would train fewer steps than the run records, and what of them is harmless, as text.
WHOLE_EPOCH = {"limit_train_batches": ("None",), "overfit_batches": ("0.0", "0"), "fast_dev_run": ("False", "0")}
TRIAL_STEPS = 2  # the first has no gradient of the step before, and several processes miss unused parameters in the second
# Of a trainer that only helps, and leaves nothing behind.
HELPER: dict[str, Any] = {
    "max_time": None,
    "profiler": None,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}


def check_trainer_settings(settings: Any) -> None:
    """Refuse settings of the trainer that mean nothing where a generation is one epoch.

    Args:
        settings: the section `trainer`, parsed.

    Raises:
        BootlightError: names the key.
    """
    if settings.max_epochs != 1 or settings.max_steps != -1:
        raise BootlightError(
            "trainer.max_epochs and trainer.max_steps cannot be set: a generation is one Lightning epoch; set "
            "data.num_epochs or data.num_steps"
        )
    for key, usual in WHOLE_EPOCH.items():
        if str(settings[key]) not in usual:
            raise BootlightError(
                f"trainer.{key} cannot be set: it would skip steps; set data.num_steps or data.num_epochs, or try every stage "
                "in seconds with --smoke"
            )
    if settings.logger is True:
        raise BootlightError(
            "trainer.logger is true, which names no logger; name one, as CSVLogger, or leave it out: curves are kept anyway"
        )


def check_packages(settings: Any) -> None:
    """Make each logger, callback and profiler by itself: of one in a list that fails, the parser tells everything but why.

    Args:
        settings: the section `trainer`, parsed.

    Raises:
        BootlightError: names the one that needs a package which is missing.
    """
    for key in ("logger", "callbacks", "profiler", "plugins"):
        for part in as_list(settings[key]):
            if hasattr(part, "class_path"):
                try:
                    instantiate_class((), part.as_dict())
                except ImportError as error:
                    name = part.class_path.rpartition(".")[2]
                    missing = " ".join(str(error).split())
                    raise BootlightError(f"trainer.{key}: {name} needs a package: {missing}") from error
                except Exception:  # the parser has said it
                    continue


def make_trainer(config: dict[str, Any], **own: Any) -> Trainer:
    """A trainer with the user's settings but for `own`.

    Raises:
        BootlightError: Lightning refuses them.
    """
    # A strategy belongs to one trainer for good; several are made of one configuration.
    parts: dict[str, Any] = {key: deepcopy(config[key]) for key in ("strategy", "accelerator") if key in config}
    folder = own.get("default_root_dir")
    plugins = [*deepcopy(as_list(config["plugins"])), AtomicCheckpointIO(None if folder is None else Path(folder))]
    try:
        return Trainer(**{**config, **parts, "plugins": plugins, **own})
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise BootlightError(f"trainer: {' '.join(str(error).split())}") from error


def training_trainer(
    config: dict[str, Any], context: GenerationContext, loggers: Sequence[Logger], checkpoint_every: int
) -> Trainer:
    """The trainer of one part of one generation: the user's callbacks, then what saves, publishes and stops.

    Args:
        config: the section `trainer`, with its objects.
        context: run, generation and part.
        loggers: of the run.
        checkpoint_every: training steps between checkpoints.
    """
    folder = context.folder
    callbacks = [
        PortableStates(folder.path),
        StepClock("training", folder),
        *as_list(config["callbacks"]),
        Publish(context),
    ]
    if config["enable_progress_bar"] is not False and not any(isinstance(c, ProgressBar) for c in callbacks):
        callbacks.append(
            GenerationProgressBar(label=" · ".join([f"generation {context.generation}", *context.streams, "training"]))
        )
    if config["enable_checkpointing"] is not False:
        callbacks.append(periodic_checkpoint(folder, checkpoint_every))
    callbacks.append(StopBetweenSteps(folder, least_steps(config["min_epochs"], config["min_steps"])))
    # With an epoch at least, Lightning does not end one in the middle: `StopBetweenSteps` does, where it can go on.
    own = {"max_time": None, "min_epochs": 1, "default_root_dir": str(folder.training)}
    return make_trainer(config, callbacks=callbacks, logger=[HistoryLogger(folder.history), *loggers], **own)


def judge_trainer(config: dict[str, Any], run: RunFolder, world_size: int) -> Trainer:
    """A trainer of the same devices and precision for the judge."""
    bar = GenerationProgressBar(label="judge · training")
    callbacks = [
        StepClock("references"),
        StopBetweenSteps(None),
        *([] if config["enable_progress_bar"] is False else [bar]),
    ]
    # What a manually optimized GAN cannot take, though the generator may; its two networks are stepped in turn.
    own: dict[str, Any] = {**HELPER, "gradient_clip_val": None, "accumulate_grad_batches": 1}
    if world_size > 1:
        own["strategy"] = "ddp_find_unused_parameters_true"
    return make_trainer(config, callbacks=callbacks, logger=False, default_root_dir=str(run.references), **own)


def drawing_trainer(config: dict[str, Any], folder: GenerationFolder, callbacks: Sequence[Callback]) -> Trainer:
    """A trainer of the same devices whose `predict` draws images: in float32, whatever the training has, and without a bar.

    Not in inference mode, which Lightning has in one process alone: the tensors of one case would behave unlike the others'.
    """
    own: dict[str, Any] = {"precision": "32-true", "inference_mode": False, "enable_progress_bar": False, "logger": False}
    everyone = [*callbacks, StopBetweenSteps(None)]
    return make_trainer(config, **HELPER | own, callbacks=everyone, default_root_dir=str(folder.path))


def trial_trainer(config: dict[str, Any], callbacks: Sequence[Callback], loggers: list[Logger], **own: Any) -> Trainer:
    """A trainer with the user's settings that ends after the first steps."""
    few = {
        "limit_train_batches": TRIAL_STEPS * (config.get("accumulate_grad_batches") or 1),
        "limit_val_batches": config["limit_val_batches"] if config["limit_val_batches"] == 0 else 1,
        "num_sanity_val_steps": 0,
        "val_check_interval": 1.0,
        "check_val_every_n_epoch": 1,
        "min_epochs": 1,
        "enable_progress_bar": False,
    }
    everyone = [*callbacks, StopBetweenSteps(None)]
    return make_trainer(config, **HELPER | few | {"callbacks": everyone, "logger": loggers} | own)


def job_seconds(max_time: str | timedelta | dict[str, int] | None) -> float | None:
    """How long this job may run; Lightning's own `max_time` would count the time of earlier jobs too."""
    return None if max_time is None else Timer(duration=max_time).time_remaining()


def least_steps(min_epochs: int | None, min_steps: int | None) -> float:
    """Steps before which no callback may stop a generation: a whole epoch, which is all of them, or so many."""
    return math.inf if min_epochs else min_steps or 0


def as_list(value: Any) -> list[Any]:
    """A list of whatever Lightning accepts in place of one."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def find_callback(trainer: Trainer, kind: type[Found]) -> Found | None:
    """The trainer's callback of a class, if it has one."""
    return next((callback for callback in trainer.callbacks if isinstance(callback, kind)), None)  # type: ignore[attr-defined]
