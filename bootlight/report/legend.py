"""What the scores of a table are, a line each, for someone who does not know them."""

from collections.abc import Iterable, Mapping

from bootlight.metrics.score import Score

MAX_LINES = 3
LOWER, HIGHER = "↓", "↑"
ARROWS = {True: f" {HIGHER}", False: f" {LOWER}", None: ""}
DIRECTIONS = f"{LOWER} smaller is better, {HIGHER} larger is better"
GAUSSIANS = "distance of Gaussians fitted to features, 0 = same; larger with fewer images"
WORDS = {  # by the beginning of a name
    "kid": "distance in feature space, 0 = same distribution, whatever the number of images",
    "mmd-rbf": "distance in feature space, 0 = same distribution, whatever the number of images",
    "fd-": GAUSSIANS,
    "fid": GAUSSIANS,
    "mifid": GAUSSIANS,
    "discriminator_score": "how real a network trained on real images takes them for, 0 to 1",
    "precision": "share of the synthetic images that lie near real ones",
    "recall": "share of the real images that lie near synthetic ones",
    "density": "how many real images' neighbourhoods a synthetic image lies in, about 1 for equal distributions",
    "coverage": "share of the real images with a synthetic one in their neighbourhood",
    "authpct": "per cent of the images that are no closer to a real one than real ones are to each other",
    "denoising-loss": "squared error of the noise that a diffusion model foretells, 1 = it foretells none",
    "vendi": "effective number of different images",
}


def arrow(scores: Iterable[Score | None]) -> str:
    """Which direction is better, to stand after a name."""
    known = (score.higher_is_better for score in scores if score is not None)
    return ARROWS[next((direction for direction in known if direction is not None), None)]  # older versions wrote none


def legend(names: Iterable[str], most: int = MAX_LINES) -> list[str]:
    """Lines on the first of the scores that something can be said of."""
    lines: dict[str, str] = {}
    for name in names:
        score = name.split("/")[0]
        words = next((words for start, words in WORDS.items() if score.startswith(start)), None)
        if words is not None and words not in lines.values():
            lines.setdefault(score, words)
    return [f"{score}: {words}" for score, words in list(lines.items())[:most]]


def shown_arrows(scores: Mapping[str, Score], names: Iterable[str]) -> bool:
    """Whether some of the names carry an arrow."""
    return any(scores[name].higher_is_better is not None for name in names if name in scores)
