"""Drawing by a composition of what was trained; and values that an earlier stage has chosen for it."""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from bootlight.errors import BootlightError
from bootlight.generators.as_drawn import COMPOSITION
from bootlight.generators.denoising import DenoisingModule
from bootlight.generators.parts import find_parts
from bootlight.io.atomic import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.stage import Stage
    from bootlight.diffusion.compose import Composition
    from bootlight.generators.part import PartModule
    from bootlight.generators.parts import Load
    from bootlight.runs.folder import GenerationFolder
    from bootlight.synthesis.synthesizer import Synthesizer


def compose_with(
    synthesizer: Synthesizer, composition: Composition | None, generator: PartModule, folder: GenerationFolder, load: Load
) -> dict[str, Any]:
    """Let a generator draw by a composition, and a synthesizer have the other networks that it asks.

    Args:
        synthesizer: fresh.
        composition: fresh; None = none.
        generator: trained.
        folder: of the generation, as seen from the part.
        load: of the network in a folder.

    Returns:
        References of both with hashes; empty where there are none.

    Raises:
        BootlightError: the generator has no denoiser, or a network that is referred to is missing.
    """
    asked, record = find_parts(synthesizer.references, folder, load)
    synthesizer.attach(asked)
    generator.accompany({f"synthesizer.{name}": part for name, part in asked.items()})
    if composition is None:
        return record
    parts, of_composition = find_parts(composition.references, folder, load)
    denoising(generator).draw_through(composition, parts)
    both = {**record.get("references", {}), **of_composition.get("references", {})}
    return {"references": both} if both else {}


def denoising(generator: PartModule) -> DenoisingModule:
    """The generator, as one that draws by denoising.

    Raises:
        BootlightError: it does not.
    """
    if not isinstance(generator, DenoisingModule):
        raise BootlightError(
            f"bootstrap.stages: Synthesize compose: {type(generator).__name__} has no denoiser; take a diffusion "
            "model, or leave compose out"
        )
    return generator


def described(builder: Builder, stage: Stage, chosen: dict[str, Any]) -> dict[str, Any]:
    """Class path and arguments of the composition of a stage, with what was chosen for it, for the protocol of its images."""
    stages = zip(builder.bootstrap.written, builder.config.bootstrap.stages or (), strict=True)
    config = next((config.init_args.compose for own, config in stages if own is stage), None)
    if config is None:
        return {}
    found = config.as_dict()
    values = {key.removeprefix("compose."): value for key, value in chosen.items() if key.startswith("compose.")}
    found["init_args"] = {**found.get("init_args", {}), **values}
    return {COMPOSITION: found}


def with_choice(
    synthesizer: Synthesizer, composition: Composition | None, file: Path
) -> tuple[Synthesizer, Composition | None, dict[str, Any]]:
    """Copies of both with the values that an earlier stage has chosen, and these for the protocol.

    Args:
        synthesizer: as configured; stays as it is.
        composition: likewise.
        file: JSON, `{"chosen": {"compose.w": 0.5, "synthesizer.scale": 2}}`; it need not be there.

    Raises:
        BootlightError: the file is damaged, or names what neither has.
    """
    if not file.exists():
        return *with_values(synthesizer, composition, {}, str(file)), {}
    chosen = chosen_values(file)
    cure = "; delete it and run the same command again"
    return *with_values(synthesizer, composition, chosen, str(file), cure), {"chosen": chosen}


def chosen_values(file: Path) -> dict[str, Any]:
    """Values by dotted key that an earlier stage has chosen.

    Raises:
        BootlightError: the file is damaged.
    """
    content = read_json(file)
    chosen = content.get("chosen") if isinstance(content, dict) else None
    if not isinstance(chosen, dict):
        raise BootlightError(f"{file} has no values under chosen; delete it and run the same command again")
    return chosen


def with_values(
    synthesizer: Synthesizer, composition: Composition | None, values: Mapping[str, Any], where: str, cure: str = ""
) -> tuple[Synthesizer, Composition | None]:
    """Copies of both with some attributes replaced.

    Args:
        synthesizer: as configured; stays as it is.
        composition: likewise.
        values: `{"compose.w": 0.5, "synthesizer.scale": 2}`.
        where: how a message begins.
        cure: how it ends.

    Raises:
        BootlightError: neither has such an attribute.
    """
    own = SimpleNamespace(synthesizer=deepcopy(synthesizer), compose=deepcopy(composition))
    for key, value in values.items():
        owner: Any = own
        *path, name = str(key).split(".")
        for part in path:
            owner = getattr(owner, part, None)
        if not path or name not in getattr(owner, "__dict__", ()):
            raise BootlightError(f"{where}: there is no {key} in this Synthesize{cure}")
        setattr(owner, name, value)
    return own.synthesizer, own.compose
