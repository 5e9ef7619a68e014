"""Two processes train as one: what they see, what they draw, and that kills and signals leave no trace."""

import hashlib
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_folder import draw
from lightning.pytorch import Callback
from ranks import DDPM, MODELS, SLOWLY, Ranks, calm, pictures, results, settings, wait_until

from bootlight.generators.load import load_generator
from bootlight.io.atomic import read_json
from bootlight.io.pictures import decode
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import RunFolder
from bootlight.runs.manifest import read_metadata
from bootlight.synthesis.folder import image_seeds

# What one process draws from the same weights


@pytest.mark.parametrize("name", MODELS)
def test_one_process_draws_the_images_of_two_from_the_same_weights(tmp_path, name):
    calm(name)
    run = RunFolder(pictures().parent / name)
    for generation in range(2):
        folder, alone = run.generation(generation), RunFolder(tmp_path).generation(generation)
        seeds = image_seeds(GenerationContext(run, generation, 0), 20)
        draw(load_generator(folder), alone, seeds, None, batch_size=2)
        for row in read_metadata(folder):
            drawn = (alone.samples / row["file_name"]).read_bytes()
            assert hashlib.sha256(drawn).hexdigest() == row["sha256"]  # batch norm too has the statistics of rank 0 alone


# What a step sees


