"""Variations of images: identities, closed forms, and what is asked of the network."""

import math

import numpy as np
import pytest
import torch
from oracle import awaken, linear_abar
from test_networks import unet

import bootlight
from bootlight.data.generation_images import GenerationImages
from bootlight.data.mixing import Source
from bootlight.data.store import store_from_arrays
from bootlight.diffusion.denoiser import Guided
from bootlight.diffusion.feature_noise import PerturbedFeatures
from bootlight.diffusion.perturbation import StepNoise, deviation
from bootlight.errors import BootlightError
from bootlight.generators.denoising import DenoisingModule
from bootlight.rng import NoiseStreams, numpy_rng
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import RunFolder
from bootlight.synthesis.requests import Requests

LINEAR = bootlight.LinearSchedule()
LABELS = torch.tensor([0, 0, 0, 2, 2])
REQUESTS = Requests([5, 6, 7, 8, 9], LABELS, [("real/a",)] * 3 + [("real/b",)] * 2, [1, 1, 1, 2, 2])
EVERY = [
    getattr(bootlight, f"{name}Noise")(**settings)
    for name in ("Start", "Level", "Image", "Bottleneck", "Decoder", "Encoder")
    for settings in ([{}] if name in ("Start", "Level", "Image") else [{"asymmetric": True}, {"asymmetric": False}])
]


def model(num_classes=None, prediction=None):
    """An untrained U-Net whose answers are not 0."""
    made = bootlight.Diffusion(
        8,
        lambda sizes: awaken(unet(sizes.shape, sizes.outputs, sizes.num_classes)),
        1,
        schedule=bootlight.LinearSchedule(),
        prediction=prediction,
        num_classes=num_classes,
        ema_decay=None,
    )
    return made.eval().requires_grad_(False)


def parents(count=2):
    return torch.from_numpy(numpy_rng("parents").uniform(-1, 1, (count, 1, 8, 8)).astype(np.float32))


def of_each(x):
    return x[[0, 0, 0, 1, 1]]


def ddim(num_steps=6, eta=1.0, **settings):
    return bootlight.DDIM(num_steps, eta=eta, clip=False, **settings)


def drawn(made, requests=REQUESTS, found=None, **settings):
    synthesizer = bootlight.Variations(**{"strength": 1.0, "sampler": ddim(), **settings})
    return next(synthesizer.draw(made, requests, of_each(parents()) if found is None else found, None))


# Identities


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("perturbation", EVERY, ids=lambda one: f"{type(one).__name__}-{getattr(one, 'asymmetric', '')}")
def test_without_noise_a_descent_is_the_plain_one_to_the_bit(perturbation, guidance, eta):
    made, sampler = model(3), ddim(eta=eta, guidance=guidance)
    grid = sampler.grid(LINEAR)
    x, record = sampler.invert(made.denoiser(), parents(), NoiseStreams([1, 2]), LABELS[[0, 3]], grid=grid)
    plain = sampler(made.denoiser(), of_each(x), record.again(torch.tensor([0, 0, 0, 1, 1])), LABELS, grid=grid)
    perturbation.sigma = 0.0
    assert torch.equal(drawn(made, sampler=sampler, perturbation=perturbation), plain)
    perturbation.sigma = 0.5
    assert (drawn(made, sampler=sampler, perturbation=perturbation) - plain).abs().amax((1, 2, 3)).min() > 1e-3


@pytest.mark.parametrize("strength", [0.3, 0.8, 1.0])
@pytest.mark.parametrize("num_steps", [10, 100])
def test_the_recorded_noise_leads_an_untrained_network_back_to_its_image(strength, num_steps):
    for sampler in (ddim(num_steps), bootlight.Ancestral(num_steps, clip=False), ddim(num_steps, eta=0.0)):
        found = drawn(model(), sampler=sampler, strength=strength, perturbation=bootlight.LevelNoise(0.0))
        # A step divides by the signal, 0.006 and more, and rounds to 6e-8 of numbers of a few units; published: 1e-4.
        torch.testing.assert_close(found, of_each(parents()), rtol=0, atol=1e-4)


