"""A configuration becomes objects, anew for each training."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger

from bootlight.bootstrap.changes import as_arguments, changed, made
from bootlight.bootstrap.config_text import written
from bootlight.bootstrap.parser import OPTIONS, Parser, image_channels, image_size
from bootlight.bootstrap.settings import BootstrapSettings, SynthesisSettings
from bootlight.bootstrap.smoke import Smoke, set_aside
from bootlight.bootstrap.stage import changes_of, is_ours
from bootlight.bootstrap.trainers import (
    as_list,
    check_packages,
    drawing_trainer,
    judge_trainer,
    training_trainer,
    trial_trainer,
)
from bootlight.bootstrap.understood import count_classes
from bootlight.data.datamodule import BootstrapData
from bootlight.errors import BootlightError, check_range
from bootlight.evaluation.generation import Evaluation
from bootlight.generators.part import PartModule
from bootlight.io.paths import expand_settings
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import SAMPLES, GenerationFolder, RunFolder


class Parts(NamedTuple):
    """Fresh objects for a training."""

    model: PartModule
    data: BootstrapData
    trainer: Trainer
    context: GenerationContext


class Builder(LightningCLI):
    """Reads a configuration as LightningCLI does, and makes its objects as often as they are needed; it runs nothing.

    Args:
        args: arguments of `bootlight fit`, or the configuration as a dictionary.

    Raises:
        BootlightError: a setting that cannot be meant.
    """

    def __init__(self, args: list[str] | dict[str, Any]) -> None:
        self._shared_loggers: list[Logger] | None = None
        self._changed: dict[tuple[str, ...], Any] = {}
        self.smoke: Smoke | None = None
        self.awaited: dict[Path, Builder] = {}  # other runs that will be there when this one begins, by their folders
        for plug_in in entry_points(group="bootlight.generators"):
            plug_in.load()  # what is imported has a short name: --model DDPM
        super().__init__(
            PartModule,
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
            parser_kwargs=OPTIONS,
            parser_class=Parser,
            args=args,
            run=False,
        )

    def make_small(self, smoke: Smoke) -> None:
        """From now on every generation is a trial."""
        self.smoke = smoke
        self.synthesis.num_synthetic = smoke.num_synthetic
        smoke.shrink_evaluation(self.evaluation)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The sections that Lightning does not know."""
        parser.add_class_arguments(BootstrapSettings, "bootstrap")
        for key, section in (("synthesis", SynthesisSettings), ("evaluation", Evaluation)):
            parser.add_class_arguments(section, key, fail_untyped=False, sub_configs=True)
        parser.add_argument("--plan", action="store_true", help="print what the run would do and cost, and stop")
        parser.add_argument("--smoke", action="store_true", help="try every stage of every generation, in seconds, and stop")
        parser.add_argument("--stages", type=str, help="run only these, such as evaluate or train,synthesize (default: all)")
        parser.link_arguments("data", "model.init_args.image_size", image_size)
        parser.link_arguments("data", "model.init_args.channels", image_channels)
        parser.link_arguments("bootstrap.num_synthetic", "synthesis.num_synthetic")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, make paths whole, and refuse seeds that only later would be found unfit."""
        super().parse_arguments(parser, args)
        expand_settings(self.config)
        seed = self.config.seed_everything
        if isinstance(seed, bool) or seed is None:
            raise BootlightError(f"seed_everything is {seed}; give a number, so that the run can be repeated")
        check_range("seed_everything", seed, 0, 2**32 - 1)
        if self.config.smoke and self.config.plan:
            raise BootlightError("--plan and --smoke: give one of them")
        if self.config.smoke:
            set_aside(self.config)

    def instantiate_classes(self) -> None:
        """Make the objects; before them, of `model.num_classes: auto`, the number that the images have.

        Raises:
            BootlightError: a logger or callback that needs a package which is missing.
        """
        self._count_classes(self.config)
        try:
            super().instantiate_classes()
        except ValueError:
            check_packages(self.config.trainer)
            raise
        self.datamodule.accumulate = self.trainer.accumulate_grad_batches

    @property
    def bootstrap(self) -> BootstrapSettings:
        """The section of this name."""
        settings: BootstrapSettings = self.config_init.bootstrap
        return settings

    @property
    def synthesis(self) -> SynthesisSettings:
        """The section of this name."""
        settings: SynthesisSettings = self.config_init.synthesis
        return settings

    @property
    def evaluation(self) -> Evaluation:
        """The section of this name."""
        settings: Evaluation = self.config_init.evaluation
        return settings

    @property
    def run(self) -> RunFolder:
        """The folder of the run."""
        return RunFolder(Path(self.bootstrap.run_dir))

    @property
    def seed(self) -> int:
        """Of the run."""
        return int(self.config.seed_everything)

    @property
    def text(self) -> str:
        """The resolved configuration, YAML."""
        return written(self.parser, self.config)

    def changed(self, settings: Mapping[str, Any]) -> Any:
        """The configuration with some dotted keys replaced; itself where there are none.

        Raises:
            BootlightError: a key or value that the configuration cannot have.
        """
        if not settings:
            return self.config
        key = tuple(as_arguments(settings))
        if key not in self._changed:  # parsing takes a third of a second, and each generation asks several times
            self._changed[key] = changed(self.parser, self.config, settings)
            self._count_classes(self._changed[key])
        return self._changed[key]

    def _count_classes(self, config: Any) -> None:
        """In the place of `model.num_classes: auto`, the number that the images have."""
        if config.model.init_args.get("num_classes") == "auto":
            config.model.init_args.num_classes = count_classes(self._data_of(config))

    def parts(self, context: GenerationContext, settings: Mapping[str, Any] | None = None) -> Parts:
        """Fresh objects for a training.

        Args:
            context: run, generation and part.
            settings: dotted keys that replace those of the configuration.
        """
        config = self.changed(settings or {})
        context = replace(context, model=config.model.as_dict())
        objects = self.parser.instantiate_classes(config)
        if self.smoke is not None:
            self.smoke.shrink_model(objects.model)
        data = self._ready(objects.data, config)
        data.attach(context)
        return Parts(objects.model, data, self._trainer(objects.trainer, context), context)

    def data(self, settings: Mapping[str, Any] | None = None) -> BootstrapData:
        """Fresh data alone."""
        return self._data_of(self.changed(settings or {}))

    def _data_of(self, config: Any) -> BootstrapData:
        return self._ready(made(BootstrapData, "data", config.data), config)

    def _ready(self, data: BootstrapData, config: Any) -> BootstrapData:
        data.accumulate, data.expected = config.trainer.accumulate_grad_batches or 1, getattr(self, "datamodule", data).expected
        if self.smoke is not None:
            self.smoke.shrink_data(data)
        return data

    def settings_of(self, part: str, number: int = 0) -> Mapping[str, Any]:
        """What the training of a part in a generation replaces in the configuration."""
        return changes_of(self.bootstrap.stages or (), part, number)

    def num_drawn(self, into: str = SAMPLES, number: int | None = None) -> int:
        """Images that a generation draws into a folder; that any does, where it is not said which."""
        drawing = [stage for stage in self.bootstrap.stages or () if stage.into == into]
        chosen = [stage for stage in drawing if number is not None and stage.takes_part(number)] or drawing
        asked = next((count for stage in chosen if (count := stage.count(self.datamodule)) is not None), None)
        drawn = self.synthesis.num_synthetic  # in a trial no more than that
        return drawn if asked is None else asked if self.smoke is None else min(asked, drawn)

    def drawn_by(self, generation: int, into: str) -> int:
        """Images that a generation draws into a folder; a `BootlightError` where it draws none and no user's stage may."""
        stages = self.bootstrap.stages or ()
        if stages and all(map(is_ours, stages)) and not any(s.into == into and s.takes_part(generation) for s in stages):
            said = f"generation {generation} draws nothing into {into}, which later ones train on, by data.mixing"
            raise BootlightError(f"bootstrap.stages: {said}")
        return self.num_drawn(into, generation)

    def model_of(self, part: str, number: int = 0) -> PartModule:
        """A fresh model of a part in a generation, alone."""
        model: PartModule = made(PartModule, "model", self.changed(self.settings_of(part, number)).model)
        if self.smoke is not None:
            self.smoke.shrink_model(model)
        return model

    @property
    def loggers(self) -> list[Logger]:
        """Those of the user, the same ones in every generation: a tracker's run is the whole bootstrap."""
        if self._shared_loggers is None:
            self._shared_loggers = [logger for logger in as_list(self.config_init.trainer.logger) if isinstance(logger, Logger)]
        return self._shared_loggers

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer of generation 0, by which devices and settings are known before there is a generation."""
        return self._trainer(self.config_init.trainer, GenerationContext(self.run, 0, 0))

    def _trainer(self, settings: Any, context: GenerationContext) -> Trainer:
        return training_trainer(dict(settings), context, self.loggers, self.bootstrap.checkpoint_every)

    def drawing_trainer(self, folder: GenerationFolder, callbacks: Sequence[Callback]) -> Trainer:
        """A trainer whose `predict` draws on the devices of the run."""
        return drawing_trainer(dict(self.config_init.trainer), folder, callbacks)

    def judge_trainer(self) -> Trainer:
        """A trainer of the same devices and precision, without the callbacks of a generation."""
        return judge_trainer(dict(self.config_init.trainer), self.run, self.trainer.world_size)

    def trial_trainer(self, callbacks: Sequence[Callback], loggers: list[Logger], **own: Any) -> Trainer:
        """A trainer of the first steps."""
        return trial_trainer(dict(self.config_init.trainer), callbacks, loggers, **own)
