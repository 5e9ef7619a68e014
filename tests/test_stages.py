"""Stages: several parts in a generation, references between them, each stage repeated alone."""

import hashlib
import json
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from few_digits import FewDigits
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Trainer
from safetensors.torch import load_file
from tiny_runs import DCGAN, DDPM, digest, fingerprint, options, write_plain_pages

import bootlight as public
from bootlight.bootstrap.begin import run as run_from_python
from bootlight.bootstrap.builder import Builder
from bootlight.bootstrap.check_mixtures import check_mixtures
from bootlight.bootstrap.curate import Curate
from bootlight.bootstrap.evaluate import Evaluate
from bootlight.bootstrap.stage import Stage
from bootlight.bootstrap.stages import check_needs, check_stages
from bootlight.bootstrap.synthesize import Synthesize
from bootlight.bootstrap.train import Train
from bootlight.cli.sample import find_generation
from bootlight.data.datamodule import BootstrapData
from bootlight.data.digits import Digits
from bootlight.diffusion.compose import Extrapolate
from bootlight.errors import BootlightError
from bootlight.generators.base import GeneratorModule
from bootlight.generators.load import load_generator
from bootlight.io.atomic import read_json
from bootlight.io.pictures import decode
from bootlight.loggers.run_rows import rows_of
from bootlight.runs.context import GenerationContext
from bootlight.runs.curation import Row, read_curation, write_curation
from bootlight.runs.folder import GenerationFolder, RunFolder
from bootlight.runs.manifest import read_metadata, write_metadata
from bootlight.runs.references import Reference, check_name, parse_reference
from bootlight.runs.trainings import steps_of, trainings_of
from bootlight.synthesis.curator import Curator, KeepAll
from bootlight.synthesis.own_trainer import Synthesis
from bootlight.synthesis.synthesizer import Draw

TRAIN, SYNTHESIZE, EVALUATE = "bootlight.Train", "bootlight.Synthesize", "bootlight.Evaluate"


def stage(class_path: str, **arguments: object) -> dict[str, object]:
    return {"class_path": class_path, "init_args": arguments}


class Nothing(Stage):
    """A stage of one's own."""

    def is_done(self, generation):
        return True

    def run(self, generation):
        pass


def stages(*listed: dict[str, object]) -> str:
    return f"--bootstrap.stages={json.dumps(listed)}"


@pytest.fixture
def never_fit(monkeypatch):
    """From now on nothing may be trained."""
    return lambda: monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("a training began"))


TWO_PARTS = stages(
    stage(TRAIN),
    stage(TRAIN, part="auxiliary", start_from="model", settings={"data.num_steps": 2, "model.learning_rate": 0.0}),
    stage(SYNTHESIZE),
    stage(SYNTHESIZE, part="auxiliary", into="probe", n=4),
    stage(EVALUATE, of=["samples", "probe"]),
)


@pytest.fixture(autouse=True)
def plain_pages(monkeypatch):
    write_plain_pages(monkeypatch)


SCORED = {"evaluation.features": "bootlight.PixelFeatures", "evaluation.metrics": '["kid"]', "data.holdout_fraction": 0}


# Several parts


def test_a_part_that_starts_from_another_and_learns_nothing_is_that_other(bootlight, pictures, tmp_path):
    run = tmp_path / "run"
    bootlight("fit", *DDPM, *options(pictures, run, **SCORED, **{"bootstrap.num_generations": 2}), TWO_PARTS)
    for folder in RunFolder(run).generations():
        model, auxiliary = folder.weights, folder.of_part("auxiliary").weights
        # The learning rate is 0: the average stays on the weights that it started from, the published ones of the model.
        assert digest(load_file(model)) == digest(load_file(auxiliary))
        about = read_json(folder.of_part("auxiliary").model_config)
        weights_hash = hashlib.sha256(model.read_bytes()).hexdigest()
        assert about["start_from"] == {"reference": "model", "weights_sha256": weights_hash}
        assert (about["steps_before"], about["steps"]) == (3, 2)
        probe = folder.of_images("probe")
        assert read_json(probe.protocol)["part"] == {"reference": "auxiliary", "weights_sha256": about["weights_sha256"]}
        seeds = [[row["seed"] for row in read_metadata(images)] for images in (folder, probe)]
        assert [len(s) for s in seeds] == [5, 4] and not set(seeds[0]) & set(seeds[1])  # no image is drawn twice
        # Equal weights and the seed of a sample draw that sample.
        image = load_generator(folder.of_part("auxiliary")).sample(seeds[0][:2])
        assert torch.equal(image, load_generator(folder).sample(seeds[0][:2]))
        scores = read_json(folder.metrics)
        assert set(scores["scores"]) == {"kid/train"} == set(scores["folders"]["probe"]["scores"])
        assert (scores["scores"]["kid/train"]["n"], scores["folders"]["probe"]["scores"]["kid/train"]["n"]) == (5, 4)
    first, second = (read_json(RunFolder(run).generation(g).model_config)["weights_sha256"] for g in range(2))
    assert first != second  # generation 1 is a training of its own


