"""Networks against published sizes, explicit formulas and hand-made weights."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracle import awaken
from torch import nn

from bootlight.errors import BootlightError
from bootlight.generators.ddpm import DDPM
from bootlight.networks.classifier import Classifier
from bootlight.networks.dcgan import Discriminator, Generator, halvings, stages
from bootlight.networks.layers import timestep_embedding
from bootlight.networks.sizes import Sizes
from bootlight.networks.unet import Attention, Downsample, ResBlock, UNet, Upsample


def unet(shape=(1, 8, 8), outputs=2, num_classes=None, **options):
    small = {"width": 8, "channel_multipliers": (1, 2), "num_res_blocks": 1, "attention_resolutions": (4,), "num_heads": 2}
    return UNet(Sizes(shape, outputs, num_classes), **(small | options))


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("image_size", "multipliers", "exact", "millions"),
    [(32, (1, 2, 2, 2), 13_161_926, 13.2), (64, (1, 2, 3, 4), None, 30.3)],
)
def test_unet_has_the_published_number_of_parameters(image_size, multipliers, exact, millions):
    """Improved diffusion's configuration: three channels, learned variance, width 64, three blocks, attention at 16 and 8."""
    with torch.device("meta"):
        network = UNet(Sizes((3, image_size, image_size), 6), channel_multipliers=multipliers)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert exact is None or count == exact
    assert round(count / 1e6, 1) == millions


def test_attention_sits_at_the_given_sizes_and_in_the_middle():
    with torch.device("meta"):
        network = UNet(Sizes((3, 32, 32), 6))
    down = [sum(isinstance(layer, Attention) for layer in stage) for stage in network.down]
    # The first convolution; then at 32, 16, 8 and 4 pixels three blocks each, with a halving between.
    assert down == [0, *[0] * 3, 0, *[1] * 3, 0, *[1] * 3, 0, *[0] * 3]
    assert [sum(isinstance(layer, Attention) for layer in stage) for stage in network.up] == [*[0] * 4, *[1] * 8, *[0] * 4]
    assert isinstance(network.middle[1], Attention)


def test_a_new_unet_answers_zero_and_its_blocks_are_their_skips():
    network = unet()
    assert (network(randn(2, 1, 8, 8), torch.tensor([0, 99])) == 0).all()
    x, embedding = randn(2, 8, 4, 4), randn(2, 16)
    assert torch.equal(ResBlock(8, 8, 16, 0.0, True)(x, embedding), x)
    wider = ResBlock(8, 12, 16, 0.0, False)
    assert torch.equal(wider(x, embedding), wider.skip(x))
    assert torch.equal(Attention(8, 2)(x, embedding), x)


