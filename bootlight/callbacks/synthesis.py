"""The folder of synthetic images at the end of a generation."""

from contextlib import suppress

import torch
from lightning.pytorch import Trainer

from bootlight.atomic import file_sha256
from bootlight.callbacks.generation_end import GenerationEnd
from bootlight.errors import check_range
from bootlight.generators.base import GeneratorModule
from bootlight.processes import barrier, check_same, gather, wait_for
from bootlight.rng import derive_seed
from bootlight.stopping import Stopped, check_stop, leave_if_asked
from bootlight.synthesis import draw_missing, image_seeds, preview_seeds, stratified_labels, write_manifest, write_previews


class Synthesis(GenerationEnd):
    """Draws the synthetic images of a generation into its `samples` folder, and the previews.

    Args:
        num_synthetic: images to draw; taken from the bootstrap section of a config.
        batch_size: images of one network call, on each device.
        num_previews: images of a row of the strip.
    """

    stage = "synthesis"

    def __init__(self, num_synthetic: int = 1000, batch_size: int = 100, num_previews: int = 12) -> None:
        check_range("bootstrap.num_synthetic", num_synthetic, 1)
        check_range("synthesis.batch_size", batch_size, 1)
        check_range("synthesis.num_previews", num_previews, 1)
        self.num_synthetic = num_synthetic
        self.batch_size = batch_size
        self.num_previews = num_previews

    def run(self, trainer: Trainer, module: GeneratorModule) -> None:
        """Draw what is missing."""
        assert self.context is not None
        folder, context = self.context.folder, self.context
        if self.writes(trainer) and not folder.previews.exists():
            labels = self._labels(trainer, module, self.num_previews, derive_seed(context.seed, "preview"))
            labels = None if labels is None else labels.sort().values  # so that columns of a strip are easy to read
            write_previews(module, folder.previews, preview_seeds(context, self.num_previews), labels)
        if all(gather(folder.is_synthesized)):
            return
        seeds = image_seeds(context, self.num_synthetic)
        labels = self._labels(trainer, module, len(seeds), derive_seed(context.seed, context.generation))
        with suppress(Stopped):
            draw_missing(
                module,
                folder,
                seeds,
                labels,
                batch_size=self.batch_size,
                rank=trainer.global_rank if context.shared else trainer.local_rank,
                world_size=trainer.world_size if context.shared else trainer.num_devices,
                description=f"generation {context.generation} · synthesis",
                check=check_stop,
            )
        leave_if_asked()  # all ranks have drawn their share
        if self.writes(trainer):
            write_manifest(folder, seeds, labels, generation=context.generation, protocol=module.protocol())
        barrier()
        if context.shared:
            wait_for(folder.metadata)  # the next generation reads it on every rank
        else:
            cure = "put --bootstrap.run_dir where all nodes see the same files, or use equal machines"
            check_same(str(folder.metadata), file_sha256(folder.metadata), cure)

    def _labels(self, trainer: Trainer, module: GeneratorModule, count: int, seed: int) -> torch.Tensor | None:
        """Labels in the proportions of the real training images, for a class-conditional model."""
        if module.num_classes is None:
            return None
        real = trainer.datamodule.real  # type: ignore[attr-defined]
        return torch.from_numpy(stratified_labels(real.store.labels[real.indices], count, seed))
