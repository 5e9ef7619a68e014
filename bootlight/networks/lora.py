"""Low-rank adapters (LoRA; Hu et al. 2021) for fine-tuning: weights stay, and a product of two thin matrices is added to each.

Own code and not `peft`: that would bring transformers, accelerate, tokenizers and a dozen packages more, and save under names
of its own. Here an adapter is a parametrization of a weight, so that it works for every layer that has one, in whatever way
the layer uses it, and a merged state has the names and shapes of the plain network.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bootlight.errors import BootlightError, check_range
from bootlight.networks.features import Features
from bootlight.networks.sizes import Sizes

ADAPTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class LowRank(nn.Module):
    """weight + scale * up @ down, of a convolution with the kernel of each output as a row (section 4.1 of the paper).

    A convolution by `down` and a 1x1 convolution by `up` beside the layer would be the same; the sum of the weights costs less.

    Args:
        weight: of the layer, (outputs, ...).
        rank: of the product, or less where the weight has less.
        scale: of the product.
    """

    def __init__(self, weight: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        outputs, inputs = len(weight), weight[0].numel()
        rank = min(rank, outputs, inputs)
        self.scale = scale
        self.down = nn.Parameter(weight.new_empty(rank, inputs))
        self.up = nn.Parameter(weight.new_zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted weight; the weight itself, bit for bit, as long as `up` is 0."""
        whole = weight + self.scale * (self.up @ self.down).view_as(weight)
        # With the strides of the weight, by which a convolution chooses how it sums.
        return torch.empty_like(weight).copy_(whole)


class LoRA(nn.Module):
    """A network with adapters, which alone are trained; at first it answers as the network does.

    Its published state is merged, under the names of the network alone: such a state is loaded into it (`start_from`), the
    adapters beginning anew, and what it publishes is loaded by a module without adapters as well.

    Args:
        sizes: of the network.
        network: makes it: in a config a class path, and arguments without the first one.
        rank: of the adapters.
        alpha: their scale is alpha / rank; 1 if left out.
        targets: names of layers, or of parts of the network (`middle`, `to_qkv`), that are adapted; all linear layers and
            convolutions if left out.

    Raises:
        BootlightError: nothing to adapt; names the key.
    """

    def __init__(
        self,
        sizes: Sizes,
        network: Callable[[Sizes], nn.Module],
        rank: int = 4,
        alpha: float | None = None,
        targets: list[str] | None = None,
    ) -> None:
        super().__init__()
        self.network = adapt(network(sizes), rank, alpha, targets)

    def forward(self, *inputs: Any, **cond: Any) -> Tensor:
        """What the adapted network answers."""
        answer: Tensor = self.network(*inputs, **cond)
        return answer

    @property
    def encode(self) -> Callable[..., Features]:
        """That of the adapted network, where it has one; see `networks.features.TakenApart`."""
        return self.network.encode  # type: ignore[return-value]

    @property
    def decode(self) -> Callable[..., Tensor]:
        """See `encode`."""
        return self.network.decode  # type: ignore[return-value]


def adapt(network: nn.Module, rank: int, alpha: float | None = None, targets: Sequence[str] | None = None) -> nn.Module:
    """Put adapters into a network and freeze all else; see `LoRA`."""
    check_range("model.network.rank", rank, 1)
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, ADAPTED)}
    chosen = {name: layer for name, layer in layers.items() if targets is None or any(_within(name, part) for part in targets)}
    idle = [part for part in targets or () if not any(_within(name, part) for name in layers)]
    if idle or not chosen:
        raise BootlightError(
            f"model.network.targets: {', '.join(idle) or 'there'} is no linear layer or convolution of "
            f"{type(network).__name__}; it has {', '.join(layers)}"
        )
    network.requires_grad_(False)
    for layer in chosen.values():
        scale = 1.0 if alpha is None else alpha / rank
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank, scale))
    return network


def _within(name: str, part: str) -> bool:
    return f".{part}." in f".{name}."


def adapted(module: nn.Module) -> Iterator[tuple[str, Any, list[LowRank]]]:
    """Names of the adapted layers in a module, the layers, and their adapters."""
    for name, layer in module.named_modules():
        if parametrize.is_parametrized(layer, "weight"):
            found: Any = layer.parametrizations
            if ours := [part for part in found.weight if isinstance(part, LowRank)]:
                yield name, layer, ours


def merge(network: nn.Module) -> nn.Module:
    """Add the adapters to the weights for good, in place; returns the plain network."""
    for _, layer, _ in list(adapted(network)):
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return network.network if isinstance(network, LoRA) else network


def plain_state(module: nn.Module) -> dict[str, Any]:
    """The state of a module with all adapters merged, under the names that it would have without them."""
    state = module.state_dict()
    merged = {_joined(name, "parametrizations.weight.original"): layer.weight.detach() for name, layer, _ in adapted(module)}
    return {plain: merged.get(name, state[name]) for plain, name in _plain_names(module, state).items()}


def load_plain(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load some of a state without adapters; those of the module begin anew."""
    names = _plain_names(module, module.state_dict())
    module.load_state_dict({names[plain]: value for plain, value in state.items()}, strict=False)
    for _, _, ours in adapted(module):
        for adapter in ours:
            nn.init.zeros_(adapter.up)


def _plain_names(module: nn.Module, state: Iterable[str]) -> dict[str, str]:
    """Names that a state would have without adapters, and those that it has; what adapters alone have is left out."""
    layers = {_joined(name, "parametrizations.weight."): _joined(name, "weight") for name, _, _ in adapted(module)}
    outer = [name for name, part in module.named_modules() if isinstance(part, LoRA)]
    wrapped = [(_joined(name, "network."), _joined(name, "")) for name in outer]
    found = {}
    for name in state:
        plain: str | None = name
        for inside, weight in layers.items():
            if name.startswith(inside):
                plain = weight if name == f"{inside}original" else None
        for start, outside in reversed(wrapped):  # the innermost first
            if plain is not None and plain.startswith(start):
                plain = outside + plain.removeprefix(start)
        if plain is not None:
            found[plain] = name
    return found


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
