"""The stage that draws the images of a generation."""

from __future__ import annotations

from copy import copy, deepcopy
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from bootlight.bootstrap.composing import compose_with, denoising, described, with_choice
from bootlight.bootstrap.parts import PublishedParts
from bootlight.bootstrap.stage import Stage, Work
from bootlight.data.generation_images import BEFORE, GenerationImages, NotDrawnYet
from bootlight.distributed.processes import agree, barrier, check_same, gather, wait_for
from bootlight.distributed.stopping import leave_if_asked, stop_request
from bootlight.errors import BootlightError, check_range
from bootlight.generators.base import GeneratorModule
from bootlight.generators.published import weights_hash
from bootlight.io.atomic import file_sha256, read_json, write_json
from bootlight.io.shown import REFERENCE
from bootlight.runs.folder import MODEL, SAMPLES
from bootlight.runs.references import check_name, parse_reference
from bootlight.runs.timing import clock
from bootlight.synthesis.asking import check_needs, check_protocol, drawing_of, previews
from bootlight.synthesis.batch_size import LARGEST, fastest_batch_size
from bootlight.synthesis.complete import complete
from bootlight.synthesis.drawing import draw_missing
from bootlight.synthesis.previews import shows_points, some, write_previews, write_scatter
from bootlight.synthesis.synthesizer import Draw
from bootlight.synthesis.written import Written

if TYPE_CHECKING:
    from pathlib import Path

    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.generation import Generation
    from bootlight.bootstrap.stage import Generations
    from bootlight.data.datamodule import BootstrapData
    from bootlight.diffusion.compose import Composition
    from bootlight.runs.context import GenerationContext
    from bootlight.runs.folder import GenerationFolder
    from bootlight.synthesis.batches import MissingBatches
    from bootlight.synthesis.drawing import Drawing, FolderWriter
    from bootlight.synthesis.synthesizer import Synthesizer


