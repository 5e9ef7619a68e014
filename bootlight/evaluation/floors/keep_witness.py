"""Keeping what each image of a generation adds to its kernel distance, so that generations can be compared later."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from bootlight.evaluation.floors.floors import LEAST, count
from bootlight.evaluation.suite import MAX_PAIRED, Features, subset
from bootlight.metrics.distances.kid import polynomial_kernel
from bootlight.metrics.distances.witness import witness
from bootlight.metrics.features.feature_cache import feature_key
from bootlight.runs.folder import GenerationFolder
from bootlight.runs.manifest import read_metadata
from bootlight.runs.witness import KeptWitness, write_witness


def keep_witness(
    path: Path, folder: GenerationFolder, network: nn.Module, answers: Mapping[str, Features], keys: Mapping[str, str]
) -> None:
    """Write the numbers of KID to held-out images; where these are fewer than 20, to the training images.

    KID, because it is unbiased at any n and its parts are means over images, whose differences have a known error.

    Args:
        path: of the file.
        folder: of the generation, as seen from the folder of images.
        network: of the answers.
        answers: of the network to `synthetic` images, `train` and maybe `holdout`.
        keys: of the real images, by content.
    """
    which = "holdout" if "holdout" in answers and count(answers["holdout"]) >= LEAST else "train"
    sides = [subset(answers[side]["features"], MAX_PAIRED) for side in (which, "synthetic")]
    found = witness(real=sides[0], synthetic=sides[1], kernel=polynomial_kernel)
    key = feature_key(keys[which], network)
    write_witness(
        path,
        KeptWitness(f"kid/{which}", key, _drawn(folder), found.value, found.real.tolist(), found.synthetic.tolist()),
    )


def _drawn(folder: GenerationFolder) -> str | None:
    """Hash of the seeds and labels of all images; None where the manifest does not say them."""
    digest = hashlib.sha256()
    for row in read_metadata(folder):
        if type(row.get("seed")) is not int:
            return None
        digest.update(json.dumps([row["seed"], row.get("label")]).encode())
    return digest.hexdigest()
