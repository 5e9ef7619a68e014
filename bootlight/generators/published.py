"""The published weights of a generation."""

from typing import TYPE_CHECKING

from bootlight.io.atomic import file_sha256, read_json, read_weights
from bootlight.runs.folder import GenerationFolder

if TYPE_CHECKING:
    from torch import Tensor


def published_weights(folder: GenerationFolder) -> "dict[str, Tensor]":
    """The weights of a trained generation, by name.

    Raises:
        BootlightError: they are missing or torn, or are not those that `model.json` was written for.
    """
    return read_weights(folder.weights, also=folder.model_config.name, described=folder.model_config)


def weights_hash(folder: GenerationFolder) -> str:
    """SHA-256 of the published weights of a part, as its JSON file has it."""
    described = read_json(folder.model_config)
    noted = described.get("weights_sha256") if isinstance(described, dict) else None
    return str(noted) if noted else file_sha256(folder.weights)
