"""What a reader understood of a folder or zip: splits, classes, and what it left out."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Layout:
    """Of one root; counts only.

    Args:
        where: how messages call the root.
        splits: images of each split, by its name in lower case; empty where there are none.
        split: the one that is read; empty where there are none.
        held_out: the one that is held out from training on it; empty where none is.
        num_images: that are read.
        class_names: of all splits.
        stray: pictures that lie beside folders, which therefore are no classes.
        beside: these folders.
        bare: folders with files, but without a picture that can be read.
        left_out: what is not read: `12 .heic`, `folder @eaDir`.
        numbers: shape and type of images that are numbers, not pictures; empty where they are pictures.
    """

    where: str
    splits: Mapping[str, int] = field(default_factory=dict)
    split: str = ""
    held_out: str = ""
    num_images: int = 0
    class_names: tuple[str, ...] = ()
    stray: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    numbers: str = ""

    @property
    def why_no_classes(self) -> str:
        """`logo.png lies beside the folders cat and dog`; empty where nothing is in the way of classes."""
        if not self.stray:
            return ""
        others = len(self.stray) - 1
        more = f" and {others:,} more picture{'s' * (others > 1)} lie" if others else " lies"
        named = " and ".join(self.beside) if len(self.beside) < 3 else f"{', '.join(self.beside[:2])} and others"
        return f"{self.stray[0]}{more} beside the folders {named}"

    @property
    def lost(self) -> str:
        """What is not read, in words; empty where nothing is left out."""
        told = [f"left out: {', '.join(self.left_out)}"] * bool(self.left_out)
        told += [f"no picture that can be read in {', '.join(self.bare)}"] * bool(self.bare)
        return " · ".join(told)

    @property
    def unused(self) -> dict[str, int]:
        """Images of the splits that are neither read nor held out."""
        return {name: count for name, count in self.splits.items() if name not in (self.split, self.held_out)}

    @property
    def besides(self) -> list[str]:
        """What there is to say of a set of which the number of images is known: its split, and what is not read."""
        others = ", ".join(f"{name} {count:,}" for name, count in self.unused.items())
        parts = [self.numbers, self.split and f"split {self.split}", others and f"not used: {others}", self.lost]
        return [part for part in parts if part]

    @property
    def classes(self) -> str:
        """How many, or why none."""
        if self.stray:
            return f"no classes: {self.why_no_classes}"
        count = len(self.class_names)
        return f"{count:,} class{'es' * (count > 1)}" if count else "no classes"
