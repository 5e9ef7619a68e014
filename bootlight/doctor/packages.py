"""Versions of Python and packages against the floors in bootlight's own metadata; torchvision against torch.

Nothing here imports lightning: the refused versions attack at `import lightning`.
"""

import platform
from functools import partial
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from bootlight.doctor.ask_torch import Facts
from bootlight.doctor.finding import Check, Finding, guarded, note, ok, problem

EXTRA = "wandb"  # the one that users install; the others are for developers
MALICIOUS = {"lightning": "GHSA-w37p-236h-pfx3"}  # where a version is refused because it attacks
CUDA_UNIT = 1000  # CUDA 13.2 calls itself 13020
CPU_ONLY = "CPU only"


def versions() -> list[Finding]:
    """A line for bootlight, Python and each package; one that cannot be understood spoils no other."""
    try:
        found = ok("bootlight", version("bootlight"))
    except PackageNotFoundError:
        cure = "pip install --editable . in the folder of its pyproject.toml"
        return problem("bootlight", "not installed, so what it needs is not known", cure)
    checks: list[tuple[str, Check]] = [("python", python)]
    checks += [(one.name, partial(package, one)) for one in requirements()]
    return found + [finding for name, check in checks for finding in guarded(name, check)]


def python() -> list[Finding]:
    """Python against Requires-Python."""
    here, needed = platform.python_version(), metadata("bootlight")["Requires-Python"]
    if SpecifierSet(needed).contains(here, prereleases=True):
        return ok("python", f"{here}, needs {needed}")
    return problem("python", f"{here}, needs {needed}", f"make an environment with Python {needed}")


def requirements() -> list[Requirement]:
    """What the installed bootlight asks for, with the extra for users."""
    everything = [Requirement(line) for line in requires("bootlight") or []]
    return [one for one in everything if one.marker is None or one.marker.evaluate({"extra": EXTRA})]


def package(requirement: Requirement) -> list[Finding]:
    """An installed version against its floor, ceiling and refused versions."""
    name, needed = requirement.name, requirement.specifier
    optional = requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
    install = f"pip install '{name}{needed}'"
    try:
        here = version(name)
    except PackageNotFoundError:
        if optional:
            return note(name, f"not installed, optional; needs {needed}", f"{install}, or do without")
        return problem(name, f"not installed; needs {needed}", install)
    if needed.contains(here, prereleases=True):
        return ok(name, f"{here}, needs {needed}")
    refused = any(one.operator == "!=" and not one.contains(here, prereleases=True) for one in needed)
    if refused and name in MALICIOUS:
        return problem(
            name,
            f"{here} IS MALICIOUS: it steals credentials when imported ({MALICIOUS[name]})",
            "run nothing here; delete this environment, make a new one, change every password, key and token on this machine",
        )
    return problem(name, f"{here}, needs {needed}", install)


def torchvision_matches(facts: Facts) -> list[Finding]:
    """Whether torch and torchvision were built for each other: by their metadata, their CUDA, and a call."""
    torch, torchvision = facts["torch"], facts["torchvision"]
    cure = "pip install --upgrade --force-reinstall torch torchvision, both in one command and from one index"
    if "error" in torch:
        return problem("torch import", torch["error"], cure)
    wrong = _not_built_for(torch["version"])
    if wrong:
        return problem("torchvision pair", wrong, cure)
    if "error" in torchvision:
        return problem("torchvision pair", torchvision["error"], cure)
    ours, theirs = _built_for(torch), _cuda_text(torchvision["cuda"])
    found = f"torch {torch['version']} for {ours}, torchvision {torchvision['version']} for {theirs}"
    if torch["hip"] is None and (ours == CPU_ONLY) != (theirs == CPU_ONLY):
        return note("torchvision pair", found, cure)
    return ok("torchvision pair", found)


def _not_built_for(torch_version: str) -> str:
    """How torchvision's metadata contradicts this torch; empty when it does not."""
    for line in requires("torchvision") or []:
        needed = Requirement(line)
        if needed.name == "torch" and needed.marker is None and not needed.specifier.contains(torch_version, prereleases=True):
            return f"torchvision {version('torchvision')} is built for torch {needed.specifier}, here is {torch_version}"
    return ""


def _built_for(torch: dict[str, Any]) -> str:
    if torch["hip"] is not None:
        return f"ROCm {torch['hip']}"
    return CPU_ONLY if torch["cuda"] is None else f"CUDA {torch['cuda']}"


def _cuda_text(number: int | None) -> str:
    """`CUDA 13.2` of 13020, which is how torchvision writes it."""
    return CPU_ONLY if number is None or number < 0 else f"CUDA {number // CUDA_UNIT}.{number % CUDA_UNIT // 10}"
