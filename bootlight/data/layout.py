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
        num_images: that are read.
        num_classes: of all splits.
        stray: pictures that lie beside folders, which therefore are no classes.
        beside: these folders.
        bare: folders with files, but without a picture that can be read.
        left_out: what is not read: `12 .heic`, `folder @eaDir`.
    """

    where: str
    splits: Mapping[str, int] = field(default_factory=dict)
    split: str = ""
    num_images: int = 0
    num_classes: int = 0
    stray: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

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

    def line(self) -> str:
        """For people: what is read of this set, and what is not."""
        if not self.split:
            read, others = f"{self.num_images:,} images", ""
        else:
            read = f"{self.split} {self.num_images:,}"
            others = ", ".join(f"{name} {count:,}" for name, count in self.splits.items() if name != self.split)
        return " · ".join(filter(None, [read, others and f"not used: {others}", self.classes, self.lost]))

    @property
    def classes(self) -> str:
        """How many, or why none."""
        if self.num_classes:
            return f"{self.num_classes:,} class{'es' * (self.num_classes > 1)}"
        return f"no classes: {self.why_no_classes}" if self.stray else "no classes"
