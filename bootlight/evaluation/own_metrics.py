"""Metrics of one's own among those of `METRICS`: named by class path, found, made, and checked before anything is measured."""

import inspect
import json
import math
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jsonargparse import ArgumentParser
from torch import nn
from torchmetrics import Metric

from bootlight.class_path import is_class_path as names_a_class
from bootlight.class_path import module_of
from bootlight.errors import BootlightError, told_in_a_line
from bootlight.evaluation.attempt import attempt
from bootlight.metrics.evaluator import Evaluator
from bootlight.metrics.features.feature_metric import FeatureMetric
from bootlight.metrics.score import Score
from bootlight.rng import seed_torch

Entry = str | Mapping[str, Any]  # as it is written: a key of METRICS, a class path, or {class_path, init_args}
KEYS = {"class_path", "init_args"}
MAX_SCORES = 20  # of one metric
MAX_NAME = 100  # characters
TAKEN = ("loss", "generation", "num_real", "num_synthetic", "steps", "images_seen")  # by other columns of tables


@dataclass(frozen=True, eq=False)
class OwnMetric:
    """A user's metric of features.

    Args:
        label: how it is called: its class path.
        metric: what measures.
        network: where its features come from; None = they are those of the evaluation's network.
    """

    label: str
    metric: FeatureMetric
    network: nn.Module | None = None

    def __str__(self) -> str:
        return self.label

    @property
    def output(self) -> str:
        """Under what its features stand among the answers of the networks."""
        return self.metric.output if self.network is None else f"{self.label} {id(self):x} {self.metric.output}"


def is_class_path(entry: Entry) -> bool:
    """Whether an entry names a class, and no key of METRICS."""
    return not isinstance(entry, str) or "." in entry


def make(entry: Entry, network: nn.Module | None, key: str = "metrics") -> tuple[str, Metric | Evaluator]:
    """The class path of an entry and the metric, which no other process is asked about.

    Networks of its own that begin with random weights begin with the same ones each time.

    Args:
        entry: with a class path.
        network: for a metric of features whose constructor takes `features` and is given none.
        key: of the entry, for messages.

    Raises:
        BootlightError: there is no such class, it is no metric, or it cannot be made of these arguments.
    """
    written: Mapping[str, Any] = {"class_path": entry} if isinstance(entry, str) else entry
    path, arguments = written.get("class_path"), written.get("init_args") or {}
    if not isinstance(path, str) or not isinstance(arguments, Mapping) or set(written) - KEYS:
        raise BootlightError(f"{key}: {dict(written)} is no metric; give {{class_path: ..., init_args: {{...}}}}")
    kind = found(path, key)
    with torch.random.fork_rng(devices=[]):
        seed_torch("metric", path)
        try:
            metric = kind(**_constructed(kind, dict(arguments), network))
        except BootlightError as error:
            raise BootlightError(f"{key}: {path}: {error}") from error
        except (Exception, SystemExit) as error:  # someone else's code
            raise BootlightError(f"{key}: {path} cannot be made: {told_in_a_line(error)}") from error
    if isinstance(metric, Evaluator):
        return path, metric
    for part in metric.modules():
        if isinstance(part, Metric):
            part.distributed_available_fn = alone
    return path, metric


def alone() -> bool:
    """No other process measures."""
    return False


def found(path: str, key: str) -> type[Metric] | type[Evaluator]:
    """The class that a path names.

    Raises:
        BootlightError: there is none, its file cannot be imported, or it is no metric.
    """
    if not names_a_class(path):
        raise BootlightError(f"{key}: {path!r} is no class path; give FILE.CLASS without .py, such as my_file.MyMetric")
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(module_of(path), name, None)
    except BootlightError as error:
        raise BootlightError(f"{key}: {error}") from error
    if kind is None:
        raise BootlightError(f"{key}: {path}: {module} has no {name}; correct the name")
    if not (inspect.isclass(kind) and issubclass(kind, Metric | Evaluator)):
        raise BootlightError(
            f"{key}: {path} is no torchmetrics.Metric; derive it from that, from FeatureMetric or from Evaluator"
        )
    if lacking := sorted(getattr(kind, "__abstractmethods__", ())):
        raise BootlightError(f"{key}: {path} lacks {', '.join(lacking)}; write it")
    return kind


