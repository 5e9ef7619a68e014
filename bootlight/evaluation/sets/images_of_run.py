"""A generation's images, real ones beside them, for metrics of one's own that take images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from bootlight.data.origin import Origin
from bootlight.data.store import Store
from bootlight.distributed.stopping import check_stop
from bootlight.evaluation.attempt import attempt
from bootlight.evaluation.on_images import About, OnImages, measure_images
from bootlight.evaluation.own_metrics import check_new
from bootlight.evaluation.sets.sources import ImageSource, StoreSource
from bootlight.evaluation.suite import finite
from bootlight.metrics.score import Score
from bootlight.runs.folder import GenerationFolder
from bootlight.runs.manifest import parents_of, read_metadata

SYNTHETIC, TRAIN = "synthetic", "train"


@dataclass(frozen=True)
class ImagesOfRun:
    """Where the images are, and what is known of them.

    Args:
        sets: `synthetic` images, and the real ones to `train` on.
        folder: of the synthetic images.
        batch_size: images of an update.
        device: of metrics.
        origins: `data.origins`, of which images may have been made.
    """

    sets: Mapping[str, ImageSource]
    folder: GenerationFolder
    batch_size: int
    device: torch.device
    origins: Mapping[str, Origin] = field(default_factory=dict)

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
        made_of_others = any(sides[SYNTHETIC][1].parents)
        for metric in chosen:
            if "partners" in metric.wanted and not made_of_others:
                continue  # such as what a model draws from noise, beside what it restores
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
        parents = [parents_of(row) for row in rows]
        return About(labels, [row["file_name"] for row in rows], parents, partners_of(parents, self.origins))


class Partners(Sequence[Any]):
    """The good image of each of some images; they are looked up a part at a time.

    Args:
        store: all good images.
        places: of that of each image.
    """

    def __init__(self, store: Store, places: Sequence[int]) -> None:
        self._store, self._places = store, np.array(places, np.int64)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, which: Any) -> Any:
        """Images (B, C, H, W) of a slice, of the type in which they are stored."""
        return torch.from_numpy(self._store.images[self._places[which]]).permute(0, 3, 1, 2).contiguous()


def partners_of(parents: Sequence[tuple[str, ...]], origins: Mapping[str, Origin]) -> Sequence[Any]:
    """The good images of which the first parents were made; none where they are not all of one origin that knows them."""
    first = [names[0].partition("/") if names else ("", "", "") for names in parents]
    found = {origin for origin, _, _ in first}
    name = next(iter(found)) if len(found) == 1 else ""
    clean = origins[name].clean() if name in origins else None
    if clean is None:
        return ()
    place = {own: i for i, own in enumerate(origins[name].load()[0].names)}
    return Partners(clean[0], [place[own] for _, _, own in first])
