"""Drawing what is missing in a folder of synthetic images: resumable, shared between ranks, one seed = one image."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from tqdm import tqdm

from bootlight.distributed.stopping import stop_request
from bootlight.generators.base import GeneratorModule
from bootlight.io.pictures import to_arrays
from bootlight.runs.folder import GenerationFolder
from bootlight.runs.timing import clock
from bootlight.synthesis.folder import write_image
from bootlight.synthesis.synthesizer import Requests, Synthesizer

WRITERS = 4  # threads; mostly they wait for the disk, which can flush several files at a time


class Share(NamedTuple):
    """Which of the batches a process draws: they go round the ranks.

    Args:
        rank: of this process among those that write into the folder that it sees.
        world_size: number of them.
    """

    rank: int = 0
    world_size: int = 1


ALONE = Share()


class MissingBatches:
    """The batches of a process that still miss an image, as slices of the requests; ends early when a stop was asked for.

    Image i always belongs to batch i // batch_size, whichever images are missing: the network sees the same batch after an
    interruption, so that not even its rounding differs.

    Args:
        folder: where the images lie.
        count: images in all.
        batch_size: images of one network call.
        share: of this process.
        bar: told of what is there already.
    """

    def __init__(self, folder: GenerationFolder, count: int, batch_size: int, share: Share, bar: "tqdm[Any]") -> None:
        self.folder = folder
        self.mine = [slice(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]
        self.mine = self.mine[share.rank :: share.world_size]
        self.bar = bar

    def __len__(self) -> int:
        """Batches of this process; without it, Lightning would ask for one before the one before is drawn."""
        return len(self.mine)

    def __iter__(self) -> Iterator[slice]:
        """Look at the disk just before each batch."""
        for batch in self.mine:
            if stop_request.made:
                return
            if all(self.folder.sample_file(i).exists() for i in range(batch.start, batch.stop)):
                self.bar.update(batch.stop - batch.start)
            else:
                yield batch


class Drawing(LightningModule):
    """What `trainer.predict` runs: a batch of requests becomes images.

    Args:
        generator: trained.
        synthesizer: how its images are drawn.
        requests: of all images.
    """

    def __init__(self, generator: GeneratorModule, synthesizer: Synthesizer, requests: Requests) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # there may be fewer batches than processes
        self.generator = generator
        self.synthesizer = synthesizer
        self.requests = requests

    def predict_step(self, batch: slice, batch_idx: int = 0) -> Tensor:
        """Float images (B, C, H, W), about [-1, 1]."""
        with clock.part("synthesis"):
            return self.synthesizer.draw(self.generator, self.requests[batch])


class FolderWriter(Callback):
    """Writes drawn images; while one batch is drawn, the one before is encoded and written. Use it in a `with` block.

    Not a BasePredictionWriter: for that Lightning keeps the numbers of all images, and they must come from its own loader.

    Args:
        folder: where they go.
        bar: told of each that is written.

    Attributes:
        digests: SHA-256 of each file that was written, by the number of its image.

    Raises:
        BootlightError: the network diverged, or an image cannot be written; of a batch, the rest may be there.
    """

    def __init__(self, folder: GenerationFolder, bar: "tqdm[Any]") -> None:
        self.folder = folder
        self.bar = bar
        self.digests: dict[int, str] = {}
        self._pool = ThreadPoolExecutor(WRITERS)
        self._waiting: dict[int, Future[str]] = {}  # of one batch: more would only be lost in a kill

    def __enter__(self) -> "FolderWriter":
        """Nothing is written yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Whatever is waiting has been written, also after an error; then a file that could not be is told."""
        try:
            if kind is None:
                self._collect()
        finally:
            self._pool.shutdown()
            self.bar.close()

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: slice,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Called by `trainer.predict`."""
        self.write(batch, outputs)

    def write(self, batch: slice, images: Tensor) -> None:
        """Take the images of a batch of requests."""
        with clock.part("synthesis"):
            arrays = to_arrays(images)  # waits for the device
        self._collect()
        for i, image in zip(range(batch.start, batch.stop), arrays, strict=True):
            self._waiting[i] = self._pool.submit(write_image, self.folder.sample_file(i), image)

    def _collect(self) -> None:
        """Wait until all are written; if one is not, what has not begun is left."""
        waiting: Mapping[int, Future[str]] = self._waiting
        self._waiting = {}
        try:
            with clock.part("files"):
                self.digests |= {i: future.result() for i, future in waiting.items()}
        finally:
            for future in waiting.values():
                future.cancel()
            self.bar.update(len(waiting))


def in_place(drawing: Drawing, batches: MissingBatches, writer: FolderWriter) -> None:
    """Draw where the generator is; what `trainer.predict` does, without a trainer."""
    for batch in batches:
        writer.write(batch, drawing.predict_step(batch))


def draw_missing(
    drawing: Drawing,
    folder: GenerationFolder,
    batch_size: int,
    *,
    share: Share = ALONE,
    description: str = "synthesis",
    predict: Callable[[Drawing, MissingBatches, FolderWriter], None] = in_place,
) -> dict[int, str]:
    """Draw the images that are not yet in the folder; ends early when a stop was asked for.

    Args:
        drawing: generator and requests.
        folder: where the images go.
        batch_size: images of one network call.
        share: of this process.
        description: of the progress bar.
        predict: draws the batches, and hands them to the writer.

    Returns:
        SHA-256 of each file that was written, by the number of its image.

    Raises:
        BootlightError: see `FolderWriter`.
    """
    count = len(drawing.requests.seeds)
    bar = tqdm(total=0, desc=description, unit="image", disable=share.rank > 0, leave=False)
    batches = MissingBatches(folder, count, batch_size, share, bar)
    bar.reset(total=sum(batch.stop - batch.start for batch in batches.mine))
    with FolderWriter(folder, bar) as writer, torch.no_grad():
        predict(drawing, batches, writer)
    return writer.digests
