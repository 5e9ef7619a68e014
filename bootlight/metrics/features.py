"""Networks that map images to features: uint8 (B, C, H, W) -> float32 (B, D)."""

import hashlib
import io
from collections.abc import Iterator
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.request import urlopen

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from tqdm import tqdm

from bootlight.atomic import atomic_write
from bootlight.errors import BootlightError, check_range

# The TensorFlow network of the original FID as converted by torch-fidelity; its file name carries the head of its SHA-256.
INCEPTION_URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d"
TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 20


class PixelFeatures(nn.Module):
    """Pixels in [0, 1], averaged over a grid of `size` x `size` cells and flattened: a network without weights.

    Sees coarse shape and colour only; for tests and first runs.

    Args:
        size: cells along an edge.
        channels: of the images; 1 keeps grey images grey.
    """

    name = "pixels"

    def __init__(self, size: int = 8, channels: int = 3) -> None:
        super().__init__()
        check_range("evaluation.features.size", size, 1)
        self.size = size
        self.channels = channels
        self.num_features = channels * size * size
        self.protocol = {"resize": f"mean over {size} x {size} cells"}

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, channels * size * size) in [0, 1].

        Raises:
            BootlightError: images of another number of channels.
        """
        if images.shape[1] != self.channels:
            raise BootlightError(f"PixelFeatures: images have {images.shape[1]} channels; set channels to that")
        return F.adaptive_avg_pool2d(images.float() / 255, self.size).flatten(1)


class InceptionFeatures(nn.Module):
    """The 2048 pooled features of the Inception network with which FID is defined (torch-fidelity's port).

    Resizes to 299 x 299 as TensorFlow 1 did: bilinear without antialiasing. Needs three channels. Batch norm is folded into
    the convolutions and the memory is laid out channels last, which halves the time on a CPU and moves features by
    rounding error only.

    Args:
        weights: path of the weights file; `bootlight weights` fetches it.
        allow_other_weights: accept a file of the same layout with other values; the score is then not called FID.
    """

    num_features = 2048

    def __init__(self, weights: str, allow_other_weights: bool = False) -> None:
        super().__init__()
        self.weights = Path(weights)
        self.allow_other_weights = allow_other_weights
        self.network: nn.Module | None = None

    @cached_property
    def sha256(self) -> str:
        """Of the weights file, hexadecimal.

        Raises:
            BootlightError: no such file.
        """
        try:
            with open(self.weights, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BootlightError(
                f"{self.weights}: {error.strerror}; run `bootlight weights` to fetch it, or download {INCEPTION_URL} "
                f"(SHA-256 begins with {INCEPTION_SHA256})"
            ) from error

    @property
    def original(self) -> bool:
        """Whether the file holds the weights that the name FID requires."""
        return self.sha256.startswith(INCEPTION_SHA256)

    @property
    def name(self) -> str:
        """`fid` with the original weights, else `inception-` and the first 8 digits of the file's SHA-256."""
        return "fid" if self.original else f"inception-{self.sha256[:8]}"

    @property
    def protocol(self) -> dict[str, Any]:
        """What a comparable FID must share."""
        return {"resize": "bilinear to 299 x 299, TensorFlow 1, no antialiasing", "weights_sha256": self.sha256}

    def check(self) -> None:
        """Make sure before any training that the weights file is there and is the right one.

        Raises:
            BootlightError: missing file, or other weights that were not allowed.
        """
        if not self.original and not self.allow_other_weights:
            raise BootlightError(
                f"{self.weights}: SHA-256 begins with {self.sha256[:8]} instead of {INCEPTION_SHA256}, so this is not FID's "
                "network; run `bootlight weights`, or set allow_other_weights"
            )

    def load(self) -> nn.Module:
        """The network, read from the file at the first call.

        Raises:
            BootlightError: as `check`, or the file does not hold this network's weights.
        """
        if self.network is None:
            self.check()
            self.network = _inception(self.weights)
        return self.network

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 2048) of uint8 images (B, 3, H, W)."""
        features: Tensor = self.load().to(images.device)(images)[0]
        return features


def _inception(weights: Path) -> nn.Module:
    """torch-fidelity's network with batch norm folded, in evaluation mode."""
    from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3

    try:
        # torch-fidelity unpickles whatever a file holds; it is given a copy that was read as tensors alone.
        copy = io.BytesIO()
        torch.save(torch.load(weights, map_location="cpu", weights_only=True), copy)
        copy.seek(0)
        with torch.random.fork_rng(devices=[]):  # layers draw initial weights, which must not move the run's randomness
            network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=copy)
    except Exception as error:  # unpickling fails in many ways
        raise BootlightError(f"{weights}: does not hold the weights of FID's Inception network; fetch it again") from error
    for block in network.modules():
        if isinstance(block, BasicConv2d):
            block.conv, block.bn = fuse_conv_bn_eval(block.conv, block.bn), nn.Identity()
    network.to(memory_format=torch.channels_last)
    return network


def feature_name(network: nn.Module) -> str:
    """The network's attribute `name` if that is a string, else its class in lower case."""
    name = getattr(network, "name", None)
    return name if isinstance(name, str) else type(network).__name__.lower()


def score_name(network: nn.Module) -> str:
    """What a Fréchet distance in this feature space may be called: `fid` for the original Inception, else `fd-<name>`."""
    if isinstance(network, InceptionFeatures) and network.original:
        return "fid"
    return f"fd-{feature_name(network)}"


def fetch_inception_weights(destination: Path) -> Path:
    """Download the Inception weights (96 MB) to the file `destination`, which appears only when whole and verified.

    Raises:
        BootlightError: no network, a silent server (30 s), or a file with another SHA-256.
    """
    digest = hashlib.sha256()
    try:
        response = urlopen(INCEPTION_URL, timeout=TIMEOUT_SECONDS)
    except (OSError, HTTPException) as error:
        raise _download_error(destination, error) from error
    with response, atomic_write(destination) as file:
        for chunk in _chunks(response, destination):
            digest.update(chunk)
            file.write(chunk)
        if not digest.hexdigest().startswith(INCEPTION_SHA256):
            raise BootlightError(f"{INCEPTION_URL}: SHA-256 {digest.hexdigest()[:8]} instead of {INCEPTION_SHA256}; try again")
    return destination


def _chunks(response: IO[bytes], destination: Path) -> Iterator[bytes]:
    """Pieces of the download behind a progress bar."""
    with tqdm(desc=destination.name, unit="B", unit_scale=True) as bar:
        try:
            while chunk := response.read(CHUNK_BYTES):
                yield chunk
                bar.update(len(chunk))
        except (OSError, HTTPException) as error:
            raise _download_error(destination, error) from error


def _download_error(destination: Path, error: Exception) -> BootlightError:
    """What to do without a network."""
    return BootlightError(
        f"cannot download {INCEPTION_URL} ({error}); fetch it on another machine and copy it to {destination}"
    )
