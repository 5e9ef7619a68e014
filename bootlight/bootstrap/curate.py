"""The stage that decides which drawn images later generations train on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootlight.bootstrap.judging import check_judges
from bootlight.bootstrap.parts import PublishedParts
from bootlight.bootstrap.stage import Stage
from bootlight.distributed.processes import agree, barrier, wait_for
from bootlight.errors import BootlightError
from bootlight.evaluation.sets.streamed import drawn_source
from bootlight.runs.curation import Row, write_curation
from bootlight.runs.drawn import drawn_shape, read_drawn
from bootlight.runs.folder import SAMPLES
from bootlight.runs.references import check_name, parse_reference
from bootlight.runs.timing import clock

if TYPE_CHECKING:
    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.generation import Generation
    from bootlight.bootstrap.stage import Generations
    from bootlight.data.datamodule import BootstrapData
    from bootlight.runs.context import GenerationContext
    from bootlight.runs.folder import GenerationFolder
    from bootlight.synthesis.curator import Curator


class Curate(Stage):
    """Each drawn image is kept or left out, and may get a weight or another label; the images stay, and all are measured.

    Args:
        curator: says which.
        of: folder of images.
        generations: in which ones: all, the first, or all but the first.
    """

    def __init__(self, curator: Curator, of: str = SAMPLES, generations: Generations = "all") -> None:
        check_name("of", of)
        self.curator = curator
        self.measures = len(curator.judges_by) > 0
        self.of = of
        self.generations = generations

    def images(self) -> list[str]:
        """See `Stage`."""
        return [self.of]

    def rehearse(self, builder: Builder, first: GenerationContext, data: BootstrapData) -> None:
        """See whether the run has what the curator judges by."""
        check_judges(f"bootstrap.stages: {type(self.curator).__name__}", self.curator.judges_by, builder)
        found = {
            key: PublishedParts(builder).stand_in(parse_reference(text), first) for key, text in self.curator.references.items()
        }
        self.curator.check_parts(found)

    def networks(self, number: int) -> list[str]:
        """See `Stage`."""
        return list(self.curator.references.values())

    def is_done(self, generation: Generation) -> bool:
        """See `Stage`."""
        return generation.folder.of_images(self.of).curation.exists()

    def run(self, generation: Generation) -> None:
        """See `Stage`."""
        data, folder = generation.open_data(), generation.drawn(self.of)
        found = agree(self._rows(generation, data, folder) if generation.is_rank_0 else None)  # it alone has a judge
        if found is not None and generation.writes:
            write_curation(folder, found, len(data.real.store.class_names))
        barrier()
        wait_for(folder.curation)

    def _rows(self, generation: Generation, data: BootstrapData, folder: GenerationFolder) -> list[Row]:
        """What the curator says.

        Raises:
            BootlightError: it is about other images than it was asked about.
        """
        with clock.part("files"):
            images = drawn_source(f"{self.of} of generation {generation.number}", folder, drawn_shape(folder, data.image_shape))
        rows = [Row(row.file_name, label=row.label) for row in read_drawn(folder)]
        with clock.part("evaluation"):
            found = list(self.curator.rows(rows, images, generation))
        named = [row.file_name for row in found if isinstance(row, Row)]
        if len(named) < len(found) or named != [row.file_name for row in rows]:
            name = type(self.curator).__name__
            raise BootlightError(f"{name}.rows answered other images than it was asked about; one row for each, in order")
        return found
