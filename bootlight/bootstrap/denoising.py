"""How well what has drawn a folder of images denoises real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bootlight.bootstrap.parts import PublishedParts
from bootlight.distributed.stopping import check_stop
from bootlight.errors import BootlightError
from bootlight.evaluation.attempt import attempt
from bootlight.evaluation.denoising_loss import NAME, denoising_loss
from bootlight.generators.denoising import DenoisingModule
from bootlight.generators.diffusion import Diffusion
from bootlight.runs.folder import MODEL
from bootlight.runs.timing import clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.generation import Generation
    from bootlight.bootstrap.stage import Stage
    from bootlight.data.datamodule import BootstrapData
    from bootlight.metrics.score import Score

WHERE = "evaluation.denoising_levels"
OF_BINS = "evaluation.noise_bins"


def drawing_stage(builder: Builder, into: str, number: int, where: str = WHERE) -> Stage | None:
    """The stage that draws a folder in a generation; None = there is no list of stages.

    Raises:
        BootlightError: none does.
    """
    stages = builder.bootstrap.stages
    found = next((stage for stage in stages or () if stage.into == into and stage.takes_part(number)), None)
    if stages is not None and found is None:
        raise BootlightError(f"{where}: no stage draws {into}, whose model is asked; set it to 0")
    return found


def check_denoising(builder: Builder, folders: Sequence[str], number: int) -> None:
    """See whether models denoise that are to be asked how well they do.

    Raises:
        BootlightError: names one that does not.
    """
    evaluation = builder.evaluation
    for into in folders:
        for where, wanted, kind, lacks in (
            (WHERE, evaluation.denoising_levels, DenoisingModule, "has no denoiser"),
            (OF_BINS, evaluation.noise_bins, Diffusion, "is not trained noise level by noise level"),
        ):
            if not wanted:
                continue
            stage = drawing_stage(builder, into, number, where)
            model = PublishedParts(builder).untrained(MODEL if stage is None else stage.part, number)
            if not isinstance(model, kind):
                raise BootlightError(f"{where}: {type(model).__name__} {lacks}; take bootlight.Diffusion, or set it to 0")


def as_drawn(generation: Generation, into: str) -> DenoisingModule:
    """The model that has drawn a folder, composed as it was then, on the device of this process.

    Raises:
        BootlightError: a stage of the user's own has drawn it, of which nobody knows by which model.
    """
    stage = drawing_stage(generation.builder, into, generation.number)
    model = generation.published(MODEL) if stage is None else stage.drew(generation)
    if not isinstance(model, DenoisingModule):
        raise BootlightError(f"nobody knows a denoiser by which {into} was drawn")
    return model.to(generation.device)


def denoising_scores(generation: Generation, into: str, data: BootstrapData, failed: dict[str, str]) -> dict[str, Score]:
    """`denoising-loss/holdout`, and `denoising-loss/train` of the real images in use; none where it was not asked for.

    Args:
        generation: that has drawn.
        into: the folder.
        data: of the generation, open.
        failed: where it is noted why there is none.
    """
    evaluation, scores = generation.builder.evaluation, dict[str, Any]()
    if not evaluation.denoising_levels:
        return scores
    with clock.part("evaluation"), attempt(NAME, failed):
        model = as_drawn(generation, into)
        sets = {"holdout": data.holdout, "train": data.real}
        for name, which in sets.items():
            if len(which):
                loss = denoising_loss(
                    model.denoiser(),
                    data,
                    which,
                    evaluation.denoising_levels,
                    num_classes=model.num_classes,
                    batch_size=evaluation.batch_size,
                    device=generation.device,
                    check=check_stop,
                    encode=model.encode,
                )
                scores[f"{NAME}/{name}"] = loss.noting(reference=f"real {name} images")
    return scores
