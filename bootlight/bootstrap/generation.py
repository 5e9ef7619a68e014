"""What the stages of one generation share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bootlight.bootstrap.parts import PublishedParts
from bootlight.data.generation_images import GenerationImages
from bootlight.distributed.processes import in_turn
from bootlight.errors import BootlightError
from bootlight.evaluation.sets.sources import StoreSource
from bootlight.generators.base import GeneratorModule
from bootlight.runs.folder import MODEL
from bootlight.synthesis.batches import Share

if TYPE_CHECKING:
    from bootlight.bootstrap.builder import Builder
    from bootlight.data.datamodule import BootstrapData
    from bootlight.generators.part import PartModule
    from bootlight.runs.context import GenerationContext
    from bootlight.runs.folder import GenerationFolder


@dataclass(frozen=True)
class Generation:
    """One generation of a run.

    Args:
        context: run folder, number, seed.
        builder: makes objects from the configuration.
        features: feature network of the evaluation, where there is one.
        judge: network of the discriminator score, where there is one; on rank 0.
    """

    context: GenerationContext
    builder: Builder
    features: nn.Module | None = None
    judge: nn.Module | None = None

    @property
    def number(self) -> int:
        """From 0."""
        return self.context.generation

    @property
    def folder(self) -> GenerationFolder:
        """Its files."""
        return self.context.folder

    @property
    def is_rank_0(self) -> bool:
        """Whether this process is the one that measures and tells."""
        return self.builder.trainer.is_global_zero

    @property
    def share(self) -> Share:
        """Of this process in what is drawn: of all, or, where each node has a run folder of its own, of its node's."""
        trainer = self.builder.trainer
        if self.context.shared:
            return Share(trainer.global_rank, trainer.world_size)
        return Share(trainer.local_rank, trainer.num_devices)

    @property
    def writes(self) -> bool:
        """Whether this process writes into the run folder that it sees."""
        return self.share.rank == 0

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self.builder.trainer.world_size

    @property
    def device(self) -> torch.device:
        """Of this process."""
        return self.builder.trainer.strategy.root_device

    def at(self, number: int) -> Generation:
        """Another generation of the same run."""
        return replace(self, context=replace(self.context, generation=number))

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the part that draws has of its own in this generation; its data are those of the generation."""
        return self.builder.settings_of(MODEL, self.number)

    @cached_property
    def new_data(self) -> BootstrapData:
        """Real images mixed with those of earlier generations, as configured; not yet opened."""
        data = self.builder.data(self.settings)
        data.attach(self.context)
        return data

    def open_data(self) -> BootstrapData:
        """The same, open; all ranks must ask at the same point, as they open it in turn."""
        if not self.new_data.sources:
            in_turn(self.builder.trainer, self.new_data.setup)
        return self.new_data

    @property
    def real(self) -> StoreSource:
        """The real images in use, once the data are open."""
        real = self.open_data().real
        return StoreSource("real images in use", real.store, real.indices)

    @property
    def held_out(self) -> StoreSource:
        """The real images that nothing is trained on."""
        held_out = self.open_data().holdout
        return StoreSource("real held-out images", held_out.store, held_out.indices)

    @property
    def truth(self) -> Any:
        """The law that the real images were drawn from, where the data know it; else None."""
        return self.open_data().origin.truth

    def images(self) -> GenerationImages:
        """Those that others may be made of; the data are opened, by all ranks."""
        return GenerationImages.of(self.open_data(), self.folder)

    def drawn(self, into: str) -> GenerationFolder:
        """A folder of images that is complete.

        Raises:
            BootlightError: it is not.
        """
        folder = self.folder.of_images(into)
        if not folder.is_synthesized:
            raise BootlightError(f"{folder.samples} has not all images; run the stage that draws them")
        return folder

    def published(self, part: str) -> PartModule:
        """What a part of this generation has published."""
        return PublishedParts(self.builder).load(self.folder.of_part(part))

    def generator(self, part: str) -> GeneratorModule:
        """The same, of a part that draws.

        Raises:
            BootlightError: it does not.
        """
        found = self.published(part)
        if not isinstance(found, GeneratorModule):
            raise BootlightError(f"{part} is a {type(found).__name__}, which draws nothing; name another part")
        return found
