"""Is a feature network one to compare by? Noise and blurred real images must lie farther from real ones than these do."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch.nn.functional as F
from torch import Tensor, from_numpy, nn

from bootlight.data.layout import Layout
from bootlight.evaluation.attempt import attempt
from bootlight.evaluation.floors.floors import Place
from bootlight.evaluation.sets.sources import ImageSource
from bootlight.evaluation.sets.streamed import Image, in_batches
from bootlight.evaluation.suite import Features, subset
from bootlight.io.picture_header import Header
from bootlight.metrics.distances.frechet import frechet_distance
from bootlight.metrics.distances.kid import polynomial_kernel
from bootlight.metrics.distances.statistics import feature_statistics
from bootlight.metrics.distances.witness import witness, witness_difference
from bootlight.metrics.features.features import feature_name
from bootlight.metrics.score import NO_COMPARISON, Score, format_number
from bootlight.metrics.uncertainty import Z95
from bootlight.rng import numpy_rng

COUNT = 200  # images of a probe: a network that is any good needs 20
SURE = 100  # from so many on, what cannot be told from real images is no better than what comes before them
MAX_REFERENCE = 2_000  # where every pair of images is looked at
MAX_WIDTH = 1024  # features: a Fréchet distance of 2,048 takes ten seconds, and is no better than KID's word
LEAST_EDGE = 4  # pixels: smaller images have nothing to blur
Ask = Callable[[ImageSource], Features]


@dataclass(frozen=True)
class ProbeSource:
    """Images that are made, see `ImageSource`.

    Args:
        where: how messages call them.
        images: (H, W, C) uint8 each.
        key: of their content.
    """

    where: str
    images: list[Image]
    key: str
    headers: Counter[Header] = field(default_factory=Counter, repr=False, compare=False)
    layout: Layout | None = None
    dtype: str = "uint8"

    @property
    def names(self) -> tuple[str, ...]:
        """See `ImageSource`."""
        return tuple(map(str, range(len(self.images))))

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """See `ImageSource`."""
        return Counter((image.shape[1], image.shape[0]) for image in self.images)

    def batches(self, size: int) -> Iterator[Tensor]:
        """See `ImageSource`."""
        return in_batches([self.images], size)

    def pick(self, indices: list[int]) -> list[Image]:
        """See `ImageSource`."""
        return [self.images[i] for i in indices]


def noise(image: Image, number: int) -> Image:
    """Independent uniform numbers in the place of all pixels."""
    return numpy_rng("noise for a feature network", number).integers(0, 256, image.shape, dtype=np.uint8)


def blurred(image: Image, number: int) -> Image:
    """Means over an eighth of the shorter edge, at least 2 pixels, enlarged again: what it shows can hardly be told."""
    height, width = image.shape[:2]
    cell = max(2, min(height, width) // 8)
    pixels = from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()[None]
    small = F.interpolate(pixels, (-(-height // cell), -(-width // cell)), mode="area")
    large = F.interpolate(small, (height, width), mode="bilinear", align_corners=False)
    return large[0].round().clamp(0, 255).byte().numpy().transpose(1, 2, 0)


PROBES: dict[str, Callable[[Image, int], Image]] = {"noise": noise, "blur": blurred}


WORDS = {"noise": "noise", "blur": "blurred images"}


def probes_of(source: ImageSource, rows: Sequence[int]) -> dict[str, ProbeSource]:
    """Images of the sizes of some real ones by what was done to them; none of numbers, whose noise may be what they are.

    Args:
        source: real images.
        rows: which of them.
    """
    if source.dtype != "uint8":
        return {}
    images = source.pick(list(rows))
    found = {}
    for kind, make in PROBES.items():
        if kind == "blur" and min(min(image.shape[:2]) for image in images) < LEAST_EDGE:
            continue
        made = [make(image, number) for number, image in enumerate(images)]
        digest = hashlib.sha256(f"{kind} 1".encode())
        for image in made:
            digest.update(f"{image.shape}".encode() + np.ascontiguousarray(image).tobytes())
        found[kind] = ProbeSource(f"{WORDS[kind]}, to try the network", made, digest.hexdigest())
    return found


def probe_remarks(network: nn.Module, *, reference: Tensor, real: Tensor, probes: dict[str, Tensor]) -> dict[str, str]:
    """A sentence for each of `kid` and `fd` that puts a probe before other real images, or does not tell them apart.

    By KID the difference of both distances to the reference has an error (`witness_difference`, blurred images being pairs of
    real ones); by a Fréchet distance it has none here, and only what is nearer than real images counts. There is none of more
    than 1,024 features.

    Args:
        network: of the features.
        reference: real images, (N, D).
        real: other real ones, (M, D).
        probes: as many each, (M, D), by kind.
    """
    found: dict[str, dict[str, tuple[float, float]]] = {"kid": {}, "fd": {}}
    wide = reference.shape[1] > MAX_WIDTH
    statistics = None if wide else feature_statistics(reference)
    reference = subset(reference, MAX_REFERENCE)
    base = witness(real=reference, synthetic=real, kernel=polynomial_kernel)
    own = witness(real=reference, synthetic=reference, kernel=polynomial_kernel)
    within = own.value + 2 * own.real.mean().item()  # mean of k(x, x') over different images of the reference
    floor = 0.0 if statistics is None else frechet_distance(real=statistics, synthetic=feature_statistics(real))
    for kind, features in probes.items():
        made = witness(real=reference, synthetic=features, kernel=polynomial_kernel)
        difference, error = witness_difference(base, made, paired=kind != "noise")
        if difference <= (Z95 * error if len(real) >= SURE else 0):
            found["kid"][kind] = made.value + within, base.value + within
        if statistics is not None:
            distance = frechet_distance(real=statistics, synthetic=feature_statistics(features))
            if distance <= floor:
                found["fd"][kind] = distance, floor
    return {score: _sentence(network, kinds) for score, kinds in found.items() if kinds}


def doubts_of(
    network: nn.Module, held: Place | None, probe: Callable[[list[int]], dict[str, Tensor]], failed: dict[str, str]
) -> dict[str, str]:
    """`probe_remarks` of the real images that stand for synthetic ones; nothing where there are none.

    Args:
        network: of the features.
        held: which images.
        probe: features of noise and of blurred images in the place of some of them, by kind.
        failed: notes why nothing is known.
    """
    with attempt("noise and blur", failed):
        probes = {} if held is None else probe(held.rows.tolist())
        if held is not None and probes:
            real, reference = held.images["features"], held.reference["features"]
            return probe_remarks(network, reference=reference, real=real, probes=probes)
    return {}


def _sentence(network: nn.Module, kinds: dict[str, tuple[float, float]]) -> str:
    """`pixels features put noise (0.0018) before other real images (0.0297): ...`."""
    said = {True: "put {} before", False: "do not tell {} from"}
    parts = []
    for before, words in said.items():
        named = [f"{WORDS[kind]} ({format_number(a, 2)})" for kind, (a, b) in kinds.items() if (a < b) is before]
        if named:
            parts.append(words.format(" and ".join(named)))
    real = format_number(next(iter(kinds.values()))[1], 2)
    return f"{feature_name(network)} features {' and '.join(parts)} other real images ({real}): {NO_COMPARISON}"


def with_probes(scores: dict[str, Score], remarks: dict[str, str], fd_name: str) -> dict[str, Score]:
    """The scores, each remark before the others of the scores that it is about.

    Args:
        scores: by name.
        remarks: of `kid` and `fd`, from `probe_remarks`.
        fd_name: what the Fréchet distance is called.
    """
    found = {"kid": remarks.get("kid"), fd_name: remarks.get("fd")}
    told = {name: found.get(name.split("/")[0]) for name in scores}
    return {
        name: score._replace(remarks=(remark, *score.remarks)) if (remark := told[name]) else score
        for name, score in scores.items()
    }
