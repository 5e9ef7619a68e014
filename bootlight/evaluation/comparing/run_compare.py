"""Comparing sets of images with the first of them."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from bootlight.errors import BootlightError
from bootlight.evaluation.attempt import attempt
from bootlight.evaluation.chosen import left_out
from bootlight.evaluation.comparing.compare import GROUPS, Measured, compare_means, compare_measured, measure_set
from bootlight.evaluation.comparing.comparison import Comparison, Reference, letter
from bootlight.evaluation.comparing.difference import Difference, judged
from bootlight.evaluation.comparing.pairs import pairing
from bootlight.evaluation.features import extract
from bootlight.evaluation.networks.judge import find_judge, load_judge
from bootlight.evaluation.options import Setting
from bootlight.evaluation.sets.source_remarks import check_alike, source_remarks
from bootlight.evaluation.sets.sources import ImageSource, open_source
from bootlight.evaluation.suite import DISTANCES, MAX_PAIRED, least_images
from bootlight.metrics.features.feature_cache import KeptIn
from bootlight.metrics.once import once
from bootlight.report.forest import Row, write_forest


class Real(NamedTuple):
    """Real images that sets are measured against.

    Attributes:
        references: what they are, and the images.
        learn: trains the network on them, if it is one that must be.
        taken: what was taken from runs, in words.
    """

    references: Sequence[tuple[Reference, ImageSource]]
    learn: Callable[[], None]
    taken: str = ""


def named_real(setting: Setting, text: str, taken: str = "") -> Real:
    """The real images that a user names.

    Raises:
        BootlightError: there are none, or too few.
    """
    source = setting.open(text)
    return Real([(Reference("", source.where, len(source.names)), source)], partial(setting.learn, source), taken)


def compare(
    setting: Setting,
    sets: Sequence[str],
    *,
    real: Real | str,
    judge: str | None = None,
    picture: str | None = None,
    paired: bool = False,
) -> Comparison:
    """Measure all sets against the same real images, and each further one against the first.

    Sets whose images were drawn from the same seeds with the same labels are pairs; see `pairs.pairing`. Others are
    independent, and a remark says why. Against the first reference all metrics are measured, against others distances.

    Args:
        setting: network, metrics, sizes.
        sets: as `sources.open_source` understands them, two or more.
        real: the references, or the images that are the only one.
        judge: a run with a judge, or the file of one.
        picture: .png to draw the differences into.
        paired: images of the same name belong together, though no manifest says so: one set is made of the other.

    Raises:
        BootlightError: unusable images, no judge, a picture that cannot be written, or `paired` sets that are no pairs.
    """
    if picture is not None and not Path(picture).absolute().parent.is_dir():
        raise BootlightError(f"{picture}: its folder does not exist; make it first")
    judge_weights = None if judge is None else find_judge(Path(judge))
    real = named_real(setting, real) if isinstance(real, str) else real
    sources = [setting.open(text) for text in sets]
    everything = {source.where: source for source in (*(source for _, source in real.references), *sources)}
    check_alike(everything)
    reasons = _no_pairs(setting, sets, sources, asked=paired)
    pairs = [reason is None for reason in reasons]
    n = min(MAX_PAIRED, *(len(source.names) for source in sources))  # no metric then takes a subset of its own
    if any(pairs) and n - -(-n // GROUPS) < (least := least_images(setting.metrics)):
        raise BootlightError(f"{n} pairs of images are too few: the metrics need {least} where some are left out; draw more")
    real.learn()
    answers = [setting.ask(source) for source in sources]
    differences: list[dict[str, Difference]] = [{} for _ in sets[1:]]
    failed: dict[str, str] = {}
    with once(KeptIn(setting.cache)):  # what all sets need of a reference
        for reference, source in real.references:
            measured = _measured(setting, reference, setting.ask(source), answers, n, paired=any(pairs), failed=failed)
            for found, other, pair in zip(differences, measured[1:], pairs, strict=True):
                ending = f"/{reference.name}" if reference.name else ""
                compared = compare_measured(measured[0], other, paired=pair)
                found |= {f"{key}{ending}": one for key, one in compared.items()}
    if judge_weights is not None:
        with attempt("discriminator_score", failed):
            opinions = [_probabilities(setting, judge_weights, text) for text in sets]
            for found, other, pair in zip(differences, opinions[1:], pairs, strict=True):
                found["discriminator_score"] = compare_means(
                    opinions[0], other, paired=pair, protocol={"judge": judge_weights.stem}
                )
    alone = [f"{letter(i)} and A are not compared in pairs: {reason}." for i, reason in enumerate(reasons, 1) if reason]
    alone += left_out(setting.on_images)
    answer = Comparison(
        taken=real.taken,
        references=[reference for reference, _ in real.references],
        sets=[(source.where, len(source.names)) for source in sources],
        besides={where: one.layout.besides for where, one in everything.items() if one.layout and one.layout.besides},
        differences=judged(differences),
        remarks=(*source_remarks(everything), *alone),
        notes=[],
        failed=failed,
    )
    return answer if picture is None else _drawn(answer, Path(picture))


def _measured(
    setting: Setting,
    reference: Reference,
    real: dict[str, Tensor],
    answers: Sequence[dict[str, Tensor]],
    n: int,
    *,
    paired: bool,
    failed: dict[str, str],
) -> list[Measured]:
    """All sets against one reference; `failed` notes what has no score."""
    names = [name for name in setting.metrics if reference.name in ("", "train") or name in DISTANCES]
    measured = [measure_set(names, setting.network, real=real, synthetic=answer, n=n, paired=paired) for answer in answers]
    ending = f"/{reference.name}" if reference.name else ""
    failed |= {f"{letter(i)} {name}{ending}": why for i, one in enumerate(measured) for name, why in one.failed.items()}
    return measured


def _no_pairs(setting: Setting, sets: Sequence[str], sources: Sequence[ImageSource], *, asked: bool) -> list[str | None]:
    """Of each further set: why it makes no pairs with the first, None where it does; a set makes pairs with itself."""
    first = sources[0]
    return [
        None
        if source.key == first.key
        else pairing((sets[0], text), (first.names, source.names), asked=asked, reading=setting.reading)
        for text, source in zip(sets[1:], sources[1:], strict=True)
    ]


def _probabilities(setting: Setting, file: Path, text: str) -> Any:
    """What a judge thinks of each image of a set, (N,)."""
    judge = load_judge(file)
    size, channels = judge.image_size, judge.logits.channels
    source = open_source(text, image_size=size, channels=channels, cache=setting.cache, reading=setting.reading)
    answers = extract(source, judge.logits, cache=setting.cache, batch_size=setting.batch_size, device=setting.device)
    return answers["features"].flatten().double().sigmoid()


def _drawn(answer: Comparison, path: Path) -> Comparison:
    """The same with a picture."""
    rows = [
        Row(f"{letter(i)}: {key}", found.value, found.standard_error, found.interval, found.better if found.found else None)
        for i, differences in enumerate(answer.differences, start=1)
        for key, found in differences.items()
        if found.interval is not None and found.standard_error
    ]
    if not rows:
        raise BootlightError(f"{path}: no difference has an interval, so there is nothing to draw; leave --picture out")
    names = ", ".join(f"{letter(i)} = {name}" for i, (name, _) in enumerate(answer.sets))
    write_forest(path, rows, f"against A ({names})")
    return answer._replace(notes=[*answer.notes, f"picture in {path}"])
