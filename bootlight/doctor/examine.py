"""All checks, in the order of the report."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bootlight.doctor import folders, hardware, processes, tracker
from bootlight.doctor.ask_torch import Facts, ask_torch
from bootlight.doctor.finding import Finding, guarded


def examine(run_dir: Path, cache: Path | None, weights: Path | None) -> Iterator[Finding]:
    """Look at everything; a finding comes as soon as it is there. Never raises.

    Args:
        run_dir: folder of a run, or where one would be made.
        cache: folder of decoded images; None = the usual one.
        weights: Inception weights for FID; None = where `bootlight weights` puts them.
    """
    yield from guarded("packages", versions)
    facts = ask_torch()
    for name, check in (
        ("torchvision pair", partial(torchvision_matches, facts)),
        ("CPU", partial(hardware.cpu, facts)),
        ("GPU", partial(hardware.gpus, facts)),
        ("precision", partial(hardware.precision, facts)),
        ("back ends", partial(processes.back_ends, facts)),
        ("launcher", processes.launcher),
        ("shared memory", processes.shared_memory),
        ("run folder", partial(folders.run_folder, run_dir)),
        ("file locks", partial(folders.locks, run_dir)),
        ("cache", partial(folders.cache, cache)),
        ("temporary", folders.temporary),
        ("FID weights", partial(folders.weights, weights)),
        ("W&B", tracker.wandb),
    ):
        yield from guarded(name, check)


def versions() -> list[Finding]:
    """Imported when called, as below: without the package `packaging` only these checks must fail."""
    from bootlight.doctor import packages

    return packages.versions()


def torchvision_matches(facts: Facts) -> list[Finding]:
    """See `packages`."""
    from bootlight.doctor import packages

    return packages.torchvision_matches(facts)
