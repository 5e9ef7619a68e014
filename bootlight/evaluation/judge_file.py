"""The judge that a run has trained, from its files."""

from pathlib import Path
from typing import NamedTuple

from bootlight.errors import BootlightError
from bootlight.generators.dcgan import DCGAN
from bootlight.generators.load import COPIES, SPARE_ELEMENTS, Allocations
from bootlight.io.atomic import read_json, read_weights
from bootlight.metrics.discriminator import JudgeLogits
from bootlight.runs.folder import RunFolder


class Judge(NamedTuple):
    """A judge and the images that it understands.

    Attributes:
        logits: from uint8 images (B, C, H, W) to (B, 1).
        image_size: edge in pixels.
    """

    logits: JudgeLogits
    image_size: int


def find_judge(path: Path) -> Path:
    """The weights file of the judge of a run, or the file itself.

    Raises:
        BootlightError: there is none, or more than one.
    """
    if path.is_file():
        return path
    found = sorted(RunFolder(path).references.glob("judge-*.safetensors"))
    if len(found) != 1:
        raise BootlightError(f"{path} has {len(found)} judges in its folder references; name one judge-*.safetensors")
    return found[0]


def load_judge(file: Path) -> Judge:
    """Read a judge and the settings that lie beside it.

    Raises:
        BootlightError: one of the two files is missing, damaged or of something else.
    """
    settings = read_json(file.with_suffix(".json"))
    weights = read_weights(file, described=file.with_suffix(".json"))
    try:
        size, channels, width = int(settings["size"]), int(settings["channels"]), int(settings["width"])
        with Allocations(COPIES * sum(tensor.numel() for tensor in weights.values()) + SPARE_ELEMENTS):
            network = DCGAN(size, channels, width=width).net_d
        network.load_state_dict(weights)
    except (BootlightError, KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise BootlightError(f"{file}: it and the .json beside it do not describe a judge ({error}); train it again") from error
    return Judge(JudgeLogits(network.eval(), channels), size)
