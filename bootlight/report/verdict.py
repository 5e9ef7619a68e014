"""What the scores of a run say, in sentences: can its images be told from real ones, and is the last generation better?"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bootlight.metrics.score import TOLD_APART, Score, format_number
from bootlight.metrics.two_sample import LEVEL
from bootlight.report.better import Comparison, compare_generations
from bootlight.report.scores import HOLDOUT, REAL, TRAIN, GenerationScores, floor_name, main_scores, same_n_name
from bootlight.runs.folder import RunFolder

REFERENCES = {"real holdout images": "held-out real images", "real train images": "the training images"}  # of protocols
FRECHET = ("fd-", "fid")  # beginnings of the names of Fréchet distances, whose floors are above 0
FAR = 1.5  # times the distance of real images: less is not worth a word
PIXELS = "pixels"  # features of a protocol
COARSE = "; these features see light and colors alone, no sharpness: go by the scores"
MORE = "; more of them may show a difference"
SEED = "One training each: how far another seed of it would lead is not in this."


class Verdict(NamedTuple):
    """Sentences, and the numbers in them.

    Attributes:
        told: whether the images can be told from real ones, by `sentence`, `p`, `found` and `reference`; None where not tested.
        comparisons: of the last generation with the first, and with the one before it.
        remarks: what must be known of these before they are believed.
    """

    told: dict[str, Any] | None
    comparisons: list[Comparison]
    remarks: list[str]

    @property
    def sentences(self) -> list[str]:
        """All that is to be read, in order."""
        told = [] if self.told is None else [self.told["sentence"]]
        compared = [one.sentence for one in self.comparisons]
        known = any(one.interval is not None for one in self.comparisons)
        return [*told, *compared, *([SEED] if known else []), *self.remarks]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        comparisons = [one.to_json() for one in self.comparisons]
        return {"told_apart": self.told, "comparisons": comparisons, "remarks": self.remarks, "sentences": self.sentences}

    def flat(self) -> dict[str, Any]:
        """For trackers: each number and the text under a name of its own."""
        values: dict[str, Any] = {"verdict": " ".join(self.sentences)} if self.sentences else {}
        if self.told is not None:
            values["verdict/told_apart_p"] = self.told["p"]
        for one in self.comparisons:
            if one.interval is not None:
                values[f"verdict/{one.score}/{one.generation}-{one.than}"] = one.difference
        return values


def run_verdict(run: RunFolder, rows: Sequence[GenerationScores]) -> Verdict:
    """What the scores of evaluated generations say.

    Args:
        run: its folder, where what each image adds lies.
        rows: its scores, in order of the generations.
    """
    if not rows:
        return Verdict(None, [], [])
    last = rows[-1]
    others = [rows[0], *([rows[-2]] if len(rows) > 2 else [])] if len(rows) > 1 else []
    comparisons = [compare_generations(run, other, last) for other in others]
    found = told_apart(last.scores, f"The images of generation {last.generation}")
    return Verdict(found, [one for one in comparisons if one is not None], doubts(last.scores))


def told_apart(scores: Mapping[str, Score], images: str) -> dict[str, Any] | None:
    """Whether images can be told from real ones, as a sentence with its numbers; None where that was not tested.

    Args:
        scores: by name, the p-value of the test among them.
        images: how the sentence calls them.
    """
    name = next((name for name in (TOLD_APART, f"{TOLD_APART}/{HOLDOUT}", f"{TOLD_APART}/{TRAIN}") if name in scores), None)
    if name is None:
        return None
    score = scores[name]
    reference = _reference(score)
    features = f" by {score.protocol['features']} features" if "features" in score.protocol else ""
    found = score.value <= LEVEL
    p, counts = format_number(score.value, 2), f"{score.n:,} of them and {score.protocol.get('num_real', 0):,} real ones"
    end = (
        "".join(f"; {remark}" for remark in [*_how_far(name, scores), *score.remarks])
        if found
        else MORE + _unseen(score, scores)
    )
    sentence = f"{images} {'can' if found else 'cannot'} be told from {reference}{features} (p = {p}, {counts}){end}."
    return {"sentence": sentence, "found": found, "p": score.value, "reference": reference, "score": name}


def _how_far(name: str, scores: Mapping[str, Score]) -> list[str]:
    """`fd-x is 36 times that of real images`, at equal n, of the Fréchet distance to the reference of a test."""
    reference = name.partition("/")[2]
    for distance in main_scores(list(scores)):
        score, _, own = distance.partition("/")
        floor = scores.get(floor_name(distance, scores) or "")
        if own != reference or not score.startswith(FRECHET) or floor is None or floor.value <= 0:
            continue
        times = scores.get(same_n_name(distance), scores[distance]).value / floor.value
        return [f"{distance} is {format_number(times, 2)} times that of real images"] if times >= FAR else []
    return []


def _unseen(test: Score, scores: Mapping[str, Score]) -> str:
    """What a test by pixels has not looked at, where the scores beside it are by another network."""
    used = {score.protocol.get("features", PIXELS) for name, score in scores.items() if name in main_scores(list(scores))}
    return COARSE if test.protocol.get("features") == PIXELS and used - {PIXELS} else ""


def _reference(score: Score) -> str:
    """What a test was against, in words."""
    known = str(score.protocol.get("reference", "real images"))
    return REFERENCES.get(known, known)


def doubts(scores: Mapping[str, Score]) -> list[str]:
    """Sentences on the real images: that there is no floor, or none that holds."""
    found = []
    real = next((scores[name] for name in (f"{TOLD_APART}/{REAL}/{TRAIN}", f"{TOLD_APART}/{REAL}") if name in scores), None)
    if real is not None and real.value <= LEVEL:
        p = format_number(real.value, 2)
        found.append(
            f"Held-out real images can themselves be told from {_reference(real)} (p = {p}): they are of another distribution "
            "or repeat each other, and what they score is no floor."
        )
    names = main_scores(list(scores))
    tested = any(name.split("/")[0] == TOLD_APART for name in scores)  # scores of older versions have neither
    if tested and names and not any(floor_name(name, scores) for name in names):
        found.append(
            "There is no floor: too few real images are held out, and to divide; data.holdout_fraction holds some out."
        )
    return found
