"""The three-sample test for data-copying (Meehan, Chaudhuri and Dasgupta 2020)."""

from abc import abstractmethod
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from bootlight.errors import check_range
from bootlight.metrics.exact import checked
from bootlight.metrics.features.feature_metric import common_protocol
from bootlight.metrics.features.role_metric import SYNTHETIC, RoleMetric
from bootlight.metrics.neighbours.cells import cells_of, k_means
from bootlight.metrics.neighbours.neighbours import nearest
from bootlight.metrics.once import shared
from bootlight.metrics.score import Score
from bootlight.metrics.uncertainty import jackknife_standard_error

MIN_IN_CELL = 20  # synthetic images; below, a cell does not count and the normal approximation is poor
STRONG = 3  # standard deviations below 0 that are remarked on
Role = Literal["train", "held_out", "synthetic"]


class Copying(NamedTuple):
    """A test statistic.

    Attributes:
        value: negative where synthetic images are closer to the training images than held-out real images are.
        without: (M,), entry j is the value without synthetic image j.
        null_deviation: standard deviation of `value` if synthetic images were fresh draws from the real distribution; its
            mean is then 0.
    """

    value: float
    without: Tensor
    null_deviation: float


def mann_whitney(*, held_out: Tensor, synthetic: Tensor) -> Copying:
    """Z_U: the z-scored Mann-Whitney statistic of two sets of distances.

    U counts the pairs in which the synthetic image's distance is the larger one, equal ones half. With m synthetic and n
    held-out images Z_U = (U - mn/2) / √(mn (m + n + 1) / 12), standard normal for large m, n if both distances have one
    continuous distribution. No correction for ties: they make |Z_U| smaller than it might be.

    Args:
        held_out: distances of held-out real images to their nearest training image, (n,), n > 0.
        synthetic: distances of synthetic images to theirs, (m,), m > 1.
    """
    ordered, n, m = held_out.sort().values, len(held_out), len(synthetic)
    below = torch.searchsorted(ordered, synthetic)
    not_above = torch.searchsorted(ordered, synthetic, right=True)
    larger = (below + not_above).double() / 2
    u = larger.sum()
    return Copying(_z(u, m, n).item(), _z(u - larger, m - 1, n), 1.0)


def cell_average(*, held_out: Tensor, synthetic: Tensor, held_out_cells: Tensor, synthetic_cells: Tensor) -> Copying | None:
    """C_T: the mean of Z_U over cells, weighted by their held-out images.

    Cells with fewer than `MIN_IN_CELL` synthetic images are left out, as the paper does with a threshold on their share.

    Args:
        held_out: distances as for `mann_whitney`, (n,).
        synthetic: likewise, (m,).
        held_out_cells: the cell of each held-out image, (n,).
        synthetic_cells: of each synthetic image, (m,).

    Returns:
        None where no cell counts.
    """
    parts = []
    for cell in torch.unique(held_out_cells).tolist():
        members = synthetic_cells == cell
        if members.sum() >= MIN_IN_CELL:
            own = held_out[held_out_cells == cell]
            parts.append((len(own), members, mann_whitney(held_out=own, synthetic=synthetic[members])))
    if not parts:
        return None
    total = sum(weight for weight, _, _ in parts)
    value = sum(weight * part.value for weight, _, part in parts) / total
    without = torch.full_like(synthetic, value)
    for weight, members, part in parts:
        without[members] += weight / total * (part.without - part.value)
    return Copying(value, without, sum(weight**2 for weight, _, _ in parts) ** 0.5 / total)


def _z(u: Tensor, m: int, n: int) -> Tensor:
    return (u - m * n / 2) / (m * n * (m + n + 1) / 12) ** 0.5


