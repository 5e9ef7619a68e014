"""Which metrics are measured, on features that are there already."""

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from bootlight.errors import BootlightError
from bootlight.evaluation.attempt import attempt
from bootlight.evaluation.own_metrics import OwnMetric, as_written, check_new
from bootlight.metrics.distances.fd_infinity import FrechetInfinity
from bootlight.metrics.distances.frechet import FrechetDistance
from bootlight.metrics.distances.inception_score import InceptionScore
from bootlight.metrics.distances.kid import KernelDistance
from bootlight.metrics.distances.mifid import MemorizationInformedFrechetDistance
from bootlight.metrics.distances.sfid import SpatialFrechetDistance
from bootlight.metrics.exact import BLOCK, checked
from bootlight.metrics.features.feature_cache import KeptIn
from bootlight.metrics.features.feature_metric import FeatureMetric
from bootlight.metrics.features.features import weights_remark
from bootlight.metrics.moments import MeanShift, VarianceRatio
from bootlight.metrics.neighbours.authenticity import Authenticity
from bootlight.metrics.neighbours.copying import DataCopying, GlobalDataCopying
from bootlight.metrics.neighbours.density_coverage import Coverage, Density
from bootlight.metrics.neighbours.precision_recall import USUAL_KS, Precision, Recall
from bootlight.metrics.once import once
from bootlight.metrics.score import Score
from bootlight.metrics.vendi import VendiScore

ALONE: dict[str, Any] = {"sync_on_compute": False}  # one process measures
Features = dict[str, Tensor]  # answers of a network by output, (N, D) each

Choice = str | OwnMetric  # a key of METRICS, or a user's metric

METRICS: dict[str, Callable[[nn.Module], tuple[FeatureMetric, ...]]] = {
    "fd": lambda network: (FrechetDistance(features=network, **ALONE),),
    "fd-infinity": lambda network: (FrechetInfinity(features=network, **ALONE),),
    "kid": lambda network: (KernelDistance(features=network, **ALONE),),
    "mmd-rbf": lambda network: (KernelDistance(features=network, kernel="rbf", **ALONE),),
    "precision-recall": lambda network: tuple(
        metric(features=network, k=k, **ALONE) for k in USUAL_KS for metric in (Precision, Recall)
    ),
    "density-coverage": lambda network: (Density(features=network, **ALONE), Coverage(features=network, **ALONE)),
    "authpct": lambda network: (Authenticity(features=network, **ALONE),),
    "moments": lambda network: (MeanShift(features=network, **ALONE), VarianceRatio(features=network, **ALONE)),
    "vendi": lambda network: (VendiScore(features=network, **ALONE),),
    "mifid": lambda network: (MemorizationInformedFrechetDistance(features=network, **ALONE),),
    "inception-score": lambda network: (InceptionScore(features=network, **ALONE),),
    "sfid": lambda network: (SpatialFrechetDistance(features=network, **ALONE),),
}
COPYING = ("authpct", "mifid")  # look for copies, which may be of any real image
PAIRED = ("kid", "mmd-rbf", "precision-recall", "density-coverage", *COPYING)  # look at every pair of images
MAX_PAIRED = 10_000  # of each side: a hundred million pairs take seconds, two billion half an hour
REPEATED = 0.01  # share of the images that may have an equal one before it is remarked on
DISTANCES = ("fd", "kid")  # comparable between reference sets of different sizes, at least roughly
LEAST = {"precision-recall": 7, "density-coverage": 6, "fd-infinity": 3}  # images of each side, where more than 2
USUAL = ("fd", "kid", "precision-recall", "density-coverage", "authpct")


def metrics_of(choice: Choice, network: nn.Module) -> tuple[FeatureMetric, ...]:
    """What is measured by a choice, in the space of a network."""
    return METRICS[choice](network) if isinstance(choice, str) else (choice.metric,)


def output_of(choice: Choice, metric: FeatureMetric) -> str:
    """Under what the features stand that a metric of a choice looks at."""
    return metric.output if isinstance(choice, str) else choice.output


def least_images(names: Sequence[object]) -> int:
    """How many images each side needs for all of these metrics, as far as is known."""
    return max((LEAST.get(name, 2) for name in names if isinstance(name, str)), default=2)


def check_metrics(names: Sequence[str], network: nn.Module, key: str = "metrics") -> None:
    """Refuse metrics that there are not, or that this network cannot serve.

    Raises:
        BootlightError: names the metric and what there is.
    """
    for name in names:
        if name not in METRICS:
            raise BootlightError(
                f"{key}: there is no {name!r}; there are {', '.join(METRICS)}, and class paths such as my_file.MyMetric"
            )
        if not can_serve(network, name):
            raise BootlightError(f"{key}: {name} needs the Inception network, not {type(network).__name__}; leave it out")


def can_serve(network: nn.Module, name: str) -> bool:
    """Whether a feature network answers what the metrics of a key of `METRICS` look at."""
    return hasattr(network, "outputs") or all(metric.output == "features" for metric in METRICS[name](network))