class Synthesize(Stage):
    """Published weights, `trainer.predict`, and a callback that writes the folder of images; its manifest comes last.

    Args:
        part: that draws.
        into: name of the folder.
        synthesizer: how images are drawn; each from noise of its own if left out.
        compose: what the denoiser of the part is composed with, in this drawing alone.
        n: how many; as the synthesizer says, or `bootstrap.num_synthetic`, if left out.
        generations: in which ones: all, the first, or all but the first.
    """

    def __init__(
        self,
        part: str = MODEL,
        into: str = SAMPLES,
        synthesizer: Synthesizer | None = None,
        n: int | None = None,
        generations: Generations = "all",
        compose: Composition | None = None,
    ) -> None:
        check_name("part", part)
        check_name("into", into)
        if n is not None:
            check_range("bootstrap.stages: Synthesize n", n, 1)
        self.part = part
        self.into = into
        self.synthesizer = synthesizer or Draw()
        self.compose = compose
        self.n = n
        self.generations = generations

    def count(self, data: BootstrapData) -> int | None:
        """See `Stage`; what the synthesizer says where `n` is left out."""
        return self.synthesizer.count(data) if self.n is None else self.n

    def work(self, builder: Builder, number: int) -> Work:
        """See `Stage`."""
        count = builder.num_drawn(self.into, number)
        return Work(self.into, self.part, draws=count, keeps=count, beside=self.beside(), synthesizer=self.synthesizer)

    def beside(self) -> tuple[str, ...]:
        """Parts of the same run that each image asks besides the one that draws."""
        texts = self._references()
        return tuple(reference.part for reference in map(parse_reference, texts) if reference.run is None)

    def is_done(self, generation: Generation) -> bool:
        """See `Stage`."""
        return generation.folder.of_images(self.into).is_synthesized

    def run(self, generation: Generation) -> None:
        """See `Stage`."""
        folder = self._folder(generation)
        synthesizer, composition, chosen = with_choice(self.synthesizer, self.compose, folder.choice)
        generator = generation.generator(self.part)
        references = compose_with(synthesizer, composition, generator, folder, PublishedParts(generation.builder).load)
        generator.to(generation.device)
        count = generation.builder.num_drawn(self.into, generation.number)
        images = generation.images()
        drawing = drawing_of(generator, synthesizer, images, generation.context, count, self.into)
        points = shows_points(drawing.generator)
        if generation.writes and not points and not folder.previews.exists():
            self._preview(generation, folder, generator, synthesizer, images)
        batch_size = self._batch_size(generation, folder, drawing.generator, count)

        def predict(drawing: Drawing, batches: MissingBatches, writer: FolderWriter) -> None:
            trainer = generation.builder.drawing_trainer(folder, [writer])
            with stop_request.saving():
                trainer.predict(drawing, dataloaders=batches, return_predictions=False)

        digests = draw_missing(
            drawing,
            folder,
            batch_size,
            share=generation.share,
            description=f"generation {generation.number} · {self.into}",
            predict=predict,
        )
        leave_if_asked()  # all ranks have drawn their share
        with clock.part("files"):
            if generation.writes:
                if points:
                    write_scatter(folder.previews, Written.by(drawing.generator, folder), count, some(images.real))
                part = {"reference": self.part, "weights_sha256": weights_hash(folder)}
                own = {} if composition is None else described(generation.builder, self, chosen.get("chosen", {}))
                decided = {"part": part, **references, **own}
                known: dict[str, Any] = {"batch_size": batch_size, "digests": digests, "decided": decided}
                complete(drawing, folder, generation=generation.number, chosen=chosen, **known)
            wait_for_manifest(generation, folder)

    def drew(self, generation: Generation) -> GeneratorModule:
        """See `Stage`."""
        folder = self._folder(generation)
        synthesizer, composition, _ = with_choice(self.synthesizer, self.compose, folder.choice)
        generator = generation.generator(self.part)
        compose_with(synthesizer, composition, generator, folder, PublishedParts(generation.builder).load)
        return generator

    def _folder(self, generation: Generation) -> GenerationFolder:
        return generation.folder.of_part(self.part).of_images(self.into)

    def networks(self, number: int) -> list[str]:
        """See `Stage`."""
        return [self.part, *self._references()]

    def _references(self) -> list[str]:
        """Texts, of all that draws besides the part."""
        return [*self.synthesizer.references.values(), *({} if self.compose is None else self.compose.references).values()]

    def rehearse(self, builder: Builder, first: GenerationContext, data: BootstrapData) -> None:
        """See whether the generator is one that the synthesizer can ask, and whether it asks for what it should."""
        generator = PublishedParts(builder).untrained(self.part)
        if self.into in data.origins:
            raise BootlightError(
                f"bootstrap.stages: Synthesize draws into {self.into}, a name of data.origins; give it another"
            )
        count = builder.num_drawn(self.into, 0 if self.takes_part(0) else 1)
        check_needs(self.synthesizer, generator, count)
        assert isinstance(generator, GeneratorModule)  # as every `needs` is
        composition = deepcopy(self.compose)
        if composition is not None:
            PublishedParts(builder).attach_stand_ins(composition, first)
            model = copy(denoising(generator))
            composition.fits(model)
            model.then, generator = composition, model
        check_protocol(self.synthesizer, generator, composition)
        synthesizer = deepcopy(self.synthesizer)
        PublishedParts(builder).attach_stand_ins(synthesizer, first)
        synthesizer.draws_with(generator)
        if type(self.synthesizer) is not Draw or self.synthesizer.label_weights is not None:
            try:
                drawing_of(generator, synthesizer, GenerationImages.of(data, first.folder), first, count, self.into)
            except NotDrawnYet as awaited:
                earlier = takewhile(lambda stage: stage is not self, builder.bootstrap.stages or ())
                if not awaited.into.startswith(BEFORE) and awaited.into not in {stage.into for stage in earlier}:
                    raise

    def check(self, earlier: list[Stage], every: list[Stage]) -> None:
        """See `Stage`."""
        if any(stage.into == self.into and stage.meets(self) for stage in earlier):
            raise BootlightError(f"bootstrap.stages: two Synthesize draw into {self.into}; give one another name")

    def _preview(
        self,
        generation: Generation,
        folder: GenerationFolder,
        generator: GeneratorModule,
        synthesizer: Synthesizer,
        images: GenerationImages,
    ) -> None:
        """The pictures of a row of the strip: the first of a folder of so many images, of other seeds."""
        count = generation.builder.synthesis.num_previews
        with clock.part("synthesis"):
            drawn = previews(generator, synthesizer, images, generation.context, count, self.into)
            write_previews(folder.previews, drawn, generator.image_dtype, some(images.real, REFERENCE))

    def _batch_size(self, generation: Generation, folder: GenerationFolder, generator: GeneratorModule, count: int) -> int:
        """The same on all ranks and after an interruption, because the last bits of an image depend on it."""
        asked = generation.builder.synthesis.batch_size
        if asked != "auto":
            return asked
        kept = agree(read_batch_size(folder.batch_size))
        if kept is not None:
            return kept
        with clock.part("synthesis"):
            size = min(gather(fastest_batch_size(generator, -(-count // generation.world_size))))
        if generation.writes:
            write_json(folder.batch_size, {"batch_size": size})
        return size


def wait_for_manifest(generation: Generation, folder: GenerationFolder) -> None:
    """All ranks see that the folder is complete; the next generation reads it on every rank.

    Raises:
        BootlightError: one does not, or nodes that each have a folder of their own have drawn other images.
    """
    barrier()
    if generation.context.shared:
        wait_for(folder.metadata)
    else:
        cure = "put --bootstrap.run_dir where all nodes see the same files, or use equal machines"
        check_same(str(folder.metadata), file_sha256(folder.metadata), cure)


def read_batch_size(file: Path) -> int | None:
    """What `fastest_batch_size` has found for a generation; None where it has not been asked yet.

    Raises:
        BootlightError: the file is damaged.
    """
    if not file.exists():
        return None
    content = read_json(file)
    size = content.get("batch_size") if isinstance(content, dict) else None
    if not isinstance(size, int) or not 1 <= size <= LARGEST:
        raise BootlightError(f"{file} has no batch_size from 1 to {LARGEST}; delete it and the images that it was measured for")
    return size