class Normal(DenoisingModule):
    """The exact denoiser of pixels N(0, 1 / 16)."""

    def own_denoiser(self, ema=True):
        return bootlight.GaussianDenoiser(torch.zeros((), dtype=torch.float64), torch.tensor(1 / 16).double(), self.schedule)

    def training_step(self, batch, batch_idx):
        raise NotImplementedError


def products(num_steps, first):
    """Gains of DDIM up and down for N(0, v), between the image and the level after `first` steps from noise."""
    abar = linear_abar(num_steps)[: num_steps + 1 - first]
    total = abar / 16 + 1 - abar
    shared = np.sqrt(abar[:-1] * abar[1:]) / 16 + np.sqrt((1 - abar[:-1]) * (1 - abar[1:]))
    return np.prod(shared / total[:-1]), np.prod(shared / total[1:])


@pytest.mark.parametrize(
    ("num_steps", "published"), [(10, 0.304), (20, 0.577), (40, 0.768), (80, 0.877), (160, 0.936), (320, 0.967)]
)
def test_ddim_leads_nearly_back(num_steps, published):
    """Of what an inversion alone finds again, without the residual: the published amplitudes, and the product formula."""
    sampler, denoiser = ddim(num_steps, eta=0.0), Normal(8, 1, schedule=LINEAR).denoiser()
    x0 = parents().double()
    grid = sampler.grid(LINEAR)
    x, record = sampler.invert(denoiser, x0, NoiseStreams([1, 2]), grid=grid)
    gain = (sampler(denoiser, x, NoiseStreams([1, 2]), grid=grid) / x0).mean().item()
    assert gain == pytest.approx(published, abs=5e-4)  # as it is rounded
    assert gain == pytest.approx(np.prod(products(num_steps, 0)), rel=1e-4)  # levels are float32 in the denoiser
    torch.testing.assert_close(record.residual, (1 - gain) * x0, rtol=0, atol=1e-5)


@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0])
def test_sdedit_is_its_gain_times_the_image_with_noise(strength):
    made = Normal(8, 1, schedule=LINEAR, sampler=bootlight.DDIM(20, clip=False))
    found = next(bootlight.SDEdit(strength=strength).draw(made, REQUESTS, of_each(parents()), None))
    kept = round(20 * strength)
    abar = linear_abar(20)[kept]
    noisy = math.sqrt(abar) * of_each(parents()) + math.sqrt(1 - abar) * NoiseStreams(REQUESTS.seeds).normal(1, 8, 8)
    # float32 images, of which each step loses 6e-8, and levels in float32
    torch.testing.assert_close(found.float(), (noisy * products(20, 20 - kept)[1]).float(), rtol=0, atol=2e-5)


# Equation 6


