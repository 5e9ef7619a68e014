"""Which generation of which run an object works for."""

from dataclasses import dataclass, field
from typing import Any

from bootlight.runs.folder import MODEL, GenerationFolder, RunFolder


@dataclass(frozen=True)
class GenerationContext:
    """Which generation of which run an object works for; handed to fresh objects before they are used.

    Args:
        run: the run's folder.
        generation: from 0.
        seed: of the run.
        model: class path and arguments of the generator, as published in `model.json`.
        shared: whether all nodes see the same run folder; otherwise each keeps a complete copy in its own.
        part: that is trained.
        origin: what the part has of others: weights that it started from, and parts that it needs, with their hashes.
    """

    run: RunFolder
    generation: int
    seed: int
    model: dict[str, Any] = field(default_factory=dict)
    shared: bool = True
    part: str = MODEL
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> GenerationFolder:
        """Files of this generation, as seen from the part."""
        return self.run.generation(self.generation).of_part(self.part)

    @property
    def streams(self) -> tuple[str, ...]:
        """What the part adds to the names of its random streams, so that two parts see other noise; nothing for `model`."""
        return () if self.part == MODEL else (self.part,)
