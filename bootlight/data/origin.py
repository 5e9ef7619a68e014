"""Where images come from, apart from the training set that is made of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from bootlight.data.reading import Reading
from bootlight.data.roots import list_roots, load_roots
from bootlight.errors import BootlightError, check_named
from bootlight.io.cache_folder import default_cache
from bootlight.io.paths import expanded
from bootlight.io.shape import shape_of

if TYPE_CHECKING:
    from bootlight.data.layout import Layout
    from bootlight.data.store import Store


class Origin(ABC):
    """Images of one kind: files, or what can be made without any. `BootstrapData` chooses, divides and mixes them.

    A subclass sets `shape` in its constructor, which reads nothing yet, and gives the images in `load`.

    Attributes:
        name: how messages call the images; the name of the class if a subclass has no other.
        shape: (C, H, W) of an image.
        dtype: uint8, or float32 for numbers that a network sees as they are.
        truth: the law that the images were drawn from, where there is one that is known.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: Literal["uint8", "float32"] = "uint8"
    truth: Any = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not hasattr(cls, "name"):
            cls.name = cls.__name__

    @abstractmethod
    def load(self) -> tuple[Store, Store | None]:
        """All images, and those of a held-out split of their own (or None); the same ones, in the same order, at each call.

        Raises:
            BootlightError: there are none, or they cannot be used.
        """

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """What folders and zips hold beside the images, to be told; none of what is no files."""
        return ()

    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; empty where images have no labels. Override where that is known without loading."""
        return self.load()[0].class_names


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
        channels, height, width = self.shape
        size: Any = height if height == width else (height, width)
        return load_roots(self.roots, size, channels, self.cache, self.reading)

    def load(self) -> tuple[Store, Store | None]:
        """Decoded once; see `load_roots`."""
        return self._loaded.train, self._loaded.held_out

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """Of the roots."""
        layouts: tuple[Layout, ...] = self._loaded.layouts
        return layouts

    def class_names(self) -> tuple[str, ...]:
        """Folders and zips are listed, not decoded."""
        return tuple(sorted({name for _, layout in list_roots(self.roots, self.reading) for name in layout.class_names}))
