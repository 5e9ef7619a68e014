"""Where synthetic images help, do nothing or hurt: the effect of each arm at its place in the space of loops."""

from typing import NamedTuple

from bootlight.studies.gaussian_loop import Loop, expected_variances
from bootlight.studies.results import Cell, StudyResults, compare_arms
from bootlight.studies.settings import arguments, around, class_name, is_gaussian, is_number, mixing, number
from bootlight.studies.statistics import PairedDifference, paired_difference

HELPS, HURTS, NOTHING, UNKNOWN = "helps", "hurts", "nothing found", "not measured"
RAISES, LOWERS = "raises", "lowers"  # for scores that have no good direction
BETTER_HIGHER = ("discriminator_score", "precision", "recall", "density", "coverage", "inception_score")
BETTER_LOWER = ("fd", "fid", "sfd", "sfid", "kid", "mmd", "mifid", "mean-shift", "plateau")
WORDS = {"WithTeacher": "teacher", "WithCopies": "duplicates"}  # of policies around a policy


class Place(NamedTuple):
    """Where an arm lies.

    Attributes:
        policy: how synthetic images are mixed in, and what else is not usual about the loop.
        num_real: real images of generation 0.
        real_fraction: the same as a share of those of the arm that has most.
        synthetic_ratio: synthetic images that join in one generation, as a multiple of the real ones of generation 0: as
            configured, else counted.
    """

    policy: str
    num_real: int
    real_fraction: float
    synthetic_ratio: float


class Effect(NamedTuple):
    """What the loop of an arm did to a score.

    Attributes:
        arm: its name.
        place: where it lies.
        reference: what its last generation is compared with: ``generation 0``, or the name of the baseline arm.
        difference: of the last generation from that; None where there are no common seeds.
        verdict: `helps`, `hurts`, `nothing found` (the 95 % interval holds 0) or `not measured` (fewer than two seeds). The
            intervals are not corrected for the number of arms: of 20 verdicts one is found by chance if nothing differs.
    """

    arm: str
    place: Place
    reference: str
    difference: PairedDifference | None
    verdict: str


def better(score: str) -> bool | None:
    """Whether a higher value is better (True), a lower one (False), or neither (None)."""
    name = score.split("/")[0]
    if name.startswith(BETTER_HIGHER):
        return True
    return False if name.startswith(BETTER_LOWER) else None


def effects(results: StudyResults, score: str) -> list[Effect]:
    """The effect of every arm that has a loop or a teacher, for the map.

    An arm of several generations is compared with its own generation 0, which has the same real images, network and seed but
    no synthetic images; an arm of one generation with the baseline.
    """
    found = []
    for arm in results.record.arms:
        cells = list(results.finished(arm.name).values())
        if not cells:
            continue
        loops = all(len(cell.generations) > 1 for cell in cells)
        reference = "generation 0" if loops else results.record.baseline
        if reference is None or reference == arm.name:
            continue
        if loops:
            difference = paired_difference(results.scores(arm.name, score, 0), results.scores(arm.name, score))
        else:
            difference = compare_arms(results, score, reference, arm.name)
        found.append(Effect(arm.name, place(results, cells[0]), reference, difference, verdict(score, difference)))
    return found


def verdict(score: str, difference: PairedDifference | None) -> str:
    """In one word; see `Effect`."""
    if difference is None or difference.interval is None:
        return UNKNOWN
    if not difference.found:
        return NOTHING
    direction = better(score)
    if direction is None:
        return RAISES if difference.value > 0 else LOWERS
    return HELPS if (difference.value > 0) is direction else HURTS


def place(results: StudyResults, cell: Cell) -> Place:
    """Where the arm of a finished run lies, by the images that it trained on."""
    most = max(cell.generations[0].num_real for cell in results.cells.values() if cell.finished)
    first, second = cell.generations[0], cell.generations[min(1, len(cell.generations) - 1)]
    ratio = mixing(cell.config)[1].get("synthetic_ratio")  # a subsample trains on a share of them
    if not is_number(ratio):
        ratio = second.num_synthetic / max(first.num_real, 1)
    return Place(_policy(cell), first.num_real, first.num_real / max(most, 1), float(ratio))


def _policy(cell: Cell) -> str:
    """The mixing policy in words, with a sampling bias where the generator has one."""
    (policy, chosen), model = mixing(cell.config), arguments(cell.config, "model")
    words = [policy] if len(cell.generations) > 1 else []
    if words and chosen.get("keep_real") is False:
        words.append("without real images")
    words += [WORDS.get(name, name) for name in around(cell.config)]
    sampler = model.get("sampler")
    if class_name(sampler):
        words.append(f"{class_name(sampler)} {arguments(model, 'sampler').get('num_steps', '')}".strip())
    words += ["warm start"] * bool(words and arguments(cell.config, "bootstrap").get("warm_start"))
    bias = model.get("sampling_bias", 1)
    if is_number(bias) and bias != 1:
        words.append(f"bias {bias:g}")
    return ", ".join(words) or "one generation"


def closed_form(cell: Cell) -> list[float] | None:
    """Expected variances of a loop of normal pixels, in units of generation 0; None where no formula is known.

    Known is that of `GaussianImages`, whose pixels are never clipped, each seen equally often by a fit that begins anew.

    Args:
        cell: a finished run.
    """
    (policy, chosen), origin = mixing(cell.config), arguments(cell.config, "data").get("origin")
    if not is_gaussian(cell.config) or class_name(origin) != "GaussianImages" or len(cell.generations) < 2:
        return None
    if around(cell.config) or arguments(cell.config, "bootstrap").get("warm_start"):
        return None
    if any(row.images_seen % max(row.num_real + row.num_synthetic, 1) for row in cell.generations):
        return None
    bias, ratio = arguments(cell.config, "model").get("sampling_bias", 1.0), chosen.get("synthetic_ratio")
    real, drawn = cell.generations[0].num_real, number(cell.config, "bootstrap", "num_synthetic")
    taken = round(ratio * real) if is_number(ratio) else drawn
    if not is_number(bias) or taken is None or chosen.get("size") is not None:
        return None
    keep_real = chosen.get("keep_real") is not False
    return expected_variances(Loop(policy, real, taken, len(cell.generations), keep_real, float(bias)))
