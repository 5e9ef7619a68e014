"""The network for points, against its formula by hand and what must not change its answer."""

import pytest
import torch
from oracle import awaken

from bootlight import MLP, Sizes
from bootlight.errors import BootlightError
from bootlight.networks.layers import timestep_embedding
from bootlight.networks.mlp import Block


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def silu(y):
    return y / (1 + torch.exp(-y))


def test_an_mlp_is_its_formula():
    network = awaken(MLP(Sizes((2, 1, 1), 4, num_classes=3), width=6, depth=2), scale=0.5)
    x, t, labels = randn(5, 2, 1, 1), torch.tensor([0.0, 0.5, 20.0, 999.0, -250.0]), torch.tensor([0, 1, 2, 3, 0])
    w = {name: parameter.detach().double() for name, parameter in network.named_parameters()}

    def linear(y, name):
        return y @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    e = linear(silu(linear(timestep_embedding(t, 6).double(), "embed.0")), "embed.2") + w["embed_label.weight"][labels]
    h = linear(x.flatten(1).double(), "first")
    for block in ("blocks.0", "blocks.1"):
        h = h + linear(silu(linear(silu(h), f"{block}.first") + linear(silu(e), f"{block}.project")), f"{block}.second")
    expected = linear(silu(h), "last")
    # A dozen layers of 6 products of order 1 to 10 in float32.
    torch.testing.assert_close(network(x, t, labels).double(), expected.reshape(5, 4, 1, 1), rtol=0, atol=1e-4)
    assert expected.abs().max() > 1


def test_a_new_mlp_answers_zero_and_its_blocks_are_their_skips():
    x, e = randn(3, 7), randn(3, 7, seed=1)
    assert torch.equal(Block(7)(x, e), x)
    answer = MLP(Sizes((3, 1, 1), 6))(randn(4, 3, 1, 1), torch.arange(4.0))
    assert answer.shape == (4, 6, 1, 1) and (answer == 0).all()


def test_numbers_are_seen_in_whatever_shape_and_each_point_by_itself():
    column, row = (awaken(MLP(Sizes(shape, shape[0]), width=8)) for shape in ((6, 1, 1), (1, 2, 3)))
    x, t = randn(4, 6, 1, 1), torch.tensor([0.0, 3.0, 70.0, 900.0])
    assert torch.equal(column(x, t).flatten(1), row(x.reshape(4, 1, 2, 3), t).flatten(1))
    order = torch.tensor([2, 0, 3, 1])
    # The same rows times the same matrices; sums may be cut elsewhere: a few roundings of numbers of order 1.
    torch.testing.assert_close(column(x[order], t[order]), column(x, t)[order], rtol=0, atol=1e-5)
    torch.testing.assert_close(column(x[:1], t[:1]), column(x, t)[:1], rtol=0, atol=1e-5)


def test_no_label_is_the_last_row_of_the_table():
    network = awaken(MLP(Sizes((2, 1, 1), 2, num_classes=3), width=8))
    x, t = randn(2, 2, 1, 1), torch.tensor([3.0, 70.0])
    assert network.embed_label.num_embeddings == 4
    unlabelled = network(x, t)
    assert torch.equal(unlabelled, network(x, t, torch.tensor([3, 3])))
    assert not torch.equal(network(x, t, torch.tensor([0, 3]))[0], unlabelled[0])
    plain = awaken(MLP(Sizes((2, 1, 1), 2), width=8))
    assert plain.embed_label is None and torch.equal(plain(x, t), plain(x, t, torch.tensor([0, 1])))  # labels are ignored


def test_all_parameters_of_the_mlp_are_used_in_half_and_in_double_too():
    network = awaken(MLP(Sizes((2, 1, 1), 2, num_classes=3), width=8))
    network(randn(4, 2, 1, 1), torch.arange(4.0), torch.arange(4)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []
    for dtype in (torch.float64, torch.bfloat16):
        assert network.to(dtype)(randn(4, 2, 1, 1).to(dtype), torch.arange(4.0), torch.arange(4)).dtype == dtype


@pytest.mark.parametrize(("option", "key"), [({"width": 0}, r"model\.width is 0"), ({"depth": 0}, r"model\.depth is 0")])
def test_an_mlp_says_what_it_cannot_be(option, key):
    with pytest.raises(BootlightError, match=key):
        MLP(Sizes((2, 1, 1), 2), **option)
