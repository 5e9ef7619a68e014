"""Whether the images of origins and mixtures are what they are said to be, before anything is trained on them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bootlight.data.mixing import Source
from bootlight.data.reading import Reading
from bootlight.data.store import Store, build_store
from bootlight.errors import BootlightError

if TYPE_CHECKING:
    from bootlight.data.extra import Build
    from bootlight.data.origin import Origin


def build_for(shape: tuple[int, int, int], cache: Path, follow_links: bool) -> Build:
    """What decodes other images to the shape (C, H, W)."""
    return partial(build_store, image_size=shape[1:], channels=shape[0], cache=cache, reading=Reading(follow_links))


def loaded(origin: Origin, may_be_none: bool = False) -> tuple[Store, Store | None]:
    """The images of an origin.

    Args:
        origin: of the images.
        may_be_none: whether there may be no image, as beside others.

    Raises:
        BootlightError: they are not what the origin says they are, or none.
    """
    store, held_out = origin.load()
    for found in (store,) if held_out is None else (store, held_out):
        _check(found, origin, f"{type(origin).__name__} ({origin.name})")
    if len(store.images) == 0 and not may_be_none:
        raise BootlightError(f"{origin.name}: there are no images; check data.origin")
    return store, held_out


def whole(origin: Origin, may_be_none: bool = False) -> tuple[Source, Source | None]:
    """All images of an origin, and of a held-out split of its own, with all that it says of them.

    Raises:
        BootlightError: as `loaded`.
    """
    store, held_out = loaded(origin, may_be_none)
    masks, others = origin.masks() or (None, None)
    source = Source("real", store, np.arange(len(store.images)), noise=origin.noise, masks=masks)
    if held_out is None:
        return source, None
    return source, Source("real", held_out, np.arange(len(held_out.images)), noise=origin.noise, masks=others)


def checked(sources: list[Source], origin: Origin) -> list[Source]:
    """A mixture as a policy has given it.

    Raises:
        BootlightError: it is no list of sources, its images are not of the shape and type of the others, or its parts do not
            fit each other.
    """
    if not isinstance(sources, list | tuple) or not all(isinstance(source, Source) for source in sources):
        raise BootlightError(
            f"data.mixing: sources answered {type(sources).__name__}; correct it to a list of the archive's sources"
        )
    for source in sources:
        _, height, width, channels = source.store.images.shape
        if tuple(origin.stored_shape) != tuple(origin.shape) == (channels, height, width):
            raise BootlightError(
                f"data.mixing: images of role {source.role} are {tuple(origin.shape)}, and the view of {type(origin).__name__} "
                f"makes such of {tuple(origin.stored_shape)}: it cannot look at them; take bootlight.OnlyReal, or a view of "
                "images of the same shape"
            )
        _check(source.store, origin, f"data.mixing: a source of role {source.role}", may_be_float=True)
        for name in ("weights", "noise"):
            values = getattr(source, name)
            if hasattr(values, "shape") and len(values) != len(source):
                raise BootlightError(
                    f"data.mixing: a source of role {source.role} has {len(values)} {name} for {len(source)} images; give each "
                    "image one"
                )
        if source.masks is not None and source.masks.images.shape != (*source.store.images.shape[:3], 1):
            raise BootlightError(
                f"data.mixing: a source of role {source.role} has masks (N, H, W, C) = {source.masks.images.shape} for images "
                f"{source.store.images.shape}; give each image one of its size"
            )
    return list(sources)


def _check(store: Store, origin: Origin, who: str, may_be_float: bool = False) -> None:
    """Refuse images of another shape or type than the origin states; floats may join pictures, as noisy ones do."""
    _, height, width, channels = store.images.shape
    found = (channels, height, width), store.images.dtype.name
    stated = tuple(origin.stored_shape), "float32" if may_be_float and found[1] == "float32" else origin.dtype
    if found != stated:
        raise BootlightError(
            f"{who} has images (C, H, W) = {found[0]} of {found[1]}, where {stated[0]} of {stated[1]} is said; "
            "correct shape and dtype of the origin, or the images"
        )
