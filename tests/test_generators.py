"""Drawing, averaging and publishing weights."""

import pytest
import torch
from oracle import awaken, fit, random_batch, tiny_ddpm
from torch import nn

from bootlight.diffusion.sampler import DDIM, Ancestral
from bootlight.errors import BootlightError
from bootlight.generators.dcgan import DCGAN
from bootlight.generators.ema import EMA
from bootlight.io.pictures import to_uint8

SEEDS = [11, 5, 2**62, 7]


def tiny_dcgan(**options):
    module = DCGAN(**({"image_size": 8, "channels": 1, "latent_dim": 6, "width": 4} | options))
    awaken(module.net_g)
    for norm in (m for m in module.net_g.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_var.uniform_(0.5, 2)
    if module.ema is not None:
        module.ema.network.load_state_dict(module.net_g.state_dict())
    return module


MODELS = {
    "ancestral": lambda: tiny_ddpm(),
    "DDIM": lambda: tiny_ddpm(sampler=DDIM(5, eta=0.5)),
    "labels": lambda: tiny_ddpm(num_classes=3, sampler=Ancestral(5, guidance=2.0)),
    "DCGAN": lambda: tiny_dcgan(),
}


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS.keys())
def test_an_image_depends_on_its_seed_and_label_alone(build):
    module = build()
    labels = None if module.num_classes is None else torch.tensor([2, 0, 1, 2])
    together = module.sample(SEEDS, labels=labels)
    assert together.shape == (4, 1, 8, 8)
    order = [2, 0, 3]
    for chosen in (order, *[[i] for i in range(4)]):
        again = module.sample([SEEDS[i] for i in chosen], labels=None if labels is None else labels[chosen])
        # Convolutions of another batch size round differently: 1e-6 a step, amplified by weights of order 1 over 5 steps.
        torch.testing.assert_close(again, together[chosen], rtol=0, atol=1e-4)
        assert (to_uint8(again).int() - to_uint8(together[chosen]).int()).abs().max() <= 1
    assert torch.equal(module.sample(SEEDS, labels=labels), together)
    for i in range(3):
        assert (together[i] - together[i + 1]).abs().max() > 0.01  # different seeds, different images


def test_a_label_changes_its_own_image_only():
    module = tiny_ddpm(num_classes=3)
    one, two = (module.sample([1, 2], labels=torch.tensor(labels)) for labels in ([0, 1], [0, 2]))
    assert torch.equal(one[0], two[0])
    assert (one[1] - two[1]).abs().max() > 1e-3


def test_sampling_leaves_mode_gradients_and_global_randomness_alone():
    for module in (tiny_ddpm(dropout=0.5), tiny_dcgan()):
        state = torch.random.get_rng_state()
        for training in (True, False):
            module.train(training)
            images = module.sample([1, 2])
            assert module.training == training and not images.requires_grad
            assert torch.equal(images, module.sample([1, 2]))  # no dropout, no batch statistics
        assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("num_classes", "labels", "message"),
    [
        (None, [0, 1], "this model is unconditional"),
        (3, None, "class-conditional with 3 classes"),
        (3, [0, 3], "labels must be 2 integers from 0 to 2"),
        (3, [-1, 0], "labels must be 2 integers from 0 to 2"),
        (3, [1], "labels must be 2 integers from 0 to 2"),
    ],
)
def test_labels_that_do_not_fit_are_refused(num_classes, labels, message):
    module = tiny_ddpm(num_classes=num_classes)
    with pytest.raises(BootlightError, match=message):
        module.sample([1, 2], labels=None if labels is None else torch.tensor(labels))


def test_images_are_drawn_from_the_average():
    for module, network in ((m := tiny_ddpm(), m.unet), (g := tiny_dcgan(ema_decay=0.9), g.net_g)):
        before = module.sample([1])
        awaken(network, seed=9)
        assert torch.equal(module.sample([1]), before)
        awaken(module.ema.network, seed=9)
        assert not torch.equal(module.sample([1]), before)
        assert module.drawn(network, ema=False) is network and module.drawn(network) is module.ema.network
    assert tiny_dcgan().ema is None


# The average itself