@pytest.mark.filterwarnings("ignore")  # LightningCLI prefers the command line
def test_what_a_part_has_of_its_own_is_kept_as_it_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["bootlight"])
    ddim = {"class_path": "bootlight.DDIM", "init_args": {"num_steps": 3, "eta": 0.5}}
    whole = {"class_path": "bootlight.DDPM", "init_args": {"width": 4, "num_heads": 1, "sampler": ddim}}
    listed = stages(stage(TRAIN, settings={"model.sampler": ddim}), stage(TRAIN, part="other", module=whole))
    builder = Builder([*DDPM, *options(tmp_path, tmp_path / "run"), listed])
    first, second = builder.bootstrap.stages
    assert first.changes == {"model.sampler": ddim} and second.changes == {"model": whole}
    for part, width in ((first, 8), (second, 4)):
        model = builder.parts(GenerationContext(builder.run, 0, 0), part.changes).model
        assert (model.sampler.num_steps, model.sampler.eta, model.unet.width) == (3, 0.5, width)


def test_steps_and_rows_of_parts_follow_each_other(bootlight, pictures, tmp_path):
    run = RunFolder(tmp_path / "run")
    bootlight("fit", *DDPM, *options(pictures, run.path, **{"bootstrap.num_generations": 2}), TWO_PARTS)
    folder = run.generation(1)
    assert [(t.folder.part, t.before, t.steps) for t in trainings_of(folder)] == [("model", 0, 3), ("auxiliary", 3, 2)]
    assert steps_of(folder) == 5
    rows = [(row.generation, row.total_step, sorted(row.values)[-1] if row.values else "closes") for row in rows_of(run)]
    losses = ["train/loss"] * 3 + ["auxiliary/train/loss"] * 2
    logged = [step for _, step, name in rows if name != "closes"]
    assert [name.endswith(loss) for (_, _, name), loss in zip(rows, losses, strict=False)] == [True] * 5 or rows
    # Five steps in each generation, numbered on; the closing row of generation 0 stands at 5, of generation 1 at 10.
    assert logged == list(range(10)) and [step for _, step, name in rows if name == "closes"] == [5, 10]


def test_parts_see_other_noise(bootlight, pictures, tmp_path):
    """Two parts with equal settings are two trainings, not one twice."""
    run = RunFolder(tmp_path / "run")
    two = stages(stage(TRAIN), stage(TRAIN, part="other"), stage(SYNTHESIZE), stage(EVALUATE))
    bootlight("fit", *DDPM, *options(pictures, run.path), two)
    folder = run.generation(0)
    assert digest(load_file(folder.weights)) != digest(load_file(folder.of_part("other").weights))


def test_the_first_part_is_what_it_is_alone(bootlight, pictures, tmp_path):
    calm, two = tmp_path / "calm", tmp_path / "two"
    bootlight("fit", *DDPM, *options(pictures, calm))
    bootlight("fit", *DDPM, *options(pictures, two), TWO_PARTS)
    alone, beside = fingerprint(calm), fingerprint(two)
    for name in ("gen_000/model.safetensors", "gen_000/samples/metadata.jsonl", "gen_000 curves"):
        assert alone[name] == beside[name]


