"""What is exported to diffusers, and imported from there, draws the same images at equal noise."""

import json

import pytest
import torch
from tiny_pipelines import BLOCKS, awake, diffusers, drawn_by, pixel_pipeline
from torch import nn

import bootlight
from bootlight.errors import BootlightError
from bootlight.generators.exported import export
from bootlight.generators.imported import module_of, write_imported
from bootlight.generators.load import load_generator
from bootlight.networks.unet_2d import UNet2D
from bootlight.networks.unet_twin import from_twin, to_twin, twin_of, twin_settings
from bootlight.pipelines.folder import PipelineFolder
from bootlight.pipelines.understood import understood
from bootlight.rng import NoiseStreams
from bootlight.runs.folder import RunFolder

# Settings of bootlight.UNet that UNet2DModel can have too; attention in both levels needs heads of one width.
SHAPES = [
    ({"width": 32, "channel_multipliers": [1, 2], "num_res_blocks": 1, "attention_resolutions": [4], "num_heads": 4}, None),
    ({"width": 32, "channel_multipliers": [1, 2], "num_res_blocks": 2, "attention_resolutions": [8, 4], "num_heads": 1}, 3),
    ({"width": 32, "channel_multipliers": [1, 1, 2], "num_res_blocks": 1, "attention_resolutions": [], "num_heads": 2}, 2),
    ({"width": 8, "channel_multipliers": [1], "num_res_blocks": 1, "attention_resolutions": [], "num_heads": 2}, None),
]
SEEDS = [3, 5, 8]
# Images of two programs in float32. Both take every number of a step from abar: theirs is a product of up to 1,000 float32
# factors, each rounded to 2^-24 (the beta and the factor: 2^-23 together), so off by up to 1,000 * 2^-23 = 1.2e-4, relatively;
# of the roots by half of that. The x0 that a step starts from is limited to [-1, 1], and what a step takes over of x_t has
# factors below 1, so that an error e of a step is at most e * steps at the end: 0.6e-4 * 6 = 4e-4. Networks of three layers of
# blocks round to about 1e-5 of an answer of size 1. Other noise, or another level, is seen in the first digit.
TOLERANCE = 5e-4


def unet(settings, classes, outputs=3, **more):
    sizes = bootlight.Sizes((3, 8, 8), outputs, classes)
    torch.manual_seed(1)
    return awake(bootlight.UNet(sizes, **settings, **more)), sizes


@pytest.mark.parametrize("scale_shift", [True, False])
@pytest.mark.parametrize(("settings", "classes"), SHAPES[:3])
def test_the_twin_of_a_unet_does_the_same(settings, classes, scale_shift):
    own, sizes = unet(settings, classes, scale_shift_norm=scale_shift)
    twin = diffusers.UNet2DModel(**twin_settings(own, sizes))
    twin.load_state_dict(to_twin(own))  # strict: every weight of the one has its place in the other
    x, t = torch.randn(2, 3, 8, 8).double(), torch.tensor([7, 990])
    labels = None if classes is None else torch.tensor([0, classes])
    with torch.no_grad():
        theirs = twin.double().eval()(x, t, class_labels=labels).sample
        ours = own.double()(x, t, labels)
    # float64, of which a convolution over at most 96 * 9 numbers loses 864 * 2^-53 = 1e-13, in about 20 layers.
    assert ours.std() > 0.1
    assert (ours - theirs).abs().max() < 1e-11 * ours.abs().max()


@pytest.mark.parametrize(("settings", "classes"), SHAPES)
def test_a_unet_and_its_twin_are_each_others(settings, classes):
    own, sizes = unet(settings, classes)
    if settings["width"] == 8:  # norms of 8 and of 16 channels, with as many groups
        with pytest.raises(BootlightError):
            twin_settings(own, sizes)
        return
    twin = diffusers.UNet2DModel(**twin_settings(own, sizes))
    found = twin_of(dict(twin.config), sizes)
    again = bootlight.UNet(sizes, **found)
    from_twin(again, to_twin(own))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in own.state_dict().items())
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([7, 990])
    assert torch.equal(again.eval()(x, t), own(x, t))


