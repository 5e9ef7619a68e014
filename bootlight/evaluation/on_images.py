"""A metric of one's own that takes images: any `torchmetrics.Metric`, fed in batches with what its `update` asks for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import Metric

from bootlight.errors import BootlightError
from bootlight.evaluation.own_metrics import as_written, number
from bootlight.metrics.score import Score
from bootlight.rng import seed_torch

if TYPE_CHECKING:
    from bootlight.evaluation.sets.sources import ImageSource

ABOUT = ("labels", "ids", "parents", "partners")  # what an `update` is given by keyword if it asks for it by that name
PARAMETERS = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class About:
    """What is known of each image of a set, in its order; empty where nothing is.

    Args:
        labels: classes, -1 = none.
        ids: names.
        parents: names of the images that each is made of.
        partners: the good images that bad parents were made of; a part of them is a tensor (B, C, H, W).
    """

    labels: Sequence[int] = ()
    ids: Sequence[str] = ()
    parents: Sequence[tuple[str, ...]] = ()
    partners: Sequence[Any] = ()

    def batch(self, wanted: Sequence[str], rows: slice) -> dict[str, Any]:
        """Of some images; labels as int64 (B,)."""
        found = {name: getattr(self, name)[rows] for name in wanted}
        plain = {name: torch.tensor(part) if name == "labels" else part for name, part in found.items()}
        return {name: part if isinstance(part, Tensor) else list(part) for name, part in plain.items()}


@dataclass(frozen=True, eq=False)
class OnImages:
    """A user's metric of images.

    Args:
        label: how it is called: its class path.
        metric: is never changed; copies of it measure.
        sees_real: whether its `update` takes `real`, and so the images of the reference too.
        wanted: those of `ABOUT` that its `update` takes.
        as_float: whether 8-bit images are given as float32 from 0 to 1.
    """

    label: str
    metric: Metric
    sees_real: bool
    wanted: tuple[str, ...]
    as_float: bool = False

    def __str__(self) -> str:
        return self.label


def on_images(label: str, metric: Metric, key: str = "metrics") -> OnImages:
    """What a metric asks for, by the parameters of its `update`.

    Raises:
        BootlightError: it asks for something else.
    """
    parameters = list(inspect.signature(type(metric).update).parameters.values())[1:]
    named = [parameter.name for parameter in parameters if parameter.kind in PARAMETERS]
    images = bool(parameters) and parameters[0].kind is not inspect.Parameter.KEYWORD_ONLY
    needed = [p.name for p in parameters[1:] if p.kind in PARAMETERS and p.default is inspect.Parameter.empty]
    other = [name for name in needed if name not in ("real", *ABOUT)]
    if not images or other:
        raise BootlightError(
            f"{key}: {label}: its update takes {', '.join(named) or 'nothing'}; it is given images first, and by name "
            f"what it asks for of real, {', '.join(ABOUT)}"
        )
    wanted = tuple(name for name in ABOUT if name in named[1:])
    return OnImages(label, metric, "real" in named[1:], wanted, _wants_float(metric))


def _wants_float(metric: Metric) -> bool:
    """Whether it is one of torchmetrics' own that does sums with pixels as they are, which 8 bits would not hold.

    Those that have a switch `normalize` take 8 bits where it is off.
    """
    kind = type(metric)
    if kind.__module__.partition(".")[0] != "torchmetrics":
        return False
    return "normalize" not in inspect.signature(kind).parameters or getattr(metric, "normalize", False) is True


def check_known(chosen: OnImages, about: About, where: str) -> None:
    """Refuse a metric that asks for what is not known of a set of images.

    Raises:
        BootlightError: it does.
    """
    for name in chosen.wanted:
        known = getattr(about, name)
        if len(known) == 0 or (name == "labels" and max(known) < 0) or (name == "parents" and not any(known)):
            raise BootlightError(f"{chosen.label} asks for {name}, and of {where} none are known; leave it out")


def measure_images(
    chosen: OnImages,
    synthetic: tuple[ImageSource, About],
    real: tuple[ImageSource, About],
    batch_size: int,
    device: torch.device | str,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Score]:
    """Scores by name, of a copy of the metric in eval mode that sees real images first, if it asks for them.

    Where the metric draws random numbers, they are the same ones each time.

    Args:
        chosen: the metric.
        synthetic: images, and what is known of them.
        real: of the reference.
        batch_size: images of an update.
        device: of metric and images.
        check: called before each batch; raises to stop.

    Raises:
        BootlightError: an answer that is no number, or something that it asks for is not known.
    """
    sides = [(*real, True)] * chosen.sees_real + [(*synthetic, False)]
    for source, about, _ in sides:
        check_known(chosen, about, source.where)
    metric = deepcopy(chosen.metric).to(device).eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        seed_torch("metric", chosen.label)
        for source, about, is_real in sides:
            said = {"real": is_real} if chosen.sees_real else {}
            for images, rows in _batches(source, batch_size):
                check()
                images = images.float() / 255 if chosen.as_float and images.dtype == torch.uint8 else images
                more = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in about.batch(chosen.wanted, rows).items()}
                metric.update(images.to(device), **said, **more)
        protocol: dict[str, Any] = {"metric": chosen.label, "num_synthetic": len(synthetic[0].names)}
        protocol |= {"num_real": len(real[0].names)} if chosen.sees_real else {}
        return answer(metric, chosen.label, protocol | ({"images": "from 0 to 1"} if chosen.as_float else {}))


def _batches(source: ImageSource, size: int) -> Iterator[tuple[Tensor, slice]]:
    start = 0
    for images in source.batches(size):
        yield images, slice(start, start + len(images))
        start += len(images)


def answer(metric: Metric, label: str, protocol: dict[str, Any]) -> dict[str, Score]:
    """Its own `scores()`, else what `compute()` answers: a number, some by name, or a tuple of which the first is the score.

    Raises:
        BootlightError: it is nothing of these.
    """
    own = getattr(metric, "scores", None)
    if callable(own):
        return as_written(own(), label)
    name = getattr(metric, "name", None)
    name = name if isinstance(name, str) else type(metric).__name__.lower()
    value: Any = metric.compute()
    direction = metric.higher_is_better
    if isinstance(value, Mapping):
        numbers = {key if key == name else f"{name}-{key}": (part, direction) for key, part in value.items()}
    elif isinstance(value, tuple | list):
        numbers = {f"{name}-{i}" if i else name: (part, None if i else direction) for i, part in enumerate(value)}
    else:
        numbers = {name: (value, direction)}
    n, found = protocol["num_synthetic"], {}
    try:
        for key, (part, better) in numbers.items():
            found[key] = Score(number(part), None, n, protocol, higher_is_better=better)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BootlightError(f"{label} answers what is no number: {error}; compute must answer with a scalar") from error
    return as_written(found, label)