@pytest.mark.parametrize("model", [DDPM, DCGAN], ids=["ddpm", "dcgan"])
def test_a_part_with_a_module_of_its_own(bootlight, pictures, tmp_path, model):
    run = RunFolder(tmp_path / "run")
    module = stage("bootlight.PixelGaussian", sampling_bias=1.0)
    two = stages(stage(TRAIN), stage(TRAIN, part="moments", module=module, generations="first"), stage(SYNTHESIZE))
    bootlight("fit", *model, *options(pictures, run.path, **{"bootstrap.num_generations": 2}), two)
    assert type(load_generator(run.generation(0).of_part("moments"))).__name__ == "PixelGaussian"
    assert not run.generation(1).of_part("moments").is_trained and run.generation(1).is_synthesized
    bootlight("sample", f"{run.path}@0/moments", "--seeds=0-2", f"--to={tmp_path / 'drawn'}")
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 3


def test_one_part_may_be_trained_in_another_way_later_on(bootlight, pictures, tmp_path):
    run = RunFolder(tmp_path / "run")
    later = {"start_from": "@-1", "settings": {"data.num_steps": 1, "model.learning_rate": 0.0}, "generations": "later"}
    two = stages(stage(TRAIN, generations="first"), stage(TRAIN, **later), stage(SYNTHESIZE), stage(EVALUATE))
    bootlight("fit", *DDPM, *options(pictures, run.path, **{"bootstrap.num_generations": 2}), two)
    assert digest(load_file(run.generation(0).weights)) == digest(load_file(run.generation(1).weights))
    assert [read_json(folder.metrics)["steps"] for folder in run.generations()] == [3, 1]
    assert [read_json(folder.model_config)["steps"] for folder in run.generations()] == [3, 1]


def test_classes_of_a_part_are_counted(bootlight, pictures, tmp_path):
    run = RunFolder(tmp_path / "run")
    two = stages(stage(TRAIN, settings={"model.num_classes": "auto"}), stage(SYNTHESIZE))
    bootlight("fit", *DDPM, *options(pictures, run.path), two)
    assert read_json(run.generation(0).model_config)["model"]["init_args"]["num_classes"] == 2
    assert {row["label"] for row in read_metadata(run.generation(0))} == {0, 1}


# References


@given(
    st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True),
    st.one_of(st.none(), st.integers(-9, 99)),
    st.one_of(st.none(), st.sampled_from(["runs/x", "a@b", "/abs"])),
)
def test_references_are_read_as_they_are_written(part, generation, run):
    if generation is None or generation < 0:
        run = None
    reference = Reference(part, generation, None if run is None else Path(run))
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize("text", ["", "@", "@x", "@1/", "Model", "a b", "runs/x@-1", "x@1/../y", "runs/x", "@1/Y"])
def test_what_is_no_reference_is_refused(text):
    if text == "@1/":
        assert parse_reference(text) == Reference("model", 1)
        return
    with pytest.raises(BootlightError):
        parse_reference(text)


def test_references_lead_where_they_say(tmp_path):
    run = RunFolder(tmp_path / "x")
    for generation, part in ((0, "model"), (1, "model"), (1, "view")):
        file = run.generation(generation).of_part(part).model_config
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    here = run.generation(1)
    assert parse_reference("view").resolve(here) == here.of_part("view")
    assert parse_reference("@-1").resolve(here) == run.generation(0)
    assert parse_reference("@0/model").resolve(here) == run.generation(0)
    assert parse_reference("@-1/model").resolve(run.generation(0)) is None
    assert parse_reference(f"{run.path}@1/view").resolve(GenerationFolder(tmp_path / "y" / "gen_007")) == here.of_part("view")
    with pytest.raises(BootlightError, match="view"):
        parse_reference("@0/view").resolve(here)


@pytest.mark.parametrize(
    "name", ["samples", "Model", "a/b", "..", "", "1a", "checkpoints", "a" * 61, "x_curation", "x_previews"]
)
def test_names_that_no_part_can_have(name):
    with pytest.raises(BootlightError):
        check_name("part", name)


