"""Which sets of images are pairs: image i of both drawn from the same noise, or one made of the other."""

import json
from collections.abc import Sequence
from typing import Any

from bootlight.data.reader import open_images
from bootlight.data.reading import SAFE, Reading
from bootlight.data.resolve import resolve
from bootlight.errors import BootlightError
from bootlight.runs.folder import MANIFEST

Drawn = list[tuple[int, Any]]  # seed and label of each image


def drawn_from(text: str, names: Sequence[str], reading: Reading = SAFE) -> Drawn | None:
    """Seed and label of each image of a set; None where its manifest does not say.

    The seeds of a run's images follow from the run's own seed, the generation and the image's number.

    Args:
        text: as `sources.open_source` understands it.
        names: of the images.
        reading: whether links are followed.

    Raises:
        BootlightError: there are no such images.
    """
    with open_images(*resolve(text), reading) as images:
        bases = [name.removesuffix(MANIFEST) for name in images.files.names if name.rpartition("/")[2] == MANIFEST]
        base = next((base for base in bases if all(name.startswith(base) for name in images.names)), None)
        if base is None:
            return None
        found: dict[str, tuple[int, Any]] = {}
        for line in images.files.read(base + MANIFEST).decode("utf-8-sig").split("\n"):
            row = json.loads(line) if line.strip() else {}
            if type(row.get("seed")) is int:
                found[base + row["file_name"]] = (row["seed"], row.get("label"))
        whole = dict(zip((*images.names, *images.known_as), images.names * 2, strict=True))
        known = [found.get(whole.get(name, "")) for name in names]
    seeds = [one for one in known if one is not None]
    return seeds if len(seeds) == len(known) else None


def pairing(
    sets: tuple[str, str], names: tuple[Sequence[str], Sequence[str]], *, asked: bool, reading: Reading = SAFE
) -> str | None:
    """Why two sets are not pairs; None where they are.

    They are where the manifests give all images the same seeds and labels, or where the user says so of equal names.

    Args:
        sets: both, as the user names them.
        names: of the images of both.
        asked: whether the user says that images of the same name belong together.
        reading: whether links are followed.

    Raises:
        BootlightError: the user says so of sets that are not.
    """
    first, second = (drawn_from(text, chosen, reading) for text, chosen in zip(sets, names, strict=True))
    equal_names = list(names[0]) == list(names[1])
    if first is not None and second is not None:
        if first == second:
            return None
        same = [seed for seed, _ in first] == [seed for seed, _ in second]
        why = "their images have the same seeds and other labels" if same else "their images were drawn from other seeds"
    elif equal_names and asked:
        return None
    elif equal_names:
        why = "names alone do not say that images belong together (--paired does)"
    else:
        why = "their images have other names"
    if asked:
        raise BootlightError(f"--paired: {sets[0]} and {sets[1]} are no pairs: {why}; leave --paired out")
    return why
