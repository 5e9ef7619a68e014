"""Inception score: how sure a classifier is of each image and how many classes it sees (Salimans et al. 2016, section 4)."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bootlight.errors import check_range
from bootlight.metrics.exact import blocks, checked
from bootlight.metrics.features.feature_metric import FeatureMetric
from bootlight.metrics.score import Score

ENOUGH_IMAGES = 5000  # of one split; at 1,000 classes log IS then still reads low by up to 0.1
SHUFFLE_SEED = 2020  # torch-fidelity's, so that splits are the same


class InceptionEstimate(NamedTuple):
    """What `inception_score` found.

    Attributes:
        value: mean of the splits' scores, from 1 to the number of classes.
        standard_error: over redraws of the images.
        bias: estimate of how much too low `value` is because of the number of images, as a share of it, >= 0.
        deviation: standard deviation of the scores over splits, the "±" of the literature; None for one split.
    """

    value: float
    standard_error: float
    bias: float
    deviation: float | None


class SplitScore(NamedTuple):
    """Logarithm of one split's score, its variance over redraws, and its bias to first order, <= 0."""

    log: float
    variance: float
    bias: float


def inception_score(logits: Tensor, splits: int = 1) -> InceptionEstimate:
    """exp(E KL(p(y|x) ‖ p(y))) of logits (N, K), with p(y) the mean of p(y|x) over the images of a split.

    With several splits the images are first put in a random order, always the same and that of torch-fidelity, so that
    images that lie sorted by class do not make splits of one class.

    Raises:
        BootlightError: fewer than 2 images in a split, or logits that are not finite.
    """
    logits = checked(logits, least=2 * splits, metric="an Inception score", side="synthetic")
    if splits > 1:
        order = np.random.RandomState(SHUFFLE_SEED).permutation(len(logits))
        logits = logits[torch.from_numpy(order).to(logits.device)]
    edges = [split * len(logits) // splits for split in range(splits + 1)]
    parts = [split_score(logits[start:stop]) for start, stop in pairwise(edges)]
    scores = torch.tensor([part.log for part in parts], dtype=torch.float64).exp()
    variances = scores.square() * torch.tensor([part.variance for part in parts], dtype=torch.float64)
    biases = scores * torch.tensor([part.bias for part in parts], dtype=torch.float64).expm1().neg()
    return InceptionEstimate(
        value=scores.mean().item(),
        standard_error=variances.sum().sqrt().item() / splits,
        bias=(biases.sum() / scores.sum()).item(),
        deviation=scores.std(correction=0).item() if splits > 1 else None,
    )


def split_score(logits: Tensor) -> SplitScore:
    r"""Logarithm of the Inception score of logits (N, K), its variance and bias by expansion about the mean prediction.

    The influence of an image on E KL is its own KL less the mean, so the variance is that of the KL over n. The second-order
    term is -½ Σ_k d_k² / p_k with d the error of the mean prediction p, and on average -½ Σ_k Var p(k|x) / (n p_k): the
    bias, which is -(K - 1) / (2n) for certain predictions, as of any entropy (Miller 1955).

    The standard error is too large by up to √2 where KL are nearly equal, because those observed hold the noise of d. For
    random logits with K from 10 to 1,000 it was 1.0 to 1.4 times the true spread where the bias was below 5 %, but 0.7 to
    0.8 times, and the bias underestimated by up to a half, where n was so small that the bias exceeded 10 %.
    """
    n, classes = logits.shape
    mean = logits.new_zeros(classes, dtype=torch.float64)
    squares = torch.zeros_like(mean)
    for _, block in blocks(logits):
        predictions = block.softmax(1)
        mean += predictions.sum(0) / n
        squares += predictions.square().sum(0) / n
    mean = mean.clamp(min=torch.finfo(mean.dtype).tiny)  # a class that no image can have adds 0, not NaN
    divergences = torch.cat(
        [(block.softmax(1) * (block.log_softmax(1) - mean.log())).sum(1) for _, block in blocks(logits)],
    )
    return SplitScore(
        log=divergences.mean().item(),
        variance=divergences.var().item() / n,
        bias=-(squares / mean - mean).sum().item() / (2 * n),
    )


class InceptionScore(FeatureMetric):
    """Inception score of synthetic images alone: between 1 and the number of classes, higher is better.

    It looks at the answer `logits` of the network, (B, K), and needs no real images. It rewards images that the classifier
    takes for one of its classes and knows nothing of likeness to the real images. The literature's value is that of the 2015
    TensorFlow Inception with 1,008 logits without their bias, 50,000 images and 10 splits.

    The standard error covers redraws of the synthetic images, not the bias, which is downwards and falls as 1/n.

    Args:
        features: a network whose method `outputs` answers with `logits`.
        splits: parts that are scored on their own and averaged.
        settings: as for `FeatureMetric`.

    Raises:
        BootlightError: `splits` is less than 1.
    """

    higher_is_better = True
    output = "logits"
    name = "inception_score"

    def __init__(
        self,
        *,
        features: nn.Module,
        splits: int = 1,
        **settings: Any,
    ) -> None:
        super().__init__(features=features, **settings)
        check_range("InceptionScore.splits", splits, 1)
        self.splits = splits

    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """The score under `inception_score`, from logits (M, K); `real` is not looked at.

        Raises:
            BootlightError: fewer than 2 synthetic images in a split, or logits that are not finite.
        """
        estimate = inception_score(synthetic, self.splits)
        protocol = self.common_protocol(synthetic[:0], synthetic) | {"splits": self.splits}
        if estimate.deviation is not None:
            protocol["standard_deviation"] = estimate.deviation
        score = Score(
            value=estimate.value,
            standard_error=estimate.standard_error,
            n=len(synthetic),
            protocol=protocol,
            remarks=_remarks(len(synthetic) // self.splits, estimate.bias),
            higher_is_better=self.higher_is_better,
        )
        return {self.name: score}


def _remarks(images: int, bias: float) -> tuple[str, ...]:
    if images >= ENOUGH_IMAGES:
        return ()
    return (f"{images} images a split, fewer than {ENOUGH_IMAGES:,}: reads low, here by about {100 * bias:.2g} %.",)
