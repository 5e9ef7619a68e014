"""Whether a feature network can be had, and answers as one, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from bootlight.errors import BootlightError, told_in_a_line
from bootlight.evaluation.chosen import choose
from bootlight.evaluation.networks.default_network import default_line, default_network
from bootlight.evaluation.networks.trained_networks import TrainedOnReal, look_at, real_images
from bootlight.evaluation.suite import least_images
from bootlight.metrics.distances.frechet import FrechetDistance
from bootlight.metrics.distances.statistics import feature_statistics
from bootlight.terminal import say

if TYPE_CHECKING:
    from bootlight.data.datamodule import BootstrapData
    from bootlight.evaluation.generation import Evaluation


def check_features(evaluation: Evaluation, data: BootstrapData, num_synthetic: int) -> nn.Module | None:
    """Build the feature network, let it look at its weights and the data (methods `check`, `check_real`), show it two images.

    Where the user has named none it is a default one, and what is in its way is told and no reason to stop.

    Returns:
        The network; None where nothing is to be measured in its space.

    Raises:
        BootlightError: too few images for a distance, or a network that cannot be built or does not answer with features.
    """
    if not evaluation.metrics:
        return None
    if evaluation.features is not None:
        return _checked(evaluation, evaluation.features, data, num_synthetic)
    network = default_network(data.real.store.images.dtype == "uint8", data.channels)
    if not choose(evaluation.metrics, network, "evaluation.metrics").on_features:  # whose faults are the user's
        return None
    try:
        found = _checked(evaluation, lambda: network, data, num_synthetic)
    except BootlightError as error:
        choose(evaluation.metrics, None, "evaluation.metrics")
        tell(f"only the judge is asked, there are no distances: {error}")
        return None
    tell(default_line(network))
    return found


@rank_zero_only
def tell(text: str) -> None:
    """Say it once."""
    say(text)


def _checked(evaluation: Evaluation, build: Callable[[], Any], data: BootstrapData, num_synthetic: int) -> nn.Module:
    channels, height, width = data.image_shape
    if (height, width, channels) != (stored := data.real.store.images.shape[1:]):
        raise BootlightError(
            f"evaluation.features: images of {height} x {width} are drawn, and the real ones are {stored[0]} x {stored[1]}, of "
            "which each step sees a view; they cannot be compared: set evaluation.metrics to []"
        )
    least = least_images(evaluation.metrics)
    if num_synthetic < least:
        raise BootlightError(f"bootstrap.num_synthetic is {num_synthetic}; evaluation.metrics needs at least {least} images")
    if len(data.available) < least:
        raise BootlightError(
            f"{data.root}: {len(data.available)} images to train on; evaluation.metrics needs at least {least}, add some"
        )
    if evaluation.max_real < least:
        raise BootlightError(f"evaluation.max_real is {evaluation.max_real}; evaluation.metrics needs at least {least}")
    try:
        network: nn.Module = build()
        check = getattr(network, "check", None)
        if callable(check):
            check()
        look_at(network, real_images(data))
        choose(evaluation.metrics, network, "evaluation.metrics")
        if not isinstance(network, TrainedOnReal):  # that one cannot answer yet
            probe_features(network, data)
    except BootlightError:
        raise
    except Exception as error:  # someone else's code
        raise BootlightError(f"evaluation.features: {told_in_a_line(error)}; correct it") from error
    return network


def probe_features(network: nn.Module, data: BootstrapData) -> None:
    """Measure two real images as the evaluation will.

    Raises:
        BootlightError: the answer is not one row of finite features for each image.
    """
    metric = FrechetDistance(features=network, sync_on_compute=False)
    images = data.real_images(data.real, 2)
    metric.update(torch.from_numpy(images).permute(0, 3, 1, 2), real=True)
    feature_statistics(metric.real_features[0])
