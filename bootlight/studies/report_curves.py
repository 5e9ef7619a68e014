"""Sections of a study's report with curves: scores over generations, the map of the boundary, losses of GANs."""

from collections.abc import Sequence
from html import escape

from bootlight.report.curves import LARGEST
from bootlight.report.page import figure, remark, section, table
from bootlight.report.scores import main_scores
from bootlight.runs.history import read_history
from bootlight.studies.boundary import HELPS, HURTS, LOWERS, NOTHING, RAISES, Effect, better, closed_form, effects, place
from bootlight.studies.charts import MAX_LINES, Band, Losses, band_chart, chance_note, loss_chart
from bootlight.studies.derived import PIXEL_VARIANCE
from bootlight.studies.plateau import LEFT
from bootlight.studies.results import StudyResults
from bootlight.studies.statistics import summarise
from bootlight.studies.times import PLATEAU_PASSES, PLATEAU_STEPS, STATES, count_states, describe

MAX_CHARTS = 40
MAX_MAPS = 6  # scores
LOSSES = {"train/loss_d": "discriminator", "train/loss": "generator"}
CELLS = {HELPS: ("▲", "#3b82c4"), HURTS: ("▼", "#d9822b"), RAISES: ("↑", "#a678d8"), LOWERS: ("↓", "#a678d8")}


def generation_curves(results: StudyResults) -> str:
    """One chart for each score and mixing policy, arms as lines."""
    if results.num_generations() < 2:
        return ""
    groups: dict[str, list[str]] = {}
    for arm in results.record.arms:
        for cell in list(results.finished(arm.name).values())[:1]:
            groups.setdefault(place(results, cell).policy, []).append(arm.name)
    charts = [
        figure(f"{name} · {policy}", band_chart([_band(results, arm, name) for arm in arms[i : i + MAX_LINES]]))
        for name in _gaussian_first(main_scores(results.score_names()))
        for policy, arms in groups.items()
        for i in range(0, len(arms), MAX_LINES)
        if any(results.scores(arm, name) for arm in arms[i : i + MAX_LINES])
    ]
    note = "Means over seeds; bands are one standard deviation over seeds on both sides."
    if any(_expected(results, arm.name) for arm in results.record.arms):
        note += f" Dashes in {PIXEL_VARIANCE}: what mathematics expects of a generator of normal pixels in this loop."
    if len(charts) > MAX_CHARTS:
        note += f" {len(charts) - MAX_CHARTS} more charts are left out; scores.csv has their numbers."
    return section("Over generations", f'<div class="curves">{"".join(charts[:MAX_CHARTS])}</div>', remark(note))


def _gaussian_first(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: name != PIXEL_VARIANCE)


def _band(results: StudyResults, arm: str, name: str) -> Band:
    points = []
    expected = _expected(results, arm) if name == PIXEL_VARIANCE else []
    for generation in range(results.num_generations()):
        found = summarise(list(results.scores(arm, name, generation).values()))
        if found is not None and abs(found.mean) < LARGEST:
            points.append((generation, found.mean, found.deviation or 0.0))
    return Band(
        label=results.record.label(arm),
        x=[x for x, _, _ in points],
        y=[y for _, y, _ in points],
        deviation=[min(deviation, LARGEST) for _, _, deviation in points],
        expected=expected if len(expected) == len(points) else [],
    )


def _expected(results: StudyResults, arm: str) -> list[float]:
    cells = list(results.finished(arm).values())
    return (closed_form(cells[0]) or []) if cells else []


def boundary_map(results: StudyResults) -> str:
    """Where synthetic images help: for each score and policy a grid of real fraction by synthetic ratio."""
    parts: list[str] = []
    count = 0
    names = sorted(main_scores(results.score_names()), key=lambda name: better(name) is None)
    for name in names[:MAX_MAPS]:
        found = effects(results, name)
        count += sum(effect.difference is not None and effect.difference.interval is not None for effect in found)
        policies = dict.fromkeys(effect.place.policy for effect in found)
        grids = [_grid(policy, [effect for effect in found if effect.place.policy == policy]) for policy in policies]
        if grids:
            body = f"<summary><b>{escape(name)}</b></summary>{''.join(grids)}"
            parts.append(f"<details{' open' if not parts else ''}>{body}</details>")
    if not parts:
        return ""
    note = (
        "Rows: real images of generation 0; columns: synthetic images that join in one generation, as a ratio to the "
        "real ones. ▲ helps, ▼ hurts (the 95 % interval over seeds excludes 0), ○ nothing found, which is not the same as no "
        "effect, · not measured on two seeds; ↑ ↓ for scores without a good direction. Each number is the mean change from "
        "generation 0 to the last generation, or from the baseline where there is one generation, ± half of the interval. "
        + chance_note(count)
    )
    return section("Where synthetic images help", *parts, remark(note))


