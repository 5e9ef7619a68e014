"""What a stage that chooses a setting is about: whose it is, what draws with a value of it, how good the images are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bootlight.bootstrap.composing import compose_with, with_values
from bootlight.bootstrap.merge import KEY as MERGE
from bootlight.bootstrap.merge import Merge
from bootlight.bootstrap.parts import PublishedParts
from bootlight.bootstrap.synthesize import Synthesize
from bootlight.data.store import store_from_arrays
from bootlight.distributed.stopping import check_stop
from bootlight.errors import BootlightError
from bootlight.evaluation.features import extract
from bootlight.evaluation.sets.sources import StoreSource
from bootlight.evaluation.suite import measure_all
from bootlight.generators.base import GeneratorModule
from bootlight.runs.timing import clock
from bootlight.synthesis.asking import drawing_of

if TYPE_CHECKING:
    from bootlight.bootstrap.generation import Generation
    from bootlight.bootstrap.stage import Stage
    from bootlight.data.datamodule import BootstrapData
    from bootlight.metrics.score import Score
    from bootlight.synthesis.drawing import Drawing

WHERE = "bootstrap.stages: Choose"


def targets_of(stages: Sequence[Stage], number: int, of: str, key: str) -> tuple[Synthesize, Merge | None]:
    """The Synthesize that draws a folder in a generation; and, where the setting is its own, the Merge before it.

    Raises:
        BootlightError: there are none.
    """
    there = [stage for stage in stages if stage.takes_part(number)]
    drawing = next((stage for stage in there if isinstance(stage, Synthesize) and stage.into == of), None)
    if drawing is None:
        raise BootlightError(f"{WHERE} of {of}: no Synthesize after it draws into {of}")
    if key != MERGE:
        return drawing, None
    merge = next((stage for stage in there if isinstance(stage, Merge) and stage.part == drawing.part), None)
    if merge is None or there.index(merge) > there.index(drawing):
        raise BootlightError(f"{WHERE} {MERGE}: no Merge after it publishes {drawing.part}, which draws {of}")
    return drawing, merge


def drawing_with(
    generation: Generation, targets: tuple[Synthesize, Merge | None], key: str, value: float, count: int
) -> Drawing:
    """What draws with a value of a setting, from seeds that are none of the folder's."""
    stage, merge = targets
    folder = generation.folder.of_part(stage.part).of_images(stage.into)
    values = {} if merge is not None else {key: value}
    synthesizer, composition = with_values(stage.synthesizer, stage.compose, values, f"{WHERE} key")
    generator = generation.published(stage.part) if merge is None else merge.merged(generation, value)[0]
    assert isinstance(generator, GeneratorModule)  # looked at before the training, by the stage that draws
    compose_with(synthesizer, composition, generator, folder, PublishedParts(generation.builder).load)
    generator.to(generation.device)
    return drawing_of(generator, synthesizer, generation.images(), generation.context, count, f"{stage.into}_choice")


def measured(generation: Generation, data: BootstrapData, images: Any, by: str) -> Score:
    """The score of drawn images (n, H, W, C) against all real training images."""
    evaluation, network = generation.builder.evaluation, generation.features
    assert network is not None
    real = evaluation.reference(data, "train", data.available)
    drawn = StoreSource("images to choose by", store_from_arrays(np.ascontiguousarray(images)))
    how: dict[str, Any] = {"batch_size": evaluation.batch_size, "device": generation.device, "check": check_stop}
    with clock.part("evaluation"):
        real_side = extract(real, network, cache=data.cache, **how)
        drawn_side = extract(drawn, network, cache=None, **how)
    with clock.part("metrics"):
        scores = measure_all([by], network, real=real_side, synthetic=drawn_side, cache=data.cache, check=check_stop)
    return next(iter(scores.values()))
