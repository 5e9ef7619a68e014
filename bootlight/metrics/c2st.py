"""Classifier two-sample test (Lopez-Paz and Oquab 2017): can a fresh classifier tell synthetic images from real ones?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bootlight.errors import BootlightError
from bootlight.io.pictures import to_float
from bootlight.metrics.score import SHARE, Score
from bootlight.metrics.uncertainty import WILSON, binomial_standard_error, wilson_interval
from bootlight.networks.classifier import Classifier
from bootlight.rng import numpy_rng, seed_torch

LEAST = 20  # images of each side
BATCH = 64


def two_sample_test(
    real: NDArray[Any],
    synthetic: NDArray[Any],
    *,
    epochs: int = 10,
    learning_rate: float = 2e-3,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Score:
    """Accuracy, on images that it has not seen, of a small convolutional classifier trained to tell the two sets apart.

    As many images of each side; half of each is trained on, the other half tested. Equal distributions give 0.5 whatever the
    classifier; a value above it is proof of a difference that a small network finds, one of 0.5 none of equality. Given the
    classifier, test images are told rightly or not independently of each other, so error and Wilson interval are those of a
    binomial share (a little too wide where one side is told better than the other). They do not cover the training of another
    classifier.

    Float data, which have no range, are brought to mean 0 and deviation 1 in each channel, by the images that are trained on.

    Copies of the real images that are among the synthetic ones are indistinguishable by this test; see the metrics of copying.

    Args:
        real: images (N, H, W, C), uint8 or float32.
        synthetic: images (M, H, W, C), of the same type.
        epochs: passes over the training half.
        learning_rate: of Adam.
        seed: of the split, the initial weights and the order.
        device: where it is trained.

    Raises:
        BootlightError: fewer than 20 images on a side.
    """
    count = min(len(real), len(synthetic))
    if count < LEAST:
        raise BootlightError(f"c2st needs at least {LEAST} images on each side, got {count}; draw more")
    sides = (real, synthetic)
    chosen = [numpy_rng(seed, "c2st", side).permutation(len(images))[:count] for side, images in enumerate(sides)]
    half = count // 2
    train, test = _Both(*sides, *(c[:half] for c in chosen)), _Both(*sides, *(c[half:] for c in chosen))
    with torch.random.fork_rng(devices=[]):
        seed_torch(seed, "c2st weights")
        network = Classifier(real.shape[3], 1)
    network.to(device)
    scale = _scale(train)
    _train(network, train, scale, epochs, learning_rate, seed, device)
    n = len(test)
    share = _correct(network, test, scale, device) / n
    protocol = {"classifier": "3 convolutions", "epochs": epochs, "num_train": len(train), "num_test": n, "seed": seed}
    return Score(
        value=share,
        standard_error=binomial_standard_error(share, n),
        n=n,
        protocol={**protocol, SHARE: WILSON},
        interval=wilson_interval(share, n),
        higher_is_better=False,
    )


@dataclass(frozen=True)
class _Both:
    """Real images, then as many synthetic ones, read in batches: they may be mapped into memory.

    Args:
        real: images (N, H, W, C).
        synthetic: images (M, H, W, C).
        of_real: which of them.
        of_synthetic: likewise.
    """

    real: NDArray[Any]
    synthetic: NDArray[Any]
    of_real: NDArray[np.int64]
    of_synthetic: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.of_real) + len(self.of_synthetic)

    def batch(self, positions: NDArray[np.int64]) -> Tensor:
        """Images (B, C, H, W)."""
        images = np.empty((len(positions), *self.real.shape[1:]), self.real.dtype)
        drawn = positions >= len(self.of_real)
        images[~drawn] = self.real[self.of_real[positions[~drawn]]]
        images[drawn] = self.synthetic[self.of_synthetic[positions[drawn] - len(self.of_real)]]
        return torch.from_numpy(images).permute(0, 3, 1, 2)


def _scale(images: _Both) -> tuple[Tensor, Tensor] | None:
    """Mean and deviation (C, 1, 1) of numbers without a range; None of 8 bits."""
    if images.real.dtype == np.uint8:
        return None
    numbers = images.batch(np.arange(len(images))).double()
    mean, deviation = numbers.mean((0, 2, 3)), numbers.std((0, 2, 3), correction=0)
    deviation[deviation == 0] = 1
    return mean[:, None, None], deviation[:, None, None]


def _seen(images: Tensor, scale: tuple[Tensor, Tensor] | None, device: torch.device | str) -> Tensor:
    """What the classifier sees of a batch."""
    return to_float((images if scale is None else ((images.double() - scale[0]) / scale[1]).float()).to(device))


def _labels(count: int) -> Tensor:
    """0 for the first half, which is real, 1 for the second."""
    return (torch.arange(count) >= count // 2).float()


def _train(
    network: Classifier,
    images: _Both,
    scale: tuple[Tensor, Tensor] | None,
    epochs: int,
    learning_rate: float,
    seed: int,
    device: torch.device | str,
) -> None:
    labels = _labels(len(images))
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    network.train()
    for epoch in range(epochs):
        order = torch.from_numpy(numpy_rng(seed, "c2st order", epoch).permutation(len(images)))
        for chosen in torch.split(order, BATCH):
            logits = network(_seen(images.batch(chosen.numpy()), scale, device)).flatten()
            loss = F.binary_cross_entropy_with_logits(logits, labels[chosen].to(device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


@torch.no_grad()
def _correct(network: Classifier, images: _Both, scale: tuple[Tensor, Tensor] | None, device: torch.device | str) -> int:
    """How many images it calls rightly."""
    network.eval()
    chunks = [np.arange(start, min(start + 500, len(images))) for start in range(0, len(images), 500)]
    logits = torch.cat([network(_seen(images.batch(chunk), scale, device)).flatten().cpu() for chunk in chunks])
    return int(((logits > 0) == (_labels(len(images)) > 0.5)).sum())