class Given:
    """Noise that was drawn before."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def normal(self, *shape):
        assert self.draws[0].shape[1:] == shape
        return self.draws.pop(0)


@pytest.mark.parametrize("relative", [True, False])
def test_one_step_differs_by_the_published_coefficient(relative):
    made, sampler = model(), ddim(20, eta=0.0)
    network, grid, i = made.network, sampler.grid(LINEAR), 7
    x, noise = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)), NoiseStreams(range(5)).normal(16, 4, 4)
    t = grid.times(i, x)
    features = network.encode(x, t.float())
    scale = 0.7 * (features.bottleneck.flatten(1).std(1, correction=0).view(5, 1, 1, 1) if relative else 1)
    plain = network.decode(features)
    other = network.decode(features._replace(bottleneck=features.bottleneck + scale * noise))
    now, then = grid.level(i), grid.level(i + 1)
    image = -then.signal * now.noise / now.signal  # -sqrt(A_(t-1) (1 - A_t) / A_t)
    before, _ = sampler.transition(made.denoiser(), x, grid, i)
    for asymmetric, coefficient in ((True, image), (False, image + then.noise)):
        perturbation = bootlight.BottleneckNoise(0.7, relative, asymmetric)
        perturbed = perturbation.inside(made.denoiser(), StepNoise(Given(noise)))
        after, _ = sampler.transition(perturbed, x, grid, i)
        # The image of one step has numbers of some units, times 1 / signal in the estimate: rounding of float32.
        torch.testing.assert_close(after - before, coefficient * (other - plain), rtol=1e-3, atol=1e-5)
        assert (after - before).abs().max() > 0.005


def test_guidance_guides_estimate_and_direction_with_the_same_noise():
    made, grid = model(3), ddim(20).grid(LINEAR)
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    t, noise = grid.times(7, x), NoiseStreams(range(5)).normal(16, 4, 4)

    def asked(labels):
        return bootlight.BottleneckNoise().inside(made.denoiser(), StepNoise(Given(noise)))(x, t, labels)

    with_label, without = asked(LABELS), asked(None)
    guided = Guided(bootlight.BottleneckNoise().inside(made.denoiser(), StepNoise(Given(noise))), 3.0)(x, t, LABELS)
    plain = Guided(made.denoiser(), 3.0)(x, t, LABELS)
    for name in ("x0", "epsilon", "direction"):
        one, other = getattr(with_label, name), getattr(without, name)
        torch.testing.assert_close(getattr(guided, name), other + 3 * (one - other))
    torch.testing.assert_close(guided.direction, plain.epsilon)
    assert (guided.epsilon - plain.epsilon).abs().max() > 0.01


def test_deviations_are_those_of_each_image_over_its_own_numbers():
    x = torch.stack([torch.arange(8.0), 10 * torch.arange(8.0) + 3, torch.zeros(8)]).view(3, 2, 2, 2)
    wanted = math.sqrt(5.25)  # of 0 to 7, over their number
    assert deviation(x).shape == (3, 1, 1, 1)
    assert deviation(x).flatten().tolist() == pytest.approx([wanted, 10 * wanted, 0], rel=1e-6)
    assert deviation(x.view(3, 4, 2)).shape == (3, 1, 1)
    ones = Given(torch.ones(3, 2, 2, 2), torch.ones(3, 2, 2, 2))
    moved = bootlight.StartNoise(0.5).at_start(x, ones) - x
    torch.testing.assert_close(moved, (0.5 * deviation(x)).expand_as(x))
    assert (bootlight.StartNoise(0.5, relative=False).at_start(x, ones) - x).flatten().tolist() == [0.5] * 24


def test_images_move_away_from_their_parent_and_from_each_other_as_sigma_grows():
    """Noise on every layer saturates sooner: each layer's is a part of what the next one normalizes."""
    made = model()
    for perturbation in EVERY:
        away, apart = [], []
        of_layers = isinstance(perturbation, bootlight.DecoderNoise | bootlight.EncoderNoise)
        for sigma in (0.0, 0.5, 1.0, 2.0):
            perturbation.sigma = sigma / 5 if of_layers else sigma
            found = drawn(made, perturbation=perturbation, strength=0.6)
            away.append((found - of_each(parents())).square().mean().sqrt().item())
            apart.append((found[0] - found[1]).square().mean().sqrt().item())
        assert away == sorted(away) and apart == sorted(apart), type(perturbation).__name__
        assert away[0] < 1e-4 and apart[0] < 1e-4 and away[1] > 0.01 and apart[1] > 0.01


# What is asked of the network, and by which noise


def counted(made):
    calls: dict[str, list[int]] = {"forward": [], "encode": [], "decode": []}
    for name in calls:
        plain = getattr(made.network, name)

        def noted(*given, _plain=plain, _name=name, **more):
            first = given[0]
            calls[_name].append(len(first if isinstance(first, torch.Tensor) else first.bottleneck))
            return _plain(*given, **more)

        setattr(made.network, name, noted)
    return calls


