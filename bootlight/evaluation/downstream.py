"""What classifiers of a generation are worth on real images that none of them has seen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bootlight.classifiers.classifier import ClassifierModule
from bootlight.distributed.stopping import check_stop
from bootlight.errors import BootlightError, check_range
from bootlight.io.atomic import write_json
from bootlight.metrics.evaluator import Evaluator
from bootlight.metrics.paired import HOW, Interval, crossed_difference, crossed_mean
from bootlight.metrics.score import SHARE, Score
from bootlight.runs.manifest import parents_of, read_metadata
from bootlight.runs.trainings import parts_of

if TYPE_CHECKING:
    from bootlight.runs.generation import Generation

Hits = dict[str, NDArray[np.float64]]
ANSWERS = "answers.json"


class DownstreamAccuracy(Evaluator):
    """Accuracy on held-out real images of each classifier that the generation has published, and what each gains over one.

    Parts `<arm>_0`, `<arm>_1`, ... are trainings of one arm (`bootlight.Classifiers`); any other part is an arm by itself.
    `accuracy-<arm>` is for other trainings and other images; `gain-<arm>` is the difference to the baseline on the same images.
    `gen_000/answers.json` has which image each training was right about, for comparisons over runs.

    Args:
        baseline: arm that the others are compared with; without one of this name there are no gains.
        arms: those to look at; all that classify, if left out.
        batch_size: images of one network call.
    """

    def __init__(self, baseline: str = "real", arms: list[str] | None = None, batch_size: int = 250) -> None:
        check_range("batch_size", batch_size, 1)
        self.baseline, self.arms, self.batch_size = baseline, arms, batch_size

    def scores(self, generation: Generation, folders: Sequence[str]) -> dict[str, Score]:
        """See `Evaluator`.

        Raises:
            BootlightError: nothing is held out, or without labels; held-out images are parents; there is no classifier.
        """
        held_out = generation.held_out
        labels = held_out.labels
        known = np.flatnonzero(labels >= 0)
        if not len(known):
            raise BootlightError("no labelled images are held out; raise data.holdout_fraction, or take bootlight.PerClass")
        for folder in folders:
            self._check_parents(generation, folder, frozenset(held_out.names))
        hits = self._hits(generation, known)
        if not hits:
            raise BootlightError("no part of this generation classifies; train one by bootlight.Classifiers or bootlight.Train")
        answers = {arm: ["".join(str(int(hit)) for hit in row) for row in rows] for arm, rows in hits.items()}
        names = [held_out.names[i] for i in known.tolist()]
        write_json(generation.folder.path / ANSWERS, {"images": names, "right": answers})
        return scored(hits, self.baseline)

    def _check_parents(self, generation: Generation, folder: str, held_out: frozenset[str]) -> None:
        """No image that is tested with may be what a training image was made of."""
        for row in read_metadata(generation.folder.of_images(folder)):
            for parent in parents_of(row):
                if parent.removeprefix("real/") in held_out and parent.startswith("real/"):
                    raise BootlightError(f"{folder}: {row['file_name']} was made of {parent}, which is held out; draw it anew")

    def _hits(self, generation: Generation, known: NDArray[np.int64]) -> Hits:
        """Which of the images each training is right about, (trainings, images), by arm."""
        labels, found = generation.held_out.labels[known], dict[str, list[NDArray[np.float64]]]()
        for part in parts_of(generation.folder):
            arm = re.sub(r"_\d+$", "", part.part)
            if not part.is_trained or (self.arms is not None and arm not in self.arms):
                continue
            module = generation.published(part.part)
            if not isinstance(module, ClassifierModule):
                continue
            module = module.to(generation.device)
            guesses = []
            for images in generation.held_out.batches(self.batch_size):
                check_stop()
                guesses.append(module.classify(images).argmax(1).cpu().numpy())
            found.setdefault(arm, []).append((np.concatenate(guesses)[known] == labels).astype(np.float64))
        missing = [arm for arm in self.arms or () if arm not in found]
        if missing:
            raise BootlightError(
                f"DownstreamAccuracy: no part of this generation is an arm {missing[0]}, or none that classifies"
            )
        return {arm: np.stack(rows) for arm, rows in found.items()}


def scored(hits: Mapping[str, NDArray[np.float64]], baseline: str) -> dict[str, Score]:
    """Scores by name.

    Args:
        hits: of each arm (trainings, images), 1 where a training is right.
        baseline: arm that gains are over.
    """
    scores = {}
    for arm, rows in hits.items():
        about: dict[str, Any] = {"arm": arm, "trainings": len(rows), "images": rows.shape[1], SHARE: HOW}
        scores[f"accuracy-{arm}"] = _score(crossed_mean(rows), about)
        if arm != baseline and baseline in hits:
            over = {"baseline": baseline, "baseline_trainings": len(hits[baseline])}
            scores[f"gain-{arm}"] = _score(crossed_difference(rows, hits[baseline]), about | over)
    return scores


def _score(found: Interval, about: dict[str, Any]) -> Score:
    alone = about["trainings"] == 1
    remarks = ("one training: how much another one would differ is not in the interval",) if alone else ()
    return Score(found.value, found.standard_error, about["images"], about, (found.low, found.high), remarks, True)
