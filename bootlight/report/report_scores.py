"""Sections of the report that come from the scores."""

from collections.abc import Iterable
from html import escape

from bootlight.metrics.score import Score, by_remark
from bootlight.report.curves import LARGEST, MAX_CHARTS, Curve, score_chart
from bootlight.report.legend import DIRECTIONS, HIGHER, LOWER, legend
from bootlight.report.page import definitions, figure, remark, section, table
from bootlight.report.remarks import importance
from bootlight.report.scores import REAL, GenerationScores, floor_name, floors_of, is_comparison, main_scores, score_names
from bootlight.report.table import NO_FLOORS, leading, score_column
from bootlight.report.verdict import Verdict

UNCERTAINTY = (
    "± is one standard error: how far the number would typically move if as many other images were drawn from the same "
    "trained model. It does not cover training again with another seed. n is the number of images measured. "
    "The loss is a mean over the last tenth of the logged steps: its ± and n are of these. Losses of neighbouring steps are "
    "alike, which its ± allows for; with fewer than 10 steps there is none. "
    "Brackets are a 95 % interval, which says more of shares of few images than ± does."
)


def summary(rows: list[GenerationScores]) -> str:
    """The run in a sentence: generations, images, and where its first score stands."""
    if not rows:
        return "No generation has been evaluated yet."
    first, last = rows[0], rows[-1]
    names = [name for name in leading(main_scores(score_names(rows))) if name in first.scores and name in last.scores]
    count = f"{len(rows)} generation" + "s" * (len(rows) > 1)
    if not names:
        return f"{count}, trained on {first.num_real:,} real images."
    start, end = first.scores[names[0]], last.scores[names[0]]
    if len(rows) == 1:
        return f"{count}, trained on {first.num_real:,} real images: {names[0]} is {start} (n={start.n})."
    return (
        f"{count}, {first.num_real:,} real images at the start: {names[0]} went from {start} in generation "
        f"{first.generation} to {end} in generation {last.generation}."
    )


def verdict_part(verdict: Verdict) -> str:
    """What the scores say, a paragraph each."""
    return "".join(f'<p class="verdict">{escape(sentence)}</p>' for sentence in verdict.sentences)


def scores_table(rows: list[GenerationScores]) -> str:
    """One row for each generation, every score with its uncertainty, and one of real images in the place of synthetic ones."""
    if not rows:
        return ""
    main, floors = leading(main_scores(score_names(rows))), floors_of(rows)
    in_row = {floor_name(name, row.scores) for row in rows for name in main}
    compared = [name for name in score_names(rows) if is_comparison(name) and name not in {*main, *in_row}]
    columns = [  # scores first: on a phone the rest is a swipe away
        ["generation", *(str(row.generation) for row in rows)],
        *(
            score_column(name, [row.scores.get(name) for row in rows], floors.get(name) if floors else NO_FLOORS)
            for name in main
        ),
        score_column("loss", [row.loss for row in rows]),
        ["real", *(str(row.num_real) for row in rows)],
        ["synthetic", *(str(row.num_synthetic) for row in rows)],
        ["steps", *(str(row.steps) for row in rows)],
        ["images seen", *(str(row.images_seen) for row in rows)],
        *(score_column(name, [row.scores.get(name) for row in rows]) for name in compared),
    ]
    height = max(map(len, columns))
    columns = [
        [head, *[REAL if k == 0 else ""] * (height - 1 - len(cells)), *cells] for k, (head, *cells) in enumerate(columns)
    ]
    header, *lines = [list(line) for line in zip(*columns, strict=True)]
    signs = [DIRECTIONS + "."] if any(mark in "".join(header) for mark in (LOWER, HIGHER)) else []
    signs += (
        [f"{REAL}: real images in the place of synthetic ones, as many against the same reference: about the best to hope for."]
        if floors
        else []
    )
    about = [remark(" ".join(signs))] if signs else []
    words = definitions(dict(line.split(": ", 1) for line in legend(main, len(main))))
    return section("Scores", table(header, lines), *about, words, remark(UNCERTAINTY), _doubts(rows))


def _doubts(rows: list[GenerationScores]) -> str:
    """What must be known before believing the scores: what the metrics remarked, and of which scores."""
    main = main_scores(score_names(rows))
    items = [
        f"<li>{escape(name)} (generation {row.generation}) failed, and has no score: {escape(why)}</li>"
        for row in rows
        for name, why in row.failed.items()
    ]
    found = by_remark(((name, row.generation), score) for row in rows for name, score in row.scores.items() if name in main)
    for text, places in sorted(found.items(), key=lambda item: importance(item[0])):
        names, generations = (list(dict.fromkeys(part)) for part in zip(*places, strict=True))
        where = "" if len(generations) == len(rows) else f" (generation {', '.join(map(str, generations))})"
        items.append(f"<li>{escape(', '.join(map(str, names)) + where)}: {escape(text)}</li>")
    return f"<ul>{''.join(items)}</ul>" if items else ""


def score_curves(rows: list[GenerationScores]) -> str:
    """One chart for each metric: its scores against all references, and on real images for comparison."""
    groups: dict[str, list[str]] = {}
    for name in filter(is_comparison, score_names(rows)):
        groups.setdefault(name.split("/")[0], []).append(name)
    shown = list(groups.items())[:MAX_CHARTS]
    charts = [figure(group, score_chart([_curve(rows, name) for name in names])) for group, names in shown]
    if any(row.loss for row in rows):
        charts.append(figure("loss", score_chart([_loss_curve(rows)])))
    if not charts:
        return ""
    note = remark("Bands are one standard error on both sides; no band where it is not known.")
    return section("Scores over generations", f'<div class="curves">{"".join(charts)}</div>', note)


def _curve(rows: list[GenerationScores], name: str) -> Curve:
    measured = [(row.generation, row.scores[name]) for row in rows if name in row.scores]
    return _to_curve(name.partition("/")[2] or "synthetic", measured)


def _loss_curve(rows: list[GenerationScores]) -> Curve:
    return _to_curve("loss", [(row.generation, row.loss) for row in rows if row.loss])


def _to_curve(label: str, measured: list[tuple[int, Score]]) -> Curve:
    drawn = [(x, score.value, score.standard_error or 0.0) for x, score in measured if abs(score.value) < LARGEST]
    return Curve(
        label=label,
        x=[x for x, _, _ in drawn],
        y=[y for _, y, _ in drawn],
        error=[error if abs(error) < LARGEST else 0.0 for _, _, error in drawn],
    )


def protocols(rows: list[GenerationScores]) -> str:
    """How each score was measured, as the generations recorded it; a value that changed between them is listed with all."""
    parts = []
    for name in score_names(rows):
        scores = [row.scores[name] for row in rows if name in row.scores]
        entries = {"n": _distinct(score.n for score in scores)}
        if intervals := [score.interval for score in scores if score.interval]:
            entries["95 % interval"] = _distinct(f"{low:.4g} to {high:.4g}" for low, high in intervals)
        for key in dict.fromkeys(key for score in scores for key in score.protocol):
            entries[key.replace("_", " ")] = _distinct(score.protocol[key] for score in scores if key in score.protocol)
        parts.append(f"<h3>{escape(name)}</h3>{definitions(entries)}")
    return section("How the scores were measured", *parts) if parts else ""


def _distinct(values: Iterable[object]) -> str:
    """The different values, in order of appearance, as text."""
    return ", ".join(dict.fromkeys(_text(value) for value in values))


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