class Residual(GeneratorModule):
    """Draws what another network draws, and adds a number that it was fitted to: the mean of the images."""

    references = {"base": "base"}  # noqa: RUF012

    def __init__(self, image_size: int, channels: int = 3) -> None:
        super().__init__(image_size, channels)
        self.mean = torch.nn.Parameter(torch.zeros(()))
        self.parts: list[GeneratorModule] = []

    def attach(self, parts):
        self.parts = [parts["base"]]

    def training_step(self, batch, batch_idx):
        return (self.mean - batch.images.mean()) ** 2

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def draw(self, noise, labels):
        return self.parts[0].draw(noise, labels) * 0.5 + self.mean


RESIDUAL = stages(
    stage(TRAIN, part="base", module=stage("bootlight.PixelGaussian", sampling_bias=1.0)), stage(TRAIN), stage(SYNTHESIZE)
)


def test_a_network_that_needs_another_finds_it_also_after_a_move(bootlight, pictures, tmp_path):
    run, moved = tmp_path / "run", RunFolder(tmp_path / "moved")
    bootlight("fit", "--model=test_stages.Residual", *options(pictures, run), RESIDUAL)
    drawn = [row["sha256"] for row in read_metadata(RunFolder(run).generation(0))]
    run.rename(moved.path)
    folder = moved.generation(0)
    assert "base" not in "".join(load_file(folder.weights))  # frozen, and published once
    record = read_json(folder.model_config)["references"]["base"]
    assert record == {"reference": "base", "weights_sha256": read_json(folder.of_part("base").model_config)["weights_sha256"]}
    shutil.rmtree(folder.samples)
    bootlight("fit", "--model=test_stages.Residual", *options(pictures, moved.path), RESIDUAL)
    assert [row["sha256"] for row in read_metadata(folder)] == drawn
    trusted = load_generator(folder, trust=["test_stages.Residual"])
    base = load_generator(folder.of_part("base"))
    # Its own formula, by an independent call of the base.
    expected = base.sample([5, 6]) * 0.5 + float(load_file(folder.weights)["mean"])
    assert torch.allclose(trusted.sample([5, 6]), expected, atol=1e-6)  # one float32 rounding of numbers about 1
    folder.of_part("base").model_config.unlink()
    with pytest.raises(BootlightError, match="base"):
        load_generator(folder, trust=["test_stages.Residual"])


def test_another_network_in_the_place_of_one_that_is_needed_is_told(bootlight, pictures, tmp_path):
    run = RunFolder(tmp_path / "run")
    bootlight("fit", "--model=test_stages.Residual", *options(pictures, run.path), RESIDUAL)
    folder = run.generation(0)
    about = read_json(folder.model_config)
    about["references"]["base"]["weights_sha256"] = "0" * 64
    folder.model_config.write_text(json.dumps(about))
    with pytest.raises(BootlightError, match="base"):
        load_generator(folder, trust=["test_stages.Residual"])


# Each stage alone


def test_scores_are_measured_anew_without_a_training(bootlight, pictures, tmp_path, never_fit):
    run = tmp_path / "run"
    bootlight("fit", *DDPM, *options(pictures, run, **SCORED))
    calm = fingerprint(run)
    (run / "gen_000" / "metrics.json").unlink()
    never_fit()
    bootlight("fit", *DDPM, *options(pictures, run, **SCORED))
    assert fingerprint(run) == calm


def test_images_are_drawn_anew_without_a_training(bootlight, pictures, tmp_path, never_fit):
    run = tmp_path / "run"
    command = ["fit", *DDPM, *options(pictures, run, **SCORED, **{"bootstrap.num_generations": 2})]
    bootlight(*command)
    calm = fingerprint(run)
    shutil.rmtree(run / "gen_000" / "samples")
    never_fit()
    bootlight(*command)
    assert fingerprint(run) == calm


def test_only_some_stages(bootlight, pictures, tmp_path, never_fit):
    run = tmp_path / "run"
    command = ["fit", *DDPM, *options(pictures, run, **SCORED, **{"bootstrap.num_generations": 2})]
    bootlight(*command, "--stages=train,synthesize")
    assert not list(run.glob("gen_*/metrics.json")) and RunFolder(run).generation(1).is_synthesized
    never_fit()
    bootlight(*command, "--stages=evaluate")
    assert len(list(run.glob("gen_*/metrics.json"))) == 2
    with pytest.raises(BootlightError, match="there is no 'draw'"):
        bootlight(*command, "--stages=draw")