@pytest.mark.parametrize("num_timesteps", [50, 100, 1000, 4000])
def test_the_network_sees_where_in_the_schedule_it_is_whatever_the_number_of_timesteps(num_timesteps):
    # t = T / 2, T / 5 and 0 are the timesteps 500, 200 and 0 of a thousand.
    torch.manual_seed(0)
    usual = awaken(DDPM(8, 1, width=8, channel_multipliers=(1, 2), num_heads=2))
    other = DDPM(8, 1, width=8, channel_multipliers=(1, 2), num_heads=2, num_train_timesteps=num_timesteps)
    missing = other.load_state_dict(usual.state_dict(), strict=False).missing_keys
    # Weights from before this scale lack it, and so do not fit another T than 1,000.
    assert missing == ([] if num_timesteps == 1000 else ["unet.timestep_scale", "ema.network.timestep_scale"])
    x, t = randn(3, 1, 8, 8), torch.tensor([500, 200, 0])
    seen = []
    for module in (usual, other):
        module.ema.network.register_forward_pre_hook(lambda network, inputs: seen.append(inputs[1]))
        module.denoiser()(x, t * len(module.schedule) // 1000)
    # 0.2 T and 0.5 T are whole numbers and 1000 / T is exact or rounds by 1e-16: the same float32, so the same bits.
    assert torch.equal(*seen) and torch.equal(seen[0], t.float())


@pytest.mark.parametrize("num_timesteps", [30, 333, 999, 1001])
def test_timesteps_are_multiplied_by_a_thousand_over_their_number(num_timesteps):
    """As `_scale_timesteps` of improved-diffusion, also where the quotient is no whole number."""
    module = DDPM(8, 1, width=8, channel_multipliers=(1, 2), num_heads=2, num_train_timesteps=num_timesteps)
    seen = []
    module.ema.network.register_forward_pre_hook(lambda network, inputs: seen.append(inputs[1]))
    t = torch.tensor([0, 7, num_timesteps - 1])
    module.denoiser()(randn(3, 1, 8, 8), t)
    assert torch.equal(seen[0], t.float() * (1000.0 / num_timesteps))


def test_times_are_embedded_as_they_are():
    network = unet()
    seen = []
    network.embed.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    for t in (torch.tensor([0, 1, 999]), torch.tensor([0.25, 7.5, -250.0])):
        network(randn(3, 1, 8, 8), t)
        assert torch.equal(seen[-1], timestep_embedding(t, 8))


def test_a_unet_of_any_height_width_and_number_of_channels():
    """Three levels of 12 x 20 pixels, then 6 x 10 and 3 x 5; attention where the larger edge is 10."""
    network = awaken(unet((5, 12, 20), 7, channel_multipliers=(1, 2, 2), attention_resolutions=(10, 12)))
    assert [sum(isinstance(layer, Attention) for layer in stage) for stage in network.down] == [0, 0, 0, 1, 0, 0]
    x, t = randn(2, 5, 12, 20), torch.tensor([3.0, 70.0])
    assert network(x, t).shape == (2, 7, 12, 20)
    point = awaken(unet((2, 1, 1), 4, channel_multipliers=(1,)))
    assert point(randn(3, 2, 1, 1), torch.zeros(3)).shape == (3, 4, 1, 1)


@pytest.mark.parametrize(
    ("shape", "options", "key"),
    [
        ((1, 9, 9), {}, r"data\.image_size is 9, halved 1 times"),
        ((1, 8, 7), {}, r"data\.image_size is \[8, 7\], .* multiple of 2"),
        ((1, 6, 8), {"channel_multipliers": (1, 1, 1)}, r"data\.image_size is \[6, 8\], .* multiple of 4"),
        ((2, 1, 1), {}, r"data\.image_size is 1, "),
        ((1, 8, 8), {"width": 0}, r"model\.width is 0"),
        ((1, 8, 8), {"width": 9}, r"model\.width is 9"),
        ((1, 8, 8), {"num_heads": 0}, r"model\.num_heads is 0"),
        ((1, 8, 8), {"channel_multipliers": ()}, r"model\.channel_multipliers is \[\]"),
        ((1, 8, 8), {"num_res_blocks": -1}, r"model\.num_res_blocks is -1"),
        ((1, 8, 8), {"dropout": 1.5}, r"model\.dropout is 1\.5"),
    ],
)
def test_a_unet_says_what_it_cannot_be(shape, options, key):
    with pytest.raises(BootlightError, match=key):
        unet(shape, **options)


def test_timestep_embedding_is_cosines_then_sines():
    t = torch.tensor([0, 1, 999])
    ours = timestep_embedding(t, 10)
    for row, time in zip(ours.tolist(), t.tolist(), strict=True):
        angles = [time * 10_000 ** (-k / 5) for k in range(5)]
        # Angles up to 999 in float32 are rounded to 3e-5, and so are their cosines; small ones to 1e-7.
        assert row == pytest.approx([f(a) for f in (math.cos, math.sin) for a in angles], abs=2e-4)
        assert (
            max(abs(x - y) for x, y in zip(row[4:5] + row[9:], [math.cos(angles[4]), math.sin(angles[4])], strict=True)) < 1e-6
        )
    assert timestep_embedding(t, 9)[:, 8].tolist() == [0, 0, 0]


def group_norm(x, groups):
    """By its definition, without weights."""
    parts = x.double().reshape(len(x), groups, -1)
    normal = (parts - parts.mean(2, keepdim=True)) / (parts.var(2, keepdim=True, unbiased=False) + 1e-5).sqrt()
    return normal.reshape(x.shape)


@pytest.mark.parametrize("scale_shift", [True, False])
def test_residual_block_is_its_formula(scale_shift):
    block = awaken(ResBlock(4, 6, 5, 0.0, scale_shift))
    x, e = randn(2, 4, 3, 3), randn(2, 5, seed=1)
    w = {name: parameter.detach().double() for name, parameter in block.named_parameters()}

    def silu(y):
        return y / (1 + torch.exp(-y))

    def affine(y, name):
        return y * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]

    h = F.conv2d(silu(affine(group_norm(x, 4), "norm1")), w["conv1.weight"], w["conv1.bias"], padding=1)
    injected = e.double() @ w["project.weight"].T + w["project.bias"]
    if scale_shift:
        scale, shift = injected[:, :6, None, None], injected[:, 6:, None, None]
        h = affine(group_norm(h, 2), "norm2") * (1 + scale) + shift
    else:
        h = affine(group_norm(h + injected[:, :, None, None], 2), "norm2")
    expected = F.conv2d(silu(h), w["conv2.weight"], w["conv2.bias"], padding=1)
    expected += F.conv2d(x.double(), w["skip.weight"], w["skip.bias"])
    # About 100 products of order 1 in float32: 100 x 6e-8.
    torch.testing.assert_close(block(x, e).double(), expected, rtol=0, atol=6e-6)


