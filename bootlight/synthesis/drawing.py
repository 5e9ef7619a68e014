"""Drawing what is missing in a folder of synthetic images: resumable, shared between ranks, one seed = one image."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from tqdm import tqdm

from bootlight.errors import BootlightError
from bootlight.generators.base import GeneratorModule
from bootlight.runs.folder import GenerationFolder
from bootlight.runs.timing import clock
from bootlight.synthesis.batches import ALONE, MissingBatches, Part, Share, numbers_of
from bootlight.synthesis.requests import Requests
from bootlight.synthesis.synthesizer import Synthesizer
from bootlight.synthesis.written import Written
from bootlight.terminal import say

WRITERS = 4  # threads; mostly they wait for the disk, which can flush several files at a time


class Drawing(LightningModule):
    """What `trainer.predict` runs: a batch of requests becomes images, one call for each frame of a clip.

    Args:
        generator: trained.
        synthesizer: how its images are drawn.
        requests: of all images.
        load_parents: images float32 (n, C, H, W) by their names, where requests have parents.
    """

    def __init__(
        self,
        generator: GeneratorModule,
        synthesizer: Synthesizer,
        requests: Requests,
        load_parents: Callable[[Sequence[str]], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # there may be fewer batches than processes
        self.generator = generator
        self.synthesizer = synthesizer
        self.requests = requests.by_parents()
        self.load_parents = load_parents
        self.folder: GenerationFolder | None = None  # where frames that are done lie
        self._frames: Iterator[Tensor] = iter(())
        self._next: tuple[int, int] | None = None  # batch and frame that `_frames` yields next

    def predict_step(self, batch: Part, batch_idx: int = 0) -> Tensor:
        """Float images (B, C, H, W), about [-1, 1]."""
        with clock.part("synthesis"):
            if self._next != (batch.which.start, batch.frame):
                self._frames = self.begun(self.requests[batch.which], batch.frame)
            images = self._yielded(batch.which.stop - batch.which.start)
        self._next = (batch.which.start, batch.frame + 1)
        return images

    def numbers(self, part: Part) -> Sequence[int]:
        """Of the images of a part in the folder."""
        return numbers_of(self.requests, part, self.synthesizer.length)

    def begun(self, requests: Requests, first: int = 0) -> Iterator[Tensor]:
        """The frames of some requests from one of them on; those before it are on the disk."""
        parents = done = None
        if requests.parents is not None:
            if self.load_parents is None:
                raise BootlightError(f"{self._name}: nobody knows the parents of its images here; run bootlight fit")
            parents = self.load_parents(requests.parent_names).to(self.generator.device)
        if first > 0:
            done = self._done(requests, first).to(self.generator.device)
        self._frames = iter(self.synthesizer.draw(self.generator, requests, parents, done))
        for _ in range(first):
            self._yielded(len(requests))
        return self._frames

    def _yielded(self, count: int) -> Tensor:
        """The next frame.

        Raises:
            BootlightError: there is none, or it is of another shape.
        """
        images = next(self._frames, None)
        if images is None:
            raise BootlightError(f"{self._name}.draw yields fewer times than its length, {self.synthesizer.length}; correct it")
        if not isinstance(images, Tensor) or tuple(images.shape) != (count, *self.generator.image_shape):
            found = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise BootlightError(
                f"{self._name}.draw yielded {found} for {count} requests; correct it to {(count, *self.generator.image_shape)}"
            )
        return images

    def _done(self, requests: Requests, first: int) -> Tensor:
        assert self.folder is not None
        written = Written.by(self.generator, self.folder)
        frames = [numbers_of(requests, Part(slice(None), k), self.synthesizer.length) for k in range(first)]
        return torch.stack([written.read(numbers) for numbers in frames], 1)

    @property
    def _name(self) -> str:
        return type(self.synthesizer).__name__


class FolderWriter(Callback):
    """Writes drawn images; while one batch is drawn, the one before is encoded and written. Use it in a `with` block.

    Not a BasePredictionWriter: for that Lightning keeps the numbers of all images, and they must come from its own loader.

    Args:
        written: where they go.
        bar: told of each that is written.

    Attributes:
        digests: SHA-256 of each file that was written, by the number of its image.

    Raises:
        BootlightError: the network diverged, or an image cannot be written; of a batch, the rest may be there.
    """

    def __init__(self, written: Written, bar: "tqdm[Any]") -> None:
        self.written = written
        self.bar = bar
        self.digests: dict[int, str] = {}
        self._pool = ThreadPoolExecutor(WRITERS)
        self._waiting: list[tuple[Sequence[int], Future[str]]] = []  # of one batch: more would only be lost in a kill

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
        pl_module: Any,
        outputs: Any,
        batch: Part,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Called by `trainer.predict`."""
        self.write(pl_module.numbers(batch), outputs)

    def write(self, numbers: Sequence[int], images: Tensor) -> None:
        """Take drawn images, and their numbers in the folder."""
        with clock.part("synthesis"):
            jobs = list(self.written.jobs(numbers, images))  # waits for the device
        self._collect()
        self._waiting = [(own, self._pool.submit(job)) for own, job in jobs]

    def _collect(self) -> None:
        """Wait until all are written; if one is not, what has not begun is left."""
        waiting, self._waiting = self._waiting, []
        try:
            with clock.part("files"):
                for own, future in waiting:
                    self.digests |= dict.fromkeys(own, future.result())
        finally:
            for _, future in waiting:
                future.cancel()
            self.bar.update(sum(len(own) for own, _ in waiting))  # at once: after one image of many the bar would tell of hours


def in_place(drawing: Drawing, batches: MissingBatches, writer: FolderWriter) -> None:
    """Draw where the generator is; what `trainer.predict` does, without a trainer."""
    for batch in batches:
        writer.write(drawing.numbers(batch), drawing.predict_step(batch))


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
        batch_size: requests of one network call.
        share: of this process.
        description: of the progress bar.
        predict: draws the batches, and hands them to the writer.

    Returns:
        SHA-256 of each file that was written, by the number of its image.

    Raises:
        BootlightError: see `FolderWriter`.
    """
    bar = tqdm(total=0, desc=description, unit="image", disable=share.rank > 0, leave=False)
    written = Written.by(drawing.generator, folder)
    batches = MissingBatches(written, drawing.requests, drawing.synthesizer.length, batch_size, share, bar)
    if share.rank == 0 and batches.largest > batch_size:
        say(f"{description}: images of one parent stay together: {batches.largest} in a network call, over {batch_size}")
    drawing.folder = folder
    bar.reset(total=batches.num_images)
    with FolderWriter(written, bar) as writer, torch.no_grad(), drawing.generator.drawing_mode():
        predict(drawing, batches, writer)
    return writer.digests
