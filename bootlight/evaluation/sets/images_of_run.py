"""A generation's images, real ones beside them, for metrics of one's own that take images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from bootlight.distributed.stopping import check_stop
from bootlight.evaluation.attempt import attempt
from bootlight.evaluation.on_images import About, OnImages, measure_images
from bootlight.evaluation.own_metrics import check_new
from bootlight.evaluation.sets.sources import ImageSource, StoreSource
from bootlight.evaluation.suite import finite
from bootlight.metrics.score import Score
from bootlight.runs.folder import GenerationFolder
from bootlight.runs.manifest import read_metadata

SYNTHETIC, TRAIN = "synthetic", "train"


@dataclass(frozen=True)
class ImagesOfRun:
    """Where the images are, and what is known of them.

    Args:
        sets: `synthetic` images, and the real ones to `train` on.
        folder: of the synthetic images.
        batch_size: images of an update.
        device: of metrics.
    """

    sets: Mapping[str, ImageSource]
    folder: GenerationFolder
    batch_size: int
    device: torch.device

    def scores(self, chosen: Sequence[OnImages], there: Mapping[str, Score], failed: dict[str, str]) -> dict[str, Score]:
        """Scores by name, with `/train` of those that have seen the real images.

        Args:
            chosen: the metrics.
            there: scores whose names are taken.
            failed: notes why a metric has none, by its class path.
        """
        scores: dict[str, Score] = {}
        if not chosen:
            return scores
        sides = {name: (self.sets[name], self._about(name)) for name in (SYNTHETIC, TRAIN)}
        measure = partial(
            measure_images,
            synthetic=sides[SYNTHETIC],
            real=sides[TRAIN],
            batch_size=self.batch_size,
            device=self.device,
            check=check_stop,
        )
        for metric in chosen:
            with attempt(metric.label, failed):
                found = finite(measure(metric), failed)
                if metric.sees_real:
                    found = {f"{k}/{TRAIN}": s.noting(reference=f"real {TRAIN} images") for k, s in found.items()}
                check_new(tuple(found), {**there, **scores})
                scores |= found
        return scores

    def _about(self, which: str) -> About:
        source = self.sets[which]
        if isinstance(source, StoreSource):
            chosen = slice(None) if source.indices is None else source.indices
            return About(source.store.labels[chosen].tolist(), source.names, [()] * len(source.names))
        rows = list(read_metadata(self.folder))
        labels = [-1 if row.get("label") is None else int(row["label"]) for row in rows]
        return About(labels, [row["file_name"] for row in rows], [tuple(row.get("parents") or ()) for row in rows])
