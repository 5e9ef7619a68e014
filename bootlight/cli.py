"""The command line of `fit`: a configuration becomes objects, anew for each generation."""

import math
import re
import warnings
from dataclasses import replace
from datetime import timedelta
from enum import Enum
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser
from jsonargparse.typing import register_type
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar, Timer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from bootlight.bootstrap import BootstrapSettings, Parts, run_bootstrap
from bootlight.callbacks.checkpoints import AtomicCheckpointIO, periodic_checkpoint
from bootlight.callbacks.evaluation import Evaluation
from bootlight.callbacks.progress import GenerationProgressBar
from bootlight.callbacks.publish import Publish
from bootlight.callbacks.states import PortableStates
from bootlight.callbacks.step_clock import StepClock
from bootlight.callbacks.stop import StopBetweenSteps
from bootlight.callbacks.synthesis import Synthesis
from bootlight.data.datamodule import BootstrapData
from bootlight.environment import note_environment
from bootlight.errors import BootlightError, check_range
from bootlight.generators.base import GeneratorModule
from bootlight.lock import locked
from bootlight.paths import expand_settings
from bootlight.processes import leaving_together, meet
from bootlight.run_config import check_same_config, check_writable, save_config
from bootlight.run_folder import GenerationContext, RunFolder
from bootlight.stopping import stop_request
from bootlight.terminal import say
from bootlight.tracking.history import HistoryLogger
from bootlight.understood import count_classes

USAGE = "bootlight fit --config CONFIG [--section.key VALUE ...]"
PLANNED_BATCH = 100  # where the size of a call in synthesis is left to be measured
# What stock callbacks have as defaults, and jsonargparse cannot write into a configuration by itself.
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, member: dumper.represent_data(member.value))
register_type(torch.device)
# Trainer settings that would train fewer steps than the run records, and what of them is harmless, as text.
WHOLE_EPOCH = {"limit_train_batches": ("None",), "overfit_batches": ("0.0", "0"), "fast_dev_run": ("False", "0")}


