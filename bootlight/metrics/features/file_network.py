"""Feature networks whose weights lie in a file that the user names."""

import hashlib
from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.io.paths import expanded


class FileNetwork(nn.Module):
    """A network that is known by the SHA-256 of its weights file, and reads it when it first sees images.

    The loaded network is no submodule: it is absent from the state dict, and no call of `train()` reaches it.

    Args:
        weights: path of the weights file.
        allow_other_weights: accept a file of the same layout with other values; scores then have the file's hash in their name.
    """

    original_sha256: str  # of the file that earns the bare name; the first 8 digits or more
    contents: str  # what the file should hold, for errors
    cure: str  # how to get it

    def __init__(self, weights: str, allow_other_weights: bool = False) -> None:
        super().__init__()
        self.weights = expanded(weights)
        self.allow_other_weights = allow_other_weights
        self._loaded: list[nn.Module] = []  # in a list, or torch would make it a submodule

    @abstractmethod
    def build(self, tensors: dict[str, Tensor]) -> nn.Module:
        """The network with these weights; whatever it raises means that the file holds something else."""

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
            raise BootlightError(f"{self.weights}: {error.strerror}; {self.cure}") from error

    @property
    def original(self) -> bool:
        """Whether the file holds the published weights."""
        return self.sha256.startswith(self.original_sha256)

    @property
    def suffix(self) -> str:
        """Nothing with the published weights, else `-` and the first 8 digits of the file's SHA-256."""
        return "" if self.original else f"-{self.sha256[:8]}"

    @property
    def weights_protocol(self) -> dict[str, Any]:
        """The part of `protocol` that tells of the weights."""
        return {"weights_sha256": self.sha256, "original_weights": self.original}

    def check(self) -> None:
        """Make sure before any training that the weights file is there and is the right one.

        Raises:
            BootlightError: missing file, or other weights that were not allowed.
        """
        if not self.original and not self.allow_other_weights:
            raise BootlightError(
                f"{self.weights}: SHA-256 begins with {self.sha256[:8]} instead of {self.original_sha256[:8]}, so it does not "
                f"hold {self.contents}; {self.cure}, or set allow_other_weights"
            )

    def load(self) -> nn.Module:
        """The network in evaluation mode, read from the file at the first call.

        Raises:
            BootlightError: as `check`, or the file does not hold this network's weights.
        """
        if not self._loaded:
            self.check()
            try:
                with torch.random.fork_rng(devices=[]):  # layers draw initial weights, which must not move the run's randomness
                    network = self.build(read_tensors(self.weights))
            except BootlightError:
                raise
            except Exception as error:  # unpickling fails in many ways, and so does fitting tensors into a network
                raise BootlightError(f"{self.weights}: does not hold {self.contents}; {self.cure}") from error
            self._loaded.append(network.eval().requires_grad_(False))
        return self._loaded[0]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of what `torch.save` wrote, by name, on the CPU; no code in the file is run."""
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    return dict(torch.load(path, map_location="cpu", weights_only=True))
