"""Real images as a model sees them in training, in a fixed order and without mirroring, for questions of how well it does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bootlight.batch import Batch
from bootlight.data.batches import gather, marks, seen

if TYPE_CHECKING:
    from bootlight.data.datamodule import BootstrapData
    from bootlight.data.mixing import Source


def real_batches(data: BootstrapData, which: Source, limit: int, size: int) -> Iterator[Batch]:
    """Images of a set, as they are stored.

    Args:
        data: set up.
        which: of its images.
        limit: at most so many, a fixed random subset.
        size: of a batch.
    """
    chosen = data.reference(which, limit)
    for start in range(0, len(chosen), size):
        part: np.ndarray[tuple[int], np.dtype[np.int64]] = chosen[start : start + size]
        images, labels = gather([which], part)
        known = None if labels is None else torch.from_numpy(labels)
        found = Batch(torch.from_numpy(images).permute(0, 3, 1, 2), known, 0, start, len(chosen), **marks([which], part))
        yield found if data.view_of is None else seen(found, data.view_of, 0)


def labels_for(batch: Batch, num_classes: int | None) -> Tensor | None:
    """Labels as a network is to see them: `num_classes` where an image has none; None of a model without classes."""
    if num_classes is None or batch.labels is None:
        return None
    return torch.where(batch.labels < 0, num_classes, batch.labels)
