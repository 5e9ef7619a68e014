"""Every file of a run folder, every kind of input, changed at random: a line and a status, nothing else touched, little memory.

The cases of a seed are always the same. `-m slow` runs many of them; the others are a sample.
"""

import hashlib
import json
import random
import resource
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from raw_files import state_of_training
from test_mutations import KINDS, MANIFESTS, MODEL, NASTY, SCORES, mutated

FILES = [
    "config.yaml", "environment.json", "gen_000/model.json", "gen_000/model.safetensors", "gen_000/metrics.json",
    "gen_000/train.jsonl", "gen_000/timing.jsonl", "gen_000/samples.json", "gen_000/samples/metadata.jsonl",
    "gen_000/samples/00000/000000.png", "gen_000/checkpoints/last.ckpt", "gen_000/previews.png", "gen_000/batch_size.json",
    "references/judge-1.json", "references/judge-1.safetensors", "references/real_images.json", "real_previews.png",
    "cache/images.npy", "cache/labels.npy", "cache/store.json", "cache/features/key.safetensors", "statistics.npz",
]  # fmt: skip
INPUTS = ["png", "jpeg", "webp", "zip", *MANIFESTS]
ROOM = 3 * 2**30  # bytes of address space above what libraries take
VALUES = [
    "null", "true", "-1", "0", "1e308", "1e999", "NaN", '""', "[]", "{}", '"../../x"', '"/etc/passwd"', '"\\u001b[2J"',
    "9" * 30, '[[[[]]]]', '"a\\u0000b"', '{"class_path": "os.system"}',
]  # fmt: skip


def changed(data: bytes, dice: random.Random) -> bytes:
    """One to four changes: of bytes, or of a value where there are any."""
    for _ in range(dice.randint(1, 4)):
        kind = dice.choice(["replace", "insert", "delete", "cut", "repeat", "flip", "value", "nasty"])
        place = dice.random()
        if kind == "flip" and data:
            at = dice.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :]
        elif kind == "value":
            data = with_another_value(data, dice)
        elif kind == "nasty":
            data = mutated(data, [("insert", place, dice.choice(NASTY))])
        elif kind != "flip":
            piece = dice.randbytes(dice.randint(1, 6)) if kind in ("replace", "insert") else bytes(dice.randint(1, 40))
            data = mutated(data, [(kind, place, b"" if kind == "cut" else piece)])
    return data


def with_another_value(data: bytes, dice: random.Random) -> bytes:
    """JSON, or a line of it, with one of its values exchanged; other files as they are."""
    lines = data.split(b"\n")
    row = dice.randrange(len(lines))
    try:
        content = json.loads(data)
        row = -1
    except (ValueError, RecursionError):
        try:
            content = json.loads(lines[row])
        except (ValueError, RecursionError):
            return data
    place, key, here = None, None, content
    while isinstance(here, dict | list) and here and (place is None or dice.random() < 0.7):
        place, key = here, dice.choice(list(here) if isinstance(here, dict) else range(len(here)))
        here = place[key]
    if place is None:
        return data
    place[key] = "@@"
    text = json.dumps(content).replace('"@@"', dice.choice(VALUES)).encode()
    return text if row < 0 else b"\n".join([*lines[:row], text, *lines[row + 1 :]])


# In a process of its own, whose memory is limited


