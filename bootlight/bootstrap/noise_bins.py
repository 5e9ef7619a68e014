"""The loss of what has drawn a folder of images at each noise level, in a file of the generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootlight.bootstrap.denoising import as_drawn
from bootlight.distributed.stopping import check_stop
from bootlight.errors import BootlightError
from bootlight.evaluation.attempt import attempt
from bootlight.evaluation.noise_bins import NAME, noise_bins
from bootlight.generators.diffusion import Diffusion
from bootlight.io.atomic import write_json
from bootlight.runs.timing import clock

if TYPE_CHECKING:
    from bootlight.bootstrap.generation import Generation
    from bootlight.data.datamodule import BootstrapData


def write_noise_bins(generation: Generation, into: str, data: BootstrapData, failed: dict[str, str]) -> None:
    """`noise_bins.json`, of held-out images, or, where there are none, of the real ones in use; none if it was not asked for.

    Args:
        generation: that has drawn.
        into: the folder.
        data: of the generation, open.
        failed: where it is noted why there is none.
    """
    evaluation, file = generation.builder.evaluation, generation.drawn(into).noise_bins
    file.unlink(missing_ok=True)  # of an evaluation before
    if not evaluation.noise_bins:
        return
    with clock.part("evaluation"), attempt(NAME, failed):
        model = as_drawn(generation, into)
        if not isinstance(model, Diffusion):
            raise BootlightError(f"{type(model).__name__}, which has drawn {into}, is not trained by gradients")
        model.then = None  # what was trained, not what it was composed with in drawing
        which = data.holdout if len(data.holdout) > 1 else data.real
        found = noise_bins(
            model,
            data,
            which,
            evaluation.noise_bins,
            batch_size=evaluation.batch_size,
            device=generation.device,
            check=check_stop,
        )
        write_json(file, found.to_json())
