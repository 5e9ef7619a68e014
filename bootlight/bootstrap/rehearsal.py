"""The first steps of a training and two drawn images, on a copy: what is wrong shows before anything is trained in earnest."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ModelSummary, ProgressBar, Timer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities.seed import isolate_rng

from bootlight.batch import Batch
from bootlight.distributed.stopping import handlers_kept
from bootlight.errors import BootlightError, told_in_a_line
from bootlight.generators.base import GeneratorModule
from bootlight.generators.denoising import DenoisingModule
from bootlight.terminal import say

if TYPE_CHECKING:
    from bootlight.data.datamodule import BootstrapData
    from bootlight.generators.part import PartModule

MakeTrainer = Callable[[Sequence[Callback], list[Logger]], Trainer]
Watched = dict[str, str]  # value -> who watches it
# What these do in a training of two steps is of no use, or would stay behind.
LEFT_OUT = (Checkpoint, EarlyStopping, ModelSummary, ProgressBar, Timer)


class Watch(Callback):
    """Notes which values are logged, and which ones schedulers of the learning rate watch; at the end draws two images."""

    def __init__(self) -> None:
        self.logged: set[str] = set()
        self.schedulers: Watched = {}
        self.beside: dict[str, torch.Tensor] = {}  # what came with the images of the last step

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Have Lightning pass over a value that is missing: here it is told in another way."""
        for config in trainer.lr_scheduler_configs:
            if config.reduce_on_plateau and config.strict and config.monitor:
                self.schedulers[config.monitor] = type(config.scheduler).__name__
            config.strict = False

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Values of a step."""
        self.logged |= trainer.callback_metrics.keys()
        if isinstance(batch, Batch) and isinstance(pl_module, DenoisingModule):
            self.beside = batch.cond

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Values of the epoch, and of validation where a plug-in has one; then the images of a generator."""
        self.logged |= trainer.callback_metrics.keys()
        if not isinstance(pl_module, GeneratorModule):
            return
        short, _ = pl_module.shortened()
        labels = None if pl_module.num_classes is None else torch.zeros(2, dtype=torch.int64)
        short.sample(range(2), labels=labels, **{name: value[[0, -1]] for name, value in self.beside.items()})


def rehearse(
    model: PartModule,
    data: BootstrapData,
    callbacks: Sequence[Callback],
    make_trainer: MakeTrainer,
    compiled: bool = False,
) -> None:
    """Train `model` for two steps on the first batches, draw two images, and look for values that are watched in vain.

    No other random number of this process changes. The user's callbacks take part only if they watch something that the model
    does not log, as one of them may log it.

    Args:
        model: a copy that nobody needs afterwards.
        data: set up for the first generation; stays as it is.
        callbacks: of the training.
        make_trainer: makes a trainer of a few steps from callbacks and loggers.
        compiled: let torch compile the networks, as in the training.

    Raises:
        BootlightError: a step or a draw fails, or a callback or scheduler watches a value that is never logged.
    """
    if compiled:
        model.compile_networks()
    watched = watched_by(callbacks)
    found = first_steps(model, data, [], make_trainer)
    others = [c for c in callbacks if not isinstance(c, LEFT_OUT) and not type(c).__module__.startswith("bootlight.")]
    logged, watched = found.logged, watched | found.schedulers
    if others and watched.keys() - logged:
        logged |= first_steps(model, data, others, make_trainer).logged
    for value in sorted(watched.keys() - logged):
        if is_written_in(value, [model, data, *others]):
            say(f"{watched[value]} watches {value}, which the first steps do not log; where it is missing, Lightning will stop")
            continue
        raise BootlightError(
            f"{watched[value]} watches {value}, which is never logged; watch one of {', '.join(sorted(logged)) or 'none'}"
        )


def watched_by(callbacks: Sequence[Callback]) -> Watched:
    """The values that callbacks insist on."""
    found: Watched = {}
    for callback in callbacks:
        value = getattr(callback, "monitor", None)
        counted = isinstance(callback, Checkpoint) and value in ("step", "epoch")
        if isinstance(value, str) and not counted and getattr(callback, "strict", True):
            found[value] = f"trainer.callbacks: {type(callback).__name__}"
    return found


def first_steps(model: PartModule, data: BootstrapData, callbacks: Sequence[Callback], make_trainer: MakeTrainer) -> Watch:
    """Train and draw.

    Raises:
        BootlightError: that fails; names the place.
    """
    watch = Watch()
    loggers: list[Logger] = [DummyLogger()] if callbacks else []
    trainer = make_trainer([*callbacks, watch], loggers)
    try:
        with handlers_kept(), isolate_rng(include_cuda=False), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the training itself says it again
            trainer.fit(model, datamodule=copy(data))
    except BootlightError:
        raise
    except MisconfigurationException as error:
        raise BootlightError(f"trainer: {' '.join(str(error).split())}") from error
    except torch.OutOfMemoryError as error:
        raise BootlightError(
            f"the memory of {trainer.strategy.root_device} is too small for a step of training; lower data.batch_size or the "
            "model, or set --trainer.precision bf16-mixed"
        ) from error
    except Exception as error:  # someone else's code
        raise BootlightError(f"the first steps of training fail: {told_in_a_line(error)}; correct it") from error
    finally:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.empty_cache()
    return watch


def is_written_in(value: str, objects: Sequence[object]) -> bool:
    """Whether the source of one of these logs a value by its name: it may do so now and then, as every hundred steps."""
    name = rf"""['"]{re.escape(value)}['"]"""
    logs = re.compile(rf"""log\w*\(\s*{name}|{name}\s*:""")
    kinds = {kind for thing in objects for kind in type(thing).__mro__}
    for kind in kinds:
        if kind.__module__.startswith(("bootlight.", "lightning.", "torch.", "abc", "builtins")):
            continue
        try:
            source = inspect.getsource(kind)
        except (OSError, TypeError):  # a notebook's, or compiled
            continue
        if logs.search(source):
            return True
    return False
