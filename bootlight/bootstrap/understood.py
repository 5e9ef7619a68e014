"""What a run makes of the images that it was given, in one line before anything is trained."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bootlight.data.leaks import find_leak
from bootlight.io.shape import is_picture, size_words

if TYPE_CHECKING:
    from bootlight.data.datamodule import BootstrapData
    from bootlight.data.layout import Layout
    from bootlight.data.leaks import Leak
    from bootlight.data.store import Store
    from bootlight.generators.part import PartModule
    from bootlight.io.shape import Shape


@dataclass(frozen=True)
class Understood:
    """Numbers and reasons; `lines` has the words.

    Args:
        where: how messages call the images.
        layouts: of the roots; none where the images come from elsewhere.
        total: images that are neither of a held-out split nor of one that is not used.
        train: of these, what may be trained on.
        in_use: of these, what is trained on.
        held_out: images that are not.
        share: of the images that are held out at random; None where a split of their own is held out.
        num_classes: of the images.
        unlabelled: images that may be trained on and have no label.
        unused_by: why the model does not use the classes; empty where it does.
        shape: (C, H, W) of the images.
        dtype: of the images: uint8 or float32.
        leak: held-out images that are trained on.
        told: what the origin knows of them besides, and what the network sees of one.
    """

    where: str
    layouts: tuple[Layout, ...]
    total: int
    train: int
    in_use: int
    held_out: int
    share: float | None
    num_classes: int
    unlabelled: int
    unused_by: str
    shape: Shape
    dtype: str
    leak: Leak | None
    told: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The line, and a warning where held-out images are trained on."""
        parts = [*self._counts(), self._classes(), *self._numbers(), *self.told, *self._lost()]
        lines = [f"{self.where}: {' · '.join(parts)}"]
        if self.leak is not None:
            lines.append(
                f"! {self.leak.number:,} of the {self.held_out:,} held-out images are training images too (equal pixels at "
                f"{size_words(*self.shape[1:])}), such as {self.leak.held_out} = {self.leak.train}: scores on held-out images "
                "look better than they are; bootlight data check finds all duplicates"
            )
        return lines

    def _counts(self) -> list[str]:
        train = f"train {self.train:,}" + (f", {self.in_use:,} of them in use" if self.in_use < self.train else "")
        if self.share is None:
            held_out = sorted({layout.held_out for layout in self.layouts if layout.held_out})
            parts = [train, f"held out: {' and '.join(held_out)} {self.held_out:,}"]
        else:
            taken = self.train + self.held_out
            of = f"{taken:,} of {self.total:,}" if taken < self.total else f"{self.total:,}"
            split = self.layouts[0].split if len(self.layouts) == 1 else ""
            held = f"held out {self.held_out:,} ({100 * self.share:.3g} %, at random)" if self.held_out else "nothing held out"
            parts = [f"{f'split {split}, ' * bool(split)}{of} images: {train}", held]
        unused: dict[str, int] = {}
        for layout in self.layouts:
            for name, count in layout.unused.items():
                unused[name] = unused.get(name, 0) + count
        return [*parts, *[f"not used: {', '.join(f'{name} {count:,}' for name, count in unused.items())}"] * bool(unused)]

    def _classes(self) -> str:
        if not self.num_classes:
            reasons = [layout.why_no_classes for layout in self.layouts if layout.stray]
            return "no classes" + (f": {'; '.join(reasons)}" if reasons else "")
        lacking = f", {self.unlabelled:,} images without one" if self.unlabelled else ""
        return f"{self.num_classes:,} class{'es' * (self.num_classes > 1)}{lacking}{self.unused_by and f' ({self.unused_by})'}"

    def _numbers(self) -> list[str]:
        told = {layout.numbers for layout in self.layouts if layout.numbers}
        return sorted(told) or [f"numbers {self.shape} of {self.dtype}"] * (not is_picture(self.shape, self.dtype))

    def _lost(self) -> list[str]:
        several = len(self.layouts) > 1
        return [f"{f'{layout.where} ' * several}{layout.lost}" for layout in self.layouts if layout.lost]


def understand(model: PartModule, data: BootstrapData) -> Understood:
    """What is understood of the images of a run.

    Args:
        model: as configured.
        data: set up.
    """
    store = data.available.store
    own_split = data.holdout.store is not store
    return Understood(
        data.root,
        layouts_of(data),
        len(store.images),
        len(data.available),
        len(data.real),
        len(data.holdout),
        None if own_split else data.holdout_fraction,
        len(store.class_names),
        int((store.labels[data.available.indices] < 0).sum()),
        _why_unused(model, len(store.class_names)),
        data.image_shape,
        store.images.dtype.name,
        find_leak(data.available, data.holdout),
        (*data.origin.told(), *_field_of_view(model, store)),
    )


def _field_of_view(model: PartModule, store: Store) -> list[str]:
    """What a network of no size sees of a picture, where it has such a field."""
    field = getattr(getattr(model, "network", None), "field_of_view", None)
    if field is None:
        return []
    by_heart = field >= min(store.images.shape[1:3])
    warning = (
        ", which is all of an image: it can learn it by heart (a smaller model.network.depth sees less)" if by_heart else ""
    )
    return [f"the network sees {size_words(field, field)} pixels at a time{warning}"]


def layouts_of(data: BootstrapData) -> tuple[Layout, ...]:
    """What folders and zips hold, after `setup`; none of images that come from elsewhere."""
    return data.origin.layouts


def count_classes(data: BootstrapData) -> int | None:
    """Classes of the real images, None where there are none; pictures in folders and zips are listed, not decoded.

    Raises:
        BootlightError: unusable images.
    """
    return len(data.origin.class_names()) or None


def _why_unused(model: PartModule, num_classes: int) -> str:
    if model.num_classes is not None:
        return ""
    if "num_classes" not in inspect.signature(type(model)).parameters:
        return f"{type(model).__name__} does not use them"
    return f"model is unconditional; --model.num_classes {num_classes} would use them"
