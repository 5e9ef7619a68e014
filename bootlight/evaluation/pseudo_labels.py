"""Whether the labels that a curator believed are better than those that he did not, and what believing costs in diversity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from bootlight.distributed.stopping import check_stop
from bootlight.errors import BootlightError
from bootlight.evaluation.features import extract
from bootlight.evaluation.sets.streamed import drawn_source
from bootlight.io.pictures import to_float
from bootlight.metrics.evaluator import Evaluator
from bootlight.metrics.score import SHARE, Score
from bootlight.metrics.uncertainty import binomial_standard_error, wilson_interval
from bootlight.runs.curation import read_curation
from bootlight.runs.drawn import read_drawn
from bootlight.runs.folder import SAMPLES

if TYPE_CHECKING:
    from bootlight.runs.curation import Row
    from bootlight.runs.generation import Generation

BATCH_SIZE = 250


class PseudoLabelQuality(Evaluator):
    """How far labels of `bootlight.PseudoLabels` can be believed, by the labels that the images were drawn with.

    `accepted`: share of the images whose label is believed, and `accepted-<class>` of those drawn as a class.
    `pseudo-accuracy-accepted` and `pseudo-accuracy-all`: how often a proposed label is the one that the image was drawn with,
    which is its parent's. `accepted-diversity`: mean squared distance to the mean of the class, of accepted images over that of
    all; 1 = none is lost, below 1 accepted images are more alike. In the features of the evaluation, or pixels without any.

    Args:
        of: folder of images.
    """

    def __init__(self, of: str = SAMPLES) -> None:
        self.of = of

    def scores(self, generation: Generation, folders: Sequence[str]) -> dict[str, Score]:
        """See `Evaluator`.

        Raises:
            BootlightError: nobody has proposed labels.
        """
        folder = generation.folder.of_images(self.of)
        rows = list((read_curation(folder) or {}).values())
        if not rows or any(row.accepted is None for row in rows):
            raise BootlightError(f"{self.of} has no pseudo-labels; let bootlight.PseudoLabels curate it")
        drawn = np.array([-1 if row.label is None else row.label for row in read_drawn(folder)])
        believed = np.array([bool(row.accepted) for row in rows])
        scores = shares(rows, drawn, believed, generation.held_out.store.class_names)
        features = self._features(generation)
        return scores | diversity(features, drawn if (drawn >= 0).all() else _guesses(rows), believed)

    def _features(self, generation: Generation) -> NDArray[np.float64]:
        source = drawn_source(self.of, generation.folder.of_images(self.of), generation.held_out.shape)
        network = generation.features
        if network is None:
            found = torch.cat([to_float(images).flatten(1) for images in source.batches(BATCH_SIZE)])
        else:
            how: dict[str, Any] = {"batch_size": BATCH_SIZE, "device": generation.device, "check": check_stop}
            found = extract(source, network, cache=None, **how)["features"]
        return found.double().cpu().numpy()


def shares(
    rows: Sequence[Row], drawn: NDArray[np.int64], believed: NDArray[np.bool_], class_names: Sequence[str]
) -> dict[str, Score]:
    """Shares of images that are accepted, and of labels that are right.

    Args:
        rows: what the curator has said.
        drawn: labels (n,) that the images were drawn with, -1 = none.
        believed: (n,), whether a label is accepted.
        class_names: of the labels.
    """
    scores = {"accepted": _share(believed, None)}
    for label, name in enumerate(class_names):
        if (drawn == label).any():
            scores[f"accepted-{name}"] = _share(believed[drawn == label], None)
    right, known = _guesses(rows) == drawn, drawn >= 0
    if known.any():
        scores["pseudo-accuracy-all"] = _share(right[known], True)
    if (known & believed).any():
        scores["pseudo-accuracy-accepted"] = _share(right[known & believed], True)
    return scores


def diversity(features: NDArray[np.float64], labels: NDArray[np.int64], believed: NDArray[np.bool_]) -> dict[str, Score]:
    """Scatter within classes of the accepted images over that of all; none where fewer than two of a class are accepted."""
    kept = total = 0.0
    count = 0
    for label in np.unique(labels):
        own = labels == label
        if (own & believed).sum() < 2:
            continue
        number = int((own & believed).sum())
        kept += number * float(features[own & believed].var(0, ddof=1).sum())
        total += number * float(features[own].var(0, ddof=1).sum())
        count += number
    if total <= 0:
        return {}
    return {"accepted-diversity": Score(kept / total, None, count, {"measure": "scatter within classes"}, None, (), None)}


def _guesses(rows: Sequence[Row]) -> NDArray[np.int64]:
    return np.array([-1 if row.guess is None else row.guess for row in rows])


def _share(hits: NDArray[np.bool_], better: bool | None) -> Score:
    value, n = float(hits.mean()), len(hits)
    error = binomial_standard_error(value, n)
    return Score(value, error, n, {SHARE: "Wilson"}, wilson_interval(value, n), (), better)
