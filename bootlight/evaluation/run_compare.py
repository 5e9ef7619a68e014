"""Comparing sets of images with the first of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bootlight.errors import BootlightError
from bootlight.evaluation.attempt import attempt
from bootlight.evaluation.chosen import left_out
from bootlight.evaluation.compare import GROUPS, Difference, compare_means, compare_measured, measure_set
from bootlight.evaluation.features import extract
from bootlight.evaluation.judge import find_judge, load_judge
from bootlight.evaluation.options import Setting
from bootlight.evaluation.pairs import pairing
from bootlight.evaluation.source_remarks import check_alike, source_remarks
from bootlight.evaluation.sources import ImageSource, open_source
from bootlight.evaluation.suite import MAX_PAIRED, least_images
from bootlight.metrics.features.feature_cache import KeptIn
from bootlight.metrics.once import once
from bootlight.report.forest import Row, write_forest
from bootlight.report.remarks import failed_lines, remark_line, remark_lines


class Comparison(NamedTuple):
    """What `compare` says.

    Attributes:
        real: the reference.
        sets: name and number of images of each set.
        besides: what else is to be said of sets, by name: the split, and what is not read.
        differences: of each further set from the first one, by score.
        remarks: on all of it.
        notes: where other results lie.
        failed: why a score of a set (A, B, ...) is missing, by both.
    """

    real: str
    sets: list[tuple[str, int]]
    besides: dict[str, list[str]]
    differences: list[dict[str, Difference]]
    remarks: tuple[str, ...]
    notes: list[str]
    failed: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        names = [name for name, _ in self.sets]
        return {
            "real": self.real,
            "sets": [{"name": name, "n": n} for name, n in self.sets],
            "besides": self.besides,
            "remarks": list(self.remarks),
            "failed": self.failed,
            "differences": [
                {"first": names[0], "second": second, "score": key, **_plain(found, key, names[0], second)}
                for second, differences in zip(names[1:], self.differences, strict=True)
                for key, found in differences.items()
            ],
        }

    def text(self) -> str:
        """Sentences for people."""
        lines = [f"real  {self.real}", *(f"{chr(65 + i)}     {name} ({n:,} images)" for i, (name, n) in enumerate(self.sets))]
        lines += [f"      {name}: {' · '.join(besides)}" for name, besides in self.besides.items()]
        for i, differences in enumerate(self.differences, start=1):
            lines += ["", f"{chr(65 + i)} against A"]
            lines += [f"  {found.sentence(key, 'A', chr(65 + i))}" for key, found in differences.items()]
        count = sum(map(len, self.differences))
        if count > 1:
            lines += ["", f"{count} comparisons: about {0.05 * count:.1f} would be found by chance alone if nothing differed"]
        scores = {f"A {key}": found.first for key, found in self.differences[0].items()}
        for i, differences in enumerate(self.differences, start=1):
            scores |= {f"{chr(65 + i)} {key}": found.second for key, found in differences.items()}
        doubts = [*failed_lines(self.failed), *map(remark_line, self.remarks)]
        return "\n".join([*lines, *doubts, *remark_lines(scores), *self.notes])


def _plain(found: Difference, name: str, first: str, second: str) -> dict[str, Any]:
    """A difference as JSON types."""
    values = found._asdict() | {"first_score": found.first.to_json(), "second_score": found.second.to_json()}
    del values["first"], values["second"]
    return values | {"sentence": found.sentence(name, first, second)}


def compare(
    setting: Setting,
    sets: Sequence[str],
    *,
    real: str,
    judge: str | None = None,
    picture: str | None = None,
    paired: bool = False,
) -> Comparison:
    """Measure all sets against the same real images, and each further one against the first.

    Sets whose images were drawn from the same seeds with the same labels are pairs; see `pairs.pairing`. Others are
    independent, and a remark says why.

    Args:
        setting: network, metrics, sizes.
        sets: as `sources.open_source` understands them, two or more.
        real: the reference.
        judge: a run with a judge, or the file of one.
        picture: .png to draw the differences into.
        paired: images of the same name belong together, though no manifest says so: one set is made of the other.

    Raises:
        BootlightError: unusable images, no judge, a picture that cannot be written, or `paired` sets that are no pairs.
    """
    if picture is not None and not Path(picture).absolute().parent.is_dir():
        raise BootlightError(f"{picture}: its folder does not exist; make it first")
    judge_weights = None if judge is None else find_judge(Path(judge))
    reference, *sources = [setting.open(text) for text in (real, *sets)]
    check_alike({source.where: source for source in (reference, *sources)})
    setting.learn(reference)
    reasons = _no_pairs(setting, sets, sources, asked=paired)
    pairs = [reason is None for reason in reasons]
    answers = [setting.ask(source) for source in sources]
    real_answers = setting.ask(reference)
    n = min(MAX_PAIRED, *(len(source.names) for source in sources))  # no metric then takes a subset of its own
    if any(pairs) and n - -(-n // GROUPS) < (least := least_images(setting.metrics)):
        raise BootlightError(f"{n} pairs of images are too few: the metrics need {least} where some are left out; draw more")
    with once(KeptIn(setting.cache)):  # what all sets need of the reference
        measured = [
            measure_set(setting.metrics, setting.network, real=real_answers, synthetic=answer, n=n, paired=any(pairs))
            for answer in answers
        ]
    differences = [
        compare_measured(measured[0], other, setting.network, paired=pair)
        for other, pair in zip(measured[1:], pairs, strict=True)
    ]
    failed = {f"{chr(65 + i)} {name}": why for i, one in enumerate(measured) for name, why in one.failed.items()}
    if judge_weights is not None:
        with attempt("discriminator_score", failed):
            opinions = [_probabilities(setting, judge_weights, text) for text in sets]
            for found, other, pair in zip(differences, opinions[1:], pairs, strict=True):
                found["discriminator_score"] = compare_means(
                    opinions[0], other, paired=pair, protocol={"judge": judge_weights.stem}
                )
    names = [(source.where, len(source.names)) for source in sources]
    layouts = {source.where: source.layout for source in (reference, *sources)}
    besides = {where: layout.besides for where, layout in layouts.items() if layout and layout.besides}
    remarks = source_remarks({source.where: source for source in (reference, *sources)})
    alone = [f"{chr(66 + i)} and A are not compared in pairs: {reason}." for i, reason in enumerate(reasons) if reason]
    alone += left_out(setting.on_images)
    answer = Comparison(reference.where, names, besides, differences, (*remarks, *alone), [], failed)
    return answer if picture is None else _drawn(answer, Path(picture))


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
        Row(f"{chr(66 + i)}: {key}", found.value, found.standard_error, found.interval, found.better if found.found else None)
        for i, differences in enumerate(answer.differences)
        for key, found in differences.items()
        if found.interval is not None and found.standard_error
    ]
    if not rows:
        raise BootlightError(f"{path}: no difference has an interval, so there is nothing to draw; leave --picture out")
    names = ", ".join(f"{chr(65 + i)} = {name}" for i, (name, _) in enumerate(answer.sets))
    write_forest(path, rows, f"against A ({names})")
    return answer._replace(notes=[*answer.notes, f"picture in {path}"])
