"""Any set of real images as one that feature networks can be trained on."""

import hashlib
import json
from pathlib import Path

import numpy as np

from bootlight.data.store import Images
from bootlight.evaluation.networks.trained_networks import RealImages, known_as
from bootlight.evaluation.sets.file_source import FileSource
from bootlight.evaluation.sets.sources import ImageSource, StoreSource
from bootlight.io.pictures import resized
from bootlight.rng import numpy_rng

MOST = 5_000  # of pictures that are decoded anew
EDGE = 64  # pixels, of pictures that have several sizes


def real_of_source(source: ImageSource, cache: Path) -> RealImages:
    """The images of a set; of pictures that lie in files at most `MOST`, a fixed random subset, at one size.

    Args:
        source: the set.
        cache: folder in which trained networks are kept.

    Raises:
        BootlightError: a picture cannot be decoded.
    """
    if isinstance(source, StoreSource):
        store = source.store
        indices = np.arange(len(store.images)) if source.indices is None else source.indices
        return RealImages(store.images, indices, store.labels[indices], store.class_names, known_as(store, indices), cache)
    count = len(source.names)
    chosen = np.sort(numpy_rng("real images to train on").permutation(count)[:MOST])
    labels, class_names = source.labels() if isinstance(source, FileSource) else (np.full(count, -1), ())
    found = source.pick(chosen.tolist())
    if len({image.shape for image in found}) > 1:
        edge = min(EDGE, *(edge for image in found for edge in image.shape[:2]))
        found = [resized(image.astype(np.uint8, copy=False), edge, edge) for image in found]
    images: Images = np.stack(found)  # type: ignore[assignment]
    parts = [source.key, images.shape, hashlib.sha256(labels[chosen].tobytes()).hexdigest()]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return RealImages(images, np.arange(len(images)), labels[chosen], class_names, key, cache)
