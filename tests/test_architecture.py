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
    "images": {"atomic", "errors"},
    "run_folder": {"atomic", "errors"},
    "batch": {"rng"},
    "diffusion": set(),
    "diffusion.schedule": set(),
    "diffusion.prediction": {"diffusion.schedule"},
    "diffusion.denoiser": {"diffusion.prediction", "diffusion.schedule"},
    "diffusion.objective": {"diffusion.schedule"},
    "diffusion.sampler": {"diffusion.denoiser", "diffusion.prediction", "diffusion.schedule", "rng"},
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
    "generators.load": {"atomic", "errors", "run_folder", "generators.base"},
    "data": set(),
    "data.reader": {"errors", "images", "data.reader_files", "data.reader_manifest"},
    "data.reader_files": {"errors", "images"},
    "data.reader_manifest": {"errors", "data.reader_files"},
    "data.store": {"atomic", "errors", "images", "data.reader", "data.store_folder", "data.store_passes"},
    "data.store_folder": {"atomic", "errors"},
    "data.store_passes": {"errors", "images", "data.reader", "data.store_folder"},
    "data.mixing": {"errors", "rng", "data.store"},
    "data.batches": {"batch", "rng", "data.mixing"},
    "data.datamodule": BASE | {"data.batches", "data.mixing", "data.reader", "data.store"},
    "data.digits": {"data.datamodule", "data.mixing", "data.store"},
    "metrics": set(),
    "metrics.score": set(),
    "metrics.frozen": set(),
    "metrics.features": {"atomic", "errors"},
    "metrics.frechet": {"errors", "metrics.features", "metrics.frozen", "metrics.score"},
    "metrics.discriminator": {"errors", "images", "metrics.frozen", "metrics.score"},
    "synthesis": {"atomic", "generators.base", "images", "rng", "run_folder"},
    "callbacks": set(),
    "callbacks.checkpoints": {"atomic", "run_folder"},
    "callbacks.progress": {"run_folder"},
    "callbacks.job_timer": {"run_folder"},
    "callbacks.generation_end": {"generators.base", "run_folder"},
    "callbacks.publish": {"atomic", "callbacks.generation_end", "generators.base", "images", "run_folder"},
    "callbacks.synthesis": {"errors", "rng", "callbacks.generation_end", "generators.base", "synthesis"},
    "callbacks.evaluation": {
        "atomic", "errors", "callbacks.generation_end", "generators.base", "images", "run_folder", "metrics.discriminator",
        "metrics.frechet", "metrics.score", "tracking.history",
    },
    "tracking": set(),
    "tracking.history": {"errors"},
    "tracking.scores": {"atomic", "errors", "run_folder"},
    "tracking.table": {"atomic", "run_folder", "tracking.scores"},
    "tracking.strip": {"atomic", "errors", "images", "run_folder", "tracking.scores"},
    "tracking.curves": set(),
    "tracking.page": set(),
    "tracking.report": {
        "atomic", "run_folder", "tracking.page", "tracking.report_run", "tracking.report_scores", "tracking.scores",
    },
    "tracking.report_scores": {"tracking.curves", "tracking.page", "tracking.scores", "tracking.table"},
    "tracking.report_run": {"run_folder", "tracking.curves", "tracking.history", "tracking.page"},
    "tracking.wandb_logger": {"atomic", "errors", "run_folder", "tracking.scores"},
    "reference": BASE | {"data.datamodule", "generators.dcgan", "networks.classifier"},
    "prepare": BASE | {
        "callbacks.evaluation", "callbacks.synthesis", "data.datamodule", "generators.base", "metrics.frechet",
        "networks.dcgan", "reference",
    },
    "bootstrap": BASE | {
        "callbacks.checkpoints", "callbacks.evaluation", "callbacks.generation_end", "callbacks.progress", "data.datamodule",
        "generators.base", "prepare", "tracking.report", "tracking.strip", "tracking.table", "tracking.wandb_logger",
    },
    "run_config": {"atomic", "errors", "run_folder"},
    "plan": {"bootstrap", "data.datamodule", "generators.base", "images"},
    "cli": BASE | {
        "bootstrap", "plan", "callbacks.checkpoints", "callbacks.evaluation", "callbacks.job_timer",
        "callbacks.progress", "callbacks.publish", "callbacks.synthesis", "data.datamodule", "generators.base", "run_config",
        "tracking.history",
    },
    "verbs": set(),
    "verbs.fit": {"cli", "errors"},
    "verbs.sample": {"atomic", "errors", "images", "run_folder", "generators.load"},
    "verbs.report": {"errors", "run_folder", "bootstrap"},
    "verbs.weights": {"metrics.features"},
}  # fmt: skip
OUTSIDE = {  # libraries that only these parts may import
    "wandb": ("tracking.wandb_logger",),
    "matplotlib": ("tracking.",),
    "sklearn": ("data.digits",),
    "torch_fidelity": ("metrics.features",),
    "lightning": (
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
