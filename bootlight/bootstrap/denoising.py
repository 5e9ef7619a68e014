"""How well what has drawn a folder of images denoises real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bootlight.bootstrap.composing import compose_with, with_choice
from bootlight.bootstrap.parts import PublishedParts
from bootlight.bootstrap.synthesize import Synthesize
from bootlight.distributed.stopping import check_stop
from bootlight.errors import BootlightError
from bootlight.evaluation.attempt import attempt
from bootlight.evaluation.denoising_loss import NAME, denoising_loss
from bootlight.generators.denoising import DenoisingModule
from bootlight.runs.timing import clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.generation import Generation
    from bootlight.data.datamodule import BootstrapData
    from bootlight.generators.base import GeneratorModule
    from bootlight.metrics.score import Score

WHERE = "evaluation.denoising_levels"


def drawing_stage(builder: Builder, into: str, number: int) -> Synthesize:
    """The stage that draws a folder in a generation.

    Raises:
        BootlightError: none of bootlight's does, so that nobody can tell by which model.
    """
    stages = [Synthesize()] if builder.bootstrap.stages is None else builder.bootstrap.stages
    for stage in stages:
        if isinstance(stage, Synthesize) and stage.into == into and stage.takes_part(number):
            return stage
    raise BootlightError(f"{WHERE}: no bootlight.Synthesize draws {into}, whose model is asked; set it to 0")


def check_denoising(builder: Builder, folders: Sequence[str], number: int) -> None:
    """See whether models denoise that are to be asked how well they do.

    Raises:
        BootlightError: names one that does not.
    """
    for into in folders if builder.evaluation.denoising_levels else ():
        model = PublishedParts(builder).untrained(drawing_stage(builder, into, number).part, number)
        if not isinstance(model, DenoisingModule):
            raise BootlightError(f"{WHERE}: {type(model).__name__} has no denoiser; take a diffusion model, or set it to 0")


def as_drawn(generation: Generation, into: str) -> GeneratorModule:
    """The model that has drawn a folder, composed as it was then, on the device of this process."""
    stage = drawing_stage(generation.builder, into, generation.number)
    folder = generation.folder.of_part(stage.part).of_images(into)
    _, composition, _ = with_choice(stage.synthesizer, stage.compose, folder.choice)
    generator = generation.published(stage.part)
    compose_with(composition, generator, folder, PublishedParts(generation.builder).load)
    return generator.to(generation.device)


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
        assert isinstance(model, DenoisingModule)
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
                )
                scores[f"{NAME}/{name}"] = loss.noting(reference=f"real {name} images")
    return scores
