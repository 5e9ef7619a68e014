"""The rooms of the house, top to bottom: a room imports only rooms below it. That is the only rule of who may import whom."""

import ast
from functools import cache
from pathlib import Path

import pytest

import bootlight

PACKAGE = Path(bootlight.__file__).parent
ROOMS = (
    *(
        "cli",
        "checking",
        "doctor",
        "studies",
        "bootstrap",
        "synthesis",
        "evaluation",
        "training",
        "loggers",
        "report",
        "classifiers",
        "generators",
        "pipelines",
    ),
    *("data", "metrics", "diffusion", "networks", "runs", "distributed", "io"),
)
LONGEST = 15  # modules, each importing the next
OWN = {
    "wandb": ("loggers", "studies"),
    "matplotlib": ("report", "studies"),
    "timm": ("metrics",),
    "torch_fidelity": ("metrics",),
}
MODULES = {".".join(f.relative_to(PACKAGE).with_suffix("").parts): f for f in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


@cache
def imported(module: str) -> frozenset[str]:
    """Absolute names of all modules that one imports, also inside functions; of bootlight's those that are files."""
    found = set()
    for node in ast.walk(tree_of(module)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        where = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        assert not isinstance(node, ast.ImportFrom) or node.level == 0, f"{module}: relative import"
        for name in (where + name for name in names):
            own = name.removeprefix("bootlight.")
            found.add(own if own in MODULES or not where else (node.module or "").removeprefix("bootlight."))
    return frozenset(found)


def room(module: str) -> int:
    """Number of the room, from above; the few modules outside of rooms lie below all."""
    return ROOMS.index(module.split(".")[0]) if module.split(".")[0] in ROOMS else len(ROOMS)


@cache
def chain(module: str) -> tuple[str, ...]:
    """The longest chain of modules from here, each importing the next."""
    below = [name for name in imported(module) if name in MODULES and not is_for_types(module, name)]
    return (module, *max(map(chain, below), key=len, default=()))


@cache
def guarded(module: str) -> str:
    """What a module imports for annotations alone."""
    found = [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.If)]
    return "\n".join(ast.unparse(node) for node in found if ast.unparse(node.test) == "TYPE_CHECKING")


def is_for_types(module: str, name: str) -> bool:
    """Whether a module is imported for annotations alone."""
    return f"from bootlight.{name} import" in guarded(module)


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("__")])
def test_no_room_imports_upward(module):
    up = [name for name in imported(module) if name in MODULES and not name.startswith("__") and room(name) < room(module)]
    assert not up, f"{module} lies below {up}"
    for library, rooms in OWN.items():
        theirs = any(name.split(".")[0] == library for name in imported(module))
        assert not theirs or module.split(".")[0] in rooms, f"{module} may not import {library}"


def test_no_chain_of_modules_is_too_long():
    longest = max(map(chain, MODULES), key=len)
    assert len(longest) <= LONGEST, " -> ".join(longest)


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_stay_small(module):
    text = MODULES[module].read_text()
    assert text.count("\n") <= 260
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= 50, f"{node.name} has {length} lines without its docstring"