def make(folder: Path) -> None:
    """A run folder with all of its files, a cache and a file of statistics."""
    import numpy as np
    import safetensors.torch
    import torch
    import yaml

    from bootlight.data.store_folder import sums
    from bootlight.evaluation.networks.trained_networks import save_network
    from bootlight.generators.dcgan import DCGAN
    from bootlight.io.pictures import encode_png
    from bootlight.metrics.features.feature_cache import cached_features
    from bootlight.runs.folder import RunFolder
    from bootlight.synthesis.folder import write_image, write_manifest

    run = RunFolder(folder)
    generation = run.generation(0)
    for place in (generation.checkpoints, run.references, folder / "cache"):
        place.mkdir(parents=True)
    run.config.write_text(yaml.safe_dump({"model": {"class_path": "bootlight.DCGAN"}, "data": {"root": "x", "list": [1, 2.5]}}))
    run.environment.write_text(json.dumps({"torch": "2.6", "threads": 1, "random_streams": "philox4x32-10"}))
    model = DCGAN(8, 3, width=4, latent_dim=4)
    weights = safetensors.torch.save(model.published_state())
    generation.weights.write_bytes(weights)
    generation.model_config.write_text(json.dumps({**MODEL, "weights_sha256": hashlib.sha256(weights).hexdigest()}))
    generation.metrics.write_text(json.dumps(SCORES))
    generation.history.write_text("".join(json.dumps({"step": i, "train/loss": 1.0 / i}) + "\n" for i in range(1, 5)))
    generation.timing.write_text('{"stage": "training", "seconds": 1.5}\n')
    (generation.path / "batch_size.json").write_text('{"batch_size": 4}')
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        write_image(generation.sample_file(i), image)
    write_manifest(generation, range(3), torch.arange(3) % 2, generation=0, protocol={"sampler": "x"})
    for path in (generation.previews, run.real_previews):
        path.write_bytes(encode_png(pixels[0]))
    torch.save(state_of_training(w=torch.arange(20.0), b={"c": [1, "x"]}), generation.checkpoints / "last.ckpt")
    save_network(DCGAN(8, 3, width=4).net_d, run.references / "judge-1.safetensors", {"size": 8, "channels": 3, "width": 4})
    run.real_images.write_text(json.dumps({"content": "0", "count": 3, "held_out": None, "format": 3}))
    np.save(folder / "cache" / "images.npy", pixels)
    np.save(folder / "cache" / "labels.npy", np.zeros(3, np.int64))
    about = {"shape": [3, 8, 8, 3], "class_names": ["a"], "names": ["0", "1", "2"], "sha256": sums(folder / "cache")}
    (folder / "cache" / "store.json").write_text(json.dumps(about))
    cached_features("key", lambda: {"a": torch.arange(6.0)}, folder / "cache")
    np.savez(folder / "statistics.npz", mu=np.zeros(3), sigma=np.eye(3), n=10)


def readers() -> list[Callable[[Path], object]]:
    """All that reads a run folder, without what it would train."""
    import torch

    from bootlight.bootstrap.loop import check_streams
    from bootlight.bootstrap.synthesize import read_batch_size
    from bootlight.data.extra import noted_classes, open_curated
    from bootlight.data.resolve import resolve
    from bootlight.data.store import _open, build_store
    from bootlight.evaluation.generation import final_loss
    from bootlight.evaluation.networks.judge import find_judge, load_judge
    from bootlight.evaluation.reference_stats import load_statistics
    from bootlight.evaluation.sets.streamed import drawn_source
    from bootlight.generators.load import load_generator
    from bootlight.metrics.features.feature_cache import cached_features
    from bootlight.report.table import format_table, write_table
    from bootlight.runs.environment import note_environment
    from bootlight.runs.folder import RunFolder
    from bootlight.runs.history import read_timing
    from bootlight.runs.kept_config import differing_keys, read_config
    from bootlight.runs.links import check_links
    from bootlight.runs.trainings import read_generation_metrics
    from bootlight.training.checkpoints import AtomicCheckpointIO, newest_readable

    def build(root: Path, **kwargs: object) -> object:
        return build_store(root, image_size=8, channels=3, cache=root.parents[1] / "decoded", **kwargs)

    def checkpoint(run: Path) -> None:
        newest_readable(RunFolder(run).generation(0))
        AtomicCheckpointIO(run).load_checkpoint(run / "gen_000/checkpoints/last.ckpt", weights_only=True)

    def scores(run: Path) -> None:
        read_generation_metrics(RunFolder(run))
        write_table(RunFolder(run))
        format_table(RunFolder(run))

    def drawn(run: Path) -> None:
        folder = RunFolder(run).generation(0)
        resolve(f"{run}@0")
        list(drawn_source("drawn", folder, (3, 8, 8)).batches(2))
        open_curated(folder, noted_classes(folder) or ("a", "b"), build)

    return [
        check_links,
        checkpoint,
        scores,
        drawn,
        lambda run: differing_keys(read_config(run / "config.yaml"), {}),
        lambda run: note_environment(run / "environment.json", 1, "32-true"),
        lambda run: check_streams(RunFolder(run)),
        lambda run: load_generator(RunFolder(run).generation(0)),
        lambda run: (final_loss(RunFolder(run).generation(0)), read_timing(run / "gen_000/timing.jsonl")),
        lambda run: read_batch_size(run / "gen_000/batch_size.json"),
        lambda run: load_judge(find_judge(run)),
        lambda run: _open(run / "cache"),
        lambda run: cached_features("key", lambda: {"a": torch.arange(6.0)}, run / "cache"),
        lambda run: load_statistics(run / "statistics.npz"),
    ]