@pytest.mark.parametrize(
    ("perturbation", "encoded", "decoded"),
    [
        (bootlight.BottleneckNoise(), 1, 2), (bootlight.BottleneckNoise(asymmetric=False), 1, 1),
        (bootlight.DecoderNoise(), 1, 2), (bootlight.EncoderNoise(), 2, 2), (bootlight.LevelNoise(), 1, 1),
    ],
)  # fmt: skip
def test_one_inversion_of_each_parent_one_encoder_and_two_decoder_passes(perturbation, encoded, decoded):
    made = model()
    calls = counted(made)
    drawn(made, perturbation=perturbation)
    inverted = [2] * 6  # a call a step, of the two parents
    assert calls["encode"] == inverted + [5] * 6 * encoded
    assert calls["decode"] == inverted + [5] * 6 * decoded


def test_noise_of_the_inversion_is_the_parents_and_that_of_the_descent_the_images():
    made = model()
    whole = drawn(made)
    assert len({image.numpy().tobytes() for image in whole}) == 5
    second = REQUESTS.chosen([3, 4])
    torch.testing.assert_close(drawn(made, second, parents()[[1, 1]]), whole[3:], rtol=0, atol=1e-4)  # rounding of the batch
    other_parent = Requests([8, 9], LABELS[3:], [("real/b",)] * 2, [3, 3])
    other_image = Requests([8, 10], LABELS[3:], [("real/b",)] * 2, [2, 2])
    assert (drawn(made, other_parent, parents()[[1, 1]]) - whole[3:]).abs().amax((1, 2, 3)).min() > 1e-3
    moved = (drawn(made, other_image, parents()[[1, 1]]) - whole[3:]).abs().amax((1, 2, 3))
    assert moved[0] < 1e-4 and moved[1] > 1e-3


def test_classes_are_respected():
    made = model(3)
    for settings in ({"perturbation": bootlight.BottleneckNoise(0.5)}, {"inversion_guidance": 4.0}):
        whole = drawn(made, **settings)
        moved = drawn(made, Requests(REQUESTS.seeds, (LABELS + 1) % 3, REQUESTS.parents, REQUESTS.parent_seeds), **settings)
        assert (moved - whole).abs().amax((1, 2, 3)).min() > 1e-3
    back = drawn(made, perturbation=bootlight.ImageNoise(0.0), inversion_guidance=4.0)
    assert (back - of_each(parents())).abs().max() > 0.01  # the way down has another guidance


def test_a_plan_counts_the_network_calls():
    made = model()
    made.sampler = bootlight.DDIM(20)
    half = {"sampler": ddim(40), "strength": 0.5}
    for settings, calls in (
        ({"perturbation": bootlight.StartNoise(), "per_parent": 10}, 20 + 20 / 10),
        ({"per_parent": 4}, 1.6 * 20 + 20 / 4),
        ({"perturbation": bootlight.EncoderNoise()}, 2 * 20 + 20),
        ({"sampler": ddim(40, eta=0.0), "per_parent": 10}, 1.6 * 20 + 39 / 10),
    ):
        assert bootlight.Variations(**(half | settings)).relative_cost(made, None) == pytest.approx(calls / 20)
    assert bootlight.SDEdit(strength=0.25).relative_cost(made, None) == pytest.approx(5 / 20)


# What is asked for


IMAGES = numpy_rng("images").integers(0, 256, (6, 8, 8, 1), dtype=np.uint8)
STORE = store_from_arrays(IMAGES, np.array([0, 1, 0, 1, 0, 1]), ("a", "b"), [f"{i}.png" for i in range(6)])


def images(held_out=(4, 5), store=STORE):
    real, apart = (Source("real", store, np.array(which)) for which in ((0, 1, 2), held_out))
    return GenerationImages(store.labels[[0, 1, 2]], store.class_names, real, held_out=apart)


