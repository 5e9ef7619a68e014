"""Text-to-image pipelines: prompts, latents, guidance, training of all weights and of adapters, and as they are."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny_pipelines import diffusers, pixel_pipeline, text_pipeline
from tiny_runs import draw_pictures, options

import bootlight as library
from bootlight.batch import Batch
from bootlight.errors import BootlightError
from bootlight.generators.load import load_generator
from bootlight.pipelines.folder import PipelineFolder
from bootlight.pipelines.latents import encoded_prompts
from bootlight.rng import NoiseStreams
from bootlight.runs.folder import RunFolder

SEEDS = [3, 5, 8]
WORDS = ["cat", "guinea_pig"]
PROMPTS = ["a photo of a cat", "a photo of a guinea pig", ""]
# Of two float32 programs, see test_diffusers_export; x0 of latents is not limited, so that an error of one step is handed on
# whole and through the network again, which triples it at most; three steps.
TOLERANCE = 2e-3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("text") / "folder"
    text_pipeline(found)
    return found


@pytest.fixture
def pipeline(folder):
    found = diffusers.StableDiffusionPipeline.from_pretrained(str(folder))
    found.set_progress_bar_config(disable=True)
    return found


def pretrained(folder, **more):
    torch.manual_seed(0)
    given = {"num_classes": 2, "class_names": WORDS, "ema_decay": None}
    return library.Pretrained(16, str(folder), **given | more).eval()


def batch(count=4):
    images = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return Batch(images, torch.tensor([0, 1, 1, 0])[:count], 5, 0, count)


def test_prompts_are_encoded_as_the_pipeline_does(folder, pipeline):
    found = encoded_prompts(PipelineFolder(folder), PROMPTS)
    theirs, _ = pipeline.encode_prompt(PROMPTS, "cpu", 1, do_classifier_free_guidance=False)
    assert found.shape == (3, 20, 8)
    assert (found[0] - found[1]).abs().max() > 0.1
    assert torch.allclose(found, theirs, atol=1e-5)  # one prompt at a time, and all together: sums of 8 to 20 numbers of size 1
    assert torch.equal(pretrained(folder).network.prompts, found)


def test_latents_are_theirs(folder, pipeline):
    module, images = pretrained(folder), batch().images
    assert module.latent_shape == (4, 8, 8)
    with torch.no_grad():
        scale = pipeline.vae.config.scaling_factor
        latents = pipeline.vae.encode(images).latent_dist.mean * scale
        # Two float32 copies of one network: convolutions choose how they sum by where numbers lie. Latents are below 1.
        assert (module.encode(images) - latents).abs().max() < 1e-6 < latents.std() / 100
        assert (module.decode(latents) - pipeline.vae.decode(latents / scale).sample).abs().max() < 1e-5


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_images_are_theirs_at_equal_noise(folder, pipeline, guidance):
    module = pretrained(folder, sampler=library.DDIM(4, guidance, clip=False, spacing="trailing"))
    labels = torch.tensor([1, 0, 1])
    own = module.sample(SEEDS, labels=labels)
    theirs = pipeline(
        [PROMPTS[int(k)] for k in labels], num_inference_steps=4, guidance_scale=guidance, output_type="pt",
        latents=NoiseStreams(SEEDS).normal(4, 8, 8), height=16, width=16,
    ).images  # fmt: skip
    assert own.std() > 0.1
    other = module.sample(SEEDS, labels=1 - labels)
    assert (own - other).abs().max() > 5 * TOLERANCE  # the words are heard
    assert (own.clamp(-1, 1) - (2 * theirs - 1)).abs().max() < TOLERANCE


def test_a_step_trains_in_latents(folder):
    """The loss is that of a plain Diffusion of the latents, and images are decoded alone in drawing."""
    module = pretrained(folder)
    losses, _, _ = module.losses(batch())
    plain = library.Diffusion(
        8, lambda sizes: module.network, 4, module.schedule, sampler=module.sampler, num_classes=2, ema_decay=None
    )
    wanted, _, _ = plain.losses(batch()._replace(images=module.encode(batch().images)))
    assert torch.equal(losses, wanted)
    losses.mean().backward()
    assert all(p.grad is None for p in module.autoencoder.parameters())
    assert all(p.grad is not None for p in module.network.parameters())


def test_adapters_alone_are_trained_and_published_merged(folder):
    whole, module = pretrained(folder), pretrained(folder, rank=2, targets=["attentions"])
    assert torch.equal(
        whole.sample(SEEDS, labels=torch.tensor([0, 1, 0])), module.sample(SEEDS, labels=torch.tensor([0, 1, 0]))
    )
    trained = [name for name, p in module.named_parameters() if p.requires_grad]
    assert trained
    assert all("attentions" in name and "parametrizations" in name for name in trained)
    before = {name: value.clone() for name, value in module.published_state().items()}
    assert before.keys() == whole.published_state().keys()
    for _, p in module.named_parameters():
        if p.requires_grad:
            torch.nn.init.normal_(p)
    moved = {name for name, value in module.published_state().items() if not torch.equal(value, before[name])}
    assert moved
    assert all("attentions" in name and name.endswith("weight") for name in moved)


def test_bad_arguments_are_refused(folder, tmp_path):
    for change in (
        {"class_names": ["cat"]},
        {"class_names": None},
        {"class_names": ["cat", "cat"]},
        {"num_classes": None},
        {"template": "a photo"},
        {"channels": 1},
        {"sampler": library.DDIM(4)},  # limits latents to [-1, 1]
        {"targets": ["nowhere"], "rank": 2},
    ):
        with pytest.raises(BootlightError):
            pretrained(folder, **change)
    for size in (17, [16, 18]):
        with pytest.raises(BootlightError):
            library.Pretrained(size, str(folder), num_classes=2, class_names=WORDS)
    with pytest.raises(BootlightError):
        pretrained(folder).losses(batch()._replace(noise=torch.tensor([[0.5, 3.0]] * 4)))
    pixel_pipeline(tmp_path / "pixels")
    with pytest.raises(BootlightError):
        library.Pretrained(8, str(tmp_path / "pixels"), template="a {}")
    with pytest.raises(BootlightError):
        library.Pretrained(8, str(tmp_path / "pixels"), num_classes=2)


def run_options(run, real, folder, stages, *more):
    size = {"data.image_size": 16, "bootstrap.stages": json.dumps(stages)}
    model = [
        "--model=bootlight.Pretrained",
        f"--model.folder={folder}",
        "--model.num_classes=2",
        "--model.class_names=[cat,dog]",
    ]
    sampler = ["--model.sampler=bootlight.DDIM", "--model.sampler.num_steps=2", "--model.sampler.clip=false"]
    return ["fit", *model, *sampler, "--model.ema_decay=0.5", *more, *options(real, run, **size)]


def test_as_it_is(bootlight, folder, tmp_path):
    """No training step; what is published needs the folder no more."""
    moved = tmp_path / "moved"
    text_pipeline(moved)
    run, real = tmp_path / "run", draw_pictures(tmp_path / "real")
    stages = [{"class_path": "bootlight.Adopt"}, {"class_path": "bootlight.Synthesize"}]
    bootlight(*run_options(run, real, moved, stages))
    moved.rename(tmp_path / "elsewhere")
    published = json.loads((run / "gen_000/model.json").read_text())
    assert published["pretrained"]["prompts"] == ["a photo of a cat", "a photo of a dog", ""]
    assert "vae/diffusion_pytorch_model.safetensors" in published["pretrained"]["sha256"]
    state = load_file(run / "gen_000/model.safetensors")
    weights = load_file(tmp_path / "elsewhere/unet/diffusion_pytorch_model.safetensors")
    assert all(torch.equal(value, state[f"net.unet.{name}"]) for name, value in weights.items())
    module = load_generator(RunFolder(run).generation(0))
    assert type(module) is library.Diffusion
    assert module.sampler.num_steps == 2
    rows = [json.loads(line) for line in (run / "gen_000/samples/metadata.jsonl").read_text().splitlines()]
    drawn = module.sample([row["seed"] for row in rows], labels=torch.tensor([row["label"] for row in rows]))
    assert drawn.shape == (5, 3, 16, 16)
    assert drawn.std() > 0.1


def test_trained_by_adapters_then_on_from_there(bootlight, folder, tmp_path):
    run, real = tmp_path / "run", draw_pictures(tmp_path / "real")
    stages = [{"class_path": "bootlight.Train"}, {"class_path": "bootlight.Synthesize"}]
    more = ["--model.rank=2", "--model.targets=[attentions]", "--model.learning_rate=1e-2"]
    bootlight(*run_options(run, real, folder, stages, *more))
    state = load_file(run / "gen_000/model.safetensors")
    weights = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    moved = {name for name, value in weights.items() if not torch.equal(value, state[f"net.unet.{name}"])}
    assert moved
    assert all("attentions" in name and name.endswith("weight") for name in moved)
    assert type(load_generator(RunFolder(run).generation(0))) is library.Diffusion
    stages[0]["init_args"] = {"start_from": f"{run}@0"}
    bootlight(*run_options(tmp_path / "second", real, folder, stages, "--model.learning_rate=0"))
    second = load_file(tmp_path / "second/gen_000/model.safetensors")
    assert state.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in state.items())


def test_import_of_texts(bootlight, folder, tmp_path, capsys):
    bootlight("import", folder, tmp_path / "run", "--class-names", "cat,dog", "--template", "one {}")
    assert "'one dog'" in capsys.readouterr().out
    bootlight("sample", tmp_path / "run", "--label", "1", "--steps", "2", "--seeds", "0-1", "--to", tmp_path / "drawn")
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 2