def _constructed(kind: type[Metric] | type[Evaluator], arguments: dict[str, Any], network: nn.Module | None) -> dict[str, Any]:
    """Arguments of the constructor as objects, `features` among them where it asks for them."""
    names = ArgumentParser(exit_on_error=False).add_class_arguments(kind, fail_untyped=False, sub_configs=False)
    parameter = inspect.signature(kind).parameters.get("features")
    default = None if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default
    asked = "features" in names and "features" not in arguments and default is None
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, fail_untyped=False, sub_configs=False, skip={"features"} if asked else set())
    try:
        parsed = parser.parse_object(arguments)
    except ArgumentError as error:
        raise BootlightError(f"init_args: {' '.join(str(error).split())}; correct them") from error
    made = dict(vars(parser.instantiate(parsed)))
    if not (asked and issubclass(kind, FeatureMetric)):
        return made
    if network is None:
        raise BootlightError("it measures features, and evaluation.features is null; give it a network")
    return made | {"features": network}


def as_written(scores: Any, label: str, most: int = MAX_SCORES) -> dict[str, Score]:
    """What a user's metric answers, as numbers and texts that can be kept.

    Raises:
        BootlightError: it is something else.
    """
    if not isinstance(scores, Mapping) or not all(isinstance(score, Score) for score in scores.values()):
        raise BootlightError(f"{label} answers {type(scores).__name__}; it must be a dictionary of scores by name")
    if not 0 < len(scores) <= most:
        raise BootlightError(f"{label} answers {len(scores)} scores; give one, or at most {most}")
    return {_name(name, label): _plain(score, f"{label}: {name}") for name, score in scores.items()}


def _name(name: Any, label: str) -> str:
    if not (isinstance(name, str) and name.isprintable() and 0 < len(name) <= MAX_NAME) or name in TAKEN:
        raise BootlightError(f"{label} calls a score {name!r}; give it another name, of letters")
    return name


def _plain(score: Score, what: str) -> Score:
    try:
        interval = None if score.interval is None else tuple(map(number, score.interval))
        if interval is not None and (len(interval) != 2 or not all(map(math.isfinite, interval))):
            raise ValueError(f"its interval is {interval}")
        error = None if score.standard_error is None else number(score.standard_error)
        if error is not None and error < 0:
            raise ValueError(f"its standard error is {error}")
        return Score(
            value=number(score.value),
            standard_error=error,
            n=int(score.n),
            protocol=json.loads(json.dumps(dict(score.protocol), allow_nan=False)),
            interval=None if interval is None else (interval[0], interval[1]),
            remarks=tuple(map(str, score.remarks)),
            higher_is_better=None if score.higher_is_better is None else bool(score.higher_is_better),
        )
    except (TypeError, ValueError, RuntimeError, RecursionError) as reason:
        raise BootlightError(f"{what} cannot be kept: {reason}; give numbers, and texts in the protocol") from reason


def number(value: Any) -> float:
    """A Python number, or a tensor or array of one element, as a float.

    Raises:
        TypeError: it is something else.
        ValueError: likewise.
    """
    if isinstance(value, str | bytes):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def with_others(scores: Mapping[str, Score], others: Mapping[str, Score], failed: dict[str, str] | None) -> dict[str, Score]:
    """Scores, and others whose names are their own: `failed` notes those that have one of these, see `attempt`."""
    for name in scores:
        with attempt(name, failed):
            check_new([name], others)
    return {**scores, **others}


def check_new(names: Sequence[str], there: Mapping[str, Score]) -> None:
    """Refuse a score of a name that another one has.

    Raises:
        BootlightError: names it.
    """
    if taken := [name for name in names if name in there]:
        raise BootlightError(f"there is a score {taken[0]} already; give this one another name")
