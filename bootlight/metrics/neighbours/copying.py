"""The three-sample test for data-copying (Meehan, Chaudhuri and Dasgupta 2020)."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from bootlight.errors import check_range
from bootlight.metrics.exact import checked
from bootlight.metrics.features.feature_metric import common_protocol, look
from bootlight.metrics.features.frozen import Frozen
from bootlight.metrics.neighbours.cells import cells_of, k_means
from bootlight.metrics.neighbours.neighbours import nearest
from bootlight.metrics.score import Score
from bootlight.metrics.uncertainty import jackknife_standard_error

MIN_IN_CELL = 20  # synthetic images; below, a cell does not count and the normal approximation is poor
STRONG = 3  # standard deviations below 0 that are remarked on


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


class DataCopying(Metric):
    """Whether synthetic images lie closer to the training images than held-out real images do.

    `ct-global` is Z_U of all images. It also falls where synthetic images merely favour a region in which training images lie
    dense. `ct` is the mean C_T of Z_U within cells, which such a shift between cells leaves alone. Near 0: no sign of copying.
    Far below: copying, or images of less variety that keep to where training images lie dense; the picture of the nearest
    real images tells which. Far above: synthetic images farther from the training images than real ones are, poor ones for
    instance. Both grow with the numbers of images, like any test statistic: compare only at equal numbers.

    Cells are those of k-means on the training images. A distance is to the nearest of all training images; the authors' program
    looks for it in the cell only, which differs for images beside a border.

    Uncertainty: jackknife over the synthetic images, training and held-out images and cells fixed. Over redraws of both
    synthetic and held-out images of a generator without fault the value has mean 0 and, by construction, standard deviation 1
    (`ct-global`) or `Copying.null_deviation` (`ct`).

    Args:
        features: as for `bootlight.metrics.features.feature_metric.FeatureMetric`.
        num_cells: at least 1; each should have some tens of held-out and synthetic images.
        seed: of k-means.
        reset_real_features: whether `reset` forgets training and held-out images too.
        sync_on_compute: whether `compute` waits for all processes; False where one process measures alone.

    Raises:
        BootlightError: `num_cells` is below 1.
    """

    full_state_update = True  # `forward` else adds the reference that `reset` keeps to itself
    is_differentiable = False
    higher_is_better = None
    train_features: list[Tensor]
    held_out_features: list[Tensor]
    synthetic_features: list[Tensor]

    def __init__(
        self,
        *,
        features: nn.Module,
        num_cells: int = 3,
        seed: int = 0,
        reset_real_features: bool = False,
        sync_on_compute: bool = True,
    ) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        check_range("num_cells", num_cells, 1)
        self.num_cells, self.seed, self.reset_real_features = num_cells, seed, reset_real_features
        self._features = Frozen(features)
        for role in ("train", "held_out", "synthetic"):
            self.add_state(f"{role}_features", [], dist_reduce_fx="cat")

    def update(self, images: Tensor, *, role: Literal["train", "held_out", "synthetic"]) -> None:
        """Add images, uint8 (B, 1 or 3, H, W), in their role.

        Raises:
            TypeError: not uint8.
            BootlightError: the network does not answer with one row of features for each image.
        """
        getattr(self, f"{role}_features").append(look(self._features, images)["features"])

    def compute(self) -> dict[str, Score]:
        """What `measure` says of all images so far."""
        train, held_out, synthetic = (
            dim_zero_cat(state) if len(state) else torch.empty(0, 0)
            for state in (self.train_features, self.held_out_features, self.synthetic_features)
        )
        return self.measure(train=train, held_out=held_out, synthetic=synthetic)

    def reset(self) -> None:
        """Forget the synthetic images; the others stay unless `reset_real_features`."""
        kept = list(self.train_features), list(self.held_out_features)  # copies: torchmetrics empties the lists themselves
        super().reset()
        if not self.reset_real_features:
            self.train_features, self.held_out_features = kept

    def measure(self, *, train: Tensor, held_out: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """`ct-global`, and `ct` if any cell has enough synthetic images; from features (L, D), (n, D) and (m, D).

        Raises:
            BootlightError: fewer training images than cells, no held-out or fewer than 2 synthetic images, or a feature that
                is not finite.
        """
        train = checked(train, least=self.num_cells, metric="ct", side="training")
        held_out = checked(held_out, least=1, metric="ct", side="held-out")
        synthetic = checked(synthetic, least=2, metric="ct", side="synthetic")
        centres = k_means(train, self.num_cells, seed=self.seed)
        real_distances, synthetic_distances = (nearest(images, train, 1)[0][:, 0] for images in (held_out, synthetic))
        everywhere = mann_whitney(held_out=real_distances, synthetic=synthetic_distances)
        in_cells = cell_average(
            held_out=real_distances,
            synthetic=synthetic_distances,
            held_out_cells=cells_of(held_out, centres),
            synthetic_cells=cells_of(synthetic, centres),
        )
        network = self._features.network
        protocol = {**common_protocol(network, train, synthetic), "num_held_out": len(held_out)}
        remarks = _remarks(real_distances, len(synthetic))
        scores = {"ct-global": _score(everywhere, protocol, remarks)}
        if in_cells is not None:
            protocol |= {"num_cells": self.num_cells, "min_in_cell": MIN_IN_CELL, "seed": self.seed}
            scores["ct"] = _score(in_cells, protocol, remarks)
        return scores


def _score(found: Copying, protocol: dict[str, Any], remarks: tuple[str, ...]) -> Score:
    deviations = found.value / found.null_deviation
    if deviations < -STRONG:
        remarks = (
            *remarks,
            "synthetic images are closer to training images than held-out real ones are, by "
            f"{-deviations:.1f} standard deviations of what fresh real images would score",
        )
    return Score(found.value, jackknife_standard_error(found.without), len(found.without), dict(protocol), None, remarks)


def _remarks(real_distances: Tensor, num_synthetic: int) -> tuple[str, ...]:
    remarks = []
    equal = int((real_distances == 0).sum())
    if equal:
        remarks.append(f"{equal} held-out images equal a training image, which hides copying; take them out")
    if min(len(real_distances), num_synthetic) < MIN_IN_CELL:
        remarks.append(f"fewer than {MIN_IN_CELL} held-out or synthetic images: the normal approximation is poor")
    return tuple(remarks)
