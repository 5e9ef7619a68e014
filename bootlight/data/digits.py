"""Real handwritten digits that need no network: 1,797 grey images that come inside scikit-learn's package."""

from functools import cache

import numpy as np
from PIL import Image

from bootlight.data.datamodule import BootstrapData
from bootlight.data.mixing import MixingPolicy
from bootlight.data.store import Store, store_from_arrays


class Digits(BootstrapData):
    """Optical recognition of handwritten digits (Alpaydin and Kaynak 1998), 8x8, ten classes; see `BootstrapData`.

    Args:
        image_size: edge in pixels; other sizes than 8 are resized.
        channels: 1, the digits being grey.
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
        batch_size: int = 64,
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
        super().__init__(
            "scikit-learn's digits",
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

    def load_real(self) -> tuple[Store, Store | None]:
        """The digits."""
        return _digits(self.image_shape[1], self.channels), None


@cache
def _digits(image_size: int, channels: int) -> Store:
    from sklearn.datasets import load_digits  # 0.5 s to import

    data = load_digits()
    pictures = (Image.fromarray(np.round(image * 255 / 16).astype(np.uint8)) for image in data.images)  # 17 grey levels
    resized = [np.asarray(picture.resize((image_size, image_size), Image.Resampling.BICUBIC)) for picture in pictures]
    images = np.repeat(np.stack(resized)[..., None], channels, axis=3)
    names = tuple(f"digit {i}" for i in range(len(images)))
    return store_from_arrays(images, data.target.astype(np.int64), tuple("0123456789"), names)
