"""Networks that can be stopped in the middle: from the image to the bottleneck, and from there to the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

Change = Callable[[Tensor], Tensor]  # of a feature map (B, ...), to what goes on in its place


class Features(NamedTuple):
    """What an encoder hands to a decoder.

    Attributes:
        bottleneck: (B, ...), what leaves the middle of the network.
        rest: whatever else the decoder needs, such as skip connections and embeddings; the network's own.
    """

    bottleneck: Tensor
    rest: Any


class TakenApart(Protocol):
    """A network `(x, t, labels) -> answer` in two halves: `decode(encode(x, t, labels))` is its answer, bit for bit.

    Neither half changes what it is given: features may be decoded more than once.
    """

    def encode(self, x: Tensor, t: Tensor, labels: Tensor | None = None, *, change: Change | None = None) -> Features:
        """Features of the bottleneck and what goes around it; arguments as in `forward`.

        Args:
            x: noisy images (B, C, H, W).
            t: times (B,).
            labels: int64 (B,), or None.
            change: called with the feature map of each layer of the encoder, not with that of the bottleneck; the next layer,
                and the skip connection, get its answer.
        """

    def decode(self, features: Features, *, change: Change | None = None) -> Tensor:
        """The answer (B, outputs, H, W).

        Args:
            features: from `encode`; the bottleneck may be another one of its shape.
            change: called with the feature map of each layer of the decoder; the next layer gets its answer.
        """


def can_be_taken_apart(network: nn.Module) -> bool:
    """Whether a network has `encode` and `decode`."""
    return all(callable(getattr(network, name, None)) for name in ("encode", "decode"))
