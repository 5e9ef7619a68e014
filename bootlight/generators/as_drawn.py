"""A published generator that draws as the images of a folder were drawn: through the same composition."""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from jsonargparse import ArgumentParser

from bootlight.diffusion.compose import Composition
from bootlight.errors import BootlightError
from bootlight.generators.base import GeneratorModule
from bootlight.generators.denoising import DenoisingModule
from bootlight.generators.load import load_generator
from bootlight.generators.parts import attach_parts
from bootlight.generators.published import weights_hash
from bootlight.generators.trust import class_paths, importable, only
from bootlight.io.atomic import read_json
from bootlight.runs.folder import GenerationFolder

COMPOSITION = "composition"  # class path and arguments, in `protocol.json`


class Kept:
    """A composition that remembers what it was given.

    Args:
        composition: fresh.
    """

    def __init__(self, composition: Composition) -> None:
        self.composition, self.references, self.parts = composition, composition.references, dict[str, Any]()

    def attach(self, parts: Mapping[str, Any]) -> None:
        """See `Composition.attach`."""
        self.parts = dict(parts)
        self.composition.attach(parts)


def compose_as_drawn(module: GeneratorModule, folder: GenerationFolder, trust: Collection[str] = ()) -> str:
    """Let a generator draw as the images of a folder were drawn, where it drew them.

    Args:
        module: of the part in `folder`, loaded.
        folder: of the generation, as seen from the part and the folder of images.
        trust: class paths of other code that may run.

    Returns:
        Name of the composition; empty where there is none, or the images are of another part.

    Raises:
        BootlightError: it cannot be built, or a network that it needs is missing or another one than then.
    """
    described = read_json(folder.protocol) if folder.protocol.exists() else {}
    part = described.get("part") if isinstance(described, dict) else None
    if not isinstance(part, dict) or part.get("weights_sha256") != weights_hash(folder) or COMPOSITION not in described:
        return ""
    try:
        kept = Kept(_build(described[COMPOSITION], trust))
        found = attach_parts(kept, folder, partial(load_generator, trust=trust)).get("references", {})
    except BootlightError as error:
        raise BootlightError(f"{folder.protocol}: {error}") from error
    for name, now in found.items():
        if described.get("references", {}).get(name, {}).get("weights_sha256") != now["weights_sha256"]:
            raise BootlightError(f"{folder.protocol}: {name} ({now['reference']}) is another network than then; restore it")
    if not isinstance(module, DenoisingModule):
        raise BootlightError(f"{folder.protocol}: {type(module).__name__} has no denoiser to compose; delete the folder")
    module.draw_through(kept.composition, kept.parts)
    return type(kept.composition).__name__


def _build(config: Any, trust: Collection[str]) -> Composition:
    # As in `load_generator`: texts are JSON, and name no file with more of the configuration.
    parser = ArgumentParser(exit_on_error=False, parser_mode="json")
    parser.add_argument("--compose", type=Composition)
    with only(importable(class_paths(config), trust)):
        try:
            built: Composition = parser.instantiate(parser.parse_object({"compose": config})).compose
        except BootlightError:
            raise
        except Exception as error:  # constructors may raise anything, and so may jsonargparse on the way to them
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BootlightError(f"cannot build its composition ({reason}); delete the folder of images") from error
    return built
