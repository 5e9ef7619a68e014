"""A stage of a generation: what it needs and leaves are files, so that it can be passed over, repeated or run alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.generation import Generation
    from bootlight.data.datamodule import BootstrapData
    from bootlight.runs.context import GenerationContext


Generations = Literal["all", "first", "later"]


class Stage(ABC):
    """Part of a generation. The disk alone says whether it is done: another process may have done it.

    Attributes:
        generations: in which ones it takes part: all, the first, or all but the first.
        part: that it trains or draws with.
        into: folder of images that it draws.
        n: images that it draws; None = as many as the run says.
        trains: whether it takes steps that should be tried first.
        publishes: whether it leaves weights under the name of the part.
        measures: whether it needs the networks that look at images.
        changes: dotted keys that it replaces in the configuration.
    """

    generations: Generations = "all"
    part: str = ""
    into: str = ""
    n: int | None = None
    trains: bool = False
    publishes: bool = False
    measures: bool = False
    changes: Mapping[str, Any] = {}  # nobody changes it

    def takes_part(self, number: int) -> bool:
        """Whether generation `number` has this stage."""
        return {"all": True, "first": number == 0, "later": number > 0}[self.generations]

    @abstractmethod
    def is_done(self, generation: Generation) -> bool:
        """Whether this process misses nothing that the stage leaves; looked up on every rank."""

    @abstractmethod
    def run(self, generation: Generation) -> None:
        """Do what is missing, on every rank.

        Raises:
            BootlightError: what it needs is not there.
            SystemExit: a stop was asked for; what was done until then stays.
        """

    @property
    def name(self) -> str:
        """As `--stages` calls it."""
        return type(self).__name__.lower()

    def meets(self, other: Stage) -> bool:
        """Whether some generation has both."""
        return any(self.takes_part(number) and other.takes_part(number) for number in (0, 1))

    def check(self, earlier: list[Stage], every: list[Stage]) -> None:
        """Look at the settings, before anything is done.

        Args:
            earlier: stages of a generation that come before this one.
            every: all stages.

        Raises:
            BootlightError: they cannot be meant.
        """
        return

    def rehearse(self, builder: Builder, first: GenerationContext, data: BootstrapData) -> None:
        """Try on copies, in seconds, what would fail after hours; called before anything is trained or written.

        Args:
            builder: makes objects.
            first: generation 0.
            data: of the configuration, open.

        Raises:
            BootlightError: it fails.
        """
        return
