"""Images of a published network, drawn without a run around it."""

from __future__ import annotations

import numpy as np

from bootlight.data.generation_images import GenerationImages
from bootlight.generators.base import GeneratorModule
from bootlight.generators.published import weights_hash
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import GenerationFolder, RunFolder
from bootlight.synthesis.asking import drawing_of
from bootlight.synthesis.complete import complete
from bootlight.synthesis.drawing import draw_missing
from bootlight.synthesis.synthesizer import Draw


def draw_published(folder: GenerationFolder, module: GeneratorModule, count: int, batch_size: int, seed: int = 0) -> None:
    """Draw the folder of images of a generation, each class as often as the others, with a manifest.

    Args:
        folder: of the generation.
        module: that it has published, on its device.
        count: images.
        batch_size: of one network call.
        seed: of the run.
    """
    context = GenerationContext(RunFolder(folder.path.parent), folder.number, seed)
    images = GenerationImages(np.arange(module.num_classes or 0))
    drawing = drawing_of(module, Draw(), images, context, count)
    digests = draw_missing(drawing, folder, batch_size)
    decided = {"part": {"reference": folder.part, "weights_sha256": weights_hash(folder)}}
    complete(drawing, folder, generation=folder.number, batch_size=batch_size, digests=digests, decided=decided)
