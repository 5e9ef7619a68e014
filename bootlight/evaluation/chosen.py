"""The metrics of an evaluation, as a user has written them, and as objects."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import yaml
from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.evaluation.networks.trained_networks import TrainedOnReal
from bootlight.evaluation.on_images import OnImages, on_images
from bootlight.evaluation.own_metrics import Entry, OwnMetric, found, is_class_path, make
from bootlight.evaluation.suite import Choice, check_metrics
from bootlight.metrics.evaluator import Evaluator
from bootlight.metrics.features.feature_metric import FeatureMetric


class Chosen(NamedTuple):
    """What is measured.

    Attributes:
        on_features: keys of METRICS, and a user's metrics of features.
        on_images: a user's metrics of images.
        of_generation: what measures a generation of a run as a whole, by class path.
    """

    on_features: tuple[Choice, ...] = ()
    on_images: tuple[OnImages, ...] = ()
    of_generation: tuple[tuple[str, Evaluator], ...] = ()


def read_entries(text: str) -> list[Entry]:
    """Entries that are separated by commas, or a list in YAML, for arguments: `[kid, {class_path: my_file.MyMetric}]`.

    Raises:
        BootlightError: it begins as a list and is none.
    """
    if not text.lstrip().startswith("["):
        return [name.strip() for name in text.split(",") if name.strip()]
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BootlightError(f"--metrics: {text} is no list: {error}") from error
    if not isinstance(found, list) or not all(isinstance(entry, str | dict) for entry in found):
        raise BootlightError(f"--metrics: {text} is no list of metrics; give names, class paths, or {{class_path: ...}}")
    return found


def choose(entries: Sequence[Entry], network: nn.Module | None, key: str = "metrics") -> Chosen:
    """The metrics of some entries; without a network none of `METRICS`.

    Raises:
        BootlightError: there is no such metric, it cannot be made, or it asks for what it cannot have.
    """
    keys = [str(entry) for entry in entries if not is_class_path(entry)]
    if network is not None:
        check_metrics(keys, network, key)
    on_features: list[Choice] = []
    images: list[OnImages] = []
    whole: list[tuple[str, Evaluator]] = []
    for entry in entries:
        if is_class_path(entry):
            label, metric = make(entry, network, key)
            if isinstance(metric, Evaluator):
                whole.append((label, metric))
            elif isinstance(metric, FeatureMetric):
                on_features.append(_on_features(label, metric, network, key))
            else:
                images.append(on_images(label, metric, key))
        elif network is not None and entry not in on_features:
            on_features.append(str(entry))
    return Chosen(tuple(on_features), tuple(images), tuple(whole))


def evaluators_of(entries: Sequence[Entry], key: str = "metrics") -> tuple[tuple[str, Evaluator], ...]:
    """Those of the entries that measure a generation as a whole; they need no network of features.

    Raises:
        BootlightError: see `choose`.
    """
    paths = [(entry, entry if isinstance(entry, str) else str(entry.get("class_path"))) for entry in entries]
    wanted = [entry for entry, path in paths if is_class_path(entry) and issubclass(found(path, key), Evaluator)]
    made = [make(entry, None, key) for entry in wanted]
    return tuple((label, thing) for label, thing in made if isinstance(thing, Evaluator))


def _on_features(label: str, metric: FeatureMetric, network: nn.Module | None, key: str) -> OwnMetric:
    if network is None:
        raise BootlightError(f"{key}: {label} measures features, and evaluation.features is null; give it a network")
    asked = metric._features.network
    own = None if asked is network else asked
    if own is not None and isinstance(own, TrainedOnReal):
        raise BootlightError(f"{key}: {label} has features trained on real images; name them as features of the evaluation")
    if metric.output != "features" and not hasattr(asked, "outputs"):
        raise BootlightError(f"{key}: {label} looks at {metric.output}, which {type(asked).__name__} has not; leave it out")
    return OwnMetric(label, metric, own)


def left_out(images: Sequence[OnImages]) -> tuple[str, ...]:
    """That metrics of images are not compared, if there are any: of their scores no error is known."""
    labels = ", ".join(map(str, images))
    return (f"{labels}: metrics of images are not compared; bootlight evaluate has their scores.",) if images else ()


def with_own(
    ask: Callable[[nn.Module], dict[str, Tensor]], network: nn.Module | None, on_features: Sequence[Choice]
) -> dict[str, Tensor]:
    """Answers of the evaluation's network to some images, and those of networks that metrics have of their own.

    Args:
        ask: what a network answers to the images.
        network: of the evaluation.
        on_features: the metrics.
    """
    found = {} if network is None else dict(ask(network))
    for chosen in on_features:
        if isinstance(chosen, OwnMetric) and chosen.network is not None:
            found[chosen.output] = ask(chosen.network)[chosen.metric.output]
    return found