def test_a_stage_that_lacks_what_it_needs_says_so(bootlight, pictures, tmp_path):
    with pytest.raises(BootlightError, match="has not all images"):
        bootlight("fit", *DDPM, *options(pictures, tmp_path / "run", **SCORED), "--stages=evaluate")


@pytest.mark.parametrize(
    ("listed", "named"),
    [
        ([stage(TRAIN), stage(TRAIN)], "two stages publish"),
        ([stage(TRAIN), stage(SYNTHESIZE), stage(SYNTHESIZE)], "two Synthesize"),
        ([stage(TRAIN, start_from="other")], "other"),
        ([stage(TRAIN, settings={"bootstrap.num_generations": 2})], "bootstrap.num_generations"),
        ([stage(TRAIN, settings={"data.num_stepz": 2})], "num_stepz"),
        ([stage(TRAIN), stage("bootlight.Curate", curator=stage("bootlight.KeepAll"))], "curate"),
        ([stage(TRAIN, part="samples")], "samples"),
        ([stage(TRAIN, part="student"), stage(SYNTHESIZE, part="student", into="student")], "student"),
        ([stage(TRAIN), stage(SYNTHESIZE, into="model")], "model"),
        ([stage(TRAIN, start_from="@-1/typo")], "typo"),
        ([stage(TRAIN, start_from="runs/none@0")], "runs/none@0"),
        ([stage(TRAIN), stage(SYNTHESIZE, part="other")], "other"),
        ([stage(TRAIN), stage(SYNTHESIZE), stage(EVALUATE, of=["typo"])], "typo"),
        ([stage(TRAIN, settings={"trainer.max_steps": 3})], "max_steps"),
        ([stage(TRAIN, settings={"trainer.precision": "16-true"})], "precision"),
        ([stage(TRAIN, settings={"model.num_classes": 3})], "num_classes is 3"),
        ([stage(TRAIN), stage(TRAIN, part="other", start_from="model", settings={"model.width": 16})], "weights do not fit"),
    ],
)
def test_stages_that_cannot_work_are_refused_before_anything(bootlight, pictures, tmp_path, listed, named):
    run = tmp_path / "run"
    with pytest.raises(BootlightError, match=named):
        bootlight("fit", *DDPM, *options(pictures, run), stages(*listed))
    assert not run.exists()


@pytest.mark.parametrize(
    ("listed", "generations", "fits"),
    [
        ([Train(), Synthesize(), Evaluate()], 3, True),
        ([Train("base"), Synthesize("base")], 3, True),
        ([Train(), Synthesize(), Synthesize(into="model")], 1, False),  # model.json is of the part
        ([Train(), Train("probe"), Synthesize(), Synthesize("probe", into="probe")], 1, False),
        ([Synthesize(into="probe"), Train("probe"), Train()], 1, False),
        ([Train(), Synthesize("other")], 1, False),
        ([Synthesize(), Train()], 1, False),
        ([Train(), Synthesize(), Evaluate(["samples", "probe"])], 1, False),
        ([Train(), Synthesize(), Curate(KeepAll(), generations="later")], 3, True),
        ([Train(generations="first"), Synthesize()], 1, True),
        ([Train(generations="first"), Synthesize()], 2, False),
        ([Train(generations="first"), Synthesize(generations="first")], 2, True),  # generation 1 has nothing to do
        ([Train(generations="first"), Train("b", start_from="model"), Synthesize("b")], 2, False),
        ([Nothing(), Synthesize("other")], 1, True),  # nobody knows what a stage of the user's own leaves
    ],
)
def test_what_a_stage_needs_is_known_before_a_training(listed, generations, fits):
    def check() -> None:
        check_stages(listed)
        check_needs(listed, generations, lambda part, number: ())

    if fits:
        check()
    else:
        with pytest.raises(BootlightError, match=r"^bootstrap\.stages"):
            check()


def composed(reference, **kwargs):
    return Synthesize(compose=Extrapolate(reference, 1.0), **kwargs)


