"""Features learned from the real images in seconds, without a download and without labels: the default network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from bootlight.errors import BootlightError, check_range
from bootlight.evaluation.networks.trained_networks import kept, save_network
from bootlight.io.atomic import read_weights
from bootlight.networks.patches import AT_ONCE, PatchNetwork, learn_patches, shrunk
from bootlight.rng import numpy_rng, torch_rng

if TYPE_CHECKING:
    from pathlib import Path

    from bootlight.evaluation.networks.trained_networks import RealImages

TEXT = "evaluation.features is LearnedFeatures"
FORMAT = 1  # goes up when the same images would give other features


class LearnedFeatures(nn.Module):
    """Features of patches and of coarse shape, learned from the real images; no labels, no gradients, no other images.

    Half of them are principal components of what whitened patches of the images answer as filters, pooled, on scales from the
    full size down to 4 pixels (Coates and Ng 2011), half of them components of pixels at 16 x 16; see `networks.patches`. Their
    variances over the training images are 1 on average, as the polynomial kernel of KID wants it. docs/evaluation.md says how
    they order distortions, mixtures and trainings beside other networks.

    What is learned depends on the images: scores are comparable where `protocol["learned"]` is the same, and not otherwise.

    Args:
        num_features: length of a feature vector, half of either kind; fewer where there are fewer images or pixels.
        max_images: learn from at most so many of the real images, a fixed random subset.
        seed: of this subset and of the patches.
    """

    name = "learned"
    fair_from = 3000  # see `floors.fair_network`

    def __init__(self, num_features: int = 96, max_images: int = 3000, seed: int = 0) -> None:
        super().__init__()
        check_range("evaluation.features.num_features", num_features, 2)
        check_range("evaluation.features.max_images", max_images, 2)
        self.num_features = num_features
        self.max_images = max_images
        self.seed = seed
        self.network: PatchNetwork | None = None
        self.protocol: dict[str, Any] = {}
        self.channels = 3

    def check_real(self, real: RealImages) -> None:
        """Refuse images that nothing can be learned from.

        Raises:
            BootlightError: they are numbers without a range, or fewer than two of them differ.
        """
        if real.stored.dtype != np.uint8:
            raise BootlightError(
                f"{TEXT}, which takes 8-bit pictures, and the real images are float32; take bootlight.PixelFeatures"
            )
        if not any((real.stored[i] != real.stored[real.indices[0]]).any() for i in real.indices[1:]):
            what = "there is one real image" if len(real) == 1 else f"all {len(real)} real images are equal"
            raise BootlightError(f"{TEXT}, which learns from images that differ, and {what}; take bootlight.PixelFeatures")

    def fit_real(self, real: RealImages, folder: Path, device: torch.device) -> None:
        """See `TrainedOnReal`. Learns on the CPU, whatever the device: a few seconds, and so all devices share what is learned.

        Raises:
            BootlightError: see `check_real`.
        """
        self.check_real(real)
        self.channels = real.shape[0]
        settings = {"features": self.num_features, "most": self.max_images, "seed": self.seed, "format": FORMAT}
        file = folder / f"learned-{real.settings_key(**settings)}.safetensors"
        with kept(file, real, torch.device("cpu")) as found:
            if not found:
                save_network(self._learn(real), file, settings)
        self.network = PatchNetwork(read_weights(file, described=file.with_suffix(".json")))
        self.protocol = {"learned": file.stem, "learned_from": min(len(real), self.max_images)}

    def _learn(self, real: RealImages) -> PatchNetwork:
        chosen = np.sort(numpy_rng(self.seed, "learned features: images").permutation(len(real))[: self.max_images])
        half = self.num_features // 2
        with tqdm(desc="learning features from the real images", unit=" step", leave=False) as bar:
            tensors = learn_patches(
                torch.cat([shrunk(real.tensor(part)) for part in np.array_split(chosen, -(-len(chosen) // AT_ONCE))]),
                num_coarse=half,
                num_filtered=self.num_features - half,
                rng=torch_rng(self.seed, "learned features: patches"),
                bar=lambda step: bar.set_postfix_str(step, refresh=False) or bar.update(),
            )
        return PatchNetwork(tensors)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D) of uint8 images (B, C, H, W)."""
        if self.network is None:
            raise BootlightError("LearnedFeatures must learn by fit_real before use")
        answer: Tensor = self.network(images)
        return answer