@pytest.mark.parametrize(
    "change",
    [
        {"norm_eps": 1e-6}, {"downsample_padding": 0}, {"flip_sin_to_cos": False}, {"freq_shift": 1}, {"act_fn": "relu"},
        {"attn_norm_num_groups": None}, {"attention_head_dim": 4}, {"center_input_sample": True}, {"add_attention": False},
        {"up_block_types": ("UpBlock2D", "AttnUpBlock2D")}, {"norm_num_groups": 16}, {"mid_block_scale_factor": 2.0},
    ],
)  # fmt: skip
def test_no_other_model_is_taken_for_a_unet(change):
    own, sizes = unet({**SHAPES[0][0], "attention_resolutions": [8, 4], "num_heads": 1}, None)
    settings = dict(diffusers.UNet2DModel(**twin_settings(own, sizes)).config)
    assert twin_of(settings, sizes) is not None
    assert twin_of(settings | change, sizes) is None


def diffusion(network, sampler=None, prediction=None, **more):
    torch.manual_seed(2)
    built = bootlight.Diffusion(
        8, network, 3, prediction=prediction or bootlight.Epsilon(), sampler=sampler, ema_decay=None, **more
    )
    awake(built.network)
    return built.eval()


def of_unet(sizes):
    return bootlight.UNet(sizes, **SHAPES[0][0])


def of_model(sizes):
    return UNet2D(sizes, {name: value for name, value in BLOCKS.items() if name != "sample_size"})


def adapted(sizes):
    network = bootlight.LoRA(sizes, of_unet, rank=2)
    return awake(network)


