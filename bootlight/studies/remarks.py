"""What a reader must know before believing the numbers of a study."""

from bootlight.io.atomic import read_json
from bootlight.metrics.score import by_remark
from bootlight.report.scores import main_scores
from bootlight.runs.kept_config import differing_keys
from bootlight.studies.record import arm_and_folder
from bootlight.studies.results import Cell, StudyResults
from bootlight.studies.settings import arguments, class_name
from bootlight.studies.table import REAL, real_answers

FEW_SEEDS = 3


def study_remarks(results: StudyResults) -> list[str]:
    """One sentence or two for each doubt; none where there is none."""
    doubts = (_runs, _seeds, _alike, _generations, _folders, _steps, _judges, _counts, _scores)
    return [remark for doubt in doubts for remark in doubt(results)]


def _runs(results: StudyResults) -> list[str]:
    """Runs that take no part."""
    found: dict[tuple[str, str], list[int]] = {}
    for arm, seed, cell in results.unfinished():
        found.setdefault((cell.state, arm), []).append(seed)
    remarks = []
    for state, verb in (("missing", "not begun"), ("unfinished", "not finished")):
        arms = [f"{arm} (seed {', '.join(map(str, seeds))})" for (kind, arm), seeds in found.items() if kind == state]
        if arms:
            remarks.append(f"{verb.capitalize()} yet: {', '.join(arms)}. Tables, intervals and verdicts are without.")
    for arm, seed, cell in results.unfinished():
        verb = "has failed" if cell.state == "failed" else f"is {cell.state}"
        remarks += [f"{arm} (seed {seed}) {verb} and takes no part: {cell.note.rstrip('.')}."] * bool(cell.note)
    return remarks


def _seeds(results: StudyResults) -> list[str]:
    fewest = min((count for arm in results.record.arms if (count := len(results.finished(arm.name)))), default=FEW_SEEDS)
    if fewest >= FEW_SEEDS:
        return []
    if fewest == 1:
        return ["Some arm has a single finished seed: there is no spread between trainings, and no claim can be made about it."]
    return [f"Some arm has {fewest} finished seeds only: intervals over seeds are very wide with so few."]


def _alike(results: StudyResults) -> list[str]:
    """Seeds of an arm that differ in more than the seed."""
    remarks = []
    for arm in results.record.arms:
        cells = list(results.finished(arm.name).values())
        found = {key for cell in cells[1:] for key in differing_keys(cells[0].config, cell.config)}
        found = {key for key in found if not key.startswith("seed_everything")}
        found |= {"other real images" for cell in cells[1:] if _real_images(cell) != _real_images(cells[0])}
        if found:
            remarks.append(f"The seeds of {arm.name} were not trained alike ({sorted(found)[0]}): their mean has no meaning.")
    return remarks


def _real_images(cell: Cell) -> str | None:
    """Hash of the images that a run was begun with."""
    content = read_json(cell.run.real_images) if cell.run.real_images.exists() else {}
    return str(content.get("content")) if isinstance(content, dict) else None


def _generations(results: StudyResults) -> list[str]:
    lengths = sorted({len(cell.generations) for cell in results.cells.values() if cell.finished})
    if len(lengths) < 2:
        return []
    return [f"Runs have {', '.join(map(str, lengths))} generations: comparisons of the last ones compare different numbers."]


def _folders(results: StudyResults) -> list[str]:
    """Folders of images that are to be compared, and that no finished run was measured by."""
    named = dict.fromkeys(name for pair in results.record.comparisons for name in pair)
    wanted = [(name, *arm_and_folder(name)) for name in named]
    unknown = [name for name, arm, folder in wanted if folder and results.finished(arm) and folder not in results.folders(arm)]
    return [f"Not compared, since no run has such a folder in `of` of its Evaluate: {', '.join(unknown)}."] if unknown else []


def _steps(results: StudyResults) -> list[str]:
    """What is compared though it was trained for different numbers of steps."""
    last = {arm.name: next(iter(results.finished(arm.name).values()), None) for arm in results.record.arms}
    remarks = []
    loops = [name for name, cell in last.items() if cell and len({row.steps for row in cell.generations}) > 1]
    warm = [name for name, cell in last.items() if cell and arguments(cell.config, "bootstrap").get("warm_start")]
    if loops or warm:
        arms = ", ".join(dict.fromkeys([*loops, *warm]))
        remarks.append(
            f"{arms}: later generations were trained for more steps, which alone may explain what changed since the first."
        )
    pairs = []
    for names in results.record.comparisons:
        cells = [cell for name in names if (cell := last[arm_and_folder(name)[0]])]
        steps = [f"{cell.generations[-1].steps:,}" for cell in cells]
        if len(set(steps)) == 2 and len({class_name(cell.config.get("model")) for cell in cells}) == 1:
            pairs.append(f"{names[0]} and {names[1]} ({steps[0]} and {steps[1]} steps)")
    if pairs:
        remarks.append(f"Trained for different numbers of steps, which alone may explain a difference: {', '.join(pairs)}.")
    return remarks


def _judges(results: StudyResults) -> list[str]:
    """The judge is known by what it says of the real training images."""
    name = next(iter(REAL))
    by_seed: dict[int, set[float]] = {}
    for arm in results.record.arms:
        for seed, score in results.scores(arm.name, name, 0).items():
            by_seed.setdefault(seed, set()).add(score.value)
    if any(len(values) > 1 for values in by_seed.values()):
        seeds = ", ".join(str(seed) for seed, values in by_seed.items() if len(values) > 1)
        return [f"The arms of seed {seeds} were not scored by the same judge: their discriminator scores cannot be compared."]
    answers = {score.value for score in real_answers(results, name).values()}
    if len(by_seed) > 1 and len(answers) == 1:
        return ["One judge scored all runs: intervals over seeds do not cover the training of another judge."]
    return []


def _counts(results: StudyResults) -> list[str]:
    """Scores whose value depends on the number of images, measured with different numbers."""
    found: dict[str, set[int]] = {}
    for cell in results.cells.values():
        for name, score in cell.generations[-1].scores.items() if cell.finished else ():
            found.setdefault(name, set()).add(score.n)
    unequal = [name for name in main_scores(list(found)) if len(found[name]) > 1 and "/" in name and name not in REAL]
    if not unequal:
        return []
    return [f"{', '.join(unequal)}: not all runs were measured on the same number of images, on which these scores depend."]


def _scores(results: StudyResults) -> list[str]:
    """What the metrics themselves remarked, once each."""
    finished = [cell.generations[-1].scores for cell in results.cells.values() if cell.finished]
    found = by_remark(item for scores in finished for item in scores.items())
    return [f"{', '.join(dict.fromkeys(names))}: {remark.rstrip('.')}." for remark, names in found.items()]
