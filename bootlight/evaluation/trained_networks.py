"""Networks trained once on the real images, against which synthetic images are measured; cached with the run by content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from bootlight.distributed.processes import in_group
from bootlight.errors import BootlightError, check_range
from bootlight.io.atomic import read_weights, write_bytes, write_json
from bootlight.io.pictures import to_float
from bootlight.networks.classifier import Classifier
from bootlight.rng import numpy_rng, seed_torch
from bootlight.runs.shared_cache import shared

if TYPE_CHECKING:
    from bootlight.data.datamodule import BootstrapData

Network = TypeVar("Network", bound=nn.Module)


def reference_key(data: BootstrapData, **settings: Any) -> str:
    """Hash of all real training images, in use or not, and of all settings: what a trained network depends on."""
    parts = [data.available.store.key, hashlib.sha256(data.available.indices.tobytes()).hexdigest(), settings]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


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


@runtime_checkable
class TrainedOnReal(Protocol):
    """A feature network that must see the real images before it can be used."""

    def fit_real(self, data: BootstrapData, folder: Path, device: torch.device) -> None:
        """Train, or load what an earlier run has trained into `folder`."""


class ClassifierFeatures(nn.Module):
    """Features of a small classifier trained on the real labelled images: for data of which Inception knows little.

    Args:
        name: of the score, `fd-<name>`.
        epochs: passes over the real training images.
        num_features: length of a feature vector; small, because a distance needs many more images than features.
        learning_rate: of Adam.
        seed: of the initial weights and of the data order.
    """

    batch_size = 64

    def __init__(self, name: str, epochs: int = 20, num_features: int = 32, learning_rate: float = 2e-3, seed: int = 0) -> None:
        super().__init__()
        check_range("evaluation.features.epochs", epochs, 0)
        check_range("evaluation.features.num_features", num_features, 1)
        check_range("evaluation.features.learning_rate", learning_rate, 0)
        self.name = name
        self.epochs = epochs
        self.num_features = num_features
        self.learning_rate = learning_rate
        self.seed = seed
        self.network: Classifier | None = None
        self.protocol: dict[str, Any] = {}
        self.channels = 1

    def check_real(self, data: BootstrapData) -> None:
        """Refuse images that it cannot be trained on.

        Raises:
            BootlightError: they have no labels, or are numbers without a range.
        """
        source = data.available
        if source.store.images.dtype != np.uint8:
            raise BootlightError(
                "evaluation.features is ClassifierFeatures, which takes 8-bit pictures, and the real images are float32; "
                "take bootlight.PixelFeatures"
            )
        labels = source.store.labels[source.indices]
        if len(source.store.class_names) < 2 or (labels < 0).any():
            raise BootlightError(
                "evaluation.features is ClassifierFeatures, but the real images have no labels; use class folders, or another "
                "feature network"
            )

    def fit_real(self, data: BootstrapData, folder: Path, device: torch.device) -> None:
        """See `TrainedOnReal`.

        Raises:
            BootlightError: the real images have no labels.
        """
        self.check_real(data)
        source = data.available
        labels = source.store.labels[source.indices]
        self.channels = data.channels
        settings = {"epochs": self.epochs, "features": self.num_features, "lr": self.learning_rate, "seed": self.seed}
        file = folder / f"classifier-{reference_key(data, **settings)}.safetensors"
        with torch.random.fork_rng(devices=[]):
            seed_torch(self.seed, "classifier")
            network = Classifier(data.channels, len(source.store.class_names), num_features=self.num_features)
        images = source.store.images[source.indices]
        if not file.exists():
            with shared(file, data.cache / "classifiers", {"device": device.type}, wait=not in_group()) as found:
                if not found:
                    save_network(self._train(network.to(device), images, labels, device), file, settings)
        self.network = load_network(network.cpu(), file)
        self.protocol = {"classifier": file.stem, "classifier_held_out_accuracy": self._accuracy(data)}

    def _train(self, network: Classifier, images: NDArray[Any], labels: NDArray[np.int64], device: torch.device) -> Classifier:
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        inputs = torch.from_numpy(images).permute(0, 3, 1, 2)
        targets = torch.from_numpy(labels)
        network.train()
        for epoch in tqdm(range(self.epochs), desc="feature classifier · training", unit="epoch", leave=False):
            order = torch.from_numpy(numpy_rng(self.seed, "classifier order", epoch).permutation(len(labels)))
            for chosen in torch.split(order, self.batch_size):
                loss = F.cross_entropy(network(to_float(inputs[chosen].to(device))), targets[chosen].to(device))
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return network.eval()

    @torch.no_grad()
    def _accuracy(self, data: BootstrapData) -> float | None:
        """Share of held-out images that the classifier labels rightly: says whether its features mean anything."""
        if len(data.holdout) == 0 or self.network is None:
            return None
        images = torch.from_numpy(data.real_images(data.holdout)).permute(0, 3, 1, 2)
        guessed = torch.cat([self.network(to_float(chunk)).argmax(1) for chunk in torch.split(images, 500)]).numpy()
        return float((guessed == data.holdout.store.labels[data.holdout.indices]).mean())

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, num_features) of uint8 images (B, C, H, W)."""
        if self.network is None:
            raise BootlightError("ClassifierFeatures must be trained by fit_real before use")
        return self.network.features(to_float(images))