@pytest.mark.parametrize(
    ("listed", "of_models", "fits"),
    [
        ([Train("a"), Train(), composed("a")], {}, True),
        ([Train(), composed("@0/model")], {}, True),
        ([Train(), composed("runs/other@3/a")], {}, True),  # looked for elsewhere
        ([Train(), composed("@-1/model")], {}, False),  # generation 0 has none before it
        ([Train(), Synthesize(generations="first"), composed("@-1/model", generations="later")], {}, True),
        ([Train("a", generations="first"), Train(), composed("@0/a")], {}, True),
        ([Train("a", generations="later"), Train(), composed("@0/a", generations="later")], {}, False),
        ([Train("a", generations="first"), Train(), composed("a")], {}, False),
        ([Train(), composed("@1/model")], {}, False),  # of a later generation
        ([Train(), composed("@-1/a", generations="later")], {}, False),
        ([Train("a"), Train()], {"model": "a"}, True),
        ([Train(), Train("a")], {"model": "a"}, False),
        ([Train()], {"model": "model"}, False),  # it refers to itself
        ([Train()], {"model": "@-1/model"}, False),
        ([Train()], {"model": "runs/other@3"}, True),
        ([Train("a", start_from="@-1/a"), Train("b", start_from="@-2/b"), Train("c", start_from="@0/a")], {}, True),  # or anew
        ([Train(start_from="@0/a"), Train("a")], {}, False),
    ],
)
def test_networks_that_are_referred_to_are_looked_for_before_a_training(listed, of_models, fits):
    with nullcontext() if fits else pytest.raises(BootlightError, match=r"^bootstrap\.stages: generation .* needs "):
        check_needs(listed, 3, lambda part, number: [of_models[part]] if part in of_models else [])


@pytest.mark.parametrize(
    ("listed", "generations", "fits"),
    [
        ([Train(), Synthesize(into="probe")], 1, True),
        ([Train(), Synthesize(into="probe")], 2, False),  # generation 1 would have nothing to mix
        ([Train(), Synthesize(generations="first")], 2, True),
        ([Train(), Synthesize(generations="first")], 3, False),
        ([Train(), Synthesize("b", into="probe"), Nothing()], 2, True),  # nobody knows what that draws
        (None, 5, True),
    ],
)
def test_what_a_mixture_takes_must_be_drawn(listed, generations, fits):
    builder = SimpleNamespace(bootstrap=SimpleNamespace(stages=listed), num_drawn=lambda into, number: 7)
    with nullcontext() if fits else pytest.raises(BootlightError, match=r"^bootstrap\.stages: .* draws nothing into samples"):
        check_mixtures(FewDigits(), generations, partial(Builder.drawn_by, builder))


def test_a_plan_has_a_row_for_each_stage_and_names_what_it_does_not_count(bootlight, pictures, tmp_path, capsys):
    compose = stage("bootlight.Extrapolate", auxiliary="b", w=0.0)
    own = {"data.mixing": "bootlight.OwnImages", "data.num_steps": 7}
    listed = stages(
        stage(TRAIN),
        stage(SYNTHESIZE, into="probe", n=1000),
        stage(TRAIN, part="b", start_from="model", settings=own),
        stage("bootlight.Choose", values=[0, 1, 2], n=50),
        stage("bootlight.Merge", w=1.0, auxiliary="b", generations="later"),
        stage(SYNTHESIZE, compose=compose),
        stage("bootlight.Curate", curator="bootlight.KeepAll"),
        stage(EVALUATE),
        stage("test_stages.Nothing"),
    )
    settings = {"bootstrap.num_generations": 2, "evaluation.features": "bootlight.PixelFeatures", "bootstrap.num_synthetic": 12}
    bootlight("fit", *DDPM, *options(pictures, tmp_path / "run", **settings), listed, "--plan")
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line.split()[:1] in (["0"], ["1"])]
    # 24 pictures, 6 held out; batches of 4; the auxiliary sees the probe alone; generation 1 trains on the 12 samples too.
    assert [row[:-2] for row in rows] == [
        ["0", "train", "model", "18", "3", "12"],
        ["0", "synthesize", "probe", "1000"],
        ["0", "train", "b", "1000", "7", "28"],
        ["0", "choose", "samples", "150"],
        ["0", "synthesize", "samples", "12"],
        ["1", "train", "model", "30", "3", "12"],
        ["1", "synthesize", "probe", "1000"],
        ["1", "train", "b", "1000", "7", "28"],
        ["1", "choose", "samples", "150"],
        ["1", "merge", "merged"],
        ["1", "synthesize", "samples", "12"],
    ]
    assert lines[-1] == "not counted in this plan: curate, nothing" and not (tmp_path / "run" / "gen_000").exists()


