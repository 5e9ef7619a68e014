"""The folder of synthetic images at the end of a generation."""

from contextlib import suppress
from pathlib import Path
from typing import Literal

import torch
from lightning.pytorch import Trainer

from bootlight.atomic import file_sha256, read_json, write_json
from bootlight.batch_size import LARGEST, fastest_batch_size
from bootlight.callbacks.generation_end import GenerationEnd
from bootlight.clock import clock
from bootlight.errors import BootlightError, check_range
from bootlight.generators.base import GeneratorModule
from bootlight.lines import MAX_IMAGES
from bootlight.processes import agree, barrier, check_same, gather, wait_for
from bootlight.rng import derive_seed
from bootlight.stopping import Stopped, check_stop, leave_if_asked
from bootlight.synthesis import draw_missing, image_seeds, preview_seeds, stratified_labels, write_manifest, write_previews


class Synthesis(GenerationEnd):
    """Draws the synthetic images of a generation into its `samples` folder, and the previews.

    Args:
        num_synthetic: images to draw; taken from the bootstrap section of a config.
        batch_size: images of one network call, on each device; auto = what is fastest, measured before the first image of a
            generation and kept beside the images. The last bits of an image depend on it: with auto, two runs of one seed may
            differ in them.
        num_previews: images of a row of the strip.
    """

    def __init__(self, num_synthetic: int = 1000, batch_size: int | Literal["auto"] = 100, num_previews: int = 12) -> None:
        check_range("bootstrap.num_synthetic", num_synthetic, 1, MAX_IMAGES)
        if batch_size != "auto":
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
            with clock.part("synthesis"):
                write_previews(module, folder.previews, preview_seeds(context, self.num_previews), labels)
        if all(gather(folder.is_synthesized)):
            return
        seeds = image_seeds(context, self.num_synthetic)
        labels = self._labels(trainer, module, len(seeds), derive_seed(context.seed, context.generation))
        digests: dict[int, str] = {}
        with suppress(Stopped):
            digests = draw_missing(
                module,
                folder,
                seeds,
                labels,
                batch_size=self._size_of_batches(trainer, module),
                rank=trainer.global_rank if context.shared else trainer.local_rank,
                world_size=trainer.world_size if context.shared else trainer.num_devices,
                description=f"generation {context.generation} · synthesis",
                check=check_stop,
            )
        leave_if_asked()  # all ranks have drawn their share
        with clock.part("files"):
            if self.writes(trainer):
                protocol = module.protocol()
                write_manifest(folder, seeds, labels, generation=context.generation, protocol=protocol, digests=digests)
            self._wait_for_manifest(folder.metadata)

    def _wait_for_manifest(self, metadata: Path) -> None:
        assert self.context is not None
        barrier()
        if self.context.shared:
            wait_for(metadata)  # the next generation reads it on every rank
        else:
            cure = "put --bootstrap.run_dir where all nodes see the same files, or use equal machines"
            check_same(str(metadata), file_sha256(metadata), cure)

    def _size_of_batches(self, trainer: Trainer, module: GeneratorModule) -> int:
        """The same on all ranks and after an interruption, because the last bits of an image depend on it."""
        if self.batch_size != "auto":
            return self.batch_size
        assert self.context is not None
        file = self.context.folder.path / "batch_size.json"
        kept = agree(read_batch_size(file))
        if kept is not None:
            return kept
        with clock.part("synthesis"):
            size = min(gather(fastest_batch_size(module, -(-self.num_synthetic // trainer.world_size))))
        if self.writes(trainer):
            write_json(file, {"batch_size": size})
        return size

    def _labels(self, trainer: Trainer, module: GeneratorModule, count: int, seed: int) -> torch.Tensor | None:
        """Labels in the proportions of the real training images, for a class-conditional model."""
        if module.num_classes is None:
            return None
        real = trainer.datamodule.real  # type: ignore[attr-defined]
        return torch.from_numpy(stratified_labels(real.store.labels[real.indices], count, seed))


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
        raise BootlightError(f"{file} has no batch_size from 1 to {LARGEST}; delete it and {file.parent / 'samples'}")
    return size
