"""Features of a small classifier that is trained on the real labelled images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from bootlight.errors import BootlightError, check_range
from bootlight.evaluation.networks.trained_networks import kept, load_network, save_network
from bootlight.io.pictures import to_float
from bootlight.networks.classifier import Classifier
from bootlight.networks.standardized import Standardized
from bootlight.rng import numpy_rng, seed_torch

if TYPE_CHECKING:
    from pathlib import Path

    from bootlight.evaluation.networks.trained_networks import RealImages

AT_ONCE = 500  # images of a call without gradients


class ClassifierFeatures(nn.Module):
    """Features of a small classifier trained on the real labelled images: for data of which Inception knows little.

    Each feature has mean 0 and variance 1 over the images that it was trained on.

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
        self.standardized = Standardized(num_features)
        self.protocol: dict[str, Any] = {}
        self.channels = 1

    def check_real(self, real: RealImages) -> None:
        """Refuse images that it cannot be trained on.

        Raises:
            BootlightError: they have no labels, or are numbers without a range.
        """
        if real.stored.dtype != np.uint8:
            raise BootlightError(
                "evaluation.features is ClassifierFeatures, which takes 8-bit pictures, and the real images are float32; "
                "take bootlight.PixelFeatures"
            )
        if len(real.class_names) < 2 or (real.labels < 0).any():
            raise BootlightError(
                "evaluation.features is ClassifierFeatures, but the real images have no labels; use class folders, or another "
                "feature network"
            )

    def fit_real(self, real: RealImages, folder: Path, device: torch.device) -> None:
        """See `TrainedOnReal`.

        Raises:
            BootlightError: the real images have no labels.
        """
        self.check_real(real)
        self.channels = real.shape[0]
        settings = {"epochs": self.epochs, "features": self.num_features, "lr": self.learning_rate, "seed": self.seed}
        file = folder / f"classifier-{real.settings_key(**settings, standardized=True)}.safetensors"
        with torch.random.fork_rng(devices=[]):
            seed_torch(self.seed, "classifier")
            self.network = Classifier(self.channels, len(real.class_names), num_features=self.num_features)
        whole = nn.ModuleDict({"classifier": self.network, "standardized": self.standardized})
        with kept(file, real, device) as found:
            if not found:
                self._train(self.network.to(device), real, device)
                save_network(whole, file, settings)
        load_network(whole.cpu(), file)
        self.protocol = {"classifier": file.stem, "classifier_held_out_accuracy": self._accuracy(real.held_out)}

    def _train(self, network: Classifier, real: RealImages, device: torch.device) -> None:
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        inputs, targets = torch.from_numpy(real.images).permute(0, 3, 1, 2), torch.from_numpy(real.labels)
        network.train()
        for epoch in tqdm(range(self.epochs), desc="feature classifier · training", unit="epoch", leave=False):
            order = torch.from_numpy(numpy_rng(self.seed, "classifier order", epoch).permutation(len(real)))
            for chosen in torch.split(order, self.batch_size):
                loss = F.cross_entropy(network(to_float(inputs[chosen].to(device))), targets[chosen].to(device))
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        network.eval()
        with torch.no_grad():
            chunks = torch.split(inputs, AT_ONCE)
            self.standardized.learn(torch.cat([network.features(to_float(chunk.to(device))).cpu() for chunk in chunks]))

    @torch.no_grad()
    def _accuracy(self, held_out: RealImages | None) -> float | None:
        """Share of held-out images that the classifier labels rightly: says whether its features mean anything."""
        if held_out is None or self.network is None:
            return None
        guessed = torch.cat([self.network(to_float(chunk)).argmax(1) for chunk in torch.split(held_out.tensor(), AT_ONCE)])
        return float((guessed.numpy() == held_out.labels).mean())

    def logits(self, images: Tensor) -> Tensor:
        """Of the classes, (B, classes), of uint8 images (B, C, H, W)."""
        if self.network is None:
            raise BootlightError("ClassifierFeatures must be trained by fit_real before use")
        return self.network(to_float(images))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, num_features) of uint8 images (B, C, H, W)."""
        if self.network is None:
            raise BootlightError("ClassifierFeatures must be trained by fit_real before use")
        return self.standardized(self.network.features(to_float(images)))  # type: ignore[no-any-return]
