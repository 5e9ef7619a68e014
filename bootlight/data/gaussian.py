"""Real images of which everything is known: independent normal pixels, drawn from a seed; they need no files."""

from functools import cache

import numpy as np

from bootlight.data.datamodule import BootstrapData
from bootlight.data.mixing import MixingPolicy
from bootlight.data.store import Store, store_from_arrays
from bootlight.errors import check_range
from bootlight.rng import numpy_rng


class GaussianImages(BootstrapData):
    """Pixels N(0, deviation^2) in the range [-1, 1], for loops whose outcome has a closed form; see `BootstrapData`.

    Args:
        image_size: edge in pixels.
        channels: 1 or 3.
        count: number of images, held-out ones included.
        deviation: of a pixel; 0.2 is five deviations from black and white, so that next to nothing is clipped.
        image_seed: of the images.
        batch_size: images of one step, over all devices together.
        num_steps: training steps of each generation; leave out when `num_epochs` is given.
        num_epochs: passes over the training set of each generation, rounded up to whole steps.
        real_fraction: share of the real training images in use.
        holdout_fraction: share of the real images kept for evaluation.
        mixing: what later generations train on; Accumulate if left out.
        num_workers: processes that read ahead.
        subset_seed: of the subsets.
        num_real: use so many of the real training images, instead of a share.
        teacher: images that join the training set of every generation.
        num_teacher: take so many of them.
        teacher_fraction: take so many of them, as a share of all real training images.
        duplicate_fraction: real images that join a second time, as a share of all real training images.
        num_duplicates: let so many join, instead of a share.
    """

    def __init__(
        self,
        image_size: int = 8,
        channels: int = 1,
        count: int = 2000,
        deviation: float = 0.2,
        image_seed: int = 0,
        batch_size: int = 100,
        num_steps: int | None = None,
        num_epochs: int | None = None,
        real_fraction: float = 1.0,
        holdout_fraction: float = 0.2,
        mixing: MixingPolicy | None = None,
        num_workers: int = 0,
        subset_seed: int = 0,
        num_real: int | None = None,
        teacher: str | None = None,
        num_teacher: int | None = None,
        teacher_fraction: float | None = None,
        duplicate_fraction: float = 0.0,
        num_duplicates: int | None = None,
    ) -> None:
        check_range("data.count", count, 1)
        check_range("data.deviation", deviation, 0, 1)
        super().__init__(
            f"{count} images of normal pixels",
            image_size,
            channels,
            batch_size,
            num_steps,
            num_epochs,
            real_fraction=real_fraction,
            holdout_fraction=holdout_fraction,
            mixing=mixing,
            num_workers=num_workers,
            subset_seed=subset_seed,
            num_real=num_real,
            teacher=teacher,
            num_teacher=num_teacher,
            teacher_fraction=teacher_fraction,
            duplicate_fraction=duplicate_fraction,
            num_duplicates=num_duplicates,
        )
        self.count, self.deviation, self.image_seed = count, deviation, image_seed

    def load_real(self) -> tuple[Store, Store | None]:
        """The images, rounded to grey levels as all images are."""
        return _draw(self.count, self.image_shape[1], self.channels, self.deviation, self.image_seed), None


@cache
def _draw(count: int, image_size: int, channels: int, deviation: float, seed: int) -> Store:
    pixels = numpy_rng(seed, "gaussian images").normal(0, deviation, (count, image_size, image_size, channels))
    images = np.clip(np.round(127.5 * pixels + 127.5), 0, 255).astype(np.uint8)
    return store_from_arrays(images, names=[f"normal {i}" for i in range(count)])
