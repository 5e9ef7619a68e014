"""Floors: what real images score in the place of synthetic ones, and whether the two can be told apart at all."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bootlight.evaluation.attempt import attempt
from bootlight.evaluation.networks.trained_networks import TrainedOnReal
from bootlight.evaluation.suite import Choice, Features, finite, repeated_remark, subset
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.score import TOLD_APART, Score
from bootlight.metrics.two_sample import LEAST as LEAST_TOLD_APART
from bootlight.metrics.two_sample import ToldApart
from bootlight.rng import torch_rng

LEAST = 20  # images that stand for the synthetic ones; fewer say too little
STAND_IN = "in_place_of_synthetic"  # key of a floor's protocol
UNBIASED = ("kid", "mmd-rbf", "authpct", "moments")  # whose values at different numbers of synthetic images can be compared
Measure = Callable[..., dict[str, Score]]  # as `suite.measure_all`, for names, real and synthetic


class Place(NamedTuple):
    """Real images in the place of synthetic ones.

    Attributes:
        reference: what they are measured against, answers of the network by output.
        images: those in the place of the synthetic ones, likewise; as many or fewer.
        who: how protocols call them.
        own_reference: whether the reference is a part of the usual one, because they were taken from it.
        rows: where they lie in the set that they were taken from.
    """

    reference: Features
    images: Features
    who: str
    own_reference: bool
    rows: Tensor


def place(reference: Features, others: Features | None, *, n: int, who: str) -> Place | None:
    """Which real images stand for n synthetic ones.

    Args:
        reference: real images.
        others: other real images; where there are none, or fewer than 20, half of the reference at most takes their place,
            and the rest is what they are measured against.
        n: number of synthetic images.
        who: how protocols call the others.

    Returns:
        None where there are too few images.
    """
    if others is not None and count(others) >= LEAST:
        return Place(reference, some(others, n), who, False, subset(torch.arange(count(others)), n))
    half = min(n, count(reference) // 2)
    if count(reference) // 2 < LEAST:
        return None
    order = torch.randperm(count(reference), generator=torch_rng(0, "real images in the place of synthetic ones"))
    chosen, rest = order[:half].sort().values, order[half:].sort().values
    parts = [{output: values[rows] for output, values in reference.items()} for rows in (rest, chosen)]
    return Place(parts[0], parts[1], f"{half:,} of the real images, measured against the others", True, chosen)


def floor_scores(names: Sequence[Choice], held: Place, measure: Measure) -> dict[str, Score]:
    """`<score>/real`: each score of real images in the place of the synthetic ones."""
    found = measure(names, real=held.reference, synthetic=held.images)
    return {
        f"{name}/real": score.noting(**{STAND_IN: held.who})._replace(remarks=())
        for name, score in found.items()
        if "/" not in name and f"{name}/real" not in found  # vendi/real is one already
    }


def equal_n_scores(names: Sequence[Choice], held: Place, synthetic: Features, measure: Measure) -> dict[str, Score]:
    """`<score>/same-n`: scores that depend on the numbers of images, measured as their floors are where these are of fewer."""
    n = count(held.images)
    if not held.own_reference:
        names = [name for name in names if name not in UNBIASED] if count(synthetic) > n else []
    found = measure(names, real=held.reference, synthetic=some(synthetic, n)) if names else {}
    return {f"{name}/same-n": score._replace(remarks=()) for name, score in found.items() if "/" not in name}


def scores_of_place(
    names: Sequence[Choice], held: Place, synthetic: Features, measure: Measure
) -> dict[str, Callable[[dict[str, str]], dict[str, Score]]]:
    """What computes `floor_scores` ("real") and `equal_n_scores` ("same-n"), given where to note what has no score."""
    return {
        "real": lambda failed: floor_scores(names, held, partial(measure, failed=failed)),
        "same-n": lambda failed: equal_n_scores(names, held, synthetic, partial(measure, failed=failed)),
    }


def told_apart_scores(
    network: nn.Module, *, real: Features, synthetic: Features, failed: dict[str, str] | None, name: str = TOLD_APART
) -> dict[str, Score]:
    """Whether two sets of images can be told apart, under a name; nothing of sets too small for it."""
    if min(count(real), count(synthetic)) < LEAST_TOLD_APART:
        return {}
    with attempt(name, failed):
        test = ToldApart(features=network, sync_on_compute=False)
        (score,) = finite(test.measure(real["features"], synthetic["features"]), failed).values()
        return {name: score._replace(remarks=(*repeated_remark(synthetic["features"]), *score.remarks))}
    return {}


def fair_network(network: nn.Module) -> nn.Module:
    """The network in whose features training images and others may be told apart: pixels, where it knows the former by heart.

    Of images of the same distribution, those that a network has learned from look different to it, unless they were many: at
    least `fair_from` of them, an attribute of such a network.
    """
    if not isinstance(network, TrainedOnReal):
        return network
    learned_from = getattr(network, "protocol", {}).get("learned_from", 0)
    if learned_from >= getattr(network, "fair_from", math.inf):
        return network
    return PixelFeatures(channels=getattr(network, "channels", 3))


def count(features: Features) -> int:
    """Number of images."""
    return len(next(iter(features.values())))


def some(features: Features, n: int) -> Features:
    """At most n images, a fixed random subset in their order."""
    return {output: subset(values, n) for output, values in features.items()}
