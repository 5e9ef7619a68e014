"""Where a run has come to, as far as its files tell."""

from pathlib import Path

from bootlight.runs.folder import RunFolder


def stage_on_disk(run: Path) -> str:
    """In words."""
    generations = RunFolder(run).generations()
    if not generations:
        networks = [path.name.partition("-")[0] for path in run.glob("references/*.safetensors")]
        return f"before generation 0, networks trained: {', '.join(networks) or 'none'}"
    folder, name = generations[-1], f"generation {len(generations) - 1}"
    half = [path.name for path in run.rglob(".*.tmp")]
    writing = f", writing {half[0].rsplit('.', 2)[0].lstrip('.')}" if half else ""
    if folder.is_evaluated:
        return f"{name} evaluated, pages{writing}"
    if folder.is_synthesized:
        return f"{name} evaluation{writing}"
    if folder.is_trained:
        return f"{name} synthesis, {len(list(folder.samples.rglob('[0-9]*.png')))} images{writing}"
    saved = sorted(path.stem for path in folder.checkpoints.glob("*.ckpt"))
    return f"{name} training, checkpoints: {' '.join(saved) or 'none'}{writing}"