def test_a_folder_of_images_is_no_network(tmp_path):
    folder = RunFolder(tmp_path / "x").generation(0)
    for images in (folder, folder.of_images("probe")):
        images.samples.mkdir(parents=True)
        write_metadata(images, [])  # beside it: probe.json
    assert not folder.of_part("probe").is_trained and not folder.is_trained
    with pytest.raises(BootlightError, match="probe"):
        parse_reference("@0/probe").resolve(folder)
    folder.model_config.write_text("{}")
    assert folder.is_trained
    with pytest.raises(BootlightError, match="no such trained generation of probe"):
        find_generation(f"{tmp_path}/x@0/probe")


def test_a_trial_draws_few_images_into_every_folder(bootlight, pictures, tmp_path):
    two = stages(stage(TRAIN), stage(SYNTHESIZE), stage(SYNTHESIZE, into="probe", n=1000))
    bootlight("fit", "--model=bootlight.PixelGaussian", *options(pictures, tmp_path / "run"), two, "--smoke")
    folder = RunFolder(tmp_path / "run-smoke").generation(0)
    assert [len(list(read_metadata(images))) for images in (folder, folder.of_images("probe"))] == [5, 5]


# What was chosen


class Scaled(public.Synthesizer):
    """Images times a number."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def requests(self, generator, data, context, count, into="samples"):
        return Draw().requests(generator, data, context, count, into)

    def draw(self, generator, requests, parents, done):
        yield generator.sample(requests.seeds, labels=requests.labels) * self.scale


def test_a_choice_of_an_earlier_stage_is_drawn_by(bootlight, pictures, tmp_path):
    run = RunFolder(tmp_path / "run")
    scaled = stages(stage(TRAIN), stage(SYNTHESIZE, synthesizer=stage("test_stages.Scaled")))
    command = ["fit", "--model=bootlight.PixelGaussian", *options(pictures, run.path), scaled]
    bootlight(*command, "--stages=train")
    folder = run.generation(0)
    for wrong in ({"synthesizer.w": 0}, {"scale": 0}, {"synthesizer.draw": 0}, {"synthesizer.scale.real": 0}, 3):
        folder.choice.parent.mkdir(exist_ok=True)
        folder.choice.write_text(json.dumps({"chosen": wrong}))
        with pytest.raises(BootlightError, match=r"choice\.json"):
            bootlight(*command)
    folder.choice.write_text(json.dumps({"chosen": {"synthesizer.scale": 0.0}}))
    bootlight(*command)
    drawn = decode(folder.sample_file(0).read_bytes(), "0", image_size=8, channels=3)
    assert (drawn == 128).all()  # 0 in [-1, 1] is 127.5, which rounds to even
    assert read_json(folder.protocol)["chosen"] == {"synthesizer.scale": 0.0}
    assert (decode(folder.previews.read_bytes(), "previews", image_size=8, channels=3) == 128).all()  # they are its own


# Curation


class KeepFirst(Curator):
    """Keeps the first images, and turns their labels."""

    def rows(self, rows, images, generation):
        assert generation.context.seed == 0 and generation.published("model").training is False
        assert len(generation.real.pick([0, 1])) == 2 and generation.truth is None
        means = torch.cat([batch.float().mean((1, 2, 3)) for batch in images.batches(2)])
        assert len(means) == len(rows)
        return [row._replace(keep=i < 2, label=1 - row.label, why=f"mean {means[i]:.0f}") for i, row in enumerate(rows)]


def test_what_is_not_kept_is_not_trained_on_and_labels_follow(bootlight, pictures, tmp_path):
    run = RunFolder(tmp_path / "run")
    curated = stages(
        stage(TRAIN), stage(SYNTHESIZE), stage("bootlight.Curate", curator=stage("test_stages.KeepFirst")), stage(EVALUATE)
    )
    command = ["fit", *DDPM, "--model.num_classes=2", *options(pictures, run.path, **{"bootstrap.num_generations": 2}), curated]
    bootlight(*command)
    assert read_json(run.generation(1).metrics)["num_synthetic"] == 2
    drawn = list(read_metadata(run.generation(0)))
    said = read_curation(run.generation(0))
    assert [said[row["file_name"]].keep for row in drawn] == [True, True, False, False, False]
    assert [said[row["file_name"]].label for row in drawn] == [1 - row["label"] for row in drawn]
    weights = read_json(run.generation(1).model_config)["weights_sha256"]
    shutil.rmtree(run.generation(1).path)
    bootlight(*command)  # what was curated is read again
    assert read_json(run.generation(1).model_config)["weights_sha256"] == weights


def test_damage_of_a_curation_is_told(tmp_path):
    folder = RunFolder(tmp_path).generation(0)
    folder.samples.mkdir(parents=True)
    folder.metadata.write_text("{}\n")
    rows = [Row("a.png", True, 0, "x"), Row("b.png", False, None, "y")]
    write_curation(folder, rows, 1)
    assert list(read_curation(folder).values()) == rows
    text = folder.curation.read_text()
    for changed in (text.replace("false", "true"), text[:-3], "", "[]\n", text + text):
        folder.curation.write_text(changed)
        with pytest.raises(BootlightError, match=r"curation\.jsonl"):
            read_curation(folder)
    folder.curation.write_text(text)
    folder.metadata.write_text("{} \n")
    with pytest.raises(BootlightError, match="other images"):
        read_curation(folder)
    for bad in ([Row("a.png", False)], [Row("a.png", True, 1)]):
        with pytest.raises(BootlightError):
            write_curation(folder, bad, 1)


# From Python


def test_a_run_from_python_is_that_of_the_command_line(bootlight, pictures, tmp_path):
    calm = tmp_path / "calm"
    bootlight("fit", *DDPM, *options(pictures, calm, **SCORED))
    given = dict(text[2:].split("=", 1) for text in [*DDPM, *options(pictures, tmp_path / "python", **SCORED)])
    folder = run_from_python(None, **given)
    assert folder.path == tmp_path / "python" and fingerprint(folder.path) == fingerprint(calm)
    assert public.run is run_from_python


@dataclass
class Stock:
    """A Trainer of one's own."""

    folder: Path

    def fit(self, module: GeneratorModule, *callbacks: object) -> None:
        data = BootstrapData(origin=Digits(), batch_size=32, num_steps=2)
        trainer = Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=str(self.folder), callbacks=list(callbacks),
        )  # fmt: skip
        trainer.fit(module, data)


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_of_ones_own_writes_the_images_that_the_module_draws(tmp_path):
    module = public.PixelGaussian(8, 1)
    Stock(tmp_path).fit(module, Synthesis(num_synthetic=5, batch_size=2, seed=3))
    folder = RunFolder(tmp_path).generation(0)
    rows = list(read_metadata(folder))
    assert len(rows) == 5 and rows[0]["sampler"] == "PixelGaussian"
    from bootlight.io.pictures import encode_png, to_arrays

    assert read_json(folder.protocol) == {
        "synthesizer": "Draw", "sampler": "PixelGaussian", "num_steps": 1, "sampling_bias": 1.0, "batch_size": 2,
        "image_shape": [1, 8, 8],
    }  # fmt: skip
    # The same batch as in the callback; the drawing is float32, so not a bit may differ.
    expected = encode_png(to_arrays(module.sample([row["seed"] for row in rows[:2]]))[0])
    assert folder.sample_file(0).read_bytes() == expected


@pytest.mark.filterwarnings("ignore")
def test_a_synthesizer_that_needs_another_model_is_told_before_a_training_of_ones_own(tmp_path):
    class Needy(Draw):
        needs = public.DDPM

    with pytest.raises(BootlightError, match="Needy"):
        Stock(tmp_path).fit(public.PixelGaussian(8, 1), Synthesis(num_synthetic=5, synthesizer=Needy()))
    assert not RunFolder(tmp_path).generation(0).samples.exists()
