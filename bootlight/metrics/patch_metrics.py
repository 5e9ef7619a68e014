"""Scores of the patches of images against those of the picture that they were learned from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from bootlight.errors import BootlightError, check_range
from bootlight.io.pictures import to_float
from bootlight.metrics.patch_neighbours import nearest_patches
from bootlight.metrics.score import Score
from bootlight.metrics.scored_metric import ScoredMetric

MOST_SOURCES = 256


class PatchNeighbors(ScoredMetric):
    """NNFDIST and NNFDIV of images against one picture or a few (Nikankin et al. 2023, "SinFusion", with a 3 x 3 patch).

    `nnfdist` is the mean squared difference of a patch to the nearest one of the source, in the units of images from -1 to 1;
    lower is better. It is 0 of every copy, also of one whose patches are in another order, and does not see whether patches
    fit each other over more than their size. `nnfdiv` says from how many places the patches come: how far zlib can pack the
    field of offsets to their nearest ones, about 0 of a copy, about 1 at most. More is not better by itself: noise has most.

    Args:
        patch: edge of a patch in pixels.
        settings: of `torchmetrics.Metric`.

    Raises:
        BootlightError: a patch of no pixels.
    """

    name = "nnfdist"
    higher_is_better = False
    sources: list[Tensor] | Tensor
    images: list[Tensor] | Tensor

    def __init__(self, patch: int = 3, **settings: Any) -> None:
        super().__init__(**settings)
        check_range("PatchNeighbors patch", patch, 1)
        self.patch = patch
        for name in ("sources", "images"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, images: Tensor, *, real: bool) -> None:
        """Images (B, C, H, W), uint8 or float32, all that are real of one size, and all others.

        Raises:
            BootlightError: more are real than a few pictures.
        """
        kept = self.sources if real else self.images
        assert isinstance(kept, list)
        kept.append(to_float(images))
        if real and sum(map(len, kept)) > MOST_SOURCES:
            raise BootlightError(
                f"PatchNeighbors compares with each patch of each real image, and there are more than {MOST_SOURCES}; it is "
                "meant for models of one picture or a few"
            )

    def _measured(self) -> dict[str, Score]:
        if not len(self.sources) or not len(self.images):
            raise BootlightError("PatchNeighbors needs at least one real picture and one other image")
        sources, images = (dim_zero_cat(x) for x in (self.sources, self.images))  # of several processes they are one already
        rows = torch.tensor([self._of(image, sources) for image in images], dtype=torch.float64)
        n = len(rows)
        error = rows.std(0) / n**0.5 if n > 1 else None
        protocol = {"metric": self.name, "patch": self.patch, "num_real": len(sources)}
        found = {}
        for i, (name, better) in enumerate((("nnfdist", False), ("nnfdiv", None))):
            value, off = float(rows[:, i].mean()), None if error is None else float(error[i])
            found[name] = Score(value, off, n, protocol, higher_is_better=better)
        return found

    def _of(self, image: Tensor, sources: Tensor) -> tuple[float, float]:
        """Distance and diversity against the nearest source."""
        fields = (nearest_patches(image, source, self.patch) for source in sources)
        nearest = min(fields, key=lambda field: float(field.distances.mean()))
        return float(nearest.distances.mean()), nearest.diversity