def subset(features: Tensor, limit: int | None) -> Tensor:
    """The features, or where there are more than `limit` a fixed random subset of so many, in their order."""
    if limit is None or len(features) <= limit:
        return features
    chosen = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))[:limit]
    return features[chosen.sort().values]


def measure_all(
    names: Sequence[Choice],
    network: nn.Module,
    *,
    real: Features,
    synthetic: Features,
    held_out: Features | None = None,
    max_real: int = MAX_PAIRED,
    max_copied: int | None = None,
    cache: Path | None = None,
    check: Callable[[], None] = lambda: None,
    failed: dict[str, str] | None = None,
) -> dict[str, Score]:
    """Every metric of `names` that can be computed; with held-out real images the data-copying test as well.

    Args:
        names: keys of `METRICS`, and a user's metrics.
        network: where the features come from; those of others are among the answers, see `chosen.with_own`.
        real: of the reference.
        synthetic: of what is judged.
        held_out: of real images that the generator has not seen.
        max_real: real images where every pair of images is looked at.
        max_copied: real images among which copies are looked for; None = all.
        cache: folder in which statistics of the reference are kept for the next time; None = nowhere.
        check: called before each metric; raises to stop.
        failed: where it is noted why a metric has no score, by its name; None = the first such metric is an error.

    Raises:
        BootlightError: features that are not finite, of which nothing can be measured.
    """
    for side, answers in (("real", real), ("held-out", held_out), ("synthetic", synthetic)):
        if answers is not None and "features" in answers:
            checked(answers["features"], least=0, metric="every metric", side=side)
    scores: dict[str, Score] = {}
    with once(None if cache is None else KeptIn(cache)):
        for name in tqdm(dict.fromkeys(names), desc="metrics", leave=False, delay=2):
            check()
            with attempt(str(name), failed):
                found: dict[str, Score] = {}
                for metric in metrics_of(name, network):
                    sets = looked_at(name, metric, real, synthetic, max_real, max_copied)
                    doubt = unseen_remark(len(sets[0]), len(real[metric.output])) if name in COPYING else ()
                    answer = metric.measure(*sets)
                    answer = answer if isinstance(name, str) else as_written(answer, name.label)
                    found |= {k: score._replace(remarks=(*score.remarks, *doubt)) for k, score in answer.items()}
                check_new(tuple(found), scores)
                scores |= finite(found, failed)
        if held_out is not None:
            with attempt("ct", failed):
                roles = {"train": real["features"], "held_out": held_out["features"], "synthetic": synthetic["features"]}
                for copying in (GlobalDataCopying(features=network, **ALONE), DataCopying(features=network, **ALONE)):
                    scores |= finite(copying.measure(**roles), failed)
    doubt = weights_remark(network) + repeated_remark(synthetic["features"])
    return {name: score._replace(remarks=(*doubt, *score.remarks)) for name, score in scores.items()}


def looked_at(
    name: Choice,
    metric: FeatureMetric,
    real: Features,
    synthetic: Features,
    max_real: int = MAX_PAIRED,
    max_copied: int | None = None,
) -> list[Tensor]:
    """What a metric is given of both sides, see `measure_all`: all, or a fixed random subset where every pair is looked at."""
    limits = (max_copied if name in COPYING else max_real, MAX_PAIRED) if name in PAIRED else (None, None)
    output = output_of(name, metric)
    return [subset(answers[output], limit) for answers, limit in zip((real, synthetic), limits, strict=True)]


def finite(scores: dict[str, Score], failed: dict[str, str] | None) -> dict[str, Score]:
    """Those of the scores that are numbers; see `attempt` for the others. An error that is none is not known."""
    kept = {}
    for name, score in scores.items():
        with attempt(name, failed):
            if not math.isfinite(score.value):
                raise BootlightError(f"its value is {score.value}")
            known = score.standard_error is None or math.isfinite(score.standard_error)
            kept[name] = score if known else score._replace(standard_error=None)
    return kept


def unseen_remark(looked_at: int, count: int) -> tuple[str, ...]:
    """A warning where copies of some real images could not be seen."""
    if looked_at == count:
        return ()
    return (f"copies were looked for among {looked_at:,} of the {count:,} real images: of those of the others nothing is seen",)


def num_distinct(features: Tensor) -> int:
    """How many rows of features (N, D) differ, by 64 bits of a hash of each: sorting them would hold them several times."""
    hashes = np.empty(len(features), np.uint64)
    for start in range(0, len(features), BLOCK):
        rows = (features[start : start + BLOCK].detach().cpu() + 0.0).numpy()  # -0 becomes 0
        found = [hashlib.sha256(row).digest() for row in np.ascontiguousarray(rows)]
        hashes[start : start + len(rows)] = [int.from_bytes(digest[:8]) for digest in found]
    return len(np.unique(hashes))


def repeated_remark(features: Tensor) -> tuple[str, ...]:
    """A warning where more than one image in a hundred is there before: errors are those of independent images."""
    distinct = num_distinct(features)
    if distinct >= (1 - REPEATED) * len(features):
        return ()
    return (f"only {distinct:,} of the {len(features):,} synthetic images differ: errors and intervals are too small",)
