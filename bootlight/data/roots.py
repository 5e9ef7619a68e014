"""The real images of a run: what is trained on, and what a split of their own holds out."""

from functools import cache
from pathlib import Path

from bootlight.data.reader import open_images
from bootlight.data.reading import Reading
from bootlight.data.store import Store, build_store

HELD_OUT_SPLITS = ("test", "val", "valid", "validation")


@cache
def load_root(root: Path, image_size: int, channels: int, cache_folder: Path, reading: Reading) -> tuple[Store, Store | None]:
    """Once for each process: every generation uses the same real images."""
    with open_images(root, reading=reading) as images:
        splits = images.splits
    store = build_store(root, image_size=image_size, channels=channels, cache=cache_folder, reading=reading)
    held_out = next((split for split in HELD_OUT_SPLITS if split in splits), None)
    if held_out is None or "train" not in splits:
        return store, None
    return store, build_store(
        root, image_size=image_size, channels=channels, cache=cache_folder, split=held_out, reading=reading
    )
