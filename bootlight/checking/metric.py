"""Metrics: one number, or some, of images that are given in batches."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from bootlight.checking.judged import CLASSES
from bootlight.checking.trials import NotHere, Trials, Wrong, demand, uniform
from bootlight.evaluation.on_images import OnImages, answer, on_images
from bootlight.metrics.features.features import PixelFeatures
from bootlight.rng import seed_everywhere

COUNT, EDGE = 30, 16
TOLERANCE = 1e-4  # relative: sums of float32 in another order
STATES = "keep what is accumulated in states (add_state with dist_reduce_fx), and answer from these alone"


class Lightness(nn.Module):
    """A discriminator that likes light images."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B,)."""
        return images.mean((1, 2, 3))


class MetricTrials(Trials):
    """Of a `torchmetrics.Metric` of images, such as a `FeatureMetric`."""

    kind = Metric
    name = "metric"
    filled: ClassVar[Mapping[str, Any]] = {"features": PixelFeatures(2), "judge": Lightness()}

    def __init__(self, build: Callable[[], Any]) -> None:
        super().__init__(build)
        self.asks: OnImages | None = None

    def scalars(self) -> str:
        """It answers with a finite number, or several by name, of images uint8 (B, 3, H, W)."""
        self.asks = on_images(type(self.thing).__name__, self.thing, "update")
        values = self._values(self._given(self.thing))
        wrong = [name for name, value in values.items() if not torch.tensor(value).isfinite()]
        demand(wrong == [], f"{', '.join(wrong)} is no finite number of {COUNT} images on each side")
        asked = ["real images"] * self.asks.sees_real + list(self.asks.wanted)
        return f"{', '.join(values)}{' · asks for ' if asked else ''}{', '.join(asked)}"

    def alike(self) -> None:
        """The same images have the same answer, whatever the global random generators."""
        answers = []
        for seed in (1, 2):
            metric = self._fresh()
            seed_everywhere("check", "alike", seed)
            answers.append(self._values(self._given(metric)))
        demand(self._near(*answers), f"it answers {_said(answers[0])}, then {_said(answers[1])}; give what it draws a seed")

    def batches(self) -> None:
        """The order of images, and into which batches they are cut, makes no difference."""
        whole = self._values(self._given(self._fresh()))
        backwards = list(range(COUNT))[::-1]
        for order, size in ((None, 7), (backwards, COUNT)):
            cut = self._values(self._given(self._fresh(), order, size))
            demand(self._near(cut, whole), f"in another order or other batches it answers {_said(cut)} and not {_said(whole)}")

    def reset_forgets(self) -> None:
        """After `reset` it answers as a fresh one, asked before or not."""
        metric = self._fresh()
        self._values(self._given(metric, list(range(8))))
        metric.reset()
        if hasattr(metric, "reset_real_features") and not metric.reset_real_features:
            metric = self._given(metric, sides=(False,))  # the reference has stayed, on purpose
            fresh = self._given(self._given(self._fresh(), list(range(8)), sides=(True,)), sides=(False,))
        else:
            metric, fresh = self._given(metric), self._given(self._fresh())
        found, wanted = self._values(metric), self._values(fresh)
        demand(self._near(found, wanted), f"after reset it answers {_said(found)}, a fresh one {_said(wanted)}; {STATES}")

    def copied(self) -> None:
        """Copies, by `clone` and by pickle, answer as it does."""
        metric = self._given(self._fresh())
        try:
            pickled = pickle.loads(pickle.dumps(metric))
        except Exception as error:
            raise Wrong(f"it cannot be pickled ({error}): keep no lambda, generator or open file in an attribute") from error
        for copy in (deepcopy(metric), pickled):
            demand(self._near(self._values(copy), self._values(metric)), "a copy of it answers otherwise")

    def processes(self) -> None:
        """Two processes with half of the images each answer as one with all."""
        whole = self._values(self._given(self._fresh()))
        halves = [self._given(self._fresh(), list(range(side, COUNT, 2))) for side in (0, 1)]
        there = _states(halves[1])
        halves[0].distributed_available_fn = lambda: True
        halves[0].dist_sync_fn = lambda own, group: [own, next(there)]
        found = self._values(halves[0])
        demand(self._near(found, whole), f"two processes answer {_said(found)}, one {_said(whole)}; {STATES}")

    def _given(
        self, metric: Any, chosen: list[int] | None = None, size: int = 10, sides: tuple[bool, ...] = (True, False)
    ) -> Any:
        """The metric after updates with some of the images of both sides."""
        asks = self.asks
        if asks is None:
            raise NotHere("its update is not understood")
        order = list(range(COUNT)) if chosen is None else chosen
        for real in sides if asks.sees_real else [False] * (False in sides):
            images = (255 * uniform(COUNT, 3, EDGE, EDGE, name="real" if real else "synthetic") * (1 if real else 0.9)).byte()
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                about = {"labels": torch.tensor(rows) % CLASSES, "ids": list(map(str, rows)), "parents": [("a",) for _ in rows]}
                about["partners"] = images[rows].flip(3)
                said = {name: about[name] for name in asks.wanted} | ({"real": real} if asks.sees_real else {})
                metric.update(images[rows], **said)
        return metric

    def _values(self, metric: Any) -> dict[str, float]:
        scores = answer(metric, type(metric).__name__, {"num_synthetic": COUNT})
        return {name: score.value for name, score in scores.items()}

    def _near(self, found: dict[str, float], wanted: dict[str, float]) -> bool:
        size = max(1.0, *map(abs, wanted.values()))
        return found.keys() == wanted.keys() and all(abs(found[k] - wanted[k]) <= TOLERANCE * size for k in wanted)


def _said(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in values.items())


def _states(metric: Any) -> Iterator[Tensor]:
    """What another process sends, in the order in which torchmetrics asks for it."""
    for state in metric.metric_state.values():
        if isinstance(state, list):
            yield torch.cat(state) if state else torch.tensor([])
        else:
            yield state
