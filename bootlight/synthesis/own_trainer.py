"""The folder of synthetic images at the end of a training, for a `Trainer` of one's own."""

from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, Trainer

from bootlight.compat import is_last_batch
from bootlight.data.generation_images import GenerationImages
from bootlight.distributed.processes import barrier
from bootlight.distributed.stopping import leave_if_asked
from bootlight.errors import check_range
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import RunFolder
from bootlight.synthesis.asking import check_needs, drawing_of
from bootlight.synthesis.batches import Share
from bootlight.synthesis.complete import complete
from bootlight.synthesis.drawing import draw_missing
from bootlight.synthesis.synthesizer import Draw, Synthesizer


class Synthesis(Callback):
    """Draws into `gen_000/samples` of a run folder when a training has ended, with a manifest.

    `Trainer(callbacks=[Synthesis(1000)]).fit(model, data)`: the model is a `GeneratorModule`; the data may be any. Labels of a
    class-conditional model follow those of the real images where the data are a `BootstrapData`, else each class is drawn as
    often as the others.

    Args:
        num_synthetic: images to draw.
        batch_size: images of one network call.
        run_dir: the run folder; the root folder of the trainer if left out.
        generation: number of the generation.
        seed: of the run.
        synthesizer: how they are drawn.
    """

    def __init__(
        self,
        num_synthetic: int = 1000,
        batch_size: int = 100,
        run_dir: str | None = None,
        generation: int = 0,
        seed: int = 0,
        synthesizer: Synthesizer | None = None,
    ) -> None:
        check_range("num_synthetic", num_synthetic, 1)
        check_range("batch_size", batch_size, 1)
        check_range("generation", generation, 0)
        self.num_synthetic = num_synthetic
        self.batch_size = batch_size
        self.run_dir = run_dir
        self.generation = generation
        self.seed = seed
        self.synthesizer = synthesizer or Draw()

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Refuse a model that the synthesizer cannot ask, before it is trained."""
        check_needs(self.synthesizer, pl_module, self.num_synthetic)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw what is missing; not when the training was stopped half-way."""
        if not is_last_batch(trainer):
            return
        run = RunFolder(Path(self.run_dir or trainer.default_root_dir))
        context = GenerationContext(run, self.generation, self.seed)
        if context.folder.is_synthesized:
            return
        self._note_dtype(trainer, pl_module)
        drawing = drawing_of(
            pl_module, self.synthesizer, self._images(trainer, pl_module, context), context, self.num_synthetic
        )
        share = Share(trainer.global_rank, trainer.world_size)
        digests = draw_missing(drawing, context.folder, self.batch_size, share=share)
        leave_if_asked()
        barrier()
        if trainer.is_global_zero:
            complete(drawing, context.folder, generation=self.generation, batch_size=self.batch_size, digests=digests)
        barrier()

    def _note_dtype(self, trainer: Trainer, module: Any) -> None:
        """What is drawn is of the type of the real images, where these are known."""
        real = getattr(getattr(trainer, "datamodule", None), "real", None)
        if real is not None:
            module.image_dtype = real.store.images.dtype.name

    def _images(self, trainer: Trainer, module: Any, context: GenerationContext) -> GenerationImages:
        data = getattr(trainer, "datamodule", None)
        if getattr(data, "real", None) is None:
            return GenerationImages(np.arange(module.num_classes or 0))
        return GenerationImages.of(data, context.folder)  # type: ignore[arg-type]
