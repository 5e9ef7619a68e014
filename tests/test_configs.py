"""Each small config that is shipped runs, with fewer steps and images."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from bootlight.bootstrap.builder import Builder
from bootlight.bootstrap.stages import chosen_stages
from bootlight.io.atomic import read_json
from bootlight.io.pictures import encode_png

CONFIGS = Path(__file__).parents[1] / "configs"
FEW = [
    "--bootstrap.num_generations=2", "--bootstrap.num_synthetic=8", "--bootstrap.run_dir=run", "--data.num_steps=2",
    "--data.batch_size=4", "--evaluation.judge_steps=2", "--evaluation.judge_width=4", "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu",
]  # fmt: skip
CHANGES = {
    "digits_ddpm": ["--evaluation.features.epochs=1", "--model.sampler.num_steps=4"],
    "digits_dcgan": ["--evaluation.features.epochs=1", "--data.num_epochs=null", "--model.width=4"],
    "faces_ddpm": ["--data.root=images", "--model.sampler.num_steps=2"],
    "faces_dcgan": ["--data.root=images", "--model.width=4", "--bootstrap.num_generations=2"],
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_small_config_runs(bootlight, tmp_path, name):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(20):
        picture = rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)  # not square, not of the right size
        (tmp_path / "images" / f"{i}.png").write_bytes(encode_png(picture))
    bootlight("fit", "--config", CONFIGS / f"{name}.yaml", *FEW, *CHANGES[name])
    rows = read_json(tmp_path / "run" / "metrics.json")["generations"]
    num_real = 1438 if name.startswith("digits") else 18  # a fifth, a tenth held out
    assert [(row["num_real"], row["num_synthetic"], row["images_seen"]) for row in rows] == [(num_real, 0, 8), (num_real, 8, 8)]
    scores = {"fd-digits" if name.startswith("digits") else "fd-learned", "discriminator_score", "kid", "authpct", "told-apart"}
    scores |= {f"{which}-k{k}" for which in ("precision", "recall") for k in (3, 5)}
    assert {score.split("/")[0] for score in rows[1]["scores"]} == scores
    learned = list((tmp_path / "run" / "references").glob("learned-*.safetensors"))
    assert len(learned) == name.startswith("faces")  # by whose network the generations are measured
    for file in ("strip.png", "report.html", "metrics.csv", "config.yaml"):
        assert (tmp_path / "run" / file).stat().st_size > 0


SYSTEMS = {
    "ambient": ["train", "synthesize", "evaluate"],
    "sims": ["train", "synthesize", "train", "choose", "synthesize", "evaluate"],
    "neon": ["train", "synthesize", "train", "choose", "merge", "synthesize", "evaluate"],
    "autoguidance": ["train", "train", "synthesize", "choose", "synthesize", "evaluate"],
    "mad": ["train", "synthesize", "evaluate"],
    "dreamda": ["train", "synthesize", "synthesize", "synthesize", "evaluate"],
    "sfbd": ["train", "train", "synthesize", "synthesize", "evaluate", "earlystop"],
    "timesteps": ["train", "synthesize", "evaluate"],
    "ddpo": ["train", "synthesize", "train", "train", "synthesize", "evaluate"],
    "rwr": ["train", "train", "synthesize", "curate", "evaluate"],
    "curve": ["train", "synthesize", "train", *["synthesize"] * 5, *["merge", "synthesize"] * 5, "evaluate"],
}


@pytest.mark.filterwarnings("ignore")  # of the parser: arguments are given beside those of pytest
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_stages_of_a_system_find_what_they_need(monkeypatch, name):
    """`--smoke` of each takes a minute; the kill harness runs SIMS and Neon. That of photographs has the same stages."""
    monkeypatch.setattr("sys.argv", ["bootlight"])
    builder = Builder([f"--config={CONFIGS / 'systems' / name}_digits.yaml"])
    assert [stage.name for stage in chosen_stages(builder)] == SYSTEMS[name]
    kinds = []
    for file in (f"{name}.yaml", f"{name}_digits.yaml"):
        written = yaml.safe_load((CONFIGS / "systems" / file).read_text(encoding="utf-8"))
        kinds.append(
            [stage if isinstance(stage, str) else stage["class_path"] for stage in written["bootstrap"].get("stages", [])]
        )
        assert written["bootstrap"]["run_dir"] == f"runs/{file.removesuffix('.yaml')}"
        assert written["data"]["init_args"]["holdout_fraction"] > 0  # so that a choice is not judged by what it was made by
    assert kinds[0] == kinds[1]