def test_attention_is_softmax_over_positions_for_each_head():
    channels, heads = 8, 2
    layer = awaken(Attention(channels, heads), scale=0.7)
    x = randn(2, channels, 2, 3)
    w = {name: parameter.detach().double() for name, parameter in layer.named_parameters()}
    normal = group_norm(x, 8) * w["norm.weight"][:, None, None] + w["norm.bias"][:, None, None]
    flat = normal.reshape(2, channels, 6)
    qkv = torch.einsum("oc,bcn->bon", w["to_qkv.weight"][:, :, 0, 0], flat) + w["to_qkv.bias"][:, None]
    heard = torch.zeros(2, channels, 6, dtype=torch.float64)
    for head in range(heads):
        rows = slice(4 * head, 4 * head + 4)
        q, k, v = qkv[:, :8][:, rows], qkv[:, 8:16][:, rows], qkv[:, 16:][:, rows]
        weights = torch.softmax(torch.einsum("bcn,bcm->bnm", q, k) / 2, dim=2)  # 2 = sqrt(4 channels for each head)
        heard[:, rows] = torch.einsum("bnm,bcm->bcn", weights, v)
    out = torch.einsum("oc,bcn->bon", w["to_out.weight"][:, :, 0, 0], heard) + w["to_out.bias"][:, None]
    # Logits of about 10 are rounded to 1e-6 in float32; the rest are sums of 8 products of order 1.
    torch.testing.assert_close(layer(x, None).double(), x.double() + out.reshape(x.shape), rtol=0, atol=2e-5)


def test_halving_reads_every_second_pixel_and_doubling_repeats_them():
    """A kernel that is 1 in its centre makes both visible."""
    x = randn(1, 2, 4, 4)
    for layer, expected in (
        (Downsample(2), x[:, :, ::2, ::2]),
        (Upsample(2), x.repeat_interleave(2, 2).repeat_interleave(2, 3)),
    ):
        nn.init.dirac_(layer.conv.weight)
        nn.init.zeros_(layer.conv.bias)
        torch.testing.assert_close(layer(x, None), expected, rtol=0, atol=1e-7)


