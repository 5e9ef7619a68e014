"""The end of a synthesis: what decided the images, and the manifest, which declares their folder complete."""

from collections.abc import Mapping
from typing import Any

from bootlight.io.atomic import write_json
from bootlight.runs.drawn import IMAGE_SHAPE
from bootlight.runs.folder import GenerationFolder
from bootlight.synthesis.drawing import Drawing
from bootlight.synthesis.folder import write_manifest
from bootlight.synthesis.written import Written


def complete(
    drawing: Drawing,
    folder: GenerationFolder,
    *,
    generation: int,
    batch_size: int,
    digests: Mapping[int, str],
    decided: Mapping[str, Any] | None = None,
    chosen: Mapping[str, Any] | None = None,
) -> None:
    """Write `protocol.json` and `metadata.jsonl`.

    Args:
        drawing: generator, synthesizer and requests.
        folder: with all images.
        generation: that drew them.
        batch_size: requests of one network call.
        digests: SHA-256 of files that were just written, by number.
        decided: what else decided the images, of the generator; chosen: of the synthesizer.
        chosen: see `decided`.
    """
    protocol = drawing.synthesizer.protocol(drawing.generator)
    shape = list(drawing.generator.image_shape)
    name = {"synthesizer": type(drawing.synthesizer).__name__}
    write_json(
        folder.protocol, {**(decided or {}), **name, **(chosen or {}), **protocol, "batch_size": batch_size, IMAGE_SHAPE: shape}
    )
    requests = drawing.requests.in_order()
    write_manifest(
        folder,
        requests.seeds,
        requests.labels,
        generation=generation,
        protocol=protocol,
        digests=digests,
        parents=requests.parents,
        length=drawing.synthesizer.length,
        file_names=Written.by(drawing.generator, folder).names(len(requests) * drawing.synthesizer.length),
        dtype=drawing.generator.image_dtype,
    )