class Recorder(Callback):
    """Writes down what this rank sees: a line for each image of each step."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        noise, t = batch.normal("noise", 3, 8, 8), batch.uniform("t")
        folder = Path(trainer.default_root_dir)
        folder.mkdir(exist_ok=True)
        with open(folder / f"seen-{trainer.global_rank}.jsonl", "a") as file:
            for i in range(len(batch.images)):
                row = [hashlib.sha256(part[i].numpy().tobytes()).hexdigest() for part in (batch.images, noise, t)]
                row += [None if batch.labels is None else int(batch.labels[i]), batch.seed, batch.total]
                file.write(json.dumps({"step": batch_idx, "place": batch.start + i, "row": row}) + "\n")


def seen(run: Path, generation: int) -> list[tuple[int, int, list]]:
    lines = [line for file in (run / f"gen_{generation:03d}").glob("seen-*") for line in file.read_text().splitlines()]
    return sorted((row["step"], row["place"], row["row"]) for row in map(json.loads, lines))


def test_two_processes_see_at_each_step_what_one_sees(tmp_path):
    frozen = [*DDPM, "--model.num_classes=2", "--model.learning_rate=0"]  # so that generation 1 has the same images to see
    one, two = tmp_path / "one", tmp_path / "two"
    args = [*frozen, *settings(**{"evaluation.judge_steps": 0}), "--trainer.callbacks=test_ddp.Recorder"]
    for run, per_node in ((one, 1), (two, 2)):
        ranks = Ranks(args, [run], per_node)
        assert ranks.wait() == [0] * per_node, ranks.said()
    for generation in range(2):
        assert len(list((two / f"gen_{generation:03d}").glob("seen-*"))) == 2
        assert seen(two, generation) == seen(one, generation)
        places = [(step, place) for step, place, _ in seen(two, generation)]
        assert places == [(step, place) for step in range(12) for place in range(4)]
    different = {tuple(row[:3]) for _, _, row in seen(two, 0)}
    assert len(different) == 48  # no image, noise or timestep is shared between ranks
    # The same weights draw the same images, with the same scores, in either number of processes.
    scores = [[read_json(RunFolder(run).generation(g).metrics)["scores"] for g in range(2)] for run in (one, two)]
    assert scores[0] == scores[1]
    drawn = [{name: value for name, value in results(run).items() if name[-12:] != "metrics.json"} for run in (one, two)]
    assert drawn[0] == drawn[1]  # metrics.json has the loss too, that of the share of rank 0


def test_two_processes_learn_what_one_learns_but_for_rounding(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    args = [*DDPM, *settings(**{"evaluation.judge_steps": 0, "bootstrap.num_generations": 1})]
    for run, per_node in ((one, 1), (two, 2)):
        ranks = Ranks(args, [run], per_node)
        assert ranks.wait() == [0] * per_node, ranks.said()
    modules = [load_generator(RunFolder(run).generation(0)) for run in (one, two)]
    # Biases before a normalisation have no gradient but rounding noise, which Adam makes into steps of full length: such
    # weights are apart by up to 0.05, a few learning rates. What the network answers does not depend on them.
    noise = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        answers = [module.drawn(module.unet)(noise, torch.arange(16)) for module in modules]
    # Float32 rounds by 6e-8, some hundred roundings follow each other: 1e-6 was measured. The answers are of size 1; with
    # one image of one step exchanged for another they are apart by more than 1e-3.
    assert float((answers[0] - answers[1]).abs().max()) < 3e-5
    drawn = [pixels(run) for run in (one, two)]
    # 3e-5 of a half range is 0.004 grey levels: hardly any of 3840 values crosses a rounding boundary, and none goes further.
    assert np.abs(drawn[0] - drawn[1]).max() <= 1 and (drawn[0] != drawn[1]).mean() < 0.02


def pixels(run: Path) -> np.ndarray:
    folder = RunFolder(run).generation(0)
    files = [folder.samples / row["file_name"] for row in read_metadata(folder)]
    return np.stack([decode(file.read_bytes(), str(file), image_size=8, channels=3) for file in files]).astype(int)


# Kills and signals


def moments(run: Path) -> dict[str, tuple[Path, Path]]:
    """For each stage of generation 1 a file that is there soon after it began, and the one that ends it."""
    folder = RunFolder(run).generation(1)
    return {
        "training": (folder.checkpoints / "last.ckpt", folder.model_config),
        "synthesis": (folder.sample_file(2), folder.metadata),
    }


@pytest.mark.parametrize(
    "name, where",
    [
        ("ddpm", "synthesis"),
        ("dcgan", "training"),
        pytest.param("ddpm", "training", marks=pytest.mark.slow),
        pytest.param("dcgan", "synthesis", marks=pytest.mark.slow),
    ],
)
def test_killed_it_ends_as_if_it_never_had_been(tmp_path, name, where):
    run = tmp_path / "run"
    began, end = moments(run)[where]
    args = [*MODELS[name], *settings()]
    first = Ranks([*args, SLOWLY], [run], per_node=2)
    assert wait_until(began.exists), first.said()
    first.kill()
    assert not end.exists()  # it was soon enough
    second = Ranks(args, [run], per_node=2)
    assert second.wait() == [0, 0], second.said()
    assert results(run) == calm(name)
    if where == "synthesis":  # of all stages only the evaluation is left
        (run / "gen_001" / "metrics.json").unlink()
        third = Ranks(args, [run], per_node=2)
        assert third.wait() == [0, 0], third.said()
        assert results(run) == calm(name)


@pytest.mark.parametrize("who", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_one_rank_is_asked_and_all_save_and_stop(tmp_path, who):
    run = tmp_path / "run"
    args = [*DDPM, *settings()]
    first = Ranks([*args, SLOWLY], [run], per_node=2)
    assert wait_until(moments(run)["training"][0].exists), first.said()
    os.kill(first.processes[who].pid, signal.SIGTERM)
    assert first.wait() == [75, 0], first.said()
    assert first.said().count("stopped by SIGTERM") == 1 and "Traceback" not in first.said()
    saved = torch.load(moments(run)["training"][0], weights_only=True)
    assert saved["global_step"] == 10  # where ranks ask each other; checkpoints are due at 4, 8 and 12
    second = Ranks(args, [run], per_node=2)
    assert second.wait() == [0, 0], second.said()
    assert results(run) == calm("ddpm")


def test_the_time_of_a_job_ends_for_all(tmp_path):
    ranks = Ranks([*DDPM, *settings(), "--trainer.max_time=00:00:00:00"], [tmp_path / "run"], per_node=2)
    assert ranks.wait() == [75, 0], ranks.said()
    assert "stopped by trainer.max_time; run the same command again to continue" in ranks.said()


# Disagreement


def test_ranks_with_other_settings_are_named_and_nobody_hangs(tmp_path):
    own = ([], ["--data.batch_size=8"])
    ranks = Ranks([*DDPM, *settings()], [tmp_path / "run"], per_node=2, own=own)
    assert ranks.wait() == [1, 1]
    message = "rank 1 was started with other settings than rank 0 (data.init_args.batch_size: 4 -> 8); start all alike"
    assert [log.read_text() for log in ranks.logs] == [f"bootlight: {message}\n"] * 2


class AskedAtOnce(Callback):
    """The signal comes while Lightning makes ready for the first step, when its own handlers stand for a moment."""

    def on_train_start(self, trainer, pl_module):
        if os.environ.get("ASK") == str(trainer.global_rank):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("who", ["0", "1"])
def test_asked_before_the_first_step_all_save_and_stop(tmp_path, who):
    run = tmp_path / "run"
    args = [*DDPM, *settings(**{"evaluation.judge_steps": 0}), "--trainer.callbacks=test_ddp.AskedAtOnce"]
    first = Ranks(args, [run], per_node=2, ASK=who)
    assert first.wait() == [75, 0], first.said()
    assert (RunFolder(run).generation(0).checkpoints / "last.ckpt").exists()
