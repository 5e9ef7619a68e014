"""Who may import whom; the table is the house rule, this test keeps it true."""

import ast
from pathlib import Path

import pytest

import bootlight

PACKAGE = Path(bootlight.__file__).parent
# module -> what of bootlight it may import besides itself; a new module fails until it has a line.
ALLOWED: dict[str, set[str]] = {
    "": set(),
    "__main__": {"errors", "terminal"},
    "errors": {"terminal"},
    "atomic": {"errors", "owner"},
    "owner": set(),
    "cleaned": set(),
    "clean_cache": {"cache_entries", "cleaned"},
    "clean_run": {
        "atomic", "cleaned", "errors", "finished", "kept_config", "owner", "record_lock", "run_folder", "run_links",
        "run_marks",
    },
    "verbs.clean": {
        "cache_entries", "cache_folder", "cache_limit", "clean_cache", "clean_run", "cleaned", "errors", "paths",
        "run_folder", "sizes", "terminal",
    },
    "finished": {"errors", "run_folder", "sizes", "terminal"},
    "sizes": {"errors"},
    "cache_entries": {"owner", "record_lock"},
    "cache_limit": {"cache_entries", "sizes"},
    "rng": set(),
    "images": {"budget", "errors", "png_notes"},
    "png_notes": set(),
    "picture_header": {"images", "png_notes"},
    "lines": {"errors"},
    "run_folder": {"atomic", "errors", "lines"},
    "batch": {"rng"},
    "diffusion": set(),
    "diffusion.spacing": set(),
    "diffusion.schedule": {"diffusion.spacing"},
    "diffusion.prediction": {"diffusion.schedule"},
    "diffusion.denoiser": {"diffusion.prediction", "diffusion.schedule"},
    "diffusion.objective": {"diffusion.schedule"},
    "diffusion.sampler": {"diffusion.denoiser", "diffusion.prediction", "diffusion.schedule", "diffusion.spacing", "rng"},
    "diffusion.solvers": {"diffusion.prediction", "diffusion.sampler", "diffusion.schedule", "diffusion.spacing", "rng"},
    "networks": set(),
    "networks.unet": set(),
    "networks.dcgan": set(),
    "networks.classifier": set(),
    "generators": set(),
    "generators.ema": {"errors"},
    "generators.base": {"batch", "errors", "generators.ema", "rng"},
    "generators.ddpm": {
        "batch", "diffusion.denoiser", "diffusion.objective", "diffusion.prediction", "diffusion.sampler", "diffusion.schedule",
        "errors", "generators.base", "networks.unet", "rng",
    },
    "generators.dcgan": {"batch", "errors", "generators.base", "networks.dcgan", "rng"},
    "generators.load": {
        "atomic", "errors", "generators.base", "generators.trust", "published", "run_folder", "run_links",
    },
    "generators.trust": {"", "errors"},
    "generators.gaussian": {"batch", "errors", "generators.base", "rng"},
    "data": set(),
    "data.reader": {
        "data.layout", "data.reader_files", "data.reader_folder", "data.reader_manifest", "data.reader_names",
        "data.reader_splits", "data.reading", "errors",
    },
    "data.reader_splits": {"errors"},
    "data.layout": set(),
    "data.leaks": {"data.mixing"},
    "understood": {"data.datamodule", "data.layout", "data.leaks", "data.roots", "generators.base"},
    "data.left_out": set(),
    "run_marks": set(),
    "data.reading": {"errors"},
    "data.contents": {"data.reader", "data.reader_files", "data.reading", "data.store_passes", "errors"},
    "data.roots": {
        "data.contents", "data.layout", "data.reader", "data.reader_splits", "data.reading", "data.resolve", "data.store",
        "data.store_skipped", "errors", "processes",
    },
    "data.reader_files": {"data.left_out", "data.reader_folder", "data.reader_names", "errors", "run_marks"},
    "data.reader_folder": {"data.left_out", "data.reader_names", "errors", "lines", "run_marks"},
    "data.reader_manifest": {"data.reader_files", "data.reader_names", "errors", "lines"},
    "data.reader_names": {"errors", "images"},
    "data.store": {
        "atomic", "cache_entries", "cache_folder", "cache_limit", "data.contents", "data.reader", "data.reading",
        "data.store_folder", "data.store_passes", "data.store_skipped", "data.store_turn", "errors", "images",
    },
    "data.store_skipped": {"atomic", "cache_folder", "errors"},
    "data.store_folder": {"atomic", "cache_entries", "errors", "owner"},
    "data.store_turn": {"cache_entries", "processes", "record_lock", "stopping"},
    "data.store_passes": {"budget", "errors", "terminal"},
    "data.mixing": {"data.store", "errors", "rng"},
    "data.batches": {"batch", "clock", "data.mixing", "errors", "rng"},
    "data.datamodule": {
        "batch", "cache_folder", "data.batches", "data.extra", "data.mixing", "data.reading", "data.roots", "data.store",
        "errors", "images", "paths", "rng", "run_folder",
    },
    "data.digits": {"data.datamodule", "data.mixing", "data.store"},
    "data.extra": {
        "atomic", "data.mixing", "data.reading", "data.resolve", "data.store", "drawn", "errors", "rng", "run_folder",
    },
    "data.gaussian": {"data.datamodule", "data.mixing", "data.store", "errors", "rng"},
    "data.resolve": {"data.reader_splits", "drawn", "errors", "paths", "run_folder", "run_marks"},
    "metrics": set(),
    "metrics.score": set(),
    "metrics.frozen": set(),
    "metrics.features": {"errors", "metrics.inception"},
    "metrics.feature_metric": {"errors", "metrics.features", "metrics.frozen", "metrics.score"},
    "metrics.frechet": {
        "metrics.congruence", "metrics.exact", "metrics.feature_metric", "metrics.features", "metrics.frechet_remarks",
        "metrics.once", "metrics.score", "metrics.statistics", "metrics.uncertainty",
    },
    "metrics.discriminator": {"errors", "images", "metrics.frozen", "metrics.score", "metrics.uncertainty"},
    "metrics.authenticity": {
        "metrics.exact", "metrics.feature_metric", "metrics.neighbours", "metrics.score", "metrics.uncertainty",
    },
    "metrics.correlated_mean": set(),
    "metrics.c2st": {"errors", "images", "metrics.score", "metrics.uncertainty", "networks.classifier", "rng"},
    "metrics.cells": {"metrics.neighbours", "rng"},
    "metrics.copying": {
        "errors", "metrics.cells", "metrics.exact", "metrics.feature_metric", "metrics.frozen", "metrics.neighbours",
        "metrics.score", "metrics.uncertainty",
    },
    "metrics.density_coverage": {
        "errors", "metrics.exact", "metrics.feature_metric", "metrics.neighbours", "metrics.once", "metrics.score",
        "metrics.uncertainty",
    },
    "metrics.dino": {"errors", "metrics.file_network"},
    "metrics.exact": {"errors"},
    "metrics.fd_infinity": {
        "errors", "metrics.feature_metric", "metrics.features", "metrics.frechet", "metrics.score", "metrics.statistics",
        "metrics.uncertainty", "rng",
    },
    "metrics.feature_cache": {"atomic", "cache_entries", "cache_folder", "cache_limit", "errors", "metrics.features"},
    "metrics.file_network": {"errors", "paths"},
    "metrics.frechet_remarks": set(),
    "metrics.inception": {
        "errors", "metrics.file_network", "metrics.inception_input", "metrics.inception_network", "metrics.inception_weights",
    },
    "metrics.inception_input": set(),
    "metrics.inception_score": {"errors", "metrics.exact", "metrics.feature_metric", "metrics.score"},
    "metrics.inception_weights": {"atomic", "cache_folder", "errors", "paths", "terminal"},
    "metrics.kernel_distance": {"metrics.exact", "metrics.uncertainty"},
    "metrics.kid": {"errors", "metrics.exact", "metrics.feature_metric", "metrics.kernel_distance", "metrics.score"},
    "metrics.mifid": {
        "errors", "metrics.exact", "metrics.feature_metric", "metrics.frechet", "metrics.score", "metrics.statistics",
        "metrics.uncertainty",
    },
    "metrics.neighbours": {"metrics.once"},
    "metrics.precision_recall": {
        "errors", "metrics.exact", "metrics.feature_metric", "metrics.neighbours", "metrics.score", "metrics.uncertainty",
    },
    "metrics.sfid": {"metrics.features", "metrics.frechet", "metrics.score"},
    "metrics.uncertainty": set(),
    "metrics.vendi": {"errors", "metrics.exact", "metrics.feature_metric", "metrics.score"},
    "metrics.pixel_statistics": {"errors", "metrics.feature_metric", "metrics.score"},
    "metrics.congruence": set(),
    "metrics.inception_network": set(),
    "metrics.once": {"metrics.feature_cache"},
    "metrics.statistics": {"errors", "metrics.exact", "metrics.once"},
    "synthesis": {"atomic", "clock", "generators.base", "images", "rng", "run_folder"},
    "callbacks": set(),
    "published": {"atomic", "run_folder"},
    "pickle_claims": set(),
    "drawn": {"atomic", "errors", "run_folder"},
    "checkpoint_claims": {"pickle_claims"},
    "callbacks.states": {"callbacks.checkpoints", "checkpoint_claims", "errors"},
    "callbacks.checkpoints": {
        "atomic", "checkpoint_claims", "clock", "errors", "pickle_claims", "run_folder", "tracking.history",
    },
    "callbacks.progress": {"run_folder"},
    "callbacks.stop": {"callbacks.checkpoints", "processes", "run_folder", "stopping"},
    "lock": {"errors", "record_lock"},
    "processes": {"atomic", "errors"},
    "stopping": {"errors", "processes", "terminal"},
    "callbacks.generation_end": {
        "clock", "errors", "generators.base", "processes", "published", "run_folder", "stopping",
    },
    "callbacks.publish": {
        "atomic", "callbacks.checkpoints", "callbacks.generation_end", "clock", "generators.base", "processes",
    },
    "callbacks.synthesis": {
        "atomic", "batch_size", "callbacks.generation_end", "clock", "errors", "generators.base", "lines", "processes",
        "rng", "stopping", "synthesis",
    },
    "callbacks.evaluation": {
        "atomic", "callbacks.generation_end", "clock", "errors", "evaluation.attempt", "evaluation.features",
        "evaluation.sources", "evaluation.streamed", "evaluation.suite", "generators.base", "metrics.correlated_mean",
        "metrics.discriminator", "metrics.features", "metrics.score", "run_folder", "stopping",
        "tracking.history",
    },
    "callbacks.step_clock": {"callbacks.generation_end", "clock", "errors", "run_folder"},
    "tracking": set(),
    "tracking.history": {"errors"},
    "tracking.scores": {"atomic", "errors", "metrics.score", "run_folder"},
    "tracking.table": {"atomic", "errors", "metrics.score", "run_folder", "terminal", "tracking.scores"},
    "tracking.strip": {"atomic", "errors", "images", "run_folder", "tracking.current", "tracking.scores"},
    "tracking.curves": set(),
    "tracking.page": {"atomic"},
    "tracking.report": {
        "atomic", "run_folder", "tracking.current", "tracking.page", "tracking.report_run", "tracking.report_scores",
        "tracking.scores",
    },
    "tracking.report_scores": {"metrics.score", "tracking.curves", "tracking.page", "tracking.scores", "tracking.table"},
    "tracking.report_run": {"atomic", "run_folder", "tracking.curves", "tracking.history", "tracking.page"},
    "tracking.run_rows": {"run_folder", "tracking.history", "tracking.scores"},
    "tracking.wandb_files": set(),
    "tracking.wandb_generation": {"run_folder", "tracking.scores"},
    "tracking.wandb_rows": {"atomic", "errors", "run_folder", "tracking.wandb_files"},
    "tracking.wandb_logger": {
        "atomic", "errors", "run_folder", "tracking.run_rows", "tracking.scores", "tracking.wandb_generation",
        "tracking.wandb_rows",
    },
    "tracking.forest": {"atomic"},
    "tracking.neighbours": {"atomic", "errors", "images"},
    "tracking.seconds": {"run_folder", "tracking.history", "tracking.table"},
    "tracking.study_charts": {"tracking.curves"},
    "tracking.study_curves": {
        "studies.boundary", "studies.derived", "studies.plateau", "studies.results", "studies.statistics", "studies.times",
        "tracking.curves",
        "tracking.history", "tracking.page", "tracking.scores", "tracking.study_charts",
    },
    "tracking.study_report": {
        "atomic", "studies.claims", "studies.remarks", "studies.results", "studies.table", "studies.table_files",
        "tracking.page", "tracking.study_curves", "tracking.study_runs", "tracking.study_scores", "tracking.table",
    },
    "tracking.study_runs": {"atomic", "studies.results", "tracking.history", "tracking.page", "tracking.report_run"},
    "tracking.study_scores": {
        "studies.boundary", "studies.claims", "studies.results", "studies.statistics", "studies.table", "studies.times",
        "tracking.page", "tracking.scores", "tracking.study_charts",
    },
    "tracking.wandb_study": {
        "errors", "paths", "studies.claims", "studies.results", "studies.settings", "studies.table", "terminal",
        "tracking.scores",
    },
    "reference": {
        "atomic", "data.datamodule", "errors", "generators.dcgan", "images", "networks.classifier", "processes",
        "reference_cache", "rng", "stopping",
    },
    "config_text": set(),
    "trackers": {
        "doctor.tracker", "errors", "processes", "run_folder", "terminal", "tracking.history", "tracking.wandb_logger",
    },
    "trainers": {
        "callbacks.checkpoints", "callbacks.progress", "callbacks.step_clock", "callbacks.stop", "errors", "run_folder",
    },
    "checks": {
        "callbacks.evaluation", "callbacks.states", "callbacks.synthesis", "data.batches", "data.datamodule", "errors",
        "evaluation.suite",
        "generators.base", "metrics.frechet", "metrics.statistics", "networks.dcgan", "processes", "real_images", "reference",
        "run_folder", "terminal", "trackers", "understood",
    },
    "smoke": {
        "callbacks.evaluation", "callbacks.synthesis", "checks", "data.datamodule", "data.mixing", "errors",
        "evaluation.suite", "generators.base", "record_lock", "terminal",
    },
    "rehearsal": {"data.datamodule", "errors", "generators.base", "stopping", "terminal"},
    "prepare": {
        "callbacks.evaluation", "callbacks.synthesis", "checks", "clock", "data.datamodule", "generators.base", "processes",
        "real_images", "reference", "rehearsal", "run_folder",
    },
    "bootstrap": {
        "atomic", "callbacks.checkpoints", "callbacks.evaluation", "callbacks.generation_end", "callbacks.progress", "checks",
        "clock",
        "data.datamodule", "errors", "finished", "generators.base", "lines", "paths", "prepare", "processes", "published",
        "rng",
        "run_config", "run_folder",
        "stopping", "terminal", "trackers", "tracking.current", "tracking.report", "tracking.seconds", "tracking.strip",
        "tracking.table", "tracking.wandb_logger",
    },
    "run_config": {"atomic", "environment", "errors", "kept_config", "processes", "run_folder", "run_links"},
    "plan": {"bootstrap", "data.datamodule", "generators.base", "images", "terminal", "trainers"},
    "cli": {
        "bootstrap", "callbacks.checkpoints", "callbacks.evaluation", "callbacks.progress", "callbacks.publish",
        "callbacks.states", "callbacks.step_clock", "callbacks.stop", "callbacks.synthesis", "checks", "config_text",
        "data.datamodule", "environment", "errors", "generators.base", "lock", "paths", "plan", "processes", "rehearsal",
        "run_config", "run_folder", "stopping", "smoke", "terminal", "trackers", "tracking.history", "trainers",
        "understood",
    },
    "budget": set(),
    "doctor": set(),
    "doctor.ask_torch": {"doctor.probe"},
    "doctor.examine": {
        "doctor.ask_torch", "doctor.finding", "doctor.folders", "doctor.hardware", "doctor.packages", "doctor.processes",
        "doctor.tracker",
    },
    "doctor.finding": set(),
    "doctor.folders": {"atomic", "cache_folder", "doctor.finding", "errors", "metrics.inception_weights", "paths"},
    "doctor.hardware": {"doctor.ask_torch", "doctor.finding", "environment"},
    "doctor.packages": {"doctor.ask_torch", "doctor.finding"},
    "doctor.probe": set(),
    "doctor.processes": {"doctor.ask_torch", "doctor.finding", "doctor.hardware"},
    "doctor.tracker": {"doctor.finding"},
    "environment": {"atomic", "errors"},
    "evaluation": set(),
    "evaluation.answer": {"metrics.score", "tracking.table"},
    "evaluation.attempt": {"errors"},
    "evaluation.compare": {"evaluation.suite", "metrics.score", "metrics.uncertainty"},
    "evaluation.features": {
        "errors", "evaluation.sources", "metrics.feature_cache", "metrics.feature_metric", "metrics.frozen", "terminal",
    },
    "evaluation.judge_file": {
        "atomic", "errors", "generators.dcgan", "generators.load", "metrics.discriminator", "run_folder",
    },
    "evaluation.judges": {
        "cache_folder", "callbacks.progress", "callbacks.stop", "data.datamodule", "data.store", "errors", "evaluation.sources",
        "generators.dcgan", "images", "metrics.discriminator", "metrics.score", "metrics.uncertainty", "quiet", "reference",
        "reference_cache", "stopping",
    },
    "evaluation.options": {
        "cache_folder", "data.reading", "errors", "evaluation.features", "evaluation.sources", "evaluation.suite",
        "metrics.feature_metric", "metrics.features", "metrics.frozen", "metrics.inception", "metrics.inception_weights",
        "paths", "terminal",
    },
    "evaluation.pairs": {"data.reader", "data.reading", "data.resolve", "errors"},
    "evaluation.reference_stats": {
        "atomic", "errors", "metrics.feature_metric", "metrics.features", "metrics.frechet", "metrics.frechet_remarks",
        "metrics.score", "metrics.statistics",
    },
    "evaluation.run": {
        "errors", "evaluation.answer", "evaluation.attempt", "evaluation.judges", "evaluation.options",
        "evaluation.reference_stats", "evaluation.source_remarks", "evaluation.sources", "evaluation.suite", "images",
        "metrics.c2st", "metrics.discriminator", "metrics.neighbours", "metrics.pixel_statistics", "metrics.score",
        "metrics.statistics", "networks.dcgan", "tracking.neighbours",
    },
    "evaluation.run_compare": {
        "errors", "evaluation.attempt", "evaluation.compare", "evaluation.features", "evaluation.judge_file",
        "evaluation.options", "evaluation.pairs", "evaluation.source_remarks", "evaluation.sources", "evaluation.suite",
        "tracking.forest", "tracking.table",
    },
    "evaluation.streamed": {
        "data.layout", "data.store_passes", "drawn", "errors", "images", "picture_header", "run_folder",
    },
    "evaluation.sources": {
        "data.contents", "data.layout", "data.reader", "data.reading", "data.resolve", "data.store", "data.store_passes",
        "data.store_skipped", "evaluation.streamed", "images", "picture_header",
    },
    "evaluation.source_remarks": {"evaluation.sources", "picture_header"},
    "evaluation.suite": {
        "errors", "evaluation.attempt", "metrics.authenticity", "metrics.copying", "metrics.density_coverage", "metrics.exact",
        "metrics.fd_infinity", "metrics.feature_metric", "metrics.features", "metrics.frechet", "metrics.inception_score",
        "metrics.kid", "metrics.mifid", "metrics.once", "metrics.precision_recall", "metrics.score", "metrics.sfid",
        "metrics.vendi",
    },
    "evaluation.duplicates": {"evaluation.near", "evaluation.sources", "terminal"},
    "evaluation.near": {"metrics.neighbours"},
    "quiet": set(),
    "run_links": {"errors"},
    "verbs": set(),
    "verbs.fit": {"cli", "errors", "paths", "quiet"},
    "verbs.sample": {
        "atomic", "data.resolve", "errors", "generators.load", "images", "lines", "paths", "run_folder", "terminal",
    },
    "verbs.report": {"bootstrap", "errors", "paths", "run_folder", "run_links", "terminal"},
    "verbs.weights": {"metrics.inception_weights", "paths", "terminal"},
    "verbs.compare": {"errors", "evaluation.attempt", "evaluation.options", "evaluation.run_compare", "paths", "terminal"},
    "verbs.doctor": {"doctor.examine", "doctor.finding", "paths", "terminal"},
    "verbs.evaluate": {"errors", "evaluation.attempt", "evaluation.options", "evaluation.run", "paths", "terminal"},
    "verbs.data": {
        "cache_folder", "data.reading", "errors", "evaluation.duplicates", "evaluation.sources", "images", "terminal",
    },
    "verbs.study": {
        "errors", "paths", "studies.begin", "studies.child", "studies.job", "studies.plan", "studies.spec", "studies.worker",
        "studies.yaml_file", "terminal", "tracking.study_report",
    },
    "batch_size": {"generators.base", "images"},
    "clock": set(),
    "record_lock": set(),
    "reference_cache": {
        "", "atomic", "cache_entries", "cache_folder", "environment", "errors", "record_lock", "stopping", "terminal",
    },
    "studies": set(),
    "studies.begin": {
        "atomic", "errors", "kept_config", "studies.claim_lock", "studies.job", "studies.record", "studies.spec",
        "studies.yaml_file",
    },
    "studies.boundary": {"studies.gaussian_loop", "studies.results", "studies.settings", "studies.statistics"},
    "studies.child": {"errors"},
    "studies.claim_lock": {"errors", "record_lock"},
    "studies.claims": {"metrics.score", "studies.record", "studies.results", "studies.statistics", "studies.times"},
    "studies.derived": {
        "metrics.score", "published", "run_folder", "studies.settings", "studies.times", "tracking.history", "tracking.scores",
    },
    "studies.gaussian_loop": set(),
    "studies.job": {"atomic", "errors", "kept_config", "run_folder", "studies.record", "studies.spec"},
    "studies.plan": {
        "cli", "data.datamodule", "data.extra", "errors", "generators.base", "plan", "quiet", "studies.child",
        "studies.input_checks", "studies.job", "studies.record", "studies.spec", "terminal", "tracking.table", "trainers",
        "verbs.fit",
    },
    "studies.input_checks": {"checks", "cli", "run_folder", "studies.job", "terminal", "trainers"},
    "studies.plateau": set(),
    "studies.record": {"atomic", "errors"},
    "studies.remarks": {"atomic", "kept_config", "metrics.score", "studies.results", "studies.settings", "studies.table"},
    "studies.results": {
        "atomic", "errors", "kept_config", "metrics.score", "run_folder", "studies.derived", "studies.record",
        "studies.settings", "studies.statistics", "studies.times", "tracking.scores",
    },
    "studies.settings": set(),
    "studies.spec": {"errors", "paths", "studies.record", "studies.yaml_file"},
    "studies.statistics": {"metrics.score"},
    "studies.table": {
        "metrics.score", "studies.plateau", "studies.results", "studies.settings", "studies.statistics", "studies.times",
        "terminal", "tracking.scores", "tracking.table",
    },
    "studies.table_files": {
        "atomic", "studies.claims", "studies.results", "studies.statistics", "studies.table", "studies.times",
        "tracking.table",
    },
    "studies.times": {"metrics.score", "studies.plateau", "studies.statistics"},
    "studies.worker": {"errors", "studies.child", "studies.claim_lock", "studies.job", "studies.spec", "terminal"},
    "studies.yaml_file": {"atomic", "errors"},
    "terminal": set(),
    "tracking.current": {"atomic", "errors", "run_folder"},
    "cache_folder": {"errors", "paths"},
    "paths": {"errors"},
    "kept_config": {"atomic", "errors"},
    "real_images": {
        "atomic", "data.contents", "data.datamodule", "data.store_skipped", "errors", "images", "rng", "run_folder",
    },
}  # fmt: skip
OUTSIDE = {  # libraries that only these parts may import
    "wandb": ("tracking.wandb_",),
    "matplotlib": ("tracking.",),
    "sklearn": ("data.digits",),
    "torch_fidelity": ("metrics.inception",),
    "timm": ("metrics.dino",),
    "scipy": ("evaluation.compare", "evaluation.judges", "studies.plateau", "studies.statistics"),
    "lightning": (
        "processes",
        "lock",
        "batch_",
        "generators.",
        "data.datamodule",
        "callbacks.",
        "tracking.",
        "reference",
        "prepare",
        "checks",
        "config_text",
        "rehearsal",
        "smoke",
        "trackers",
        "trainers",
        "real_images",
        "bootstrap",
        "plan",
        "cli",
        "run_config",
        "verbs.fit",
        "evaluation.judges",
        "studies.plan",
    ),
}


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def imports(file: Path) -> set[str]:
    """Absolute names of all imported modules, also those inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            children = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = {child for child in children if child.removeprefix("bootlight.") in MODULES}
            found |= submodules or {node.module or ""}
    return found


@pytest.mark.parametrize("name", MODULES)
def test_imports_are_on_the_list(name):
    own = {
        module.removeprefix("bootlight").removeprefix(".")
        for module in imports(MODULES[name])
        if module.split(".")[0] == "bootlight"
    }
    assert name in ALLOWED, f"{name} is new: give it a line in the table"
    assert own <= ALLOWED[name], f"{name} may not import {sorted(own - ALLOWED[name])}"
    for library, users in OUTSIDE.items():
        if any(module.split(".")[0] == library for module in imports(MODULES[name])):
            assert name.startswith(users), f"{name} may not import {library}"


def test_the_table_has_no_modules_that_are_gone():
    assert set(ALLOWED) == set(MODULES)


def test_there_are_no_cycles():
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"cycle: {' -> '.join((*path, name))}"
        if name not in done:
            for other in ALLOWED[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in ALLOWED:
        visit(name, ())


@pytest.mark.parametrize("name", MODULES)
def test_files_and_functions_stay_small(name):
    text = MODULES[name].read_text()
    assert text.count("\n") <= 260, f"{name} has {text.count(chr(10))} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= 50, f"{name}.{node.name} has {length} lines without its docstring"
