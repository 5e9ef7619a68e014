"""The floors of a run: those of real images once for all generations, the rest for each."""

from collections.abc import Callable, Hashable, Mapping
from functools import partial

from torch import Tensor, nn

from bootlight.evaluation.floors.floors import (
    Measure,
    count,
    fair_network,
    place,
    scores_of_place,
    told_apart_scores,
)
from bootlight.evaluation.floors.probes import COUNT, doubts_of
from bootlight.evaluation.suite import Choice, Features
from bootlight.metrics.score import TOLD_APART, Score
from bootlight.metrics.two_sample import LEAST as LEAST_TOLD_APART

Found = dict[str, Score]
Failed = dict[str, str]
Probe = Callable[[str, list[int]], dict[str, Tensor]]
OTHER = {"train": "holdout", "holdout": "train"}  # reference: whose images stand for synthetic ones


class RunFloors:
    """What real images score in the place of the synthetic ones of a generation: see `floors`.

    Scores of real images do not change between generations of equal n, and are measured once.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[Hashable, ...], tuple[Found, Failed]] = {}
        self._doubts: dict[tuple[str, ...], dict[str, str]] = {}

    def scores(
        self,
        network: nn.Module,
        metrics: Mapping[str, list[Choice]],
        keys: Mapping[str, str],
        answers: Mapping[str, Features],
        fair: Callable[[str], Features],
        measure: Measure,
        failed: Failed,
    ) -> Found:
        """`<score>/real/<reference>`, `<score>/same-n/<reference>`, `told-apart/<reference>` and `told-apart/real/train`.

        Args:
            network: of the answers.
            metrics: what is measured against which reference, `train` and maybe `holdout`.
            keys: of the images of each set, by content.
            answers: of the network to the images of each reference, and to the `synthetic` ones.
            fair: answers of `fair_network(network)` to the images of a set.
            measure: as `suite.measure_all`, of which network, cache and check are given.
            failed: notes what has no score.
        """
        scores: Found = {}
        n = count(answers["synthetic"])
        for which in (one for one in OTHER if one in metrics):
            other, names = OTHER[which], metrics[which]
            held = place(answers[which], answers.get(other), n=n, who=f"real {other} images")
            if held is None:
                continue
            key = (which, *names, keys[which], keys.get(other, ""), str(count(held.images)))
            kinds = scores_of_place(names, held, answers["synthetic"], measure)
            floors, equal = self._once(key, kinds["real"]), noted(kinds["same-n"])
            for kind, (found, why) in (("real", floors), ("same-n", equal)):
                scores |= {f"{name}/{which}": score for name, score in found.items()}
                failed |= {f"{name}/{kind}/{which}": reason for name, reason in why.items()}
        return scores | self._told_apart(network, keys, answers, fair, failed)

    def doubts(
        self, network: nn.Module, keys: Mapping[str, str], answers: Mapping[str, Features], probe: Probe, failed: Failed
    ) -> dict[str, str]:
        """Why scores are none to compare by: see `probes.probe_remarks`.

        Args:
            network: of the answers.
            keys: as for `scores`.
            answers: likewise.
            probe: answers of the network to noise and to blurred images in the place of some of a set, by kind.
            failed: notes why nothing is known.
        """
        key = (keys["train"], keys.get("holdout", ""))
        if key not in self._doubts:
            held = place(answers["train"], answers.get("holdout"), n=COUNT, who="")
            which = "train" if held is None or held.own_reference else "holdout"
            self._doubts[key] = doubts_of(network, held, partial(probe, which), failed)
        return self._doubts[key]

    def _told_apart(
        self,
        network: nn.Module,
        keys: Mapping[str, str],
        answers: Mapping[str, Features],
        fair: Callable[[str], Features],
        failed: Failed,
    ) -> Found:
        """Whether synthetic images can be told from held-out ones; where there are none, from those to train on."""
        held_out = answers.get("holdout")
        if held_out is None or count(held_out) < LEAST_TOLD_APART:
            sides = {"real": fair("train"), "synthetic": fair("synthetic")}
            return told_apart_scores(fair_network(network), **sides, failed=failed, name=f"{TOLD_APART}/train")
        sides = {"real": held_out, "synthetic": answers["synthetic"]}
        scores = told_apart_scores(network, **sides, failed=failed, name=f"{TOLD_APART}/holdout")

        def of_real(failed: Failed) -> Found:
            sides = {"real": fair("train"), "synthetic": fair("holdout")}
            return told_apart_scores(fair_network(network), **sides, failed=failed, name=f"{TOLD_APART}/real/train")

        found, why = self._once((TOLD_APART, keys["train"], keys["holdout"]), of_real)
        failed |= why
        return scores | found

    def _once(self, key: tuple[Hashable, ...], compute: Callable[[Failed], Found]) -> tuple[Found, Failed]:
        if key not in self._kept:
            self._kept[key] = noted(compute)
        return self._kept[key]


def noted(compute: Callable[[Failed], Found]) -> tuple[Found, Failed]:
    """Scores, and why some could not be had."""
    failed: Failed = {}
    return compute(failed), failed
