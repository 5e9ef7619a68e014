"""Runs of a second, in many variants, and the fingerprint by which two of them are compared."""

import hashlib
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bootlight.bootstrap import loop
from bootlight.bootstrap.builder import Builder
from bootlight.bootstrap.loop import run_bootstrap
from bootlight.bootstrap.stages import chosen_stages
from bootlight.cli import fit
from bootlight.cli.fit import quiet
from bootlight.distributed.stopping import stop_request
from bootlight.io.atomic import write_bytes
from bootlight.io.pictures import encode_png
from bootlight.runs.folder import RunFolder
from bootlight.runs.history import read_history
from bootlight.runs.trainings import parts_of

DDPM = [
    "--model=bootlight.DDPM", "--model.width=8", "--model.channel_multipliers=[1]", "--model.num_res_blocks=0",
    "--model.attention_resolutions=[]", "--model.num_heads=1", "--model.num_train_timesteps=25", "--model.learning_rate=1e-2",
    "--model.ema_decay=0.9", "--model.sampler=bootlight.Ancestral", "--model.sampler.num_steps=2",
]  # fmt: skip
DCGAN = ["--model=bootlight.DCGAN", "--model.width=4", "--model.latent_dim=4", "--model.ema_decay=0.9"]
# What of a checkpoint decides how training goes on. Its other parts are notes of the callbacks.
STATE = ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "loops")


def draw_pictures(folder: Path, count: int = 24) -> Path:
    """Noise pictures of 8x8 in two classes, a and b."""
    rng = np.random.default_rng(1)
    for i in range(count):
        file = folder / "ab"[i % 2] / f"{i:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode_png(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)))
    return folder


def options(pictures: Path, run: Path, **changes: object) -> list[str]:
    """Arguments of `bootlight fit`; no judge and no feature network unless asked for."""
    values = {
        "data": "bootlight.BootstrapData", "data.root": pictures, "data.image_size": 8, "data.batch_size": 4,
        "data.num_steps": 3, "data.holdout_fraction": 0.25, "data.flip": "true", "bootstrap.run_dir": run,
        "bootstrap.num_generations": 1, "bootstrap.num_synthetic": 5, "bootstrap.checkpoint_every": 1,
        "synthesis.batch_size": 2, "synthesis.num_previews": 3, "evaluation.judge_steps": 0, "trainer.accelerator": "cpu",
        "trainer.enable_progress_bar": "false", "trainer.log_every_n_steps": 1,
    }  # fmt: skip
    if "evaluation.features" not in changes:
        values["evaluation.metrics"] = "[]"
    return [f"--{key}={value}" for key, value in (values | changes).items()]


def digest(value: object) -> str:
    """SHA-256 of tensors, numbers and texts in nested lists and dictionaries: names, types, shapes and every bit."""
    sha = hashlib.sha256()

    def add(item: object) -> None:
        if isinstance(item, dict):
            for key in sorted(item, key=str):
                sha.update(f"key {key}".encode())
                add(item[key])
        elif isinstance(item, list | tuple):
            sha.update(f"list {len(item)}".encode())
            for part in item:
                add(part)
        elif isinstance(item, torch.Tensor):
            sha.update(f"{item.dtype} {tuple(item.shape)}".encode())
            sha.update(item.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            sha.update(repr(item).encode())

    add(value)
    return sha.hexdigest()


def state_of_training(checkpoint: Path) -> str:
    """Digest of the raw weights, their average, the optimizers, the schedule and the place in the data."""
    saved = torch.load(checkpoint, weights_only=True)
    return digest({key: saved[key] for key in STATE})


def fingerprint(run: Path) -> dict[str, str]:
    """What a run has come to: all weights, pictures, manifests, curves and scores, and the names of all its files."""
    found = {"files": "\n".join(sorted(str(path.relative_to(run)) for path in run.rglob("*")))}
    wanted = ("references/*.safetensors", "gen_*/*.safetensors", "gen_*/*.json", "gen_*/*/*/*.png")
    wanted += tuple(f"gen_*/*/{name}" for name in ("metadata.jsonl", "protocol.json", "curation.jsonl", "choice.json"))
    wanted += ("gen_*/*.png", "metrics.json", "metrics.csv", "strip.png")
    for file in sorted(file for pattern in wanted for file in run.glob(pattern)):
        found[str(file.relative_to(run))] = hashlib.sha256(file.read_bytes()).hexdigest()
    for folder in (part for generation in RunFolder(run).generations() for part in parts_of(generation)):
        name = folder.path.name if folder.part == "model" else f"{folder.path.name} {folder.part}"
        if folder.trained_checkpoint.exists():  # bootstrap.keep_checkpoints
            saved = torch.load(folder.trained_checkpoint, weights_only=True)
            found |= {f"{name} {key}": digest(saved[key]) for key in ("state_dict", "optimizer_states", "global_step")}
        found[f"{name} curves"] = digest(read_history(folder.history))
    return found


class Program:
    """`bootlight fit` in this process, as often as it is called: parsed once, each job has fresh objects.

    Args:
        bootlight: the fixture.
        monkeypatch: the fixture.
        arguments: of the command line.
    """

    def __init__(self, bootlight: Callable[..., None], monkeypatch, *arguments: str) -> None:
        parsed: list[Builder] = []
        with monkeypatch.context() as patch:
            patch.setattr(fit, "begin", parsed.append)
            bootlight("fit", *arguments)
        (self.builder,) = parsed
        self.settings = self.builder.bootstrap
        self.run = Path(self.settings.run_dir)

    def __call__(self) -> None:
        self.run.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings(), stop_request.listening():
            quiet()
            run_bootstrap(self.builder, chosen_stages(self.builder))

    def anew(self) -> None:
        """Without anything left of earlier jobs."""
        shutil.rmtree(self.run, ignore_errors=True)
        self()

    def status(self) -> int:
        """Of a job: 0, or what it leaves with."""
        try:
            self()
        except SystemExit as leaving:
            return int(leaving.code or 0)
        return 0


def write_plain_pages(monkeypatch) -> None:
    """Half of a tiny run would be matplotlib's; `test_kills.py` has real pages."""
    monkeypatch.setattr(loop, "write_report", lambda run: write_bytes(run.report, b"report"))
    monkeypatch.setattr(loop, "write_strip", lambda run: write_bytes(run.strip, table_of(run).encode()))


def table_of(run: RunFolder) -> str:
    """Names of the evaluated generations."""
    return " ".join(folder.path.name for folder in run.generations() if folder.is_evaluated)
