"""Metrics as users write them, sound and broken; named by class path in tests."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from bootlight.metrics.features.feature_metric import FeatureMetric
from bootlight.metrics.score import Score

NUMBER = 3


class Colours(nn.Module):
    """Mean of each channel through a layer of random weights, and a count of the images that it has seen."""

    name = "colours"
    seen = 0

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        self.layer = nn.Linear(3, size)
        self.num_features = size

    def forward(self, images: Tensor) -> Tensor:
        Colours.seen += len(images)
        return self.layer(images.float().mean((2, 3)))


class Gap(FeatureMetric):
    """Distance of the means in the evaluation's features."""

    name = "gap"
    higher_is_better = False

    def __init__(self, *, features: nn.Module, power: float = 1.0, **settings: Any) -> None:
        super().__init__(features=features, **settings)
        self.power = power

    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        value: Any = (real.mean(0) - synthetic.mean(0)).norm() ** self.power
        return {self.name: Score(value, None, len(synthetic), self.common_protocol(real, synthetic), higher_is_better=False)}


class ColourGap(Gap):
    """The same with features of its own."""

    name = "colour-gap"

    def __init__(self, size: int = 2) -> None:
        super().__init__(features=Colours(size))


class Kid(Gap):
    """Has the name of another metric."""

    name = "kid"


class Odd(Gap):
    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        return {"a\nb": Score(1.0, None, 2, {})}


class Negative(Gap):
    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        return {"negative": Score(1.0, -1.0, 2, {})}


class Abstract(FeatureMetric):
    name = "abstract"


class Light(Metric):
    """Mean of all synthetic pixels."""

    higher_is_better = True
    total: Tensor
    count: Tensor

    def __init__(self, unit: float = 1.0) -> None:
        super().__init__()
        self.unit = unit
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, pictures: Tensor) -> None:
        self.total += pictures.double().sum()
        self.count += pictures.numel()

    def compute(self) -> Tensor:
        return self.total / self.count / self.unit


class Tested(Light):
    """Has the name of a test."""

    name = "told-apart/holdout"


class Loss(Light):
    """Has the name of a column."""

    name = "loss"


class Lighter(Metric):
    """By how much synthetic images are lighter than real ones, and how many these are."""

    def __init__(self) -> None:
        super().__init__()
        self.sides: dict[bool, list[Tensor]] = {True: [], False: []}

    def update(self, images: Tensor, real: bool) -> None:
        self.sides[real].append(images.double().mean((1, 2, 3)))

    def compute(self) -> dict[str, Tensor]:
        real, drawn = (torch.cat(self.sides[side]) for side in (True, False))
        return {"lighter": drawn.mean() - real.mean(), "count": torch.tensor(len(real))}


class Told(Metric):
    """Hands back what is known of the images."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Any] = []

    def update(self, images: Tensor, *, labels: Tensor, ids: list[str], parents: list[tuple[str, ...]]) -> None:
        assert labels.dtype == torch.int64 and len(labels) == len(ids) == len(parents) == len(images)
        self.told += zip(labels.tolist(), ids, parents, strict=True)

    def compute(self) -> Tensor:
        return torch.tensor(float(len(self.told)))

    def scores(self) -> dict[str, Score]:
        return {"told": Score(len(self.told), None, len(self.told), {"told": self.told})}


class Raises(Light):
    def update(self, pictures: Tensor) -> None:
        raise RuntimeError("of its own")


class Many(Light):
    def compute(self) -> Tensor:
        return torch.zeros(3)


class NoNumber(Light):
    def compute(self) -> Tensor:
        return self.total / 0 * 0


class Pair(Light):
    def update(self, preds: Tensor, target: Tensor) -> None:  # type: ignore[override]
        """Asks for what nobody has."""


class Needy(Light):
    def __init__(self, unit: float) -> None:
        if unit > 5:
            raise ValueError("too large")
        super().__init__(unit)
