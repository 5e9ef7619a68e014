"""What of a folder or zip is not read, counted while it is listed: nothing that lies there vanishes without a word."""

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator

HIDDEN = "hidden"
BARE = "without extension"
OF_SAMPLES = {"protocol.json", "curation.jsonl", "choice.json"}  # what a run puts beside its images
SHOWN = 6  # of each kind
_EXTENSION = re.compile(r"\w{1,12}")


class LeftOut:
    """Counts; all names are relative, with forward slashes."""

    def __init__(self) -> None:
        self._files: Counter[tuple[str, str]] = Counter()  # by folder and kind
        self._folders: set[str] = set()
        self._runs: set[str] = set()

    def note_file(self, name: str, hidden: bool = False) -> None:
        """A file that is neither a picture that can be read nor a manifest."""
        folder, _, own = name.rpartition("/")
        if own in OF_SAMPLES:
            return
        stem, _, extension = own.rpartition(".")
        known = stem and _EXTENSION.fullmatch(extension)
        self._files[folder, HIDDEN if hidden else f".{extension.lower()}" if known else BARE] += 1

    def note_folder(self, name: str) -> None:
        """A folder that is hidden, or that a file system or program has made."""
        self._folders.add(name.rstrip("/"))

    def note_run(self, name: str) -> None:
        """The folder of a run."""
        self._runs.add(name.rstrip("/") or ".")

    def told(self) -> Iterator[str]:
        """What was left out, the most frequent first: `12 .heic`, `folder @eaDir`."""
        kinds: Counter[str] = Counter()
        for (_, kind), count in self._files.items():
            kinds[kind] += count
        yield from _some([f"{count:,} {kind}" for kind, count in _ranked(kinds)], "other kinds of files")
        own = Counter(map(posixpath.basename, self._folders))
        folders = [f"folder {name}" if count == 1 else f"{count:,} folders {name}" for name, count in _ranked(own)]
        yield from _some(folders, "other such folders")
        yield from _some([f"run {name}" for name in sorted(self._runs)], "other runs")

    def bare(self, images: Iterable[str]) -> tuple[str, ...]:
        """The topmost folders that have files, but no picture among them that can be read.

        Args:
            images: names of all pictures that can be read.
        """
        occupied = {""}
        for folder in {name.rpartition("/")[0] for name in images}:
            while folder not in occupied:
                occupied.add(folder)
                folder = folder.rpartition("/")[0]
        found = set()
        for folder, kind in self._files:
            if kind != HIDDEN and folder not in occupied:
                while (outer := folder.rpartition("/")[0]) not in occupied:
                    folder = outer
                found.add(folder)
        return tuple(_some(sorted(found), "other folders"))


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _some(texts: list[str], others: str) -> Iterator[str]:
    yield from texts[:SHOWN]
    if len(texts) > SHOWN:
        yield f"{len(texts) - SHOWN:,} {others}"