class BootlightCLI(LightningCLI):
    """LightningCLI whose `fit` runs every generation of a bootstrap."""

    def __init__(self, args: list[str]) -> None:
        self._shared_loggers: list[Logger] | None = None
        self._context: GenerationContext | None = None
        for plug_in in entry_points(group="bootlight.generators"):
            plug_in.load()  # what is imported has a short name: --model DDPM
        super().__init__(
            GeneratorModule,
            BootstrapData,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_callback=None,
            seed_everything_default=0,
            trainer_defaults={
                "max_epochs": 1,
                "use_distributed_sampler": False,
                "enable_model_summary": False,
                "logger": False,
            },
            # Without abbreviations: trainer.max_epoch would silently be max_epochs.
            parser_kwargs={"prog": "bootlight", "usage": USAGE, "allow_abbrev": False, "fit": {"usage": USAGE}},
            args=args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Only `fit`: modules have no validation or test steps; other verbs have commands of their own."""
        return {"fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule", "ckpt_path", "weights_only"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The sections that Lightning does not know."""
        parser.add_class_arguments(BootstrapSettings, "bootstrap")
        parser.add_lightning_class_args(Synthesis, "synthesis")
        parser.add_lightning_class_args(Evaluation, "evaluation")
        parser.add_argument("--plan", action="store_true", help="print what the run would do and cost, and stop")
        for key in ("image_size", "channels"):
            parser.link_arguments(f"data.init_args.{key}", f"model.init_args.{key}")
        parser.link_arguments("bootstrap.num_synthetic", "synthesis.num_synthetic")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, make paths whole, and refuse seeds that only later would be found unfit."""
        super().parse_arguments(parser, args)
        expand_settings(self.config[self.config.subcommand])
        seed = self.config[self.config.subcommand].seed_everything
        if isinstance(seed, bool) or seed is None:
            raise BootlightError(f"seed_everything is {seed}; give a number, so that the run can be repeated")
        check_range("seed_everything", seed, 0, 2**32 - 1)

    def instantiate_classes(self) -> None:
        """Make the objects; before them, of `model.num_classes: auto`, the number that the images have."""
        arguments = self.settings.model.init_args
        if arguments.get("num_classes") == "auto":
            parser = ArgumentParser(exit_on_error=False)
            parser.add_subclass_arguments(BootstrapData, "data")
            arguments.num_classes = count_classes(parser.instantiate(parser.parse_object({"data": self.settings.data})).data)
        super().instantiate_classes()

    @property
    def settings(self) -> Any:
        """The parsed configuration of the subcommand."""
        return self.config[self.subcommand]

    def fit(self, model: GeneratorModule, **_: Any) -> None:
        """Called by LightningCLI instead of `Trainer.fit`."""
        settings = self.config_init[self.subcommand].bootstrap
        run = RunFolder(Path(settings.run_dir))
        if self.settings.trainer.max_epochs != 1 or self.settings.trainer.max_steps != -1:
            raise BootlightError(
                "trainer.max_epochs and trainer.max_steps cannot be set: a generation is one Lightning epoch; set "
                "data.num_epochs or data.num_steps"
            )
        for key, usual in WHOLE_EPOCH.items():
            if str(self.settings.trainer[key]) not in usual:
                raise BootlightError(f"trainer.{key} cannot be set: it would skip steps; set data.num_steps or data.num_epochs")
        if self.settings.plan:
            from bootlight.plan import print_plan

            make_trainer = partial(self.make_trainer, self._get(self.config_init, "trainer"))
            drawn_at_once = self.settings.synthesis.batch_size
            batch_size = PLANNED_BATCH if drawn_at_once == "auto" else drawn_at_once
            print_plan(settings, model, self.datamodule, batch_size, make_trainer)
            return
        text = written(self._parser(self.subcommand), self.settings)
        check_writable(run)
        with locked(run.path), stop_request.listening(job_seconds(self.settings.trainer.max_time)), leaving_together():
            save_config(run, text)
            meet(self.trainer)
            check_same_config(text)
            tell_changes(run, self.trainer.world_size, str(self.settings.trainer.precision))
            run_bootstrap(settings, int(self.settings.seed_everything), self)

    def __call__(self, context: GenerationContext) -> Parts:
        """Fresh model, data and trainer for a generation (the `Build` of `run_bootstrap`)."""
        self._context = replace(context, model=self.settings.model.as_dict())
        self.instantiate_classes()
        return Parts(self.model, self.datamodule, self.trainer, self._context)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer of a generation: the user's callbacks, then the stages at the end of the generation, in their order."""
        context = self._context or GenerationContext(RunFolder(Path(self.settings.bootstrap.run_dir)), 0, 0)
        config = {**self._get(self.config_init, "trainer"), **kwargs}
        stages: list[Callback] = [Publish(), *(self._get(self.config_init, key) for key in ("synthesis", "evaluation"))]
        first = [PortableStates(context.folder.path), StepClock("training", context.folder)]
        callbacks = [*first, *as_list(config["callbacks"]), *stages]
        if config["enable_progress_bar"] is not False and not any(isinstance(c, ProgressBar) for c in callbacks):
            callbacks.append(GenerationProgressBar())
        if config["enable_checkpointing"] is not False:
            callbacks.append(periodic_checkpoint(context.folder, self.settings.bootstrap.checkpoint_every))
        callbacks.append(StopBetweenSteps(context.folder, least_steps(config["min_epochs"], config["min_steps"])))
        if self._shared_loggers is None:  # one for all generations: a tracker's run is the whole bootstrap
            self._shared_loggers = [logger for logger in as_list(config["logger"]) if isinstance(logger, Logger)]
        loggers = [HistoryLogger(context.folder.history), *self._shared_loggers]
        # With an epoch at least, Lightning does not end one in the middle: `StopBetweenSteps` does, where it can go on.
        own = {"max_time": None, "min_epochs": 1, "default_root_dir": str(context.folder.path)}
        return self.make_trainer(config, callbacks=callbacks, logger=loggers, **own)

    def judge_trainer(self, run: RunFolder) -> Trainer:
        """A trainer of the same devices and precision that leaves nothing behind."""
        config = self._get(self.config_init, "trainer")
        bar = GenerationProgressBar()
        bar.label = "judge · training"
        callbacks = [
            StepClock("references"),
            StopBetweenSteps(None),
            *([] if config["enable_progress_bar"] is False else [bar]),
        ]
        # What a manually optimized GAN cannot take, though the generator may; its two networks are stepped in turn.
        own: dict[str, Any] = {
            "max_time": None,
            "profiler": None,
            "enable_model_summary": False,
            "gradient_clip_val": None,
            "accumulate_grad_batches": 1,
            "enable_checkpointing": False,
        }
        if self.trainer.world_size > 1:
            own["strategy"] = "ddp_find_unused_parameters_true"
        return self.make_trainer(config, callbacks=callbacks, logger=False, default_root_dir=str(run.references), **own)

    def make_trainer(self, config: dict[str, Any], **own: Any) -> Trainer:
        """A trainer with the user's settings but for `own`."""
        folder = own.get("default_root_dir")
        plugins = [*as_list(config["plugins"]), AtomicCheckpointIO(None if folder is None else Path(folder))]
        try:
            return Trainer(**{**config, "plugins": plugins, **own})
        except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
            raise BootlightError(f"trainer: {' '.join(str(error).split())}") from error


def written(parser: LightningArgumentParser, settings: Any) -> str:
    """A configuration as YAML; jsonargparse does not find the text again where a function could stand in its place."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Unable to serialize")
        text: str = parser.dump(settings, skip_none=False)
    return re.sub(r"Unable to serialize instance (\w+)$", r"\1", text, flags=re.MULTILINE)


@rank_zero_only
def tell_changes(run: RunFolder, world_size: int, precision: str) -> None:
    """Note where a run is begun, and say when it is continued elsewhere."""
    if changes := note_environment(run.environment, world_size, precision):
        say(f"continued elsewhere ({'; '.join(changes)}): results may differ in rounding")


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
