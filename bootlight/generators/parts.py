"""Published networks that another one needs: found by reference, known again by their hash."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from bootlight.errors import BootlightError
from bootlight.generators.part import PartModule
from bootlight.generators.published import weights_hash
from bootlight.io.atomic import read_json
from bootlight.runs.folder import GenerationFolder
from bootlight.runs.references import parse_reference

Load = Callable[[GenerationFolder], PartModule]


class Referring(Protocol):
    """What needs published networks: a module, a composition."""

    references: Mapping[str, str]

    def attach(self, parts: Mapping[str, Any]) -> None:
        """Take them, by the names of the references."""


def find_parts(
    references: Mapping[str, str], folder: GenerationFolder, load: Load
) -> tuple[dict[str, PartModule], dict[str, Any]]:
    """The networks that references lead to.

    Args:
        references: texts, by name.
        folder: of the generation that refers.
        load: of the network in a folder.

    Returns:
        The networks, frozen, and, for a JSON file, text and SHA-256 of the weights behind each reference; empty where there is
        none.

    Raises:
        BootlightError: one is not there.
    """
    parts, record = {}, {}
    for name, text in references.items():
        found = parse_reference(text).resolve(folder)
        if found is None:
            raise BootlightError(f"{text} names a generation before the first one")
        parts[name] = load(found).eval().requires_grad_(False)
        record[name] = {"reference": text, "weights_sha256": weights_hash(found)}
    return parts, {"references": record} if record else {}


def attach_parts(module: Referring, folder: GenerationFolder, load: Load) -> dict[str, Any]:
    """Give a fresh module the networks that it refers to; the record of `find_parts`."""
    parts, record = find_parts(module.references, folder, load)
    module.attach(parts)
    return record


def attach_recorded(module: PartModule, folder: GenerationFolder, load: Load) -> None:
    """Give a published module the networks that it was trained with.

    Raises:
        BootlightError: one is missing, or is another one by now.
    """
    described = read_json(folder.model_config)
    check_recorded(attach_parts(module, folder, load), described, f"{folder.model_config}", "in its training")


def check_recorded(found: Mapping[str, Any], described: Any, where: str, when: str) -> None:
    """Compare the networks that were found with those of a record.

    Args:
        found: see `find_parts`.
        described: content of the file with the record.
        where: the file.
        when: the record was made.

    Raises:
        BootlightError: names one that is another network.
    """
    recorded = described.get("references", {}) if isinstance(described, dict) else {}
    for name, now in found.get("references", {}).items():
        before = recorded.get(name) if isinstance(recorded, dict) else None
        if not isinstance(before, dict) or before.get("weights_sha256") != now["weights_sha256"]:
            raise BootlightError(f"{where}: {name} ({now['reference']}) is another network than {when}; restore it")