def _grid(policy: str, found: Sequence[Effect]) -> str:
    """An HTML table; several effects at one place stand below each other."""
    ratios = sorted({round(effect.place.synthetic_ratio, 3) for effect in found})
    rows = []
    for num_real, share in sorted({(effect.place.num_real, effect.place.real_fraction) for effect in found}, reverse=True):
        here = [effect for effect in found if effect.place.num_real == num_real]
        cells = ["<br>".join(_cell(e) for e in here if round(e.place.synthetic_ratio, 3) == ratio) for ratio in ratios]
        rows.append(f"<tr><td>{num_real:,} ({share:.0%})</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    head = "<th>real images</th>" + "".join(f"<th>ratio {ratio:g}</th>" for ratio in ratios)
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<h3>{escape(policy)}</h3><div class="scroll"><table>{body}</table></div>'


def _cell(effect: Effect) -> str:
    difference = effect.difference
    if difference is None:
        return "·"
    if difference.interval is None:
        return f"· {difference.value:+.3g}"
    mark, color = CELLS.get(effect.verdict, ("○", "inherit"))
    half = (difference.interval[1] - difference.interval[0]) / 2
    style = "" if effect.verdict == NOTHING else f' style="color:{color};font-weight:700"'
    return f"<span{style}>{mark} {difference.value:+.3g} ± {half:.2g}</span>"


def gan_losses(results: StudyResults) -> str:
    """Losses of both networks, and the time on the plateau."""
    arms = [arm.name for arm in results.record.arms if results.scores(arm.name, PLATEAU_STEPS)]  # a teacher may be no GAN
    charts = [
        figure(f"loss of the {network}", loss_chart([_losses(results, arm, key) for arm in arms[i : i + MAX_LINES]]))
        for i in range(0, len(arms), MAX_LINES)
        for key, network in LOSSES.items()
    ]
    if not charts:
        return ""
    note = (
        "One line for each seed. The plateau is left (dashed) at the first step from the margin on where the discriminator's "
        "loss moves away from all its levels so far, by three times their range and nine standard errors, and stays away for "
        "the next steps, if until then it showed neither trend nor memory; what follows later does not change the answer. No "
        "plateau: the loss drifts, decays or wanders. Brackets are 95 % intervals over seeds; a value without has a single "
        "seed. Where not all times are known there is no mean."
    )
    drawings = f'<div class="curves">{"".join(charts)}</div>'
    return section("Losses of both networks", drawings, table(*_plateau_table(results, arms)), remark(note))


def _losses(results: StudyResults, arm: str, key: str) -> Losses:
    cells = results.finished(arm)
    histories = [read_history(cell.run.generation(len(cell.generations) - 1).history) for cell in cells.values()]
    scores = results.scores(arm, PLATEAU_STEPS).values()
    return Losses(
        results.record.label(arm),
        [history[key] for history in histories if key in history],
        [round(score.value) for score in scores if score.protocol["state"] == LEFT],
    )


def _plateau_table(results: StudyResults, arms: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for arm in arms:
        cells = [results.record.label(arm)]
        for name in (PLATEAU_STEPS, PLATEAU_PASSES):
            scores = list(results.scores(arm, name).values())
            found = summarise(scores)
            if found is None or set(count_states(scores)) != {LEFT}:
                cells.append(describe(scores) or "-")
                continue
            cells.append(f"{found.mean:.4g}" + ("" if found.interval is None else "  [{:.4g}, {:.4g}]".format(*found.interval)))
        counts = count_states(results.scores(arm, PLATEAU_STEPS).values())
        rows.append([*cells, *(str(counts.get(state, 0)) for state in STATES)])
    return ["trained on", "steps on the plateau", "passes on the plateau", *STATES], rows
