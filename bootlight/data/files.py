"""Images in files as an origin, and the short form that stands for it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bootlight.data.origin import Origin
from bootlight.data.reading import Reading
from bootlight.data.roots import list_roots, load_roots
from bootlight.errors import BootlightError, check_named
from bootlight.io.cache_folder import default_cache
from bootlight.io.paths import expanded
from bootlight.io.shape import shape_of

if TYPE_CHECKING:
    from bootlight.data.layout import Layout
    from bootlight.data.store import Store


class ImageFiles(Origin):
    """Images in folders, zips or Hugging Face imagefolders: what `data.root` stands for.

    Args:
        root: folder, zip or imagefolder, or a list of them, which are one set; see `BootstrapData`.
        image_size: edge of squares in pixels, or [height, width]; other pictures are center-cropped and resized.
        channels: 1 (grey) or 3 (RGB) of pictures, any number of what is in `.npy` files.
        cache: folder for decoded images; $BOOTLIGHT_CACHE or the usual place if left out.
        follow_links: read what symbolic links lead to, wherever it lies.
        label_column: what names the class in a `metadata.jsonl` or `metadata.csv`; `label`, where there is one, if left out.
        max_bad: so many pictures may be unusable: they are left out and listed.
    """

    def __init__(
        self,
        root: str | list[str],
        image_size: int | list[int],
        channels: int = 3,
        cache: str | None = None,
        follow_links: bool = False,
        label_column: str | None = None,
        max_bad: int = 0,
    ) -> None:
        self.roots = (root,) if isinstance(root, str) else tuple(root)
        if not self.roots:
            raise BootlightError("data.root is an empty list; name a folder or a zip of images")
        for text in self.roots:
            check_named("data.root", text)
        self.name = ", ".join(self.roots)
        self.shape = shape_of(image_size, channels)
        self.reading = Reading(follow_links, label_column, max_bad)
        self.cache = default_cache() if cache is None else expanded(cache)

    @cached_property
    def _loaded(self) -> Any:
        return load_roots(self.roots, self.shape[1:], self.shape[0], self.cache, self.reading)

    def load(self) -> tuple[Store, Store | None]:
        """Decoded once; see `load_roots`. The type is that of the files: float32 of `.npy` files of such numbers."""
        self.dtype = "float32" if self._loaded.train.images.dtype == np.float32 else "uint8"
        return self._loaded.train, self._loaded.held_out

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """Of the roots."""
        layouts: tuple[Layout, ...] = self._loaded.layouts
        return layouts

    def class_names(self) -> tuple[str, ...]:
        """Folders and zips are listed, not decoded."""
        return tuple(sorted({name for _, layout in list_roots(self.roots, self.reading) for name in layout.class_names}))


def chosen_origin(
    origin: Origin | None, root: str | list[str] | None, cache: str | None, follow_links: bool, of_files: Mapping[str, Any]
) -> Origin:
    """The origin of real images, of `data.root` or `data.origin`.

    Args:
        origin: as given.
        root: as given.
        cache: of decoded images.
        follow_links: whether links may lead out of `root`.
        of_files: settings that belong to `root` alone, None where they are not given.

    Raises:
        BootlightError: both are given, or neither, or a setting that belongs to the other.
    """
    given = {key: value for key, value in of_files.items() if value is not None}
    if origin is not None:
        if root is not None:
            raise BootlightError("data.root and data.origin are both given; leave one out: images come from one of them")
        if not hasattr(origin, "shape"):
            raise BootlightError(
                f"data.origin: {type(origin).__name__} does not say of what shape its images are; give it an origin of its own"
            )
        for key, value in given.items():
            raise BootlightError(
                f"data.{key} is {value}, but it belongs to data.root; {origin.name} have their own: leave it out (null), or "
                f"set data.origin.{key} where there is such a setting"
            )
        return origin
    if root is None:
        raise BootlightError("data.root is missing: a folder or a zip of images; or data.origin, such as bootlight.Digits")
    if "image_size" not in given:
        raise BootlightError("data.image_size is missing: edge in pixels, or [height, width], that images are brought to")
    return ImageFiles(root, cache=cache, follow_links=follow_links, **given)