READS = {  # what reads which file, by position in `readers`; the others cannot notice
    "config.yaml": [4], "environment.json": [5, 6], "gen_000/model.json": [7, 3], "gen_000/model.safetensors": [7],
    "gen_000/metrics.json": [2], "gen_000/train.jsonl": [8], "gen_000/timing.jsonl": [8], "gen_000/batch_size.json": [9],
    "gen_000/checkpoints/last.ckpt": [1], "references/judge-1.json": [10], "references/judge-1.safetensors": [10],
    "cache/images.npy": [11], "cache/labels.npy": [11], "cache/store.json": [11], "cache/features/key.safetensors": [12],
    "statistics.npz": [13],
}  # fmt: skip


def run_cases(work: Path, first: int, count: int) -> None:
    """So many cases from a number on; prints each that is not as it should be, and how many were read or refused."""
    from bootlight.errors import BootlightError

    whole, outside, run = work / "whole", work / "outside", work / "run"
    make(whole)
    outside.mkdir()
    (outside / "mine").write_text("years of work")
    shutil.copytree(whole, run)
    steps = readers()
    resource.setrlimit(resource.RLIMIT_AS, (in_use() + ROOM, resource.RLIM_INFINITY))
    ends: Counter[str] = Counter()
    for number in range(first, first + count):
        dice = random.Random(number)
        name = dice.choice(FILES + INPUTS)
        original = KINDS[name][0] if name in INPUTS else (whole / name).read_bytes()
        data = changed(original, dice)
        reading: list[Callable[[], object]] = [lambda name=name, data=data: KINDS[name][1](work / "input", data)]
        if name not in INPUTS:
            (run / name).write_bytes(data)
            reading = [lambda step=steps[i]: step(run) for i in READS.get(name, [3])]
        (work / "input").mkdir(exist_ok=True)
        for read in reading:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    read()
                ends["read"] += 1
            except BootlightError as error:
                ends["refused"] += 1
                if not str(error).isprintable() or not str(error):
                    print(f"case {number} {name}: not one line: {error!r}")
            except BaseException as error:  # whatever it is, a user would see its traceback
                print(f"case {number} {name}: {type(error).__name__}: {str(error)[:200]!r}")
                ends["fell"] += 1
        mend(whole, run)
        if sorted(path.name for path in outside.iterdir()) != ["mine"] or (outside / "mine").read_text() != "years of work":
            print(f"case {number} {name}: something outside was touched")
    print("ends", json.dumps(ends))


def mend(whole: Path, run: Path) -> None:
    """The run as it was; only what differs is written."""
    for path in list(run.rglob("*")):
        before = whole / path.relative_to(run)
        if path.is_file() and not before.exists():
            path.unlink()
    for path in whole.rglob("*"):
        now = run / path.relative_to(whole)
        if path.is_file() and (not now.exists() or now.read_bytes() != path.read_bytes()):
            now.write_bytes(path.read_bytes())


def in_use() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def cases(tmp_path: Path, first: int, count: int) -> dict[str, int]:
    command = [sys.executable, __file__, str(tmp_path), str(first), str(count)]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-2000:]
    *fallen, last = done.stdout.splitlines()
    assert fallen == []
    return json.loads(last.removeprefix("ends "))


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc how much memory is in use")
def test_a_sample_of_changed_files(tmp_path):
    ends = cases(tmp_path, 0, 300)
    assert ends["refused"] > 50 and ends["read"] > 50


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc how much memory is in use")
@pytest.mark.parametrize("first", range(0, 20_000, 2_000))
def test_changed_files(tmp_path, first):
    assert sum(cases(tmp_path, first, 2_000).values()) >= 2_000


if __name__ == "__main__":
    run_cases(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
