"""Networks taken apart: encoder and decoder are the network, and what is changed between them goes on."""

import pytest
import torch
from oracle import awaken
from test_networks import randn, unet

import bootlight
from bootlight.networks.features import can_be_taken_apart


@pytest.fixture(params=["plain", "classes", "adapters"])
def network(request):
    options = {"num_classes": None if request.param == "plain" else 3}
    if request.param == "adapters":
        made = bootlight.LoRA(bootlight.Sizes((1, 8, 8), 2, 3), lambda sizes: unet(**options))
    else:
        made = unet(**options)
    return awaken(made).eval()


INPUTS = randn(3, 1, 8, 8), torch.tensor([3, 70, 900])
LABELS = torch.tensor([0, 3, 2])


@torch.no_grad()
def test_the_halves_are_the_network_to_the_bit_and_leave_features_as_they_are(network):
    for labels in (None, LABELS):
        whole = network(*INPUTS, labels)
        features = network.encode(*INPUTS, labels)
        before = features.bottleneck.clone()
        assert torch.equal(network.decode(features), whole) and whole.abs().max() > 0.01
        network.decode(features._replace(bottleneck=features.bottleneck + 1))
        assert torch.equal(features.bottleneck, before) and torch.equal(network.decode(features), whole)
        same = network.encode(*INPUTS, labels, change=lambda x: x)
        assert torch.equal(network.decode(same, change=lambda x: x), whole)
        assert features.bottleneck.shape == (3, 16, 4, 4)


@torch.no_grad()
def test_every_layer_is_seen_once_and_its_change_goes_on(network):
    plain = network.network if isinstance(network, bootlight.LoRA) else network
    seen: dict[str, list] = {"encode": [], "decode": []}

    def noted(which, factor=1.0):
        return lambda x: (seen[which].append(x), factor * x)[1]

    features = network.encode(*INPUTS, change=noted("encode"))
    whole = network.decode(features, change=noted("decode"))
    assert [len(layers) for layers in seen.values()] == [len(plain.down), len(plain.up)]
    first = plain.down[0](INPUTS[0], None)
    # Two matrix products of the same numbers in another memory order: rounding of float32 alone.
    torch.testing.assert_close(seen["encode"][0], first, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(plain.out(seen["decode"][-1]), whole)  # nothing lies between the last layer and the answer
    zeroed = network.encode(*INPUTS, change=lambda x: 0 * x)
    assert all((skip == 0).all() for skip in zeroed.rest[0])  # what the skip connections carry is what was changed
    assert torch.equal(network.decode(zeroed, change=lambda x: 0 * x), plain.out(0 * seen["decode"][-1]))


@torch.no_grad()
def test_the_bottleneck_reaches_the_answer_of_its_own_image_alone(network):
    features = network.encode(*INPUTS)
    moved = features.bottleneck.clone()
    moved[1] += 1
    off = (network.decode(features._replace(bottleneck=moved)) - network.decode(features)).abs().amax((1, 2, 3))
    assert off[1] > 1e-3 and off[0] == off[2] == 0


def test_others_cannot_be_taken_apart():
    points = bootlight.Sizes((2, 1, 1), 2)
    assert not can_be_taken_apart(bootlight.MLP(points))
    assert not can_be_taken_apart(bootlight.LoRA(points, bootlight.MLP))
    assert can_be_taken_apart(unet()) and can_be_taken_apart(bootlight.LoRA(points, lambda sizes: unet()))
