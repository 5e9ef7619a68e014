"""Real images of an origin, divided and mixed with what generations have drawn, as a LightningDataModule."""

import math
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray

from bootlight.batch import Batch
from bootlight.data.archive import CountedArchive, DiskArchive
from bootlight.data.as_clean import AsClean
from bootlight.data.batches import StepDataset, gather
from bootlight.data.division import divided
from bootlight.data.eligible import levels_first
from bootlight.data.files import chosen_origin
from bootlight.data.loader import Place, StepLoader
from bootlight.data.mixing import SYNTHETIC, Accumulate, MixingPolicy, OnlyReal, Source
from bootlight.data.opened import build_for, checked
from bootlight.data.origin import Origin
from bootlight.data.view_of import looked_at
from bootlight.diffusion.corruption import View
from bootlight.errors import BootlightError, check_range
from bootlight.io.cache_folder import default_cache
from bootlight.io.paths import expanded
from bootlight.io.pictures import to_float
from bootlight.io.shape import as_size
from bootlight.rng import derive_key, derive_seed, numpy_rng
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import RunFolder


class BootstrapData(LightningDataModule):
    """The training set of each generation.

    Args:
        root: folder, zip or Hugging Face imagefolder of real images, or a list of them, which are one set. Where there are
            splits, `train` is trained on and `test` (or another of `reader_splits.HELD_OUT`) is held out; otherwise, and of a
            split that is named (`faces.zip@train`), `holdout_fraction` of the images is.
        image_size: of `root`: edge of squares in pixels, or [height, width]; other pictures are center-cropped and resized.
        channels: of `root`: 1 (grey) or 3 (RGB, if left out) of pictures, any number of what is in `.npy` files.
        batch_size: images of one batch, over all devices together.
        num_steps: training steps of each generation, which are its batches; leave out when `num_epochs` is given.
        num_epochs: passes over the training set of each generation, rounded up to whole steps.
        step_share: train so large a share of these steps; 0.05 in the `settings` of an auxiliary part for 5 % of the base's.
        num_images: use only so many of the real images, a fixed random subset; None = all.
        real_fraction: share of the real training images in use, in (0, 1]; a smaller share is a subset of a larger one.
        num_real: use so many of the real training images, instead of a share; all of them remain the reference.
        holdout_fraction: share of the real images kept for evaluation, where there is no split of their own.
        mixing: what each generation trains on; Accumulate if left out.
        flip: mirror each training image with probability 1/2.
        num_workers: processes that read ahead.
        subset_seed: of the subsets above; the same for every run, so that 70 % is always the same 70 %.
        cache: folder for decoded images; $BOOTLIGHT_CACHE or the usual place if left out.
        follow_links: read what symbolic links in `root` and in what a mixture opens lead to, wherever it lies.
        max_bad: so many pictures of `root` may be unusable: they are left out and listed.
        label_column: of `root`: what names the class in a `metadata.jsonl` or `metadata.csv`; `label` if left out.
        origin: real images from elsewhere, in the place of `root`, with a size of their own.
        origins: further images that a mixture may take, by name.
        view: train on this part of each real image, by itself; all of it if left out.
    """

    def __init__(
        self,
        root: str | list[str] | None = None,
        image_size: int | list[int] | None = None,
        channels: int | None = None,
        batch_size: int = 64,
        num_steps: int | None = None,
        num_epochs: int | None = None,
        num_images: int | None = None,
        real_fraction: float = 1.0,
        holdout_fraction: float = 0.1,
        mixing: MixingPolicy | None = None,
        flip: bool = False,
        num_workers: int = 0,
        subset_seed: int = 0,
        cache: str | None = None,
        num_real: int | None = None,
        follow_links: bool = False,
        label_column: str | None = None,
        max_bad: int = 0,
        origin: Origin | None = None,
        origins: dict[str, Origin] | None = None,
        step_share: float = 1.0,
        view: View | None = None,
    ) -> None:
        super().__init__()
        if (num_steps is None) == (num_epochs is None):
            raise BootlightError("set either data.num_steps or data.num_epochs")
        counts = {"num_steps": num_steps, "num_epochs": num_epochs, "num_images": num_images, "num_real": num_real}
        for key, value in {"batch_size": batch_size, **counts}.items():
            if value is not None or key not in counts:
                check_range(f"data.{key}", value, 1)
        check_range("data.num_workers", num_workers, 0)
        if not 0 < real_fraction <= 1 or not 0 <= holdout_fraction < 1:
            raise BootlightError("data.real_fraction must be in (0, 1] and data.holdout_fraction in [0, 1)")
        if not 0 < step_share < math.inf:
            raise BootlightError(f"data.step_share is {step_share}; it must be a number above 0")
        of_files = {"image_size": image_size, "channels": channels, "label_column": label_column, "max_bad": max_bad or None}
        self.origin = looked_at(chosen_origin(origin, root, cache, follow_links, of_files), view, flip)
        self.origins = origins or {}
        self.root = self.origin.name  # as messages call the images
        self.channels, *size = self.image_shape = self.origin.shape
        self.image_size = as_size(*size)
        self.batch_size = batch_size
        self._num_steps = num_steps
        self.num_epochs = num_epochs
        self.step_share = step_share
        self.num_images = num_images
        self.real_fraction = real_fraction
        self.limit_real = num_real
        self.holdout_fraction = holdout_fraction
        self.mixing = mixing or Accumulate()
        self.flip = flip
        self.num_workers = num_workers
        self.subset_seed = subset_seed
        self.cache = default_cache() if cache is None else expanded(cache)
        self._build = build_for(self.origin.shape, self.cache, follow_links)
        self.context = GenerationContext(RunFolder(Path("runs/default")), 0, 0)
        self.accumulate = 1  # batches of an optimizer step: `trainer.accumulate_grad_batches`
        self.expected: dict[str, int] = {}  # images of teachers that are still to be trained, by what these are called
        self.ahead: Callable[[int, str], int] | None = None  # see `DiskArchive`
        self.opened: dict[str, str] = {}  # keys of what mixtures have taken from elsewhere, by what it is called
        self.sources: list[Source] = []
        for joining in self.origins.values():
            joining.belongs_to(self)

    def attach(self, context: GenerationContext) -> None:
        """Say which generation of which run this object serves; without it, it serves generation 0."""
        self.context = context

    def prepare_data(self) -> None:
        """Decode once on each node, before all its ranks open the result; Lightning calls this on one of them."""
        if self.trainer is not None and self.trainer.world_size > 1:
            self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Open the real images, choose the subsets, and mix.

        Raises:
            BootlightError: no images, fewer than asked for, or a picture that cannot be decoded.
        """
        self.holdout, self.available, self.real = divided(self)
        self.archive = self.opened_archive(self.context.generation)
        self.sources = checked(self.mixing.sources(self.context.generation, self.archive), self.origin)
        self.opened |= self.archive.opened

    def opened_archive(self, generation: int) -> DiskArchive:
        """What the mixture of a generation can choose from, after the real images are open."""
        seed, run = self.context.seed, self.context.run
        found = self.real, self.available, run, self._build, self.origins, self.expected
        return DiskArchive(seed, self.subset_seed, *found, drawn_shape=self.origin.shape, number=generation, ahead=self.ahead)

    def planned(self, generation: int, num_drawn: int | Callable[[int, str], int]) -> list[Source]:
        """The training set of a generation, as far as it can be known before; of drawn images only how many they will be.

        Args:
            generation: from 0.
            num_drawn: images that a generation, by number, draws into a folder, by name; or that each draws.

        Raises:
            BootlightError: it cannot be had.
        """
        many = num_drawn if callable(num_drawn) else lambda *_: num_drawn
        archive = CountedArchive(**vars(self.opened_archive(generation)), num_drawn=many)
        found = checked(self.mixing.sources(generation, archive), self.origin)
        self.opened |= archive.opened
        return found

    def train_size(self, generation: int, num_drawn: int | Callable[[int, str], int]) -> int:
        """Images of the training set of a generation; see `planned`."""
        return sum(map(len, self.planned(generation, num_drawn)))

    @property
    def view_of(self) -> Origin | None:
        """The origin, where a step sees something else than the images that are stored; see `Origin.view`."""
        return None if type(self.origin).view is Origin.view else self.origin

    @property
    def num_real(self) -> int:
        """Real images in the training set of this generation."""
        return sum(len(source) for source in self.sources if source.role == "real")

    @property
    def num_synthetic(self) -> int:
        """Synthetic images in the training set of this generation."""
        return sum(len(source) for source in self.sources if source.role in SYNTHETIC)

    @property
    def num_steps(self) -> int:
        """Batches of this generation, which are its optimizer steps unless gradients are accumulated."""
        return self.steps_for(sum(map(len, self.sources)))

    def steps_for(self, num_images: int) -> int:
        """Batches of a generation that trains on so many images: a whole number of optimizer steps."""
        steps = self._num_steps
        if steps is None:
            assert self.num_epochs is not None
            steps = -(-self.num_epochs * num_images // (self.accumulate * self.batch_size)) * self.accumulate
        return steps if self.step_share == 1 else max(1, round(self.step_share * steps / self.accumulate)) * self.accumulate

    def train_dataloader(self) -> StepLoader:
        """All batches of the generation, in order."""
        place = Place.of(self.trainer) if self.trainer else Place(accumulate=self.accumulate)
        self.accumulate = place.accumulate
        seed = derive_key(self.context.seed, self.context.generation, "data")
        levels = levels_first(getattr(self.trainer, "lightning_module", None), self.sources)
        dataset = StepDataset(self.sources, seed, self.num_steps, self.batch_size, self.flip, *place[:3], self.view_of, levels)
        return StepLoader(dataset, self.num_workers, pin_memory=place.on_gpu)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """To float in [-1, 1], on the device: uint8 travels. What is stored as floats stays as it is."""
        cond = {name: to_float(value) if value.dtype == torch.uint8 else value for name, value in batch.cond.items()}
        return batch._replace(images=to_float(batch.images), cond=cond)

    def for_judge(self, num_steps: int, batch_size: int, seed: int = 0) -> "BootstrapData":
        """The same real training images, all of them, for another training: nothing synthetic, its own order."""
        data = copy(self)
        data.real_fraction, data._num_steps, data.num_epochs, data.batch_size = 1.0, num_steps, None, batch_size
        data.mixing, data.limit_real, data.step_share = AsClean(OnlyReal()), None, 1.0
        data.context = GenerationContext(self.context.run, 0, derive_seed("judge data", *([seed] if seed else [])))
        return data

    def real_images(self, which: Source, limit: int | None = None) -> NDArray[Any]:
        """Images (n, H, W, C) of a source, a fixed random subset where there are more than `limit`."""
        return gather([which], self.reference(which, limit))[0]

    def reference(self, which: Source, limit: int | None = None) -> NDArray[np.int64]:
        """Positions in a source that images are measured against: all, or a fixed random subset of `limit`, in order."""
        chosen = np.arange(len(which))
        if limit is not None and limit < len(chosen):
            chosen = np.sort(numpy_rng(self.subset_seed, "reference").permutation(len(chosen))[:limit])
        return chosen