def test_average_of_a_constant_follows_the_warm_up():
    network = nn.Linear(2, 1, bias=False)
    nn.init.constant_(network.weight, 3.0)
    ema = EMA(network, decay=0.4)
    nn.init.constant_(network.weight, 1.0)
    distance = 2.0
    for n in range(1, 13):
        ema.update(network)
        distance *= min(0.4, (1 + n) / (10 + n))  # the warm-up ends at n = 5
        # A rounding of 6e-8 for each update, of numbers below 3.
        assert ema.network.weight[0].tolist() == pytest.approx([1 + distance] * 2, abs=2e-6)
        assert ema.num_updates == n
    assert network.weight.tolist() == [[1, 1]]


def test_average_copies_counters_and_averages_statistics():
    norm = nn.BatchNorm2d(3)
    ema = EMA(norm, decay=0.5)
    norm.num_batches_tracked.fill_(41)
    norm.running_mean.fill_(11)
    ema.update(norm)
    assert ema.network.num_batches_tracked == 41 and ema.network.num_batches_tracked.dtype == torch.int64
    # The first decay is 2 / 11: from 0 to 11 x 9 / 11.
    assert ema.network.running_mean.tolist() == pytest.approx([9, 9, 9], abs=1e-5)
    norm.num_batches_tracked.fill_(50)
    assert ema.network.num_batches_tracked == 41  # a copy, not the same tensor


def test_average_stays_in_eval_mode_without_gradients():
    module = tiny_ddpm(dropout=0.3)
    module.train()
    assert module.unet.training and not any(part.training for part in module.ema.modules())
    assert not any(parameter.requires_grad for parameter in module.ema.parameters())
    assert all(parameter.requires_grad for parameter in module.unet.parameters())


def test_state_of_the_average_holds_its_weights_and_count():
    ema, other = EMA(awaken(nn.Linear(2, 2)), 0.9), EMA(nn.Linear(2, 2), 0.9)
    for _ in range(7):
        ema.update(awaken(nn.Linear(2, 2), seed=1))
    other.load_state_dict(ema.state_dict())
    assert other.num_updates == 7
    assert torch.equal(other.network.weight, ema.network.weight)


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(BootlightError, match=f"model.ema_decay is {decay}"):
        tiny_ddpm(ema_decay=decay)


# Published weights


@pytest.mark.parametrize(
    "build", [tiny_ddpm, tiny_dcgan, lambda: tiny_dcgan(ema_decay=0.9)], ids=["DDPM", "DCGAN", "DCGAN, EMA"]
)
def test_published_weights_draw_the_same_images(build):
    module = build()
    if module.ema is not None:
        awaken(module.ema.network, seed=5)
    state = module.published_state()
    assert not any(name.startswith("ema.") for name in state)
    assert all(not value.requires_grad and value.is_contiguous() for value in state.values())
    other = build()
    awaken(other, seed=8)
    assert not torch.equal(other.sample(SEEDS), module.sample(SEEDS))
    other.load_published(state)
    assert torch.equal(other.sample(SEEDS), module.sample(SEEDS))
    for name, value in other.published_state().items():
        assert torch.equal(value, state[name])
    for network in other._averaged:  # training goes on from what was published
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.ema.network.parameters(), strict=True))


def test_published_weights_are_the_average_and_keep_the_discriminator():
    module = tiny_dcgan(ema_decay=0.9)
    fit(module, [random_batch(seed=s) for s in range(3)])
    state = module.published_state()
    for name, value in module.ema.network.state_dict().items():
        assert torch.equal(state[f"net_g.{name}"], value)
    assert not torch.equal(state["net_g.layers.0.weight"], module.net_g.layers[0].weight)
    assert torch.equal(state["net_d.layers.0.weight"], module.net_d.layers[0].weight)


@pytest.mark.parametrize(
    ("options", "first"),
    [({"width": 16}, "unet.embed.0.weight"), ({"num_classes": 2}, "unet.embed_label.weight"), ({"num_res_blocks": 2}, "unet.")],
)
def test_weights_of_another_architecture_are_refused(options, first):
    module, state = tiny_ddpm(), tiny_ddpm(**options).published_state()
    before = module.sample([1])
    with pytest.raises(BootlightError, match=rf"do not fit this model: \d+ differ, the first is {first}"):
        module.load_published(state)
    assert torch.equal(module.sample([1]), before)