def all_checked(train: Tensor, held_out: Tensor, synthetic: Tensor, *, least: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Features as `checked` gives them, of at least so many training images."""
    return (
        checked(train, least=least, metric="ct", side="training"),
        checked(held_out, least=1, metric="ct", side="held-out"),
        checked(synthetic, least=2, metric="ct", side="synthetic"),
    )


def distances_to_training(train: Tensor, held_out: Tensor, synthetic: Tensor) -> tuple[Tensor, Tensor]:
    """Of held-out and of synthetic images, (n,) and (m,), to the nearest training image; computed once inside `once`."""

    def compute() -> tuple[Tensor, Tensor]:
        return nearest(held_out, train, 1)[0][:, 0], nearest(synthetic, train, 1)[0][:, 0]

    return shared("distances to training", (train, held_out, synthetic), compute)


class _CopyingMetric(RoleMetric):
    """What `DataCopying` and `GlobalDataCopying` share; distances are computed once inside `once`."""

    higher_is_better = None
    references = ("train", "held_out")
    train_features: list[Tensor]
    held_out_features: list[Tensor]

    @abstractmethod
    def measure(self, *, train: Tensor, held_out: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """Scores by name, from features (L, D), (n, D) and (m, D)."""

    def update(self, images: Tensor, *, role: Role) -> None:
        """Add images, uint8 (B, 1 or 3, H, W), in their role.

        Raises:
            TypeError: not uint8.
            BootlightError: the network does not answer with one row of features for each image.
        """
        self._add(images, role)

    def forward(self, images: Tensor, *, role: Role) -> Tensor:
        """Add images; the value of these alone, NaN of those that are not synthetic. See `FeatureMetric.forward`."""
        self.update(images, role=role)
        return self._answer_for(role)

    def _measured(self) -> dict[str, Score]:
        """What `measure` says of all images so far."""
        train, held_out, synthetic = map(self._features_of, ("train", "held_out", SYNTHETIC))
        return self.measure(train=train, held_out=held_out, synthetic=synthetic)

    def _score(self, found: Copying, real_distances: Tensor, train: Tensor, settings: dict[str, Any]) -> Score:
        n, deviations = len(found.without), found.value / found.null_deviation
        remarks = _remarks(real_distances, n)
        if deviations < -STRONG:
            remarks += (
                "synthetic images are closer to training images than held-out real ones are, by "
                f"{-deviations:.1f} standard deviations of what fresh real images would score",
            )
        protocol = common_protocol(self._features.network, train, found.without) | {"num_held_out": len(real_distances)}
        return Score(found.value, jackknife_standard_error(found.without), n, protocol | settings, None, remarks)


class DataCopying(_CopyingMetric):
    """Whether synthetic images lie closer to the training images than held-out real images do: `ct`, C_T.

    The mean of Z_U within cells. Near 0: no sign of copying. Far below: copying, or images of less variety that keep to where
    training images lie dense; the picture of the nearest real images tells which. Far above: synthetic images farther from the
    training images than real ones are, poor ones for instance. It grows with the numbers of images, like any test statistic:
    compare only at equal numbers. There is no score where no cell has `MIN_IN_CELL` synthetic images.

    Cells are those of k-means on the training images. A distance is to the nearest of all training images; the authors' program
    looks for it in the cell only, which differs for images beside a border.

    Uncertainty: jackknife over the synthetic images, training and held-out images and cells fixed. Over redraws of both
    synthetic and held-out images of a generator without fault the value has mean 0 and, by construction, standard deviation
    `Copying.null_deviation`.

    Args:
        features: as for `bootlight.metrics.features.feature_metric.FeatureMetric`.
        num_cells: at least 1; each should have some tens of held-out and synthetic images.
        seed: of k-means.
        settings: as for `FeatureMetric`; `reset_real_features` is about training and held-out images.

    Raises:
        BootlightError: `num_cells` is below 1.
    """

    name = "ct"

    def __init__(self, *, features: nn.Module, num_cells: int = 3, seed: int = 0, **settings: Any) -> None:
        super().__init__(features=features, **settings)
        check_range("num_cells", num_cells, 1)
        self.num_cells, self.seed = num_cells, seed

    def measure(self, *, train: Tensor, held_out: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """The score under `name`, if any cell has enough synthetic images; from features (L, D), (n, D) and (m, D).

        Raises:
            BootlightError: fewer training images than cells, no held-out or fewer than 2 synthetic images, or a feature that
                is not finite.
        """
        sets = all_checked(train, held_out, synthetic, least=self.num_cells)
        real_distances, synthetic_distances = distances_to_training(*sets)
        centres = k_means(sets[0], self.num_cells, seed=self.seed)
        found = cell_average(
            held_out=real_distances,
            synthetic=synthetic_distances,
            held_out_cells=cells_of(sets[1], centres),
            synthetic_cells=cells_of(sets[2], centres),
        )
        if found is None:
            return {}
        cells = {"num_cells": self.num_cells, "min_in_cell": MIN_IN_CELL, "seed": self.seed}
        return {self.name: self._score(found, real_distances, train, cells)}


class GlobalDataCopying(_CopyingMetric):
    """The same without cells: `ct-global`, Z_U of all images.

    It also falls where synthetic images merely favour a region in which training images lie dense; `ct` leaves a shift between
    cells alone. Of a generator without fault it has mean 0 and standard deviation 1.

    Args:
        features: as for `DataCopying`.
        settings: likewise.
    """

    name = "ct-global"

    def measure(self, *, train: Tensor, held_out: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """The score under `name`, from features (L, D), (n, D) and (m, D).

        Raises:
            BootlightError: no training image, no held-out or fewer than 2 synthetic images, or a feature that is not finite.
        """
        real_distances, synthetic_distances = distances_to_training(*all_checked(train, held_out, synthetic))
        found = mann_whitney(held_out=real_distances, synthetic=synthetic_distances)
        return {self.name: self._score(found, real_distances, train, {})}


def _remarks(real_distances: Tensor, num_synthetic: int) -> tuple[str, ...]:
    remarks = []
    equal = int((real_distances == 0).sum())
    if equal:
        remarks.append(f"{equal} held-out images equal a training image, which hides copying; take them out")
    if min(len(real_distances), num_synthetic) < MIN_IN_CELL:
        remarks.append(f"fewer than {MIN_IN_CELL} held-out or synthetic images: the normal approximation is poor")
    return tuple(remarks)
