"""A published generator that draws as the images of a folder were drawn: through the same composition."""

from collections.abc import Collection
from functools import partial

from bootlight.diffusion.compose import Composition
from bootlight.errors import BootlightError
from bootlight.generators.base import GeneratorModule
from bootlight.generators.denoising import DenoisingModule
from bootlight.generators.load import build, load_generator
from bootlight.generators.parts import check_recorded, find_parts
from bootlight.generators.published import weights_hash
from bootlight.generators.trust import class_paths, importable, only
from bootlight.io.atomic import read_json
from bootlight.runs.folder import GenerationFolder

COMPOSITION = "composition"  # class path and arguments, in `protocol.json`


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
        with only(importable(class_paths(described[COMPOSITION]), trust)):
            composition: Composition = build(Composition, described[COMPOSITION])
        parts, found = find_parts(composition.references, folder, partial(load_generator, trust=trust))
    except BootlightError as error:
        raise BootlightError(f"{folder.protocol}: {error}") from error
    check_recorded(found, described, f"{folder.protocol}", "then")
    if not isinstance(module, DenoisingModule):
        raise BootlightError(f"{folder.protocol}: {type(module).__name__} has no denoiser to compose; delete the folder")
    module.draw_through(composition, parts)
    return type(composition).__name__
