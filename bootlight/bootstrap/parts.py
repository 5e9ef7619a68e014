"""The networks that a generation has published, for stages that draw with them and for networks that refer to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning.pytorch.utilities.seed import isolate_rng

from bootlight.generators.load import load_generator, noted_dtype
from bootlight.generators.parts import Referring, attach_recorded
from bootlight.generators.published import published_weights
from bootlight.runs.references import Reference, parse_reference

if TYPE_CHECKING:
    from bootlight.bootstrap.builder import Builder
    from bootlight.generators.part import PartModule
    from bootlight.runs.context import GenerationContext
    from bootlight.runs.folder import GenerationFolder


class PublishedParts:
    """Loads networks of one run by its configuration, others as `bootlight sample` does.

    Args:
        builder: of the run.
    """

    def __init__(self, builder: Builder) -> None:
        self.builder = builder

    def load(self, folder: GenerationFolder) -> PartModule:
        """The network in a folder, in eval mode.

        Args:
            folder: of the generation, as seen from the part.

        Raises:
            BootlightError: it is missing or damaged, or, of another run, of a class that is not bootlight's.
        """
        if folder.path.parent.resolve() != self.builder.run.path.resolve():
            return load_generator(folder)
        model = self.builder.model_of(folder.part, folder.number)
        model.load_published(published_weights(folder))
        model.image_dtype = noted_dtype(folder)
        attach_recorded(model, folder, self.load)
        if self.builder.bootstrap.compile:
            model.compile_networks()
        return model.eval()

    def untrained(self, part: str, number: int = 0) -> PartModule:
        """A model of a part, for looking at: that of the configuration where the part has no settings of its own.

        Its weights take nothing from global random generators.
        """
        if not self.builder.settings_of(part, number):
            model: PartModule = self.builder.model
            return model
        with isolate_rng(include_cuda=False):
            return self.builder.model_of(part, number)

    def attach_stand_ins(self, model: Referring, context: GenerationContext) -> None:
        """Give a model on trial the networks that it refers to: untrained ones of this run, published ones of others."""
        parts = {name: self.stand_in(parse_reference(text), context) for name, text in model.references.items()}
        model.attach({name: part.eval().requires_grad_(False) for name, part in parts.items() if part is not None})

    def stand_in(self, reference: Reference, context: GenerationContext) -> PartModule | None:
        """What a reference will lead to: of this run an untrained network like it, of another one that network itself.

        Raises:
            BootlightError: another run does not have it.
        """
        if reference.run is None:
            return self.builder.model_of(reference.part, max(0, reference.generation or 0))
        awaited = self.builder.awaited.get(reference.run)
        if awaited is not None:
            return awaited.model_of(reference.part, max(0, reference.generation or 0))
        found = reference.resolve(context.folder)
        return None if found is None else load_generator(found)