SIX = {"num_steps": 6}
MODULES = {
    "unet": lambda: diffusion(of_unet, bootlight.Ancestral(**SIX)),
    "learned variance": lambda: diffusion(of_unet, bootlight.Ancestral(**SIX), bootlight.LearnedVariance(bootlight.Epsilon())),
    "model": lambda: diffusion(of_model, bootlight.Ancestral(**SIX, fixed_variance="large")),
    "v, linear": lambda: diffusion(
        of_unet, bootlight.Ancestral(**SIX, spacing="trailing"), bootlight.V(), schedule=bootlight.LinearSchedule()
    ),
    "x0, own table": lambda: diffusion(
        of_model, bootlight.Ancestral(clip=False, **SIX), bootlight.X0(), schedule=bootlight.BetaSchedule("sigmoid", 60)
    ),
    "adapters": lambda: diffusion(adapted, bootlight.Ancestral(**SIX)),
    "ddim": lambda: diffusion(of_unet, bootlight.DDIM(5, clip=False, spacing="leading"), schedule=bootlight.LinearSchedule()),
    "table": lambda: diffusion(
        of_unet, bootlight.Ancestral(**SIX), schedule=bootlight.DiscreteSchedule(torch.linspace(0.9999, 1e-3, 1000))
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_an_exported_model_draws_the_same_images(name, tmp_path):
    module = MODULES[name]()
    own = module.sample(SEEDS).clamp(-1, 1)
    told = export(module, tmp_path / "folder", {})
    assert told == []
    pipeline = diffusers.DDPMPipeline.from_pretrained(str(tmp_path / "folder"))
    assert pipeline.scheduler.__class__.__name__ == ("DDIMScheduler" if name == "ddim" else "DDPMScheduler")
    theirs = drawn_by(pipeline, NoiseStreams(SEEDS), len(SEEDS), module.protocol()["num_steps"])
    assert own.std() > 0.1
    print(name, float((own - theirs).abs().max()))
    assert (own - theirs).abs().max() < TOLERANCE


@pytest.mark.parametrize("name", MODULES)
def test_what_was_exported_comes_back(name, tmp_path):
    module = MODULES[name]()
    own = module.sample(SEEDS)
    export(module, tmp_path / "folder", {})
    folder = PipelineFolder(tmp_path / "folder")
    write_imported(RunFolder(tmp_path / "run"), understood(folder), None)
    loaded = load_generator(RunFolder(tmp_path / "run").generation(0))
    assert loaded.protocol() == module.protocol()
    state = loaded.published_state()
    merged = {name.replace("network.", ""): value for name, value in module.published_state().items() if "net." in name}
    assert state.keys() == merged.keys()
    assert all(torch.equal(value, merged[name]) for name, value in state.items())
    # Weights, and kind and ends of the table, are exact; what is left is the order of sums in a batch, 0 here.
    assert (loaded.sample(SEEDS) - own).abs().max() < (1e-6 if name not in ("table",) else 1e-4)
    sha = json.loads((tmp_path / "run/gen_000/model.json").read_text())["pretrained"]["sha256"]
    assert list(sha) == ["unet/diffusion_pytorch_model.safetensors"]


@pytest.mark.parametrize("classes", [None, 3])
def test_a_folder_of_any_unet_is_drawn_from(classes, tmp_path):
    scheduler = diffusers.DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", variance_type="fixed_large", timestep_spacing="linspace"
    )
    pipeline = pixel_pipeline(tmp_path / "folder", scheduler, num_class_embeds=classes)
    folder = PipelineFolder(tmp_path / "folder")
    module = module_of(understood(folder))
    assert type(module.network) is UNet2D
    assert module.num_classes == classes
    module.set_num_steps(6)
    if classes is None:
        theirs = drawn_by(pipeline, NoiseStreams(SEEDS), len(SEEDS), 6)
        assert (module.sample(SEEDS).clamp(-1, 1) - theirs).abs().max() < TOLERANCE
        return
    x, t, labels = torch.randn(3, 3, 8, 8), torch.tensor([5, 500, 900]), torch.tensor([2, 0, 1])
    with torch.no_grad():
        assert torch.equal(module.network(x, t, labels), pipeline.unet(x, t, class_labels=labels).sample)
        none = module.network(x, t, None)
        assert torch.equal(none, module.network(x, t, torch.full((3,), 3)))
        # Their embeddings are added to that of the time; ours of `no label` is 0.
        pipeline.unet.class_embedding.weight.zero_()
        assert torch.equal(none, pipeline.unet(x, t, class_labels=labels).sample)


def test_what_diffusers_cannot_express_is_refused(tmp_path):
    wide = {**SHAPES[0][0], "attention_resolutions": [8, 4], "num_heads": 4}
    for module in (
        diffusion(lambda sizes: bootlight.UNet(sizes, **SHAPES[3][0])),  # norms
        diffusion(lambda sizes: bootlight.UNet(sizes, **wide)),  # heads
        diffusion(lambda sizes: bootlight.UNet(sizes, **{**SHAPES[0][0], "num_res_blocks": 0})),
        diffusion(bootlight.MLP),
        diffusion(of_unet, schedule=bootlight.CosineSchedule(500)),
        diffusion(of_unet, bootlight.Heun(4), bootlight.EDM(), schedule=bootlight.SigmaSchedule()),
        diffusion(of_unet, prediction=bootlight.EDM()),
        bootlight.DCGAN(16),
    ):
        with pytest.raises(BootlightError):
            export(module, tmp_path / "folder", {})
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("mine")
    with pytest.raises(BootlightError):
        export(diffusion(of_unet), tmp_path / "there", {})
    assert (tmp_path / "there" / "mine.txt").read_text() == "mine"


def test_what_is_drawn_otherwise_is_told(tmp_path):
    told = export(diffusion(of_unet, bootlight.DPMSolver(5)), tmp_path / "a", {})
    assert len(told) == 1
    assert "DPMSolver" in told[0]
    told = export(diffusion(of_unet, num_classes=2), tmp_path / "b", {"class_names": ["x", "y"]})
    assert len(told) == 1
    assert "class" in told[0]
    module = module_of(understood(PipelineFolder(tmp_path / "b")))
    assert module.num_classes == 2  # the last row is for no label, as the note says
    assert isinstance(module.network, nn.Module)
