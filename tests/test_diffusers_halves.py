"""Networks of diffusers in two halves: bit for bit their own forward, and open to change in between."""

import pytest
import torch
from tiny_pipelines import BLOCKS, awake

import bootlight

NAMES = {
    **{name: value for name, value in BLOCKS.items() if name != "sample_size"},
    "block_out_channels": (8, 8, 16),
    "down_block_types": ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
}
TEXT = NAMES | {
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 6,
}
KINDS = {
    "plain": lambda sizes: bootlight.UNet2D(sizes._replace(num_classes=None), NAMES),
    "classes": lambda sizes: bootlight.UNet2D(sizes, NAMES),
    "centered": lambda sizes: bootlight.UNet2D(sizes, NAMES | {"center_input_sample": True}),
    "no middle": lambda sizes: bootlight.UNet2D(sizes, NAMES | {"mid_block_type": None}),
    "text": lambda sizes: bootlight.TextUNet(sizes, TEXT, 5),
    "adapted": lambda sizes: bootlight.LoRA(sizes, lambda sizes: bootlight.TextUNet(sizes, TEXT, 5), rank=2),
}


@pytest.fixture(params=KINDS)
def network(request):
    torch.manual_seed(0)
    found = awake(KINDS[request.param](bootlight.Sizes((2, 8, 8), 3, 2)))
    for name, buffer in found.named_buffers():
        if name.endswith("prompts"):
            buffer.copy_(torch.randn(buffer.shape))
    return found


def asked(network):
    """Arguments, and the answer of diffusers' own forward."""
    inner = getattr(network, "network", network)
    x, t, labels = torch.randn(3, 2, 8, 8), torch.tensor([4, 500, 990]), torch.tensor([0, 2, 1])
    if isinstance(inner, bootlight.TextUNet):
        return (x, t, labels), inner.unet(x, t, encoder_hidden_states=inner.prompts[labels]).sample
    classes = None if inner.num_classes is None else labels
    return (x, t, labels), inner.unet(x, t, class_labels=classes).sample


@torch.no_grad()
def test_both_halves_are_the_whole(network):
    arguments, theirs = asked(network)
    assert torch.equal(network(*arguments), theirs)
    features = network.encode(*arguments)
    assert torch.equal(network.decode(features), theirs)
    assert torch.equal(network.decode(features), theirs)  # nothing was used up
    assert torch.equal(network.decode(features, change=lambda h: h), theirs)
    assert torch.equal(network.decode(network.encode(*arguments, change=lambda h: h)), theirs)


@torch.no_grad()
def test_features_are_those_of_the_blocks_and_can_be_changed(network):
    unet = getattr(network, "network", network).unet
    seen: dict[str, list[torch.Tensor]] = {"down": [], "mid": [], "up": []}

    def note(name):
        return lambda _module, _args, answer: seen[name].append(answer[0] if isinstance(answer, tuple) else answer)

    for name, blocks in (("down", unet.down_blocks), ("mid", [unet.mid_block]), ("up", unet.up_blocks)):
        for block in blocks:
            if block is not None:
                block.register_forward_hook(note(name))
    arguments, theirs = asked(network)
    met: list[torch.Tensor] = []

    def keep(h):
        met.append(h)
        return h

    features = network.encode(*arguments, change=keep)
    whole = {name: len(found) // 2 for name, found in seen.items() if name != "up"}
    assert len(met) == 1 + len(unet.down_blocks)
    assert all(map(torch.equal, met[1:], seen["down"][whole["down"] :]))
    assert torch.equal(features.bottleneck, (seen["mid"] or seen["down"])[-1])
    met.clear()
    network.decode(features, change=keep)
    assert len(met) == len(unet.up_blocks)
    assert all(map(torch.equal, met, seen["up"][len(unet.up_blocks) :]))

    moved = features._replace(bottleneck=features.bottleneck + 1)
    assert (network.decode(moved) - theirs).abs().max() > 1e-3
    # A change of one layer of the encoder reaches the next one, and the skip alone would too.
    for k in range(1 + len(unet.down_blocks)):
        count = iter(range(9))
        changed = network.encode(*arguments, change=lambda h, k=k, count=count: h + (next(count) == k))
        skips = changed.rest[0]
        assert (network.decode(changed) - theirs).abs().max() > 1e-3
        assert (changed.bottleneck - features.bottleneck).abs().max() > 1e-4
        assert any(not torch.equal(own, other) for own, other in zip(skips, features.rest[0], strict=True))
