"""Floors of `bootlight evaluate`: what real images score in the place of the set that is judged."""

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from bootlight.evaluation.floors.floors import count, fair_network, place, scores_of_place, told_apart_scores
from bootlight.evaluation.floors.probes import COUNT, doubts_of, probes_of, with_probes
from bootlight.evaluation.floors.run_floors import noted
from bootlight.evaluation.options import Setting
from bootlight.evaluation.sets.sources import ImageSource
from bootlight.evaluation.suite import Features, measure_all
from bootlight.metrics.features.features import score_name
from bootlight.metrics.score import TOLD_APART, Score
from bootlight.metrics.two_sample import LEAST as LEAST_TOLD_APART

HELD_OUT = "held-out real images"


def beside(
    setting: Setting, sources: Mapping[str, ImageSource], answers: Mapping[str, Features], failed: dict[str, str]
) -> dict[str, Score]:
    """`<score>/real`, `<score>/same-n`, `told-apart` and `told-apart/real`; see `floors`.

    Held-out images stand for the synthetic ones where there are 20 or more; otherwise a part of the real ones does.

    Args:
        setting: network, metrics.
        sources: `real`, `synthetic`, maybe `held-out`.
        answers: of the network to them.
        failed: notes what has no score.
    """
    real, synthetic, held_out = answers["real"], answers["synthetic"], answers.get("held-out")
    scores: dict[str, Score] = {}
    held = place(real, held_out, n=count(synthetic), who=HELD_OUT)
    if held is not None:
        measure = partial(measure_all, network=setting.network, cache=setting.cache)
        for kind, compute in scores_of_place(setting.metrics, held, synthetic, measure).items():
            found, why = noted(compute)
            scores |= found
            failed |= {f"{name}/{kind}": reason for name, reason in why.items()}
    network = fair_network(setting.network)

    def fair(role: str) -> Features:
        return answers[role] if network is setting.network else setting.ask_with(network, sources[role])

    test = partial(told_apart_scores, network, failed=failed)
    if held_out is None or count(held_out) < LEAST_TOLD_APART:
        return scores | referred(test(real=fair("real"), synthetic=fair("synthetic")), "real images")
    scores |= referred(told_apart_scores(setting.network, real=held_out, synthetic=synthetic, failed=failed), HELD_OUT)
    others = test(real=fair("real"), synthetic=fair("held-out"), name=f"{TOLD_APART}/real")
    return scores | referred(others, "other real images")


def referred(scores: dict[str, Score], reference: str) -> dict[str, Score]:
    """The scores with their reference in the protocol."""
    return {name: score.noting(reference=reference) for name, score in scores.items()}


def doubted(
    scores: dict[str, Score],
    setting: Setting,
    sources: Mapping[str, ImageSource],
    answers: Mapping[str, Features],
    failed: dict[str, str],
) -> dict[str, Score]:
    """The scores, with a remark on those by which noise or blur come before real images; see `probes`."""
    held = place(answers["real"], answers.get("held-out"), n=COUNT, who=HELD_OUT)
    source = sources["real" if held is None or held.own_reference else "held-out"]

    def probe(rows: list[int]) -> dict[str, Tensor]:
        return {kind: setting.ask(made)["features"] for kind, made in probes_of(source, rows).items()}

    remarks = doubts_of(setting.network, held, probe, failed)
    return with_probes(scores, remarks, score_name(setting.network)) if remarks else scores