@pytest.fixture
def context(tmp_path):
    return GenerationContext(RunFolder(tmp_path), 1, 7)


@pytest.mark.parametrize("kind", [bootlight.Variations, bootlight.SDEdit])
def test_each_parent_has_as_many_images_with_its_label(kind, context):
    found = kind().requests(model(2), images(), context, 6)
    assert [name for (name,) in found.parents] == [f"real/{i}.png" for i in (0, 0, 1, 1, 2, 2)]
    assert found.labels.tolist() == [0, 0, 1, 1, 0, 0] and len(set(found.seeds)) == 6 and len(set(found.parent_seeds)) == 3


@pytest.mark.parametrize("kind", [bootlight.Variations, bootlight.SDEdit])
def test_a_held_out_image_is_no_parent(kind, context):
    planted = IMAGES.copy()
    planted[4] = planted[1]
    data = images(store=store_from_arrays(planted, STORE.labels, STORE.class_names, STORE.names))
    with pytest.raises(BootlightError, match=r"4\.png = 1\.png"):
        kind().requests(model(), data, context, 3)
    assert len(kind().requests(model(), images(), context, 3)) == 3


UNLABELLED = store_from_arrays(IMAGES, np.array([0, -1, 0, 1, 0, 1]), ("a", "b"), STORE.names)
WIDER = store_from_arrays(np.zeros((6, 8, 9, 1), np.uint8), STORE.labels, ("a", "b"), STORE.names)


class Composed(bootlight.Alone):
    """Not the network alone."""


def with_parts(**parts):
    made = model(2)
    for name, part in parts.items():
        setattr(made, name, part)
    return made


@pytest.mark.parametrize(
    ("made", "data", "settings", "said"),
    [
        (model(2), images(store=UNLABELLED), {}, "label"),
        (model(2), images(store=WIDER, held_out=()), {}, "size"),
        (model(2), images(), {"of": "probe"}, "probe"),
        (model(2), images(), {"sampler": ddim(5000)}, "5000"),
        (model(), images(), {"sampler": ddim(guidance=2.0)}, "guidance"),
        (model(2), images(), {"sampler": bootlight.Ancestral(10)}, "asymmetric"),
        (with_parts(then=Composed()), images(), {}, "compose"),
        (with_parts(compose=Composed()), images(), {}, "compose"),
        (Normal(8, 1, schedule=LINEAR), images(), {}, "encode"),
    ],
)
def test_a_model_that_cannot_be_asked_is_told_so(made, data, settings, said, context):
    with pytest.raises(BootlightError) as told:
        bootlight.Variations(**settings).requests(made, data, context, 3)
    assert said in str(told.value)


@pytest.mark.parametrize(
    "settings", [{"strength": 0}, {"strength": 1.1}, {"per_parent": 0}, {"sampler": bootlight.Heun()}, {"sigma": -1.0}]
)
def test_settings_that_cannot_be_meant(settings):
    with pytest.raises(BootlightError):
        bootlight.BottleneckNoise(**settings) if "sigma" in settings else bootlight.Variations(**settings)


def test_other_perturbations_need_neither_bottleneck_nor_direction(context):
    for settings in (
        {"perturbation": bootlight.BottleneckNoise(asymmetric=False), "sampler": bootlight.Ancestral(10)},
        {"perturbation": bootlight.LevelNoise(), "sampler": bootlight.Ancestral(10)},
    ):
        made = with_parts(then=Composed()) if isinstance(settings["perturbation"], bootlight.LevelNoise) else model(2)
        assert len(bootlight.Variations(**settings).requests(made, images(), context, 3)) == 3


def test_a_perturbed_denoiser_keeps_the_network_that_it_asks():
    made = model()
    inside = bootlight.BottleneckNoise().inside(made.denoiser(), StepNoise(NoiseStreams([1])))
    assert isinstance(inside, PerturbedFeatures) and inside.base.network is made.network
