"""The network of single pictures: what a pixel sees, pictures of any size, what comes beside them."""

import pytest
import torch

from bootlight.errors import BootlightError
from bootlight.networks.nextnet import NextNet
from bootlight.networks.sizes import Sizes


def network(depth=2, width=4, shape=(1, 32, 32), **settings):
    torch.manual_seed(0)
    made = NextNet(Sizes(shape, shape[0]), width, depth, **settings).double()
    torch.nn.init.normal_(made.last.weight)  # new ones answer 0
    return made.eval()


def answer(made, x, **cond):
    return made(x, torch.full((len(x),), 3.0, dtype=torch.float64), **cond)


@pytest.mark.parametrize(("depth", "field"), [(1, 11), (2, 21), (3, 31), (4, 41)])
def test_a_pixel_sees_its_field_of_view_and_no_more(depth, field):
    made = network(depth)
    assert made.field_of_view == field
    size = field + 4
    x = torch.randn(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    answer(made, x)[0, 0, size // 2, size // 2].backward()
    seen = x.grad[0, 0] != 0
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    margin = (size - field) // 2
    assert (rows[0], rows[-1]) == (columns[0], columns[-1]) == (margin, size - 1 - margin)


def test_a_shifted_picture_has_a_shifted_answer():
    made, shift = network(2), (3, 5)
    x = torch.randn(2, 1, 40, 48, dtype=torch.float64)
    moved = answer(made, x.roll(shift, (2, 3))).roll((-shift[0], -shift[1]), (2, 3))
    far = made.field_of_view // 2 + max(shift)  # from edges, and from where the picture was rolled together
    inner = (slice(None), slice(None), slice(far, -far), slice(far, -far))
    torch.testing.assert_close(moved[inner], answer(made, x)[inner])
    assert not torch.allclose(moved, answer(made, x))  # at the edges zeros are seen


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_each_block_counts(depth):
    """Skips lead from the first to the last, of odd numbers none to the one in the middle."""
    made = network(depth)
    x = torch.randn(1, 1, 9, 7, dtype=torch.float64)
    before = answer(made, x)
    for block in made.blocks:
        with torch.no_grad():
            block.narrow.bias += 1
        after = answer(made, x)
        assert not torch.allclose(after, before)
        before = after
    assert [block.depthwise.in_channels for block in made.blocks] == [4] * (depth - depth // 2) + [8] * (depth // 2)


def test_what_comes_beside_is_seen():
    made = network(beside=["before", "after"], numbers=["gap"], shape=(3, 8, 8))
    x, before, after = torch.randn(3, 2, 3, 8, 8, dtype=torch.float64).unbind()
    told = {"before": before, "after": after, "gap": torch.tensor([1, -1]), "other": torch.zeros(2)}
    whole = answer(made, x, **told)
    for name, other in (("before", after), ("after", before), ("gap", torch.tensor([1, 2]))):
        changed = answer(made, x, **(told | {name: other}))
        assert not torch.allclose(changed[1], whole[1])
    torch.testing.assert_close(changed[0], whole[0])  # whose gap is the same
    torch.testing.assert_close(answer(made, x, **(told | {"other": torch.ones(2)})), whole)
    with pytest.raises(BootlightError, match="gap"):
        answer(made, x, before=before, after=after)


@pytest.mark.parametrize("settings", [{"depth": 0}, {"width": 0}, {"expansion": 0}, {"beside": ["a"], "numbers": ["a"]}])
def test_sizes_that_cannot_be(settings):
    with pytest.raises(BootlightError, match=next(iter(settings))):
        network(**settings)
