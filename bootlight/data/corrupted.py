"""Images of another origin, made worse for good: noisy ones, compressed ones, parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from bootlight.data.division import Unused
from bootlight.data.image_ids import image_ids
from bootlight.data.origin import Origin
from bootlight.data.store_made import made_once, store_of_batches
from bootlight.diffusion.corruption import Corruption, contents
from bootlight.errors import BootlightError
from bootlight.io.pictures import to_arrays, to_float

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from bootlight.data.datamodule import BootstrapData
    from bootlight.data.store import Store

BATCH_SIZE = 256


class Corrupted(Origin):
    """Images, each corrupted once: in every generation and in every run of a seed it is the same.

    Of pictures whose corruption leaves pictures, pictures; else float32 numbers. Noise of a known level is stated: such images
    are trained on at sigma from there on, unless `bootlight.AsClean` says otherwise.

    Args:
        origin: the good images; of pictures, [0, 255] becomes [-1, 1]. Left out, among `data.origins`: the real training images
            that are not in use (`data.real_fraction`, `data.num_real`), which no training then sees as they are.
        corruption: what becomes of them.
        seed: of the corruption.

    Raises:
        BootlightError: there is no corruption.
    """

    dtype: Literal["uint8", "float32"] = "float32"

    def __init__(self, origin: Origin | None = None, corruption: Corruption | None = None, seed: int = 0) -> None:
        if corruption is None:
            raise BootlightError("bootlight.Corrupted: corruption is missing, such as bootlight.GaussianNoise")
        self._origin, self.corruption, self.seed = origin, corruption, seed
        if origin is not None:
            self._be_of(origin)

    def _be_of(self, origin: Origin) -> None:
        self.shape = origin.shape
        self.noise = self.corruption.noise or origin.noise
        self.name = f"{origin.name}, {type(self.corruption).__name__}"
        self._set_dtype(origin.dtype)

    @property
    def origin(self) -> Origin:
        """Of the good images.

        Raises:
            BootlightError: it was left out, and these are not of `data.origins`.
        """
        if self._origin is None:
            raise BootlightError(
                "bootlight.Corrupted: origin is missing; it may be left out in data.origins alone, for real images not in use"
            )
        return self._origin

    def belongs_to(self, data: BootstrapData) -> None:
        """See `Origin`."""
        if self._origin is None:
            self._origin = Unused(data)
            self._be_of(self._origin)
        else:
            self._origin.belongs_to(data)

    def load(self) -> tuple[Store, Store | None]:
        """The images, held-out ones corrupted alike."""
        store, held_out = self.origin.load()
        self._set_dtype(store.images.dtype.name)
        return self._corrupted(store), None if held_out is None else self._corrupted(held_out)

    def clean(self) -> tuple[Store, Store | None]:
        """The good images, in the same order."""
        return self.origin.clean() or self.origin.load()

    def masks(self) -> tuple[Store, Store | None] | None:
        """Which pixels are seen, where the corruption hides some."""
        if not self.corruption.hides:
            return None
        store, held_out = self.origin.load()
        return self._seen(store), None if held_out is None else self._seen(held_out)

    def record(self) -> dict[str, Any]:
        """Corruption, settings, level and seed."""
        settings = {name: value for name, value in vars(self.corruption).items() if isinstance(value, int | float | str)}
        settings = {name: value for name, value in settings.items() if name not in ("level", "noise")}
        named = f"{type(self.corruption).__module__}.{type(self.corruption).__qualname__}"
        own = {"corruption": named, "settings": settings, "level": float(self.corruption.level), "seed": self.seed}
        return self.origin.record() | own

    def told(self) -> list[str]:
        """The corruption and its level, and how far it leads from the good images."""
        kind = "pictures" if self.dtype == "uint8" else "floats"
        level = f"{type(self.corruption).__name__} of level {self.corruption.level:.3g}, seed {self.seed}, frozen: {kind}"
        good, bad = (to_float(torch.from_numpy(np.array(s.load()[0].images[:BATCH_SIZE]))) for s in (self.origin, self))
        apart = (bad - good).square().mean().sqrt()
        return [*self.origin.told(), level, f"{apart:.3g} from the good ones (root mean square, of [-1, 1])"]

    def class_names(self) -> tuple[str, ...]:
        """Those of the good images."""
        return self.origin.class_names()

    def _set_dtype(self, of_origin: str) -> None:
        self.dtype = "uint8" if self.corruption.of_pictures and of_origin == "uint8" else "float32"

    def _key(self, what: str, store: Store) -> tuple[object, ...]:
        return what, store.key, type(self.corruption), contents(self.corruption), self.seed

    def _corrupted(self, store: Store) -> Store:
        make = partial(store_of_batches, self._batches(store, self._made_worse), store, self.dtype)
        return made_once(self._key(self.dtype, store), make)

    def _seen(self, store: Store) -> Store:
        """Uint8 (N, H, W, 1), 1 where a pixel is seen."""
        size = *store.images.shape[1:3], 1
        make = partial(store_of_batches, self._batches(store, self._mask), store, "uint8", size)
        return made_once(self._key("seen", store), make)

    def _made_worse(self, good: Tensor, ids: Tensor) -> NDArray[Any]:
        bad = self.corruption(to_float(good), ids, self.seed)
        found: NDArray[Any] = to_arrays(bad) if self.dtype == "uint8" else bad.float().permute(0, 2, 3, 1).numpy()
        return found

    def _mask(self, good: Tensor, ids: Tensor) -> NDArray[Any]:
        seen = self.corruption.seen(ids, good.shape[2], good.shape[3], self.seed)
        return seen.to(torch.uint8).permute(0, 2, 3, 1).numpy()

    def _batches(self, store: Store, make: Callable[[Tensor, Tensor], NDArray[Any]]) -> Iterator[NDArray[Any]]:
        ids = torch.from_numpy(image_ids(store.key, np.arange(len(store.images))))
        for start in range(0, len(store.images), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            yield make(torch.from_numpy(np.array(store.images[part])).permute(0, 3, 1, 2), ids[part])
