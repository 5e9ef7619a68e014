"""Points in the plane whose law is known: what a model of them leaves out can be counted."""

from functools import cache

import numpy as np

from bootlight.data.origin import Origin
from bootlight.data.store import Store, store_from_arrays
from bootlight.errors import check_range
from bootlight.rng import numpy_rng


class Ring(Origin):
    """Normal clusters of equal size, evenly on a circle; float32 points (2, 1, 1), labelled by their cluster.

    Args:
        clusters: how many.
        radius: of the circle.
        deviation: of a cluster in each direction.
        count: number of points, held-out ones included.
        point_seed: of the points.
    """

    shape, dtype = (2, 1, 1), "float32"

    def __init__(
        self, clusters: int = 8, radius: float = 2.0, deviation: float = 0.1, count: int = 5000, point_seed: int = 0
    ) -> None:
        check_range("data.origin.clusters", clusters, 1)
        check_range("data.origin.radius", radius, 0)
        check_range("data.origin.deviation", deviation, 0)
        check_range("data.origin.count", count, 1)
        self.clusters, self.radius, self.deviation, self.count, self.point_seed = clusters, radius, deviation, count, point_seed
        self.name = f"a ring of {clusters} clusters"

    def load(self) -> tuple[Store, Store | None]:
        """The points."""
        return _points(self.clusters, self.radius, self.deviation, self.count, self.point_seed), None

    def class_names(self) -> tuple[str, ...]:
        """Numbers of the clusters."""
        return tuple(map(str, range(self.clusters)))


@cache
def _points(clusters: int, radius: float, deviation: float, count: int, seed: int) -> Store:
    rng = numpy_rng(seed, "ring")
    labels = rng.permutation(np.arange(count) % clusters)
    angles = 2 * np.pi * labels / clusters
    points = radius * np.stack([np.cos(angles), np.sin(angles)], -1) + rng.normal(0, deviation, (count, 2))
    names = [f"point {i}" for i in range(count)]
    return store_from_arrays(points[:, None, None].astype(np.float32), labels, tuple(map(str, range(clusters))), names)
