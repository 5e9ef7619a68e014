"""Images drawn into a folder by a module, without a run."""

from collections.abc import Sequence

from torch import Tensor

from bootlight.generators.base import GeneratorModule
from bootlight.runs.folder import GenerationFolder
from bootlight.synthesis.batches import Share
from bootlight.synthesis.drawing import Drawing, draw_missing
from bootlight.synthesis.requests import Requests
from bootlight.synthesis.synthesizer import Draw


def draw(
    module: GeneratorModule,
    folder: GenerationFolder,
    seeds: Sequence[int],
    labels: Tensor | None,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
) -> dict[int, str]:
    """See `draw_missing`."""
    drawing = Drawing(module, Draw(), Requests(seeds, labels))
    return draw_missing(drawing, folder, batch_size, share=Share(rank, world_size))