def test_no_label_is_the_last_row_of_the_table():
    network = awaken(unet(num_classes=3))
    x, t = randn(2, 1, 8, 8), torch.tensor([3, 70])
    assert network.embed_label.num_embeddings == 4
    unlabelled = network(x, t)
    assert torch.equal(unlabelled, network(x, t, torch.tensor([3, 3])))
    labelled = network(x, t, torch.tensor([0, 3]))
    assert not torch.equal(labelled[0], unlabelled[0])
    torch.testing.assert_close(labelled[1], unlabelled[1], rtol=0, atol=1e-5)  # same kernel, same row: rounding at most
    assert torch.equal(awaken(unet())(x, t), awaken(unet())(x, t, torch.tensor([0, 3])))  # unconditional: labels are ignored


def test_every_image_has_its_own_timestep():
    network = awaken(unet())
    x = randn(1, 1, 8, 8).expand(3, 1, 8, 8)
    out = network(x, torch.tensor([5, 700, 5]))
    torch.testing.assert_close(out[0], out[2], rtol=0, atol=1e-5)
    assert (out[0] - out[1]).abs().max() > 0.01


def test_dropout_acts_in_training_only():
    network = awaken(unet(dropout=0.5))
    x, t = randn(2, 1, 8, 8), torch.tensor([3, 70])
    network.eval()
    assert torch.equal(network(x, t), network(x, t))
    network.train()
    torch.manual_seed(0)
    assert not torch.equal(network(x, t), network(x, t))
    plain = awaken(unet()).eval()
    assert torch.equal(network.eval()(x, t), plain(x, t))


def test_all_parameters_of_the_unet_are_used():
    network = awaken(unet(num_classes=3))
    network(randn(4, 1, 8, 8), torch.tensor([1, 2, 3, 4]), torch.arange(4)).square().sum().backward()
    # Group norm removes a channel-group constant, so biases before a norm may rest; nothing may be without a gradient.
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    weights = [(name, p) for name, p in network.named_parameters() if name.endswith("weight")]
    assert [name for name, p in weights if p.grad.abs().max() == 0] == []


@pytest.mark.parametrize(
    ("shape", "count", "base"),
    [
        ((1, 8, 8), 1, (4, 4)), ((3, 16, 16), 2, (4, 4)), ((1, 32, 32), 3, (4, 4)), ((3, 64, 64), 4, (4, 4)),
        ((3, 128, 128), 5, (4, 4)), ((1, 28, 28), 2, (7, 7)), ((5, 12, 12), 1, (6, 6)), ((2, 40, 16), 2, (10, 4)),
        ((1, 10, 200), 1, (5, 100)), ((4, 24, 48), 2, (6, 12)),
    ],
)  # fmt: skip
def test_dcgan_shapes(shape, count, base):
    generator, discriminator = Generator(shape, 10, 2), Discriminator(shape, 2)
    images = generator(randn(3, 10))
    assert images.shape == (3, *shape)
    assert discriminator(images).shape == (3,)
    assert stages(shape, 2) == ([2 * 2**k for k in range(count)], base)
    assert generator.layers[0].kernel_size == discriminator.layers[-1].kernel_size == base


def test_what_dcgan_can_be_halved_to():
    """By trying: the smaller edge is 4 to 7 pixels after some halvings, without a remainder in either edge."""
    for height in range(1, 70):
        for width in (height, 64, 20, 2 * height):
            found = [n for n in range(1, 7) if height % 2**n == width % 2**n == 0 and 4 <= min(height, width) >> n < 8]
            assert [halvings(height, width)] == (found or [None])


def test_dcgan_for_64_pixels_has_the_published_number_of_parameters():
    """Layer by layer from the paper's figure: 4 x 4 kernels, 100 latents, 64 to 512 channels, no biases."""
    widths = [512, 256, 128, 64]
    kernels = 16 * (100 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    assert sum(p.numel() for p in Generator((3, 64, 64), 100, 64).parameters()) == kernels + 2 * sum(widths)
    kernels = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512)
    assert sum(p.numel() for p in Discriminator((3, 64, 64), 64).parameters()) == kernels + 2 * sum(widths[:3])


