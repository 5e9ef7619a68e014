"""What a user names by `part`, `@-1/part`, `@0/part` or `runs/x@2/part`: a published network of some generation."""

import re
from pathlib import Path
from typing import NamedTuple

from bootlight.errors import BootlightError
from bootlight.io.paths import expanded_text
from bootlight.runs.folder import MODEL, GenerationFolder, RunFolder

NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
TAKEN = {
    "noise_bins",
    "samples",
    "checkpoints",
    "metrics",
    "previews",
    "timing",
    "batch_size",
    "train",
    "references",
    "strip",
    "report",
}
TAKEN |= {"answers", "real", "witness"}  # names of parents begin with `real`, or with their folder
ENDINGS = ("_curation", "_batch_size", "_previews", "_choice")  # of files beside a folder of images, and of streams
GRAMMAR = "a part, @-1/part, @0/part or RUN@2/part"


class Reference(NamedTuple):
    """A published network.

    Args:
        part: its published name.
        generation: number, counted from 0; below 0 relative to the generation that refers; None = that one itself.
        run: folder of another run; None = the same.
    """

    part: str = MODEL
    generation: int | None = None
    run: Path | None = None

    def __str__(self) -> str:
        """As `parse_reference` reads it."""
        if self.generation is None:
            return self.part
        return f"{self.run or ''}@{self.generation}/{self.part}"

    def at(self, number: int) -> int:
        """Number of the generation that it leads to from generation `number`; below 0 where that has none before it."""
        return number if self.generation is None else self.generation + (number if self.generation < 0 else 0)

    def resolve(self, folder: GenerationFolder) -> GenerationFolder | None:
        """Where it leads from a generation; None where that has none before it.

        Raises:
            BootlightError: the part is not there.
        """
        number = None if self.generation is None else self.at(folder.number)
        if number is not None and number < 0:
            return None
        run = RunFolder(self.run or folder.path.parent)
        found = (folder if number is None else run.generation(number)).of_part(self.part)
        if not found.is_trained:
            known = ", ".join(sorted(path.stem for path in found.path.glob("*.safetensors"))) or "nothing"
            raise BootlightError(f"{self}: {found.path} has no network {self.part}; it has published {known}")
        return found


def parse_reference(text: str) -> Reference:
    """A reference from its text.

    Raises:
        BootlightError: it is none.
    """
    run, at, rest = text.rpartition("@")
    number, _, part = rest.partition("/")
    if not at:
        check_name("reference", text)
        return Reference(text)
    if not re.fullmatch(r"-?\d{1,6}", number) or (part and not NAME.fullmatch(part)) or (number.startswith("-") and run):
        raise BootlightError(f"{text!r} names no published network; give {GRAMMAR}")
    return Reference(part or MODEL, int(number), Path(expanded_text(run)) if run else None)


def check_name(what: str, name: str) -> None:
    """Refuse names that no part or folder of a generation can have.

    Raises:
        BootlightError: it has other characters than a to z, 0 to 9 and _, or is the name of something else there.
    """
    taken = (name in TAKEN and not (what in ("into", "of") and name == "samples")) or name.endswith(ENDINGS)
    if taken or not NAME.fullmatch(name):
        known = ", ".join([*sorted(TAKEN), *(f"...{ending}" for ending in ENDINGS)])
        raise BootlightError(f"{what} is {name!r}; take a name of a to z, 0 to 9 and _, which is none of {known}")
