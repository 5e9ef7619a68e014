"""Weights & Biases: where a run would be logged to. Looks at variables and files, asks no server."""

import os
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from bootlight.doctor.finding import Finding, note, ok
from bootlight.loggers.wandb_settings import MODES, SERVER, settings_of_files, source_of_key


def wandb() -> list[Finding]:
    """Mode, and whether somebody is logged in; nothing where wandb is not installed, the packages say that."""
    try:
        version("wandb")
    except PackageNotFoundError:
        return []
    settings = settings_of_files()
    chosen = os.environ.get("WANDB_MODE") or settings.get("mode") or "online"
    if chosen not in MODES:
        return note("W&B", f"mode {chosen!r} is none", f"export WANDB_MODE to one of {', '.join(MODES)}")
    if MODES[chosen] != "online":
        return ok("W&B", MODES[chosen] + (": wandb sync uploads later" if MODES[chosen] == "offline" else ""))
    server = os.environ.get("WANDB_BASE_URL") or settings.get("base_url") or SERVER
    source = source_of_key(urlsplit(server).netloc, settings)
    if source:
        return ok("W&B", f"online, {server}, key from {source}")
    return note(
        "W&B", f"online, {server}, not logged in", "wandb login, or export WANDB_MODE=offline; without W&B nothing to do"
    )
