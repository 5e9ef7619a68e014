"""Images beside what they were made of: clean ones, corrupted ones, restored ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bootlight.data.extra import open_curated
from bootlight.errors import BootlightError
from bootlight.rng import numpy_rng
from bootlight.runs.manifest import parents_of, read_metadata

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bootlight.data.datamodule import BootstrapData
    from bootlight.data.store import Store
    from bootlight.runs.folder import GenerationFolder

MOST_OF_ONE = 8  # images of one parent on a sheet


@dataclass(frozen=True)
class LookedAt:
    """Images of one kind, one for each column of a sheet.

    Args:
        label: what they are.
        images: (H, W, C) each, uint8, or float32 whose [-1, 1] are black and white; None where there is none.
    """

    label: str
    images: list[NDArray[Any] | None]


def of_origins(data: BootstrapData, count: int) -> list[LookedAt]:
    """For each origin some of its images, the same ones each time, below the good images that they were made of, shown once.

    Args:
        data: set up.
        count: images of each.
    """
    rows, shown = [], set()
    further = {f"data.origins.{name}": origin for name, origin in data.origins.items()}
    for name, origin in [("data.origin", data.origin), *further.items()]:
        store, behind = origin.load()[0], origin.clean()
        good = store if behind is None else behind[0]  # the same of them for all that is made of them
        chosen = numpy_rng("looked at", good.key).permutation(len(store.images))[:count].tolist()
        if behind is not None and good.key not in shown:
            rows.append(LookedAt(f"{name}: clean", _of(good, chosen)))
        shown.add(good.key)
        said = origin.told()
        rows.append(LookedAt(": ".join([name, *said[:1]]), _of(store, chosen)))
    return rows


def of_generation(data: BootstrapData, folder: GenerationFolder, count: int) -> list[LookedAt]:
    """Some images that a generation has made of others, below those, and below the good ones behind them where they are known.

    Those of one parent stand below each other, at most `MOST_OF_ONE`.

    Args:
        data: set up.
        folder: of the generation, complete.
        count: images that others were made of.

    Raises:
        BootlightError: its images were made of no others, or of images of which data know nothing.
    """
    rows = list(read_metadata(folder))
    parents = {row["file_name"]: named[-1] for row in rows if (named := parents_of(row))}
    if not parents:
        raise BootlightError(
            f"{folder.samples}: its images were made of no others, so there is nothing to lay beside them; name a generation "
            "whose synthesizer restores or changes images, or --config to look at what is trained on"
        )
    kept = open_curated(folder, data.real.store.class_names, data._build)
    files = sorted(row["file_name"] for row in rows)  # the store's own names lack a folder that holds all
    places = {files[i]: i for i in kept.indices.tolist()}
    names = [name for name in parents if name in places]
    if not names:
        raise BootlightError(f"{folder.samples}: its curator has kept none of the images that were made of others")
    of_each: dict[str, list[str]] = {}
    for name in names:
        of_each.setdefault(parents[name], []).append(name)
    order = numpy_rng("looked at", kept.store.key).permutation(len(of_each))[:count].tolist()
    chosen = [list(of_each.items())[i] for i in order]
    bad, good = zip(*(_behind(data, parent) for parent, _ in chosen), strict=True)
    found = [LookedAt("clean, hidden", list(good)), LookedAt("made of", list(bad))]
    most = min(MOST_OF_ONE, max(len(made) for _, made in chosen))
    for k in range(most):
        pictures = [kept.store.images[places[made[k]]] if k < len(made) else None for _, made in chosen]
        number = f", {k + 1} of each" if most > 1 else ""
        found.append(LookedAt(f"generation {folder.number}: {folder.into}{number}", pictures))
    return [row for row in found if any(image is not None for image in row.images)]


def _behind(data: BootstrapData, parent: str) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """The image of a parent's name, and the good one behind it."""
    into, _, own = parent.partition("/")
    if into not in data.origins and into != "real":
        return None, None
    origin = data.origin if into == "real" else data.origins[into]
    store, behind = origin.load()[0], origin.clean()
    if own not in (known := _places(store)):
        raise BootlightError(f"parent {parent}: there is no such image in {origin.name}; are these the data of the run?")
    return store.images[known[own]], None if behind is None else behind[0].images[known[own]]


_known: dict[str, dict[str, int]] = {}


def _places(store: Store) -> dict[str, int]:
    if store.key not in _known:
        _known[store.key] = {name: i for i, name in enumerate(store.names)}
    return _known[store.key]


def _of(store: Store, chosen: Sequence[int]) -> list[NDArray[Any] | None]:
    return [np.asarray(store.images[i]) for i in chosen]
