"""Images that are bad already when the user has them: he says how bad."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from bootlight.data.mixing import as_range
from bootlight.data.noise_statistics import NoiseStatistics, noise_statistics
from bootlight.data.origin import Origin
from bootlight.data.store import Store
from bootlight.data.store_made import made_once, store_of_batches
from bootlight.errors import BootlightError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIX = re.compile(r"\.(png|jpe?g|webp|npy)(?=#|$)", re.IGNORECASE)
KEY = "bootlight.Noisy"
AT_ONCE = 256  # images


class Noisy(Origin):
    """Images of another origin with noise in them, and how much: at sigma from there on they can be trained on.

    Noise must not be clipped: it belongs into float32 `.npy` files, in the units in which pictures are [-1, 1]. What the
    statistics of the images contradict is refused.

    Args:
        origin: of the images, such as `bootlight.ImageFiles`.
        tau: deviation of the normal noise in them.
        noise: the least and the largest sigma that they may be trained at, in the place of `tau`: where they are bad in another
            way (blurred, compressed), of which nothing is seen any more beyond that sigma.
        clean: origin of the good images, by the same names but for the ending; to measure and to look at, never trained on.

    Raises:
        BootlightError: neither `tau` nor `noise` is given, or both; a range where nothing lies.
    """

    def __init__(
        self,
        origin: Origin,
        tau: float | None = None,
        noise: list[float] | None = None,
        clean: Origin | None = None,
    ) -> None:
        if (tau is None) == (noise is None) or noise == []:
            raise BootlightError(
                f"{KEY} of {origin.name}: say either tau, the deviation of the noise in the units of [-1, 1], or noise, the "
                "least and the largest sigma that the images may be trained at"
            )
        self.noise = as_range(noise or [tau or 0.0, math.inf], f"{KEY} of {origin.name}")
        self.origin, self.tau, self._clean = origin, tau, clean
        self.shape, self.dtype, self.name = origin.shape, origin.dtype, origin.name
        if clean is not None and clean.shape != origin.shape:
            raise BootlightError(
                f"{KEY}: {origin.name} are (C, H, W) = {origin.shape}, and the clean ones of {clean.name} {clean.shape}; give "
                "both the same size"
            )
        self._statistics: NoiseStatistics | None = None

    def load(self) -> tuple[Store, Store | None]:
        """The images.

        Raises:
            BootlightError: their statistics contradict `tau`, or some have no partner among the clean ones.
        """
        store, held_out = self.origin.load()
        self.dtype = self.origin.dtype
        if self.tau and self._statistics is None and len(store.images):
            self._statistics = noise_statistics(store.images)
            self._check(self._statistics, self.tau)
        if self._clean is not None:
            self.clean()
        return store, held_out

    def clean(self) -> tuple[Store, Store | None] | None:
        """The good images, in the order of the bad ones."""
        if self._clean is None:
            return self.origin.clean()
        found = [store for store in self._clean.load() if store is not None]
        store, held_out = self.origin.load()
        return partners(store, found, KEY, self.name, self._clean.name), (
            None if held_out is None else partners(held_out, found, KEY, self.name, self._clean.name)
        )

    def masks(self) -> tuple[Store, Store | None] | None:
        """Those of the images."""
        return self.origin.masks()

    def class_names(self) -> tuple[str, ...]:
        """Those of the images."""
        return self.origin.class_names()

    def record(self) -> dict[str, Any]:
        """The noise that is stated."""
        limits = [value if math.isfinite(value) else None for value in self.noise or ()]  # JSON has no infinity
        return self.origin.record() | {"stated": KEY, "tau": self.tau, "noise": limits}

    def told(self) -> list[str]:
        """What is stated and what is seen."""
        low, high = self.noise or (0.0, math.inf)
        where = f"sigma from {low:g}" + (f" to {high:g}" if math.isfinite(high) else " on")
        parts = [*self.origin.told(), f"noise of {self.tau:g} stated, used at {where}" if self.tau else f"used at {where}"]
        seen = self._statistics
        if seen is not None:
            finest = f", finest details {math.sqrt(seen.roughness):.3g}" if math.isfinite(seen.roughness) else ""
            parts.append(f"numbers from {seen.lowest:.3g} to {seen.highest:.3g}{finest}")
        if self._clean is not None:
            parts.append(f"clean ones in {self._clean.name}, never trained on")
        return parts

    def _check(self, seen: NoiseStatistics, tau: float) -> None:
        if seen.clipped(tau):
            raise BootlightError(
                f"{KEY}: {self.name}: {100 * seen.at_lowest:.2g} % of the numbers are exactly {seen.lowest:.3g} and "
                f"{100 * seen.at_highest:.2g} % exactly {seen.highest:.3g}, which noise of deviation {tau:g} cannot be: it was "
                "clipped; keep noisy images as float32 .npy files, before any rounding to 8 bits"
            )
        if seen.too_smooth(tau):
            raise BootlightError(
                f"{KEY}: {self.name}: tau is {tau:g}, but neighbouring pixels differ by no more than noise of "
                f"{math.sqrt(max(0.0, seen.roughness)):.3g} would make them; tau counts in the units of [-1, 1], twice that of "
                "[0, 1]: correct it"
            )


def partners(bad: Store, good: list[Store], who: str, where_bad: str, where_good: str) -> Store:
    """For each image of a store the one of the same name in others, in its order.

    Raises:
        BootlightError: some have none.
    """
    places = {_stem(name): (store, i) for store in good for i, name in enumerate(store.names)}
    lacking = [name for name in bad.names if _stem(name) not in places]
    if lacking:
        raise BootlightError(
            f"{who}: {len(lacking):,} of the {len(bad.names):,} images of {where_bad} have no partner in {where_good}, such as "
            f"{lacking[0]}; partners have one name, whatever the endings of their files"
        )
    found = [places[_stem(name)] for name in bad.names]

    def batches() -> Iterator[NDArray[Any]]:
        for start in range(0, len(found), AT_ONCE):
            yield np.stack([store.images[i] for store, i in found[start : start + AT_ONCE]])

    def made() -> Store:
        blank: Any = np.broadcast_to(np.zeros((), good[0].images.dtype), (len(found), *good[0].images.shape[1:]))
        like = Store(blank, np.full(len(found), -1), (), bad.names, bad.key)
        return store_of_batches(batches(), like, good[0].images.dtype.name)

    return made_once(("partners", bad.key, *(store.key for store in good)), made)


def _stem(name: str) -> str:
    """The name of an image without the ending of its file."""
    return SUFFIX.sub("", name)
