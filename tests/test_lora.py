"""Adapters: the identity at first, a product of two matrices afterwards, trained alone, published merged."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from oracle import awaken, fit, random_batch
from safetensors.torch import load_file
from tiny_runs import DDPM, options, write_plain_pages
from torch import nn

from bootlight import MLP, LoRA, Sizes, UNet
from bootlight.errors import BootlightError
from bootlight.generators.base import GeneratorModule
from bootlight.generators.load import build, load_generator
from bootlight.networks.layers import Pointwise
from bootlight.networks.lora import adapt, adapted, merge, plain_state
from bootlight.runs.folder import RunFolder

SMALL = {"width": 8, "channel_multipliers": [1, 2], "num_res_blocks": 1, "attention_resolutions": [4], "num_heads": 2}


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unet(sizes):
    return awaken(UNet(sizes, **SMALL))


def points(sizes):
    return awaken(MLP(sizes, width=8))


def moved(network):
    """The same with adapters that say something."""
    for number, (_, _, ours) in enumerate(adapted(network)):
        for adapter in ours:
            awaken(adapter, seed=number)
    return network


CASES = [
    (unet, Sizes((1, 8, 8), 2, 3), lambda: (randn(2, 1, 8, 8), torch.tensor([3.0, 70.0]), torch.tensor([0, 3]))),
    (points, Sizes((2, 1, 1), 2), lambda: (randn(4, 2, 1, 1), torch.arange(4.0))),
]


@pytest.mark.parametrize(("network", "sizes", "inputs"), CASES)
def test_a_new_adapter_changes_no_bit(network, sizes, inputs):
    plain, lora = network(sizes), LoRA(sizes, network, rank=3, alpha=7.0)
    assert torch.equal(lora(*inputs()), plain(*inputs()))
    layers = [layer for layer in plain.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert len(list(adapted(lora))) == len(layers) > 5


@pytest.mark.parametrize(("network", "sizes", "inputs"), CASES)
def test_what_is_merged_answers_alike_under_the_names_of_the_network(network, sizes, inputs):
    lora = moved(LoRA(sizes, network, rank=2))
    x, *others = inputs()
    lora.double()
    expected = lora(x.double(), *others)
    state = plain_state(lora)
    whole = network(sizes)
    assert {name: value.shape for name, value in state.items()} == {n: v.shape for n, v in whole.state_dict().items()}
    whole.double().load_state_dict(state)
    assert torch.equal(whole(x.double(), *others), expected)  # the weights are the same bits, whoever adds them up
    single = copy.deepcopy(lora).float()
    before = single(x, *others)
    merged = merge(single)
    assert type(merged).__name__ in ("UNet", "MLP") and not list(adapted(merged))
    assert torch.equal(merged(x, *others), before)
    torch.testing.assert_close(before.double(), expected, rtol=1e-3, atol=1e-3)  # float32 in some twenty layers of order 1
    assert (expected - network(sizes).double()(x.double(), *others)).abs().max() > 0.01


@pytest.mark.parametrize(
    ("layer", "shape", "beside"),
    [
        (nn.Linear(6, 5), (3, 6), lambda x, down, up: x @ down.T @ up.T),
        (
            nn.Conv2d(4, 6, 3, stride=2, padding=1),
            (2, 4, 7, 8),
            lambda x, down, up: F.conv2d(F.conv2d(x, down.view(2, 4, 3, 3), stride=2, padding=1), up[:, :, None, None]),
        ),
        (
            Pointwise(4, 6),
            (2, 4, 3, 5),
            lambda x, down, up: F.conv2d(F.conv2d(x, down[:, :, None, None]), up[:, :, None, None]),
        ),
        (
            nn.Conv1d(4, 6, 3),
            (2, 4, 9),
            lambda x, down, up: F.conv1d(F.conv1d(x, down.view(2, 4, 3)), up[:, :, None]),
        ),
    ],
    ids=["linear", "strided", "pointwise", "one-dimensional"],
)
def test_an_adapter_is_two_thin_layers_beside_the_layer(layer, shape, beside):
    layer = layer.double()
    x, plain = randn(*shape).double(), copy.deepcopy(layer)
    adapt(layer, rank=2, alpha=3.0)
    ((_, _, (adapter,)),) = adapted(moved(layer))
    # Sums of at most 40 products of order 1 in float64.
    torch.testing.assert_close(layer(x), plain(x) + 1.5 * beside(x, adapter.down, adapter.up), rtol=0, atol=1e-13)


def test_only_what_is_named_is_adapted_and_nothing_else_is_trained():
    sizes = Sizes((1, 8, 8), 1, 3)
    network = LoRA(sizes, unet, targets=["to_qkv", "middle.0"])
    assert [name.removeprefix("network.") for name, _, _ in adapted(network)] == [
        "down.3.1.to_qkv", "middle.0.conv1", "middle.0.project", "middle.0.conv2", "middle.1.to_qkv", "up.0.1.to_qkv",
        "up.1.1.to_qkv",
    ]  # fmt: skip
    trained = [parameter.numel() for parameter in network.parameters() if parameter.requires_grad]
    adapters = [ours[0] for _, _, ours in adapted(network)]
    assert sum(trained) == sum(4 * (adapter.down.shape[1] + len(adapter.up)) for adapter in adapters)


def test_a_rank_above_a_layer_s_own_is_that():
    layer = adapt(nn.Linear(3, 5), rank=10, alpha=5.0)
    ((_, _, (adapter,)),) = adapted(layer)
    assert (adapter.down.shape, adapter.up.shape, adapter.scale) == ((3, 3), (5, 3), 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, r"model\.network\.rank is 0"),
        ({"targets": ["to_qkv", "to_q"]}, r"model\.network\.targets: to_q is no linear layer or convolution of UNet; .*to_qkv"),
        ({"targets": []}, r"model\.network\.targets"),
        ({"targets": ["norm1"]}, r"model\.network\.targets: norm1"),
    ],
)
def test_adapters_that_cannot_be_are_refused(options, message):
    with pytest.raises(BootlightError, match=message):
        LoRA(Sizes((1, 8, 8), 1), unet, **options)


# Modules

PLAIN = {"class_path": "bootlight.UNet", "init_args": SMALL}


def module(network, **options):
    """A diffusion model, as a published configuration builds it."""
    settings = {"image_size": 8, "channels": 1, "network": network, "num_classes": 3, "ema_decay": 0.5, "learning_rate": 1e-2}
    settings |= {"sampler": {"class_path": "bootlight.DDIM", "init_args": {"num_steps": 3}}} | options
    return build(GeneratorModule, {"class_path": "bootlight.Diffusion", "init_args": settings})


def lora(**options):
    return module({"class_path": "bootlight.LoRA", "init_args": {"rank": 2, "network": PLAIN} | options})


def start():
    """A trained plain model, as it is published."""
    plain = module(PLAIN)
    awaken(plain.network)
    plain.ema.network.load_state_dict(plain.network.state_dict())
    return plain


def drawn(model):
    return model.sample([1, 2], labels=torch.tensor([0, 2]))


def test_published_weights_are_adapted_trained_and_published_merged():
    plain, model = start(), lora()
    published = plain.published_state()
    model.load_published(published)
    assert torch.equal(drawn(model), drawn(plain))
    assert all(torch.equal(value, published[name]) for name, value in model.published_state().items())
    frozen = {name: value.clone() for name, value in model.named_parameters() if not value.requires_grad}
    trainer = fit(model, [random_batch(seed=seed, labels=torch.arange(8) % 3) for seed in range(4)])
    in_optimizer = {parameter for group in trainer.optimizers[0].param_groups for parameter in group["params"]}
    assert in_optimizer == {p for _, _, ours in adapted(model.network) for adapter in ours for p in adapter.parameters()}
    followers = {f"ema.network.{name}" for name, value in model.network.named_parameters() if value.requires_grad}
    assert all(
        torch.equal(value, frozen[name]) for name, value in model.named_parameters() if name in frozen.keys() - followers
    )
    # What it publishes needs no adapters, and begins the next training with adapters as plain weights do.
    result = model.published_state()
    assert {name: value.shape for name, value in result.items()} == {name: value.shape for name, value in published.items()}
    for reader in (module(PLAIN), lora(), lora(rank=5)):
        reader.load_published(result)
        assert torch.equal(drawn(reader), drawn(model))
    changed = {name for name, value in result.items() if not torch.equal(value, published[name])}
    assert {"net.down.0.0.weight", "net.middle.1.to_qkv.weight", "net.out.2.weight"} <= changed
    assert all(name.endswith("weight") and "norm" not in name for name in changed)  # no bias, no norm, no label


def test_adapters_begin_anew_where_weights_are_loaded_and_other_weights_are_refused():
    model = lora()
    moved(model)
    published = start().published_state()
    model.load_published(published)
    assert all((adapter.up == 0).all() for _, _, ours in adapted(model) for adapter in ours)
    del published["net.middle.0.conv1.weight"]
    with pytest.raises(BootlightError, match=r"the first is net\.middle\.0\.conv1\.weight, which is missing"):
        model.load_published(published)


def test_a_checkpoint_has_the_adapters_and_goes_on_from_them():
    model = moved(lora())
    other = lora()
    other.load_state_dict(model.state_dict())
    assert torch.equal(drawn(other), drawn(model))
    assert any(name.endswith(".up") for name in model.state_dict())


ADAPTERS = {"class_path": "bootlight.LoRA", "init_args": {"rank": 2, "network": {"class_path": "bootlight.UNet", "init_args": {
    "width": 8, "channel_multipliers": [1], "num_res_blocks": 0, "attention_resolutions": [], "num_heads": 1,
}}}}  # fmt: skip
TUNED = {"class_path": "bootlight.Diffusion", "init_args": {"network": ADAPTERS, "ema_decay": 0.9, "learning_rate": 0.01,
    "sampler": {"class_path": "bootlight.Ancestral", "init_args": {"num_steps": 2}}}}  # fmt: skip


def test_a_stage_fine_tunes_what_another_has_trained(bootlight, pictures, tmp_path, monkeypatch):
    """From the command line: a preset is trained, a part with adapters starts from it, and draws the images."""
    write_plain_pages(monkeypatch)
    stages = [
        {"class_path": "bootlight.Train", "init_args": {"part": "base"}},
        {"class_path": "bootlight.Train", "init_args": {"start_from": "base", "module": TUNED}},
        {"class_path": "bootlight.Synthesize"},
    ]
    plain = [*DDPM, "--model.num_train_timesteps=1000", "--model.learned_variance=false"]
    bootlight("fit", *plain, *options(pictures, tmp_path / "run"), f"--bootstrap.stages={json.dumps(stages)}")
    folder = RunFolder(tmp_path / "run").generation(0)
    base, tuned = load_file(folder.of_part("base").weights), load_file(folder.weights)
    names = {f"net.{name.removeprefix('unet.')}": name for name in base}
    assert names.keys() == tuned.keys()  # merged: nothing of an adapter
    layers = {f"net.{name}.weight" for name, _, _ in adapted(load_generator(folder).net.network)}
    for name, before in names.items():
        assert torch.equal(tuned[name], base[before]) == (name not in layers), name
