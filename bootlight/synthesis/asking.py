"""What a synthesizer asks of a generator, checked: for a folder, and for the previews of a generation."""

import json
from dataclasses import replace

import torch
from torch import Tensor

from bootlight.data.generation_images import GenerationImages
from bootlight.diffusion.compose import Composition
from bootlight.errors import BootlightError
from bootlight.generators.base import GeneratorModule
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import SAMPLES
from bootlight.synthesis.batches import Part
from bootlight.synthesis.drawing import Drawing
from bootlight.synthesis.folder import preview_seeds
from bootlight.synthesis.requests import as_requests
from bootlight.synthesis.synthesizer import Synthesizer


def check_needs(synthesizer: Synthesizer, generator: object, count: int) -> None:
    """Whether a synthesizer can ask a generator for so many images.

    Raises:
        BootlightError: it needs a generator of another class, or draws clips, of which so many images are no whole number.
    """
    name, needs, length = type(synthesizer).__name__, synthesizer.needs, synthesizer.length
    if not isinstance(generator, needs):
        raise BootlightError(
            f"{name} draws with a {needs.__name__}, which {type(generator).__name__} is not; take another model or synthesizer"
        )
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise BootlightError(f"{name}.length is {length!r}; it must be an integer from 1 on")
    if count % length:
        raise BootlightError(f"{name} draws clips of {length} images, into which {count} images do not divide; ask for others")


def check_protocol(synthesizer: Synthesizer, generator: object, composition: Composition | None) -> None:
    """Whether what decides the images can be written down when they have been drawn.

    Raises:
        BootlightError: it cannot.
    """
    try:
        json.dumps([synthesizer.protocol(generator), None if composition is None else composition.protocol()])
    except (TypeError, ValueError, RecursionError) as error:
        names = [type(part).__name__ for part in (synthesizer, generator, composition) if part is not None]
        raise BootlightError(
            f"the protocol of {', '.join(names)} cannot be written as JSON: {error}; let it have numbers, texts, lists and "
            "dictionaries"
        ) from error


def drawing_of(
    generator: GeneratorModule,
    synthesizer: Synthesizer,
    images: GenerationImages,
    context: GenerationContext,
    count: int,
    into: str = SAMPLES,
) -> Drawing:
    """What draws `count` images of a generation into a folder.

    Raises:
        BootlightError: the synthesizer cannot ask this generator, or does not ask for so many.
    """
    check_needs(synthesizer, generator, count)
    generator = synthesizer.draws_with(generator)
    asked = count // synthesizer.length
    found = synthesizer.requests(generator, images, context, asked, into)
    return Drawing(generator, synthesizer, as_requests(found, asked, type(synthesizer).__name__), images.parents)


@torch.no_grad()
def previews(
    generator: GeneratorModule,
    synthesizer: Synthesizer,
    images: GenerationImages,
    context: GenerationContext,
    count: int,
    into: str = SAMPLES,
) -> Tensor:
    """Images (count, C, H, W) as those of a folder of so many: of seeds that are the same in every generation.

    Labels come in their order, which is easy to read; parents are those that the synthesizer asks for.
    """
    length = synthesizer.length
    whole = drawing_of(generator, synthesizer, images, context, -(-count // length) * length, into)
    asked = whole.requests.in_order()
    requests = replace(asked, seeds=preview_seeds(context, len(asked)))
    if requests.labels is not None and requests.parents is None:
        requests = replace(requests, labels=requests.labels.sort().values)
    drawing = Drawing(whole.generator, synthesizer, requests, images.parents)
    frames = [drawing.predict_step(Part(slice(0, len(requests)), k)) for k in range(length)]
    order = torch.tensor(list(requests.indices)).argsort().to(frames[0].device)
    return torch.stack(frames, 1)[order].flatten(0, 1)[:count]
