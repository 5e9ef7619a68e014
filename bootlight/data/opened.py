"""Whether the images of origins and mixtures are what they are said to be, before anything is trained on them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootlight.data.extra import Build
from bootlight.data.origin import ImageFiles, Origin
from bootlight.data.reading import Reading
from bootlight.data.store import Store, build_store
from bootlight.errors import BootlightError

if TYPE_CHECKING:
    from bootlight.data.mixing import Source


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


def build_for(shape: tuple[int, int, int], cache: Path, follow_links: bool) -> Build:
    """What decodes other images to the shape (C, H, W)."""
    channels, height, width = shape
    size: Any = height if height == width else (height, width)
    return partial(build_store, image_size=size, channels=channels, cache=cache, reading=Reading(follow_links))


def loaded(origin: Origin) -> tuple[Store, Store | None]:
    """The images of an origin.

    Raises:
        BootlightError: they are not what the origin says they are, or none.
    """
    store, held_out = origin.load()
    for found in (store,) if held_out is None else (store, held_out):
        _check(found, origin, f"{type(origin).__name__} ({origin.name})")
    if len(store.images) == 0:
        raise BootlightError(f"{origin.name}: there are no images; check data.origin")
    return store, held_out


def checked(sources: list[Source], origin: Origin) -> list[Source]:
    """A mixture as a policy has given it.

    Raises:
        BootlightError: its images are not of the shape and type of the others, or its parts do not fit each other.
    """
    for source in sources:
        _check(source.store, origin, f"data.mixing: a source of role {source.role}")
        for name in ("weights", "noise"):
            values = getattr(source, name)
            if hasattr(values, "shape") and len(values) != len(source):
                raise BootlightError(
                    f"data.mixing: a source of role {source.role} has {len(values)} {name} for {len(source)} images; give each "
                    "image one"
                )
    return sources


def _check(store: Store, origin: Origin, who: str) -> None:
    """Refuse images of another shape or type than the origin states."""
    _, height, width, channels = store.images.shape
    found = (channels, height, width), store.images.dtype.name
    if found != (tuple(origin.shape), origin.dtype):
        raise BootlightError(
            f"{who} has images (C, H, W) = {found[0]} of {found[1]}, where {tuple(origin.shape)} of {origin.dtype} is said; "
            "correct shape and dtype of the origin, or the images"
        )
