"""The command line of `fit`: a configuration becomes objects, anew for each generation."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from bootlight.bootstrap import BootstrapSettings, Parts, run_bootstrap
from bootlight.callbacks.checkpoints import periodic_checkpoint
from bootlight.callbacks.evaluation import Evaluation
from bootlight.callbacks.progress import GenerationProgressBar
from bootlight.callbacks.publish import Publish
from bootlight.callbacks.states import PortableStates
from bootlight.callbacks.step_clock import StepClock
from bootlight.callbacks.stop import StopBetweenSteps
from bootlight.callbacks.synthesis import Synthesis
from bootlight.checks import check_input
from bootlight.config_text import written
from bootlight.data.datamodule import BootstrapData
from bootlight.environment import note_environment
from bootlight.errors import BootlightError, check_range
from bootlight.generators.base import GeneratorModule
from bootlight.lock import locked
from bootlight.paths import expand_settings
from bootlight.processes import check_strategy, leaving_together, meet
from bootlight.rehearsal import rehearse
from bootlight.run_config import (
    check_config,
    check_same_config,
    check_writable,
    names_other_images,
    run_folder_made,
    save_config,
)
from bootlight.run_folder import GenerationContext, RunFolder
from bootlight.smoke import Smoke, mark, renew, set_aside, tell
from bootlight.stopping import stop_request
from bootlight.terminal import Usage, say
from bootlight.trackers import start_loggers
from bootlight.tracking.history import HistoryLogger
from bootlight.trainers import (
    as_list,
    check_packages,
    check_trainer_settings,
    job_seconds,
    judge_trainer,
    least_steps,
    make_trainer,
    trial_trainer,
)
from bootlight.understood import count_classes

USAGE = "bootlight fit --config CONFIG [--section.key VALUE ...]"
PLANNED_BATCH = 100  # where the size of a call in synthesis is left to be measured


class BootlightCLI(LightningCLI):
    """LightningCLI whose `fit` runs every generation of a bootstrap."""

    def __init__(self, args: list[str]) -> None:
        self.loggers: list[Logger] = []
        self._context: GenerationContext | None = None
        self._smoke: Smoke | None = None
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
            parser_class=type("Parser", (Usage, LightningArgumentParser), {}),
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
        parser.add_argument("--smoke", action="store_true", help="try every stage of every generation, in seconds, and stop")
        for key in ("image_size", "channels"):
            parser.link_arguments(f"data.init_args.{key}", f"model.init_args.{key}")
        parser.link_arguments("bootstrap.num_synthetic", "synthesis.num_synthetic")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, make paths whole, and refuse seeds that only later would be found unfit."""
        super().parse_arguments(parser, args)
        settings = self.config[self.config.subcommand]
        expand_settings(settings)
        seed = settings.seed_everything
        if isinstance(seed, bool) or seed is None:
            raise BootlightError(f"seed_everything is {seed}; give a number, so that the run can be repeated")
        check_range("seed_everything", seed, 0, 2**32 - 1)
        if settings.smoke and settings.plan:
            raise BootlightError("--plan and --smoke: give one of them")
        if settings.smoke:
            set_aside(settings)

    def instantiate_classes(self) -> None:
        """Make the objects; before them, of `model.num_classes: auto`, the number that the images have.

        Raises:
            BootlightError: a logger or callback that needs a package which is missing.
        """
        arguments = self.settings.model.init_args
        if arguments.get("num_classes") == "auto":
            parser = ArgumentParser(exit_on_error=False)
            parser.add_subclass_arguments(BootstrapData, "data")
            arguments.num_classes = count_classes(parser.instantiate(parser.parse_object({"data": self.settings.data})).data)
        try:
            super().instantiate_classes()
        except ValueError:
            check_packages(self.settings.trainer)
            raise

    @property
    def settings(self) -> Any:
        """The parsed configuration of the subcommand."""
        return self.config[self.subcommand]

    def fit(self, model: GeneratorModule, **_: Any) -> None:
        """Called by LightningCLI instead of `Trainer.fit`."""
        settings = self.config_init[self.subcommand].bootstrap
        run = RunFolder(Path(settings.run_dir))
        check_trainer_settings(self.settings.trainer)
        check_writable(run)
        if not self.settings.smoke:
            check_config(run, self.text)
        if self.settings.plan:
            self.plan(run, model)
            return
        seconds = job_seconds(self.settings.trainer.max_time)
        with run_folder_made(run), locked(run.path), stop_request.listening(seconds), leaving_together():
            if not self.settings.smoke:
                check_config(run, self.text)  # another one may have written meanwhile
            elif self.trainer.is_global_zero:
                renew(run.path)
            meet(self.trainer)
            check_same_config(self.text)
            if self.settings.smoke:
                self.make_small(run)
            run_bootstrap(settings, int(self.settings.seed_everything), self)
        if self.settings.smoke:
            tell(run.path)

    def make_small(self, run: RunFolder) -> None:
        """From now on every generation is a trial."""
        settings = self.config_init[self.subcommand].bootstrap
        context = GenerationContext(run, 0, int(self.settings.seed_everything))
        count = settings.num_generations
        check_input(self.model, self.datamodule, self.trainer, context, count, settings.compile)  # all that is not small too
        self._smoke = Smoke.of(self.datamodule, self.trainer, count)

    def plan(self, run: RunFolder, model: GeneratorModule) -> None:
        """Check what `fit` checks, as far as one device can, and print what the run would cost; one process does."""
        from bootlight.plan import alone, print_plan

        if not self.trainer.is_global_zero:
            return
        settings, config = self.config_init[self.subcommand].bootstrap, self._get(self.config_init, "trainer")
        if self.trainer.world_size > 1:
            check_strategy(self.trainer)
        context = GenerationContext(run, 0, int(self.settings.seed_everything))
        check_input(model, self.datamodule, self.trainer, context, settings.num_generations, settings.compile)
        few = partial(trial_trainer, config, **alone(self.trainer))
        rehearse(deepcopy(model), self.datamodule, self.trainer.callbacks, few)  # type: ignore[attr-defined]
        drawn_at_once = self.settings.synthesis.batch_size
        batch_size = PLANNED_BATCH if drawn_at_once == "auto" else drawn_at_once
        print_plan(settings, model, self.datamodule, batch_size, partial(make_trainer, config))

    @property
    def text(self) -> str:
        """The resolved configuration, YAML."""
        return written(self._parser(self.subcommand), self.settings)

    def __call__(self, context: GenerationContext) -> Parts:
        """Fresh model, data and trainer for a generation (the `Build` of `run_bootstrap`)."""
        self._context = replace(context, model=self.settings.model.as_dict())
        self.instantiate_classes()
        if self._smoke is not None:
            self._smoke.shrink(self.model, self.datamodule, self.trainer)
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
        if not self.loggers:  # one for all generations: a tracker's run is the whole bootstrap
            self.loggers = [logger for logger in as_list(config["logger"]) if isinstance(logger, Logger)]
        loggers = [HistoryLogger(context.folder.history), *self.loggers]
        # With an epoch at least, Lightning does not end one in the middle: `StopBetweenSteps` does, where it can go on.
        own = {"max_time": None, "min_epochs": 1, "default_root_dir": str(context.folder.path)}
        return make_trainer(config, callbacks=callbacks, logger=loggers, **own)

    def judge_trainer(self, run: RunFolder) -> Trainer:
        """See `Tools`."""
        return judge_trainer(self._get(self.config_init, "trainer"), run, self.trainer.world_size)

    def trial_trainer(self, callbacks: Sequence[Callback], loggers: list[Logger]) -> Trainer:
        """See `Tools`."""
        return trial_trainer(self._get(self.config_init, "trainer"), callbacks, loggers)

    def begin(self, loggers: Sequence[Logger]) -> None:
        """See `Tools`."""
        assert self._context is not None
        if self._smoke is not None:
            mark(self._context.run.path)
        start_loggers(loggers, self._context.run, self.text)
        tell_changes(self._context.run, self.trainer.world_size, str(self.settings.trainer.precision))
        save_config(self._context.run, self.text)

    def names_other_images(self) -> bool:
        """See `Build`."""
        return names_other_images(RunFolder(Path(self.config_init[self.subcommand].bootstrap.run_dir)), self.text)


@rank_zero_only
def tell_changes(run: RunFolder, world_size: int, precision: str) -> None:
    """Note where a run is begun, and say when it is continued elsewhere."""
    if changes := note_environment(run.environment, world_size, precision):
        say(f"continued elsewhere ({'; '.join(changes)}): results may differ in rounding")
