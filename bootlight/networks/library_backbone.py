"""A model of torchvision or timm without its last layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from bootlight.errors import BootlightError, check_range, told_in_a_line
from bootlight.io.paths import expanded
from bootlight.io.shape import Shape
from bootlight.networks.backbone import Backbone

LIBRARIES = ("torchvision.models", "timm.models")
FROM_ELSEWHERE = ("weights", "weights_backbone", "pretrained")  # arguments by which libraries download
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class LibraryBackbone(Backbone):
    """A classifier of torchvision or timm, by its class path, whose last linear layer is taken away; nothing is downloaded.

    Images go in as such models were trained: RGB (grey ones three times), standardized by mean and deviation.

    Args:
        shape: (C, H, W) of the images.
        model: such as `torchvision.models.resnet18` or `timm.models.resnet26d`.
        weights: file of weights, `.safetensors` or what `torch.save` writes; those of the last layer may be missing or of
            other classes. None = random ones.
        arguments: of the function that `model` names.
        resize: edge in pixels to which images are resized; None = they stay as they are.
        mean: of each channel, for pixels from 0 to 1.
        deviation: the same.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        shape: Shape,
        model: str,
        weights: str | None = None,
        arguments: dict[str, Any] | None = None,
        resize: int | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        deviation: Sequence[float] = IMAGENET_DEVIATION,
    ) -> None:
        super().__init__()
        if shape[0] not in (1, 3):
            raise BootlightError(f"LibraryBackbone is for pictures, and images have {shape[0]} channels; take another backbone")
        if resize is not None:
            check_range("resize", resize, 1)
        self.resize = resize
        self.network = _made(model, arguments or {})
        place, last = _last_layer(self.network, model)
        self.num_features = last.in_features
        if weights is not None:
            _load(self.network, expanded(weights), place)
        owner, _, name = place.rpartition(".")
        setattr(self.network.get_submodule(owner), name, nn.Identity())
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """See `Backbone`."""
        if self.resize is not None:
            images = F.interpolate(images, size=(self.resize, self.resize), mode="bilinear", antialias=True)
        answer: Tensor = self.network(((images + 1) / 2 - self.mean) / self.deviation)
        return answer


def _made(path: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The model that a path names.

    Raises:
        BootlightError: it names none of the two libraries, is not there, or cannot be made.
    """
    module, _, name = path.rpartition(".")
    if not any(f"{module}.".startswith(f"{library}.") for library in LIBRARIES):
        raise BootlightError(f"model is {path!r}; give a path such as torchvision.models.resnet18 or timm.models.resnet26d")
    if given := [key for key in FROM_ELSEWHERE if arguments.get(key)]:
        raise BootlightError(f"arguments: {given[0]} downloads; give the file of the weights as `weights`")
    try:
        function: Callable[..., Any] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BootlightError(f"model {path}: {told_in_a_line(error)}; install the package, or correct the name") from error
    home = str(getattr(function, "__module__", ""))
    if not any(f"{home}.".startswith(f"{library}.") for library in LIBRARIES):  # what they import is not theirs
        raise BootlightError(f"model is {path}, which is of {home or 'nowhere'}; give one of {' or '.join(LIBRARIES)}")
    try:
        made = function(**arguments)
    except Exception as error:
        raise BootlightError(f"model {path} cannot be made: {told_in_a_line(error)}; correct `arguments`") from error
    if not isinstance(made, nn.Module):
        raise BootlightError(f"model {path} makes no network; name another")
    return made


def _last_layer(network: nn.Module, path: str) -> tuple[str, nn.Linear]:
    """Name and layer of the linear one that comes last.

    Raises:
        BootlightError: there is none.
    """
    found = [(name, part) for name, part in network.named_modules() if isinstance(part, nn.Linear)]
    if not found:
        raise BootlightError(f"model {path} does not end in a linear layer; take another")
    return found[-1]


def _load(network: nn.Module, file: Path, last: str) -> None:
    """Read weights, all but those of the last layer.

    Raises:
        BootlightError: the file cannot be read, or is of another architecture.
    """
    try:
        if file.suffix == ".safetensors":
            state = safetensors.torch.load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError) as error:
        raise BootlightError(f"weights: {file}: {told_in_a_line(error)}") from error
    except Exception as error:  # a pickle that holds more than weights
        raise BootlightError(f"weights: {file} is no file of weights: {told_in_a_line(error)}") from error
    own = network.state_dict()
    kept = {name: value for name, value in state.items() if not name.startswith(f"{last}.")} if isinstance(state, dict) else {}
    wanted = {name for name in own if not name.startswith(f"{last}.")}
    wrong = sorted(kept.keys() ^ wanted) or [name for name in sorted(wanted) if kept[name].shape != own[name].shape]
    if wrong:
        raise BootlightError(f"weights: {file} is of another model: {len(wrong)} weights differ, the first is {wrong[0]}")
    network.load_state_dict(kept, strict=False)
