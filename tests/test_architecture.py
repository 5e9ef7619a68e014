"""Who may import whom; the table is the house rule, this test keeps it true."""

import ast
from pathlib import Path

import pytest

import bootlight

PACKAGE = Path(bootlight.__file__).parent
BASE = {"errors", "atomic", "rng", "images", "run_folder", "batch"}
# module -> what of bootlight it may import besides itself; a new module fails until it has a line.
ALLOWED: dict[str, set[str]] = {
    "": set(),
    "__main__": {"errors"},
    "errors": set(),
    "atomic": {"errors"},
    "rng": set(),
    "images": {"atomic", "budget", "errors"},
    "run_folder": {"atomic", "errors"},
    "batch": {"rng"},
    "diffusion": set(),
    "diffusion.schedule": set(),
    "diffusion.prediction": {"diffusion.schedule"},
    "diffusion.denoiser": {"diffusion.prediction", "diffusion.schedule"},
    "diffusion.objective": {"diffusion.schedule"},
    "diffusion.sampler": {"diffusion.denoiser", "diffusion.prediction", "diffusion.schedule", "rng"},
    "diffusion.solvers": {"diffusion.prediction", "diffusion.sampler", "diffusion.schedule", "rng"},
    "networks": set(),
    "networks.unet": set(),
    "networks.dcgan": set(),
    "networks.classifier": set(),
    "generators": set(),
    "generators.ema": {"errors"},
    "generators.base": {"batch", "errors", "rng", "generators.ema"},
    "generators.ddpm": {
        "batch", "errors", "rng", "generators.base", "networks.unet", "diffusion.denoiser", "diffusion.objective",
        "diffusion.prediction", "diffusion.sampler", "diffusion.schedule",
    },
    "generators.dcgan": {"batch", "errors", "rng", "generators.base", "networks.dcgan"},
    "generators.load": {"atomic", "errors", "generators.base", "generators.trust", "run_folder", "run_links"},
    "generators.trust": {"", "errors"},
    "data": set(),
    "data.reader": {"errors", "images", "data.reader_files", "data.reader_manifest"},
    "data.reader_files": {"errors", "images"},
    "data.reader_manifest": {"errors", "data.reader_files"},
    "data.store": {"atomic", "errors", "images", "data.reader", "data.store_folder", "data.store_passes"},
    "data.store_folder": {"atomic", "errors"},
    "data.store_passes": {"budget", "data.reader", "data.store_folder", "errors", "images"},
    "data.mixing": {"errors", "rng", "data.store"},
    "data.batches": {"batch", "rng", "data.mixing"},
    "data.datamodule": BASE | {"data.batches", "data.mixing", "data.reader", "data.store"},
    "data.digits": {"data.datamodule", "data.mixing", "data.store"},
    "metrics": set(),
    "metrics.score": set(),
    "metrics.frozen": set(),
    "metrics.features": {"atomic", "errors", "metrics.inception"},
    "metrics.feature_metric": {"errors", "metrics.features", "metrics.frozen", "metrics.score"},
    "metrics.frechet": {
        "errors", "metrics.exact", "metrics.feature_metric", "metrics.features", "metrics.frechet_remarks", "metrics.score",
        "metrics.uncertainty",
    },
    "metrics.discriminator": {"errors", "images", "metrics.frozen", "metrics.score"},
    "metrics.authenticity": {
        "metrics.exact", "metrics.feature_metric", "metrics.neighbours", "metrics.score", "metrics.uncertainty",
    },
    "metrics.c2st": {"errors", "images", "metrics.score", "networks.classifier", "rng"},
    "metrics.cells": {"metrics.neighbours", "rng"},
    "metrics.copying": {
        "errors", "metrics.cells", "metrics.exact", "metrics.feature_metric", "metrics.frozen", "metrics.neighbours",
        "metrics.score", "metrics.uncertainty",
    },
    "metrics.density_coverage": {
        "errors", "metrics.exact", "metrics.feature_metric", "metrics.neighbours", "metrics.score", "metrics.uncertainty",
    },
    "metrics.dino": {"errors", "metrics.file_network"},
    "metrics.exact": {"errors"},
    "metrics.fd_infinity": {
        "errors", "metrics.feature_metric", "metrics.features", "metrics.frechet", "metrics.score", "metrics.uncertainty",
        "rng",
    },
    "metrics.feature_cache": {"atomic", "errors", "metrics.features"},
    "metrics.file_network": {"errors"},
    "metrics.frechet_remarks": set(),
    "metrics.inception": {"errors", "metrics.file_network", "metrics.inception_input", "metrics.inception_weights"},
    "metrics.inception_input": set(),
    "metrics.inception_score": {"errors", "metrics.exact", "metrics.feature_metric", "metrics.score"},
    "metrics.inception_weights": {"atomic", "errors"},
    "metrics.kernel_distance": {"metrics.exact"},
    "metrics.kid": {"errors", "metrics.exact", "metrics.feature_metric", "metrics.kernel_distance", "metrics.score"},
    "metrics.mifid": {"errors", "metrics.exact", "metrics.feature_metric", "metrics.frechet", "metrics.score"},
    "metrics.neighbours": set(),
    "metrics.precision_recall": {
        "errors", "metrics.exact", "metrics.feature_metric", "metrics.neighbours", "metrics.score", "metrics.uncertainty",
    },
    "metrics.sfid": {"metrics.features", "metrics.frechet", "metrics.score"},
    "metrics.uncertainty": set(),
    "metrics.vendi": {"errors", "metrics.exact", "metrics.feature_metric", "metrics.score"},
    "metrics.pixel_statistics": {"errors", "metrics.feature_metric", "metrics.score"},
    "synthesis": {"atomic", "generators.base", "images", "rng", "run_folder"},
    "callbacks": set(),
    "callbacks.checkpoints": {"atomic", "run_folder", "tracking.history"},
    "callbacks.progress": {"run_folder"},
    "callbacks.stop": {"callbacks.checkpoints", "processes", "run_folder", "stopping"},
    "lock": {"errors"},
    "processes": {"atomic", "errors"},
    "stopping": {"processes"},
    "callbacks.generation_end": {"generators.base", "run_folder", "stopping"},
    "callbacks.publish": {"atomic", "processes", "callbacks.generation_end", "generators.base", "images", "run_folder"},
    "callbacks.synthesis": {
        "atomic", "errors", "processes", "rng", "stopping", "callbacks.generation_end", "generators.base", "synthesis",
    },
    "callbacks.evaluation": {
        "atomic", "callbacks.generation_end", "data.store", "errors", "evaluation.features", "evaluation.sources",
        "evaluation.suite", "generators.base", "images", "metrics.discriminator", "metrics.features", "metrics.frechet",
        "metrics.score", "run_folder", "stopping", "tracking.history",
    },
    "tracking": set(),
    "tracking.history": {"errors"},
    "tracking.scores": {"atomic", "errors", "run_folder", "metrics.score"},
    "tracking.table": {"atomic", "metrics.score", "run_folder", "tracking.scores"},
    "tracking.strip": {"atomic", "errors", "images", "run_folder", "tracking.scores"},
    "tracking.curves": set(),
    "tracking.page": {"atomic", "errors"},
    "tracking.report": {
        "atomic", "run_folder", "tracking.page", "tracking.report_run", "tracking.report_scores", "tracking.scores",
    },
    "tracking.report_scores": {"metrics.score", "tracking.curves", "tracking.page", "tracking.scores", "tracking.table"},
    "tracking.report_run": {"atomic", "run_folder", "tracking.curves", "tracking.history", "tracking.page"},
    "tracking.wandb_logger": {"atomic", "errors", "run_folder", "tracking.scores"},
    "tracking.forest": {"atomic"},
    "tracking.neighbours": {"atomic", "errors", "images"},
    "reference": BASE | {"processes", "data.datamodule", "generators.dcgan", "networks.classifier"},
    "prepare": BASE | {
        "callbacks.evaluation", "callbacks.synthesis", "data.datamodule", "evaluation.suite", "generators.base",
        "metrics.frechet", "networks.dcgan", "processes", "reference",
    },
    "bootstrap": BASE | {"processes", "stopping",
        "callbacks.checkpoints", "callbacks.evaluation", "callbacks.generation_end", "callbacks.progress", "data.datamodule",
        "generators.base", "prepare", "tracking.report", "tracking.strip", "tracking.table", "tracking.wandb_logger",
    },
    "run_config": {"atomic", "errors", "processes", "run_folder", "run_links"},
    "plan": {"bootstrap", "data.datamodule", "generators.base", "images"},
    "cli": BASE | {
        "bootstrap", "callbacks.checkpoints", "callbacks.evaluation", "callbacks.progress", "callbacks.publish",
        "callbacks.stop", "callbacks.synthesis", "data.datamodule", "environment", "generators.base", "lock", "plan",
        "processes", "run_config", "stopping", "tracking.history",
    },
    "budget": set(),
    "doctor": set(),
    "doctor.ask_torch": {"doctor.probe"},
    "doctor.examine": {
        "doctor.ask_torch", "doctor.finding", "doctor.folders", "doctor.hardware", "doctor.packages", "doctor.processes",
        "doctor.tracker",
    },
    "doctor.finding": set(),
    "doctor.folders": {"atomic", "doctor.finding", "errors", "metrics.inception_weights"},
    "doctor.hardware": {"doctor.ask_torch", "doctor.finding", "environment"},
    "doctor.packages": {"doctor.ask_torch", "doctor.finding"},
    "doctor.probe": set(),
    "doctor.processes": {"doctor.ask_torch", "doctor.finding", "doctor.hardware"},
    "doctor.tracker": {"doctor.finding"},
    "environment": {"atomic", "errors"},
    "evaluation": set(),
    "evaluation.answer": {"metrics.score"},
    "evaluation.compare": {"evaluation.suite", "metrics.score", "metrics.uncertainty"},
    "evaluation.features": {
        "errors", "evaluation.sources", "metrics.feature_cache", "metrics.feature_metric", "metrics.frozen",
    },
    "evaluation.judge_file": {"atomic", "errors", "generators.dcgan", "metrics.discriminator", "reference", "run_folder"},
    "evaluation.judges": {
        "callbacks.progress", "callbacks.stop", "data.datamodule", "data.store", "evaluation.sources", "generators.dcgan",
        "images", "metrics.discriminator", "metrics.score", "quiet", "reference",
    },
    "evaluation.options": {
        "data.datamodule", "errors", "evaluation.features", "evaluation.sources", "evaluation.suite", "metrics.features",
        "metrics.inception", "metrics.inception_weights",
    },
    "evaluation.reference_stats": {
        "atomic", "errors", "metrics.feature_metric", "metrics.features", "metrics.frechet", "metrics.frechet_remarks",
        "metrics.score",
    },
    "evaluation.run": {
        "errors", "evaluation.answer", "evaluation.judges", "evaluation.options", "evaluation.reference_stats",
        "evaluation.sources", "evaluation.suite", "images", "metrics.c2st", "metrics.frechet", "metrics.neighbours",
        "metrics.pixel_statistics", "metrics.score", "networks.dcgan", "tracking.neighbours",
    },
    "evaluation.run_compare": {
        "errors", "evaluation.compare", "evaluation.features", "evaluation.judge_file", "evaluation.options",
        "evaluation.sources", "evaluation.suite", "tracking.forest",
    },
    "evaluation.sources": {"data.reader", "data.store", "data.store_passes", "errors", "images", "run_folder"},
    "evaluation.suite": {
        "errors", "metrics.authenticity", "metrics.copying", "metrics.density_coverage", "metrics.fd_infinity",
        "metrics.feature_metric", "metrics.frechet", "metrics.inception_score", "metrics.kid", "metrics.mifid",
        "metrics.precision_recall", "metrics.score", "metrics.sfid", "metrics.vendi",
    },
    "evaluation.duplicates": {"evaluation.sources", "metrics.neighbours"},
    "quiet": set(),
    "run_links": {"errors"},
    "verbs": set(),
    "verbs.fit": {"cli", "errors", "quiet"},
    "verbs.sample": {"atomic", "errors", "images", "run_folder", "generators.load"},
    "verbs.report": {"bootstrap", "errors", "run_folder", "run_links"},
    "verbs.weights": {"metrics.features", "metrics.inception_weights"},
    "verbs.compare": {"errors", "evaluation.options", "evaluation.run_compare"},
    "verbs.doctor": {"doctor.examine", "doctor.finding"},
    "verbs.evaluate": {"errors", "evaluation.options", "evaluation.run"},
    "verbs.data": {"data.datamodule", "errors", "evaluation.duplicates", "evaluation.sources"},
}  # fmt: skip
OUTSIDE = {  # libraries that only these parts may import
    "wandb": ("tracking.wandb_logger",),
    "matplotlib": ("tracking.",),
    "sklearn": ("data.digits",),
    "torch_fidelity": ("metrics.inception",),
    "timm": ("metrics.dino",),
    "scipy": ("metrics.c2st", "evaluation.judges"),
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
        "bootstrap",
        "plan",
        "cli",
        "run_config",
        "verbs.fit",
        "evaluation.judges",
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
