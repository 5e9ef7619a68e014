"""The real images of a run: the same ones whenever it is continued, and some of them to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_only

from bootlight.data.contents import FORMAT
from bootlight.data.store_skipped import listing
from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json, write_bytes, write_json
from bootlight.io.pictures import encode_png, row_of_tiles
from bootlight.io.shape import is_picture
from bootlight.io.shown import REFERENCE, is_points, scatter, tiles
from bootlight.rng import numpy_rng
from bootlight.runs.folder import MODEL

OF_PART = ("content", "count", "held_out")  # what is kept of the images of a part

if TYPE_CHECKING:
    from bootlight.data.datamodule import BootstrapData
    from bootlight.runs.folder import RunFolder


def describe_images(data: BootstrapData) -> dict[str, Any]:
    """By what the real images of a run are known."""
    real = data.real.store
    found = {
        "content": real.key,
        "count": len(real.images),
        "mixed": list(data.archive.opened.values()),
        "by_name": data.opened,
    }
    made = {"data.origin": data.origin.record()} | {f"data.origins.{name}": o.record() for name, o in data.origins.items()}
    if any(made.values()):
        found["made"] = {name: record for name, record in made.items() if record}
    return {**found, "held_out": None if data.holdout.store is real else data.holdout.store.key, "format": FORMAT}


@rank_zero_only
def note_images(run: RunFolder, data: BootstrapData) -> None:
    """Keep by what the images of a run are known that begins."""
    if not (run.is_begun and run.real_images.exists()):
        write_json(run.real_images, describe_images(data))


@rank_zero_only
def note_part(run: RunFolder, data: BootstrapData) -> None:
    """Keep by what the images of a part are known that has others than the run; called when its training begins."""
    known, found, part = read_json(run.real_images), describe_images(data), data.context.part
    if found["content"] != known["content"] and part not in known.get("parts", {}):
        own = {key: found[key] for key in OF_PART}
        write_json(run.real_images, {**known, "parts": {**known.get("parts", {}), part: own}})


def check_same_images(run: RunFolder, data: BootstrapData) -> None:
    """A run is continued with the images that it was begun with, wherever they lie now.

    Raises:
        BootlightError: these are others.
    """
    if not (run.is_begun and run.real_images.exists()):
        return
    found = describe_images(data)
    before = read_json(run.real_images)
    if before.get("format", 1) != FORMAT:
        raise BootlightError(
            f"{run.path} was begun by a version of bootlight that knew images by other marks, so nobody can tell whether "
            f"{data.root} holds the same ones; go on with that version, or give this run its own --bootstrap.run_dir"
        )
    images = f"images that {run.path} was begun with"
    if data.context.part != MODEL:  # it may have a mixture, and images, of its own
        found["mixed"] = before.get("mixed")
        own = before.get("parts", {}).get(data.context.part, {})
        before |= {key: own.get(key, found[key]) for key in OF_PART}
    said = {
        "mixed": f"{' and '.join(data.archive.opened) or 'data.mixing'} does not hold the {images}",
        "content": f"data.root: {data.root} does not hold the {before.get('count')} {images}",
        "held_out": f"data.root: {data.root} does not hold out the {images}",
    }
    for key in ("held_out", "mixed", "by_name"):
        before.setdefault(key, found[key])  # older runs have not noted it
    other = [message for key, message in said.items() if before.get(key) != found.get(key)]
    other += [
        f"{name} does not hold the {images}" for name, key in data.opened.items() if before["by_name"].get(name, key) != key
    ]
    for message in other:
        raise BootlightError(f"{message}; restore them, or give this run its own --bootstrap.run_dir")


@rank_zero_only
def list_skipped(run: RunFolder, data: BootstrapData) -> None:
    """Which pictures are left out because `data.max_bad` allows it, and why; no file where there are none."""
    skipped = data.real.store.skipped | data.holdout.store.skipped
    if skipped:
        write_bytes(run.references / "skipped.txt", listing(skipped).encode(errors="backslashreplace"))


@rank_zero_only
def write_real_previews(run: RunFolder, data: BootstrapData, count: int) -> None:
    """Some real images, for the first row of the strip."""
    if run.real_previews.exists() and run.is_begun:
        return
    order = numpy_rng("real previews").permutation(len(data.real))
    # By class, as the synthetic ones are; unlabelled images all have label -1 and keep their random order.
    by_class = order[np.argsort(data.real.store.labels[data.real.indices[order]], kind="stable")]
    chosen = by_class[((np.arange(count) + 0.5) * len(order) / count).astype(np.int64)]
    images = data.real_images(data.real)
    if is_points(data.image_shape) and not is_picture(data.image_shape, images.dtype.name):
        write_bytes(run.real_previews, encode_png(scatter(images)))
    else:
        write_bytes(run.real_previews, encode_png(row_of_tiles(tiles(images[chosen], images[:REFERENCE]))))
