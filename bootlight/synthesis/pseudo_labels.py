"""Labels of drawn images by heads that must agree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bootlight.classifiers.agreement import Agreement, agreement
from bootlight.classifiers.amst import AMST
from bootlight.errors import BootlightError, check_range
from bootlight.rng import derive_seed
from bootlight.runs.references import check_name
from bootlight.synthesis.curator import BATCH_SIZE, Curator
from bootlight.terminal import say

if TYPE_CHECKING:
    from bootlight.runs.curation import Row
    from bootlight.runs.generation import Generation, Images


class PseudoLabels(Curator):
    """An image gets the label of a published `AMST` where all its heads agree and each is sure (Fu et al. 2024, section 4.3).

    Sure is whose probability of its own class varies by less than tau over several passes with dropout. An image whose label
    is not believed loses the one that it was drawn with: it is kept without any, for a training that can use it, or left out.
    The paper does not say how many passes there are, nor what varies; ten, and this, are chosen here.

    Args:
        part: published name of the `AMST`.
        tau: limit of the variance; infinity = heads need only agree.
        passes: with dropout.
        rest: what becomes of the other images, unlabelled or dropped.
    """

    def __init__(
        self,
        part: str = "labeler",
        tau: float = 0.01,
        passes: int = 10,
        rest: Literal["unlabelled", "dropped"] = "unlabelled",
    ) -> None:
        check_name("part", part)
        check_range("passes", passes, 1)
        if math.isnan(tau) or tau <= 0:
            raise BootlightError(f"tau is {tau}; it must be above 0, or no label would ever be believed")
        if rest not in ("unlabelled", "dropped"):
            raise BootlightError(f"rest is {rest!r}; it is unlabelled or dropped")
        self.part, self.tau, self.passes, self.rest = part, tau, passes, rest
        self.references = {"labeler": part}

    def check_parts(self, parts: Mapping[str, Any]) -> None:
        """See `Curator`."""
        found = parts["labeler"]
        if not isinstance(found, AMST):
            raise BootlightError(
                f"bootstrap.stages: PseudoLabels asks {self.part}, a {type(found).__name__}; train an AMST there"
            )
        if math.isfinite(self.tau) and self.passes < 2:
            raise BootlightError("bootstrap.stages: PseudoLabels passes is 1, of which there is no variance; give 2 or more")

    def rows(self, rows: list[Row], images: Images, generation: Generation) -> Sequence[Row]:
        """See `Curator`.

        Raises:
            BootlightError: the part is no AMST; no label is believed, and nothing would stay.
        """
        module = generation.published(self.part)
        self.check_parts({"labeler": module})
        module = module.to(generation.device)
        seed = derive_seed(generation.context.seed, generation.number, "pseudo labels", self.part)
        judged: list[Row] = []
        for batch in images.batches(BATCH_SIZE):
            found = agreement(module.opinions(batch, len(judged), self.passes, seed).cpu())
            judged += self._judged(rows[len(judged) : len(judged) + len(batch)], found)
        believed = sum(row.accepted is True for row in judged)
        if not believed and self.rest == "dropped":
            raise BootlightError(
                f"PseudoLabels: no label of {len(judged)} images is believed; raise tau, or set rest to unlabelled"
            )
        say(f"pseudo-labels by {self.part}: {believed:,} of {len(judged):,} images accepted; {_reasons(judged)}")
        return judged

    def _judged(self, rows: Sequence[Row], found: Agreement) -> list[Row]:
        answers = zip(
            rows,
            found.accepted(self.tau).tolist(),
            found.agrees.tolist(),
            found.guess.tolist(),
            found.confidence.tolist(),
            found.uncertainty.tolist(),
            found.labels.T.tolist(),
            strict=True,
        )
        judged = []
        for row, accepted, agrees, guess, confidence, uncertainty, labels in answers:
            said = ", ".join(map(str, labels))
            why = (
                f"heads say {said}" if not agrees else f"variance {uncertainty:.3g}{'' if accepted else f', tau {self.tau:g}'}"
            )
            own = {"accepted": accepted, "guess": guess, "confidence": confidence, "label": guess if accepted else None}
            judged.append(row._replace(keep=accepted or self.rest == "unlabelled", why=why, **own))
        return judged


def _reasons(rows: Sequence[Row]) -> str:
    """Why the others were not."""
    disagree = sum(row.why.startswith("heads") for row in rows)
    unsure = sum(row.accepted is False for row in rows) - disagree
    mean = float(np.mean([row.confidence for row in rows]))
    return f"of {disagree:,} heads disagree, of {unsure:,} one is unsure; mean confidence {mean:.3g}"