@pytest.mark.parametrize("image_size", [8, 16, 32, 64, 128])
def test_dcgan_starts_as_in_the_paper_and_has_no_other_parameters(image_size):
    """Each kernel N(0, 0.02), each scale N(1, 0.02), each shift 0; a bias would start from torch's own draw.

    n draws have a mean with an error of 0.02 / sqrt(n) and a standard deviation with one of 0.02 / sqrt(2 n): five of each.
    """
    torch.manual_seed(image_size)
    widths = [1024 // image_size * 2**k for k in range(int(math.log2(image_size)) - 2)]  # next to the image first
    between = sum(a * b for a, b in pairwise(widths))
    for network, pairs, normalized in (
        (Generator((3, image_size, image_size), 20, widths[0]), 20 * widths[-1] + between + widths[0] * 3, widths),
        (Discriminator((3, image_size, image_size), widths[0]), 3 * widths[0] + between + widths[-1], widths[1:]),
    ):
        kernels = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        for values, mean in [(kernel, 0) for kernel in kernels] + [(norm.weight, 1) for norm in norms]:
            error = 0.02 / math.sqrt(values.numel())
            assert values.mean().item() == pytest.approx(mean, abs=5 * error)
            assert values.std().item() == pytest.approx(0.02, abs=5 * error / math.sqrt(2))
        assert len(kernels) == len(widths) + 1 and len(norms) == len(normalized)
        assert all((norm.bias == 0).all() for norm in norms)
        # 16 taps for each pair of channels, two numbers for each channel that is normalized, and no biases.
        assert sum(p.numel() for p in network.parameters()) == 16 * pairs + 2 * sum(normalized)


def test_discriminator_gives_logits_and_generator_a_tanh():
    images = randn(16, 1, 8, 8)
    discriminator = awaken(Discriminator((1, 8, 8), 4), scale=1.0).eval()
    first, last = discriminator.layers[0], discriminator.layers[-1]
    hidden = F.conv2d(images, first.weight, stride=2, padding=1)
    hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
    expected = (hidden * last.weight).sum((1, 2, 3))  # 4 x 4 pixels under a 4 x 4 kernel
    # 64 products of order 10 in float32.
    torch.testing.assert_close(discriminator(images), expected, rtol=0, atol=5e-4)
    assert expected.min() < 0 and expected.max() > 1  # no sigmoid
    generator = awaken(Generator((1, 8, 8), 5, 4), scale=0.5).eval()
    latent = randn(4, 5)
    before = generator.layers[:-1](latent[:, :, None, None])
    torch.testing.assert_close(generator(latent), before.tanh(), rtol=0, atol=1e-6)
    assert before.abs().max() > 0.3  # where tanh is not the identity


@pytest.mark.parametrize(("edges", "size"), [((4, 4), "4"), ((9, 9), "9"), ((30, 30), "30"), ((64, 100), r"\[64, 100\]")])
@pytest.mark.parametrize("network", [lambda shape: Generator(shape, 10, 2), lambda shape: Discriminator(shape, 2)])
def test_dcgan_refuses_other_sizes(edges, size, network):
    with pytest.raises(BootlightError, match=rf"data\.image_size is {size}; DCGAN halves .* 4 to 7 pixels"):
        network((3, *edges))


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 2, 9), (4, 31, 16)])
def test_classifier_takes_any_shape(shape):
    classifier = awaken(Classifier(shape[0], 3, width=4, num_features=6))
    assert classifier(randn(2, *shape)).shape == (2, 3) and classifier.features(randn(2, *shape)).shape == (2, 6)


def test_classifier_logits_are_a_head_on_its_features():
    classifier = awaken(Classifier(1, 3, width=4, num_features=6))
    images = randn(5, 1, 8, 8)
    features = classifier.features(images)
    assert features.shape == (5, 6) and (features < 0).any()  # before the activation
    head = classifier.head
    expected = np.maximum(features.detach().numpy(), 0) @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    np.testing.assert_allclose(classifier(images).detach(), expected, atol=1e-6)
    # An image does not depend on its batch.
    torch.testing.assert_close(classifier.features(images[:1]), features[:1], rtol=0, atol=1e-6)
