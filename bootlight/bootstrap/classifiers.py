"""The same classifier trained on several training sets, several times: a short form of many `Train`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bootlight.bootstrap.changes import AsWritten
from bootlight.bootstrap.stage import Stage
from bootlight.bootstrap.train import Train
from bootlight.errors import BootlightError, check_range

if TYPE_CHECKING:
    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.generation import Generation
    from bootlight.bootstrap.stage import Generations
    from bootlight.data.datamodule import BootstrapData
    from bootlight.runs.context import GenerationContext

OF_TRAIN = ("module", "start_from", "settings")
WHERE = "bootstrap.stages: Classifiers"


class Classifiers(Stage):
    """Stands for a `Train` of each arm and repeat, which publish the parts `<arm>_0`, `<arm>_1`, ...

    `bootlight.DownstreamAccuracy` compares them. All arms have one module and the settings that are given here, such as
    `data.num_steps`, so that they differ in what an arm says of its own alone: what it trains on, how that is augmented.

    Args:
        arms: by name, what the `Train` of an arm has of its own: `settings` (over those of all), `module`, `start_from`.
        module: class path and arguments of the classifier.
        settings: dotted keys of all arms.
        repeats: trainings of each arm, from other weights and with another order of the images.
        generations: in which ones: all, the first, or all but the first.
    """

    def __init__(
        self,
        arms: AsWritten | dict[str, Any],
        module: AsWritten | dict[str, Any] | None = None,
        settings: AsWritten | dict[str, Any] | None = None,
        repeats: int = 1,
        generations: Generations = "all",
    ) -> None:
        check_range(f"{WHERE} repeats", repeats, 1)
        if not arms:
            raise BootlightError(f"{WHERE}: arms is empty; name one")
        for name, own in arms.items():
            if own is not None and (not isinstance(own, Mapping) or set(own) - set(OF_TRAIN)):
                raise BootlightError(f"{WHERE}: arm {name} is {own!r}; an arm has {', '.join(OF_TRAIN)}")
        self.arms = {str(name): dict(own or {}) for name, own in arms.items()}
        self.module, self.shared = module, dict(settings or {})
        self.repeats = repeats
        self.generations = generations

    def stands_for(self) -> list[Stage]:
        """See `Stage`."""
        return [self._training(name, number) for name in self.arms for number in range(self.repeats)]

    def _training(self, name: str, number: int) -> Stage:
        own = self.arms[name]
        how: dict[str, Any] = {"module": own.get("module", self.module), "start_from": own.get("start_from")}
        how |= {"settings": self.shared | dict(own.get("settings") or {}), "generations": self.generations}
        kind = Train if number == 0 else Again
        return kind(f"{name}_{number}", **how)

    def is_done(self, generation: Generation) -> bool:
        """See `Stage`; a run asks those that stand in its place."""
        return all(stage.is_done(generation) for stage in self.stands_for())

    def run(self, generation: Generation) -> None:
        """See `Stage`."""
        for stage in self.stands_for():
            if not stage.is_done(generation):
                stage.run(generation)


class Again(Train):
    """A `Train` like one that was looked at before: it needs no trial of its own."""

    def rehearse(self, builder: Builder, first: GenerationContext, data: BootstrapData) -> None:
        """See `Stage`."""
        return

    @property
    def name(self) -> str:
        """See `Stage`."""
        return "train"
