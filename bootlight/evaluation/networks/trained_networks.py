"""Networks trained once on the real images, against which synthetic images are measured; kept by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bootlight.distributed.processes import in_group
from bootlight.io.atomic import read_weights, write_bytes, write_json
from bootlight.runs.shared_cache import shared

if TYPE_CHECKING:
    import numpy as np

    from bootlight.data.datamodule import BootstrapData
    from bootlight.data.mixing import Source
    from bootlight.data.store import Images, Store

Network = TypeVar("Network", bound=nn.Module)


def reference_key(data: BootstrapData, **settings: Any) -> str:
    """Hash of all real training images, in use or not, and of all settings: what a trained network depends on."""
    parts = [data.available.store.key, hashlib.sha256(data.available.indices.tobytes()).hexdigest(), settings]
    return _hash(parts)[:16]


def known_as(store: Store, indices: NDArray[np.int64]) -> str:
    """Key of some images of a store, in this order."""
    return _hash([store.key, hashlib.sha256(indices.tobytes()).hexdigest()])


def _hash(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def save_network(network: nn.Module, file: Path, settings: dict[str, Any]) -> None:
    """Keep the weights of a trained network; first its settings and the hash of the weights, in a JSON file beside them."""
    weights = safetensors.torch.save({name: value.cpu().contiguous() for name, value in network.state_dict().items()})
    write_json(file.with_suffix(".json"), {**settings, "weights_sha256": hashlib.sha256(weights).hexdigest()})
    write_bytes(file, weights)


def load_network(network: Network, file: Path) -> Network:
    """The network with the weights in `file`, in eval mode.

    Raises:
        BootlightError: the file is missing or torn, or is not the one that its JSON file tells of.
    """
    network.load_state_dict(read_weights(file, described=file.with_suffix(".json")))
    return network.eval()


@dataclass(frozen=True)
class RealImages:
    """Real images that a feature network is trained on, in a fixed order.

    Args:
        stored: (M, H, W, C), uint8 or float32; may be mapped into memory.
        indices: int64 (N,), which of them.
        labels: int64 (N,), position in `class_names`, -1 = none.
        class_names: empty where nothing is labelled.
        key: hash of the images, their order and labels.
        cache: folder in which trained networks are kept.
        held_out: images that are not trained on, with labels of the same classes, where there are some.
    """

    stored: Images
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    key: str
    cache: Path
    held_out: RealImages | None = None

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of each image."""
        height, width, channels = self.stored.shape[1:]
        return channels, height, width

    @property
    def images(self) -> Images:
        """All of them, (N, H, W, C), in memory."""
        return self.stored[self.indices]

    def tensor(self, chosen: NDArray[np.int64] | slice = slice(None)) -> Tensor:
        """Those at some positions, (B, C, H, W), in memory."""
        return torch.from_numpy(self.stored[self.indices[chosen]]).permute(0, 3, 1, 2).contiguous()

    def settings_key(self, **settings: Any) -> str:
        """Hash of the images and of the settings of a network that is trained on them."""
        return _hash([self.key, settings])[:16]


def real_images(data: BootstrapData) -> RealImages:
    """All real training images of a run, in use or not, and those that it holds out."""

    def of(source: Source, held_out: RealImages | None = None) -> RealImages:
        store, labels = source.store, source.store.labels[source.indices]
        key = known_as(store, source.indices)
        return RealImages(store.images, source.indices, labels, store.class_names, key, data.cache, held_out)

    return of(data.available, of(data.holdout) if len(data.holdout) else None)


@runtime_checkable
class TrainedOnReal(Protocol):
    """A feature network that must see the real images before it can be used.

    One with a method `check_real(real: RealImages)` is asked before anything long begins; it raises what `fit_real` would.
    """

    def fit_real(self, real: RealImages, folder: Path, device: torch.device) -> None:
        """Train, or load what an earlier call has trained into `folder`, or any other into `real.cache`."""


def look_at(network: nn.Module, real: RealImages) -> None:
    """Ask a network whether it can work on these images.

    Raises:
        BootlightError: it cannot.
    """
    check = getattr(network, "check_real", None)
    if callable(check):
        check(real)


@contextmanager
def kept(file: Path, real: RealImages, device: torch.device) -> Iterator[bool]:
    """Whether there is a network in `file`, maybe from the cache; where not, the block must save one there."""
    if file.exists():
        yield True
        return
    with shared(file, real.cache / "classifiers", {"device": device.type}, wait=not in_group()) as found:
        yield found
