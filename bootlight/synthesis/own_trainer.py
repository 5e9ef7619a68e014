"""The folder of synthetic images at the end of a training, for a `Trainer` of one's own."""

from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, Trainer

from bootlight.compat import is_last_batch
from bootlight.distributed.processes import barrier
from bootlight.distributed.stopping import leave_if_asked
from bootlight.errors import check_range
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import RunFolder
from bootlight.synthesis.drawing import Drawing, Share, draw_missing
from bootlight.synthesis.folder import write_manifest
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

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw what is missing; not when the training was stopped half-way."""
        if not is_last_batch(trainer):
            return
        run = RunFolder(Path(self.run_dir or trainer.default_root_dir))
        context = GenerationContext(run, self.generation, self.seed)
        if context.folder.is_synthesized:
            return
        requests = self.synthesizer.requests(pl_module, context, self.num_synthetic, self._labels(trainer, pl_module))
        drawing = Drawing(pl_module, self.synthesizer, requests)
        share = Share(trainer.global_rank, trainer.world_size)
        digests = draw_missing(drawing, context.folder, self.batch_size, share=share)
        leave_if_asked()
        barrier()
        if trainer.is_global_zero:
            protocol = self.synthesizer.protocol(pl_module)
            write_manifest(
                context.folder, requests.seeds, requests.labels, generation=self.generation, protocol=protocol, digests=digests
            )
        barrier()

    def _labels(self, trainer: Trainer, module: Any) -> Any:
        real = getattr(getattr(trainer, "datamodule", None), "real", None)
        return np.arange(module.num_classes or 0) if real is None else real.store.labels[real.indices]
