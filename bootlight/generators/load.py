"""A trained generator from its published files, which may come from someone who is not trusted."""

import math
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from jsonargparse import ArgumentParser
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bootlight.errors import BootlightError, check_range
from bootlight.generators.base import GeneratorModule
from bootlight.generators.parts import attach_recorded
from bootlight.generators.published import published_weights
from bootlight.generators.trust import class_paths, distrust, importable, only, refused
from bootlight.io.atomic import read_json
from bootlight.io.shape import shape_of
from bootlight.runs.folder import GenerationFolder
from bootlight.runs.links import check_links

# Of the images of a model that is not trusted: what a network needs to draw grows with their area.
MAX_EDGE = 1024
MAX_NUMBERS = 3 * MAX_EDGE**2  # of one image, all channels together
SPARE_ELEMENTS = 10_000_000  # for schedules and the like, beyond what the weights account for
COPIES = 4  # of each weight, while it is made


def load_generator(folder: GenerationFolder, *, num_steps: int | None = None, trust: Collection[str] = ()) -> GeneratorModule:
    """The generator of a trained generation, in eval mode on the CPU.

    `model.json` decides what is built. Only bootlight's own classes, those that an installed package has registered as a
    generator, and those in `trust` are imported, at whatever depth they are named; and unless the generator itself is in
    `trust`, it must not be much larger than its weights.

    Args:
        folder: of the generation.
        num_steps: sampler steps instead of the configured ones, for a diffusion model.
        trust: class paths of other code that may run, such as `my_file.MyFlow`.

    Raises:
        BootlightError: not trained, damaged, or a class that is not trusted or cannot be built.
    """
    check_links(folder.path.parent)
    config = _read(folder)
    state = published_weights(folder)
    for name, tensor in state.items():
        if tensor.is_complex():
            raise BootlightError(f"{folder.weights}: {name} has complex numbers; delete it and run bootlight fit again")
    elements = sum(tensor.numel() for tensor in state.values())
    trusted = config["class_path"] in trust
    limit: AbstractContextManager[object] = nullcontext() if trusted else Allocations(COPIES * elements + SPARE_ELEMENTS)
    try:
        if not trusted:
            check_shape(config["init_args"])
        with only(importable(class_paths(config), trust)), limit:
            module: GeneratorModule = build(GeneratorModule, config)
        module.load_published(state)
        module.image_dtype = noted_dtype(folder)
        attach_recorded(module, folder, partial(load_generator, trust=trust))
    except BootlightError as error:
        raise BootlightError(f"{folder.model_config}: {error}") from error
    if num_steps is not None:
        module.set_num_steps(num_steps)
    return module.eval()


def _read(folder: GenerationFolder) -> dict[str, Any]:
    """Class path and arguments of the generator.

    Raises:
        BootlightError: not trained, or not what `Publish` writes.
    """
    published = read_json(folder.model_config)
    try:
        edges = published["image_size"]
        size = {
            "image_size": [int(edge) for edge in edges] if isinstance(edges, list) else int(edges),
            "channels": int(published["channels"]),
        }
        model = published["model"]
        config = {**model, "class_path": str(model["class_path"]), "init_args": {**model["init_args"], **size}}
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise BootlightError(
            f"{folder.model_config} does not describe a generator ({error!r}); delete it and run bootlight fit again"
        ) from error
    return config


def check_shape(given: Mapping[str, Any]) -> None:
    """Refuse images that take very much to draw.

    Args:
        given: `image_size` and `channels` of a model that is not trusted.

    Raises:
        BootlightError: an edge over `MAX_EDGE`, or an image of more than `MAX_NUMBERS`.
    """
    channels, height, width = shape_of(given["image_size"], given["channels"], section="")
    check_range("image_size", max(height, width), 1, MAX_EDGE)
    check_range("channels", channels, 1, MAX_NUMBERS // (height * width))


def noted_dtype(folder: GenerationFolder) -> str:
    """The type of the numbers of the images that a published generator draws: uint8 or float32.

    Raises:
        BootlightError: the file names another one.
    """
    published = read_json(folder.model_config)
    dtype = published.get("dtype", "uint8") if isinstance(published, dict) else "uint8"
    if dtype not in ("uint8", "float32"):
        raise BootlightError(f"{folder.model_config}: dtype is {dtype!r}; it must be uint8 or float32")
    return str(dtype)


def build(kind: type, config: Any) -> Any:
    """An object of a class path and arguments from a file; what it may import is limited by `trust.only`.

    Raises:
        BootlightError: it cannot be built.
    """
    # Texts are JSON, not YAML, and no text is the name of a file with more of the configuration, as on a command line.
    parser = ArgumentParser(exit_on_error=False, parser_mode="json")
    parser.add_argument("--built", type=kind)
    try:
        built = parser.instantiate(parser.parse_object({"built": config})).built
    except Exception as error:  # constructors may raise anything, and so may jsonargparse on the way to them
        known: BaseException | None = error
        while known is not None and not isinstance(known, BootlightError):
            known = known.__cause__ or known.__context__
        if known is not None:
            raise known from error
        stranger = refused(str(error))
        if stranger:
            raise BootlightError(distrust([stranger])) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        name = config.get("class_path") if isinstance(config, dict) else config
        raise BootlightError(f"cannot build {name} ({reason})") from error
    return built


class Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Stops the making of tensors at a limit: a number in a file can ask for terabytes.

    Counts what is made of nothing. All else is made of that, and a thousand elements are counted for each call, so that an
    endless number of small layers ends too.

    Args:
        limit: elements.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit = self.left = limit

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        self.left -= 1000 + _elements(args)
        if self.left < 0:
            raise BootlightError(f"the model has more than the {self.limit} numbers that its weights account for")
        return func(*args, **(kwargs or {}))


def _elements(args: tuple[Any, ...]) -> int:
    """How many elements a call makes of nothing but sizes."""
    sizes = [size for size in args if isinstance(size, list | tuple)]
    if any(isinstance(value, Tensor) for value in [*args, *(value for size in sizes for value in size)]):
        return 0
    whole = [math.prod(size) for size in sizes if all(isinstance(value, int) for value in size)]
    return max(whole or [value for value in args if isinstance(value, int)], default=0)
