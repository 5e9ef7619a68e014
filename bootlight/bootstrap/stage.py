"""A stage of a generation: what it needs and leaves are files, so that it can be passed over, repeated or run alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bootlight.errors import BootlightError
from bootlight.runs.references import parse_reference

if TYPE_CHECKING:
    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.generation import Generation
    from bootlight.data.datamodule import BootstrapData
    from bootlight.generators.base import GeneratorModule
    from bootlight.runs.context import GenerationContext
    from bootlight.synthesis.synthesizer import Synthesizer


Generations = Literal["all", "first", "later"]


class Work(NamedTuple):
    """What a stage does in a generation, for a plan.

    Args:
        what: a word, such as the part or the folder.
        part: whose module it is about; empty = it costs nothing that is counted.
        trains: whether that is trained.
        publishes: whether weights are left.
        draws: images that are drawn.
        keeps: images of them that are left on the disk.
        beside: other parts that each drawn image asks, too.
        synthesizer: that draws, where an image may take longer or shorter than a plain one.
    """

    what: str = ""
    part: str = ""
    trains: bool = False
    publishes: bool = False
    draws: int = 0
    keeps: int = 0
    beside: tuple[str, ...] = ()
    synthesizer: Synthesizer | None = None


class Stage(ABC):
    """Part of a generation. The disk alone says whether it is done: another process may have done it.

    Attributes:
        generations: in which ones it takes part: all, the first, or all but the first.
        part: that it trains or draws with.
        into: folder of images that it draws.
        n: images that it draws; None = as many as the run says.
        trains: whether it takes steps that should be tried first.
        publishes: whether it leaves weights under the name of the part.
        like: part whose module the one that it publishes has; empty where it has a module of its own, by `changes`.
        measures: whether it needs the networks that look at images.
        changes: dotted keys that it replaces in the configuration.
    """

    generations: Generations = "all"
    part: str = ""
    into: str = ""
    n: int | None = None
    trains: bool = False
    publishes: bool = False
    like: str = ""
    measures: bool = False
    changes: Mapping[str, Any] = {}  # nobody changes it

    def count(self, data: BootstrapData) -> int | None:
        """Images that it draws; None = as many as the run says.

        Args:
            data: of the configuration, not yet open.
        """
        return self.n

    def looks(self, builder: Builder) -> bool:
        """Whether it needs the networks that look at images; where `measures` cannot tell, since that is up to a module."""
        return self.measures

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

    def networks(self, number: int) -> list[str]:
        """References of the published networks without which it cannot run in a generation."""
        return []

    def images(self) -> list[str]:
        """Folders of images of its own generation without which it cannot run."""
        return []

    def work(self, builder: Builder, number: int) -> Work | None:
        """What it does in a generation, for `--plan`; None = nobody knows."""
        return None

    def drew(self, generation: Generation) -> GeneratorModule | None:
        """The model by which it has drawn the images of a generation, composed as then; None = nobody knows."""
        return None

    @property
    def name(self) -> str:
        """As `--stages` calls it."""
        return type(self).__name__.lower()

    def stands_for(self) -> list[Stage]:
        """The stages that are run in its place, itself if it is one; known from its arguments alone."""
        return [self]

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


def check_part(stage: Stage, earlier: list[Stage]) -> None:
    """See whether nobody else publishes the part that a stage does.

    Raises:
        BootlightError: an earlier stage does.
    """
    if any(other.publishes and other.part == stage.part and other.meets(stage) for other in earlier):
        raise BootlightError(f"bootstrap.stages: two stages publish the part {stage.part}; give one another name")


def check_published(stage: Stage, number: int, references: Sequence[str], earlier: Sequence[Stage]) -> None:
    """See whether a generation publishes the networks of its own that a stage needs before the stage begins.

    Raises:
        BootlightError: names the one that it does not.
    """
    for reference in map(parse_reference, references):
        here = reference.run is None and reference.generation is None
        if here and not any(o.publishes and o.part == reference.part and o.takes_part(number) for o in earlier):
            raise BootlightError(
                f"bootstrap.stages: {type(stage).__name__} needs {reference}, which no stage before it publishes"
            )


def changes_of(stages: Sequence[Stage], part: str, number: int = 0) -> Mapping[str, Any]:
    """What is replaced in the configuration for the module of a part in a generation, by the stage that publishes it.

    A stage with `like` has the module of that part. Where no stage of the generation publishes the part, the first one of any.
    """
    publishing = [stage for stage in stages if stage.publishes and stage.part == part]
    found = next((stage for stage in publishing if stage.takes_part(number)), publishing[0] if publishing else None)
    if found is None or not found.like:
        return {} if found is None else found.changes
    like = parse_reference(found.like)
    return changes_of(stages, like.part, like.at(number)) if like.run is None and like.at(number) >= 0 else {}


def is_ours(stage: Stage) -> bool:
    """Whether a stage is of this package, so that all that it draws and publishes is known beforehand."""
    return type(stage).__module__.startswith("bootlight.")


def drawn_before(stages: Sequence[Stage], stage: Stage, drawn_by: Callable[[int, str], int]) -> Callable[[int, str], int]:
    """How many images a generation draws into a folder, for a training on trial in generation 0.

    Args:
        stages: of a generation.
        stage: that trains; of its own generation it sees what those before it draw.
        drawn_by: how many a generation, by number, draws into a folder, by name, at all.

    Raises:
        BootlightError: by the answer, where they draw nothing there.
    """
    earlier = stages[: stages.index(stage)] if stage in stages else ()

    def drawn(generation: int, into: str) -> int:
        known = stage in stages and generation == 0 and all(map(is_ours, stages))
        if known and not any(other.into == into and other.meets(stage) for other in earlier):
            said = f"{stage.part} trains on {into}, into which no stage before it draws; put the Synthesize first"
            raise BootlightError(f"bootstrap.stages: {said}")
        return drawn_by(generation, into)

    return drawn
