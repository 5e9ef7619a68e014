"""Parts of images with orthonormal rows."""

import pytest
import torch
from view_models import matrix

from bootlight.diffusion.corruption import Box, View, Whole
from bootlight.diffusion.coverage import Coverage
from bootlight.diffusion.view_checks import check_together, check_view
from bootlight.diffusion.views import Channels, Frames, Half, LowResolution, Unmasked
from bootlight.errors import BootlightError
from bootlight.rng import normal_rows, split_key

SHAPE = (6, 8, 4)
VIEWS = {  # with the shape of a part, and the share that is lost
    "low": (LowResolution(2), (6, 4, 2), 3 / 4),
    "lower": (LowResolution(4), (6, 2, 1), 15 / 16),
    "box": (Box(1, 0, 3, 2, [8, 4]), (6, 3, 2), 1 - 6 / 32),
    "left": (Half("left"), (6, 8, 2), 1 / 2),
    "right": (Half("right"), (6, 8, 2), 1 / 2),
    "top": (Half("top"), (6, 4, 4), 1 / 2),
    "bottom": (Half("bottom"), (6, 4, 4), 1 / 2),
    "channels": (Channels([4, 0], 6), (2, 8, 4), 2 / 3),
    "frames": (Frames(1, 2, 3), (4, 8, 4), 1 / 3),
    "unmasked": (Unmasked([[0, 1, 2, 2], [1, 2, 3, 2]], [8, 4]), (6, 8, 4), 9 / 32),
    "whole": (Whole(), (6, 8, 4), 0),
}


def normal(count, *shape, stream=0):
    return normal_rows(split_key(stream), torch.arange(count)[:, None], *shape).double()


@pytest.mark.parametrize("name", VIEWS)
def test_a_part_of_a_part_put_back_is_that_part(name):
    view, shape, level = VIEWS[name]
    x = normal(3, *SHAPE)
    part = view.project(x)
    assert tuple(part.shape[1:]) == shape == check_view(view, SHAPE, name)
    assert view.level == pytest.approx(level)
    # Sums of 16 numbers in float64.
    torch.testing.assert_close(view.project(view.adjoint(part)), part, rtol=0, atol=1e-14)
    y = view.project(normal(3, *SHAPE, stream=1))
    torch.testing.assert_close((part * y).sum(), (x * view.adjoint(y)).sum(), rtol=1e-12, atol=0)
    # In all directions at once: P P' is 1, or, of parts that are always 0 in places, 1 on those that are not.
    p = matrix(view, SHAPE)
    rows = p.abs().sum(1) > 0
    torch.testing.assert_close((p @ p.T)[rows][:, rows], torch.eye(int(rows.sum()), dtype=torch.float64), rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", VIEWS)
def test_white_noise_stays_white(name):
    view, _, _ = VIEWS[name]
    noise = normal(4000, *SHAPE)
    part = view.completed(view.project(noise), 1.0)[:, :, :2, :1].flatten(1)
    # Five deviations of a mean square of 4,000 normal numbers, and of a mean product of two. What is hidden has frozen noise.
    moments = part.T @ part / len(part)
    free = ~torch.isclose(part.std(0), torch.zeros((), dtype=torch.float64))
    found = moments[free][:, free]
    torch.testing.assert_close(found, torch.eye(len(found), dtype=torch.float64), rtol=0, atol=5 * (2 / 4000) ** 0.5)


def test_the_mean_of_a_block_has_half_the_noise_unless_it_is_scaled():
    noise = normal(2000, 1, 4, 4)
    pooled = torch.nn.functional.avg_pool2d(noise, 2)
    # 8,000 numbers: five deviations of their deviation.
    assert pooled.std().item() == pytest.approx(0.5, abs=5 * 0.5 / 16_000**0.5)
    assert LowResolution(2).project(noise).std().item() == pytest.approx(1.0, abs=5 / 16_000**0.5)
    torch.testing.assert_close(LowResolution(2).project(noise), LowResolution(2).scale * pooled)


class Pooled(View):
    """Means of blocks as they are: the commonest error."""

    def project(self, x):
        return torch.nn.functional.avg_pool2d(x, 2)

    def adjoint(self, y):
        return y.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4


class Enlarged(Pooled):
    """What undoes it, but is no adjoint."""

    def adjoint(self, y):
        return 4 * super().adjoint(y)


class Transposed(Whole):
    """No part of its images."""

    def adjoint(self, y):
        return y[:, :, :-1]


@pytest.mark.parametrize(
    "view", [Pooled(), Enlarged(), Transposed(), LowResolution(3), Half("left"), Unmasked([[0, 0, 1, 1]], 4)]
)
def test_a_view_that_is_none_is_refused(view):
    with pytest.raises(BootlightError, match="here"):
        check_view(view, (1, 4, 6) if not isinstance(view, Half) else (1, 4, 5), "here")


@pytest.mark.parametrize(
    "make",
    [
        lambda: LowResolution(0),
        lambda: Channels([0, 0]),
        lambda: Channels([3]),
        lambda: Channels([]),
        lambda: Frames(2, 2, 3),
        lambda: Unmasked([[0, 0, 9, 1]], 8),
        lambda: Unmasked([[0, 0, 8, 8]], 8),
    ],
)
def test_views_of_nothing_are_refused(make):
    with pytest.raises(ValueError, match=r"factor|which|frames|hidden"):
        make()


def pseudo_inverse(views, shape):
    p = torch.cat([matrix(view, shape) for view in views])
    return torch.linalg.pinv(p.T @ p, hermitian=True)


@pytest.mark.parametrize(
    "names",
    [
        ["low"],
        ["left", "right"],
        ["low", "left"],
        ["low", "top", "left"],
        ["low", "lower", "top", "channel"],
        ["left", "left", "top"],
    ],
)
def test_overlaps_are_averaged_by_how_many_views_have_a_direction(names):
    """By polynomials, against a pseudo-inverse."""
    views, shape = [VIEWS[name][0] if name in VIEWS else Channels([1], 2) for name in names], (2, 8, 4)
    coverage, x = Coverage(views), normal(5, *shape)
    total = coverage.summed(x)
    wanted = total.flatten(1) @ pseudo_inverse(views, shape)
    # Of counts to 4 the powers are at most 256 times their sum.
    torch.testing.assert_close(coverage.averaged(total).flatten(1), wanted, rtol=0, atol=1e-11)
    torch.testing.assert_close(coverage.covered(x).flatten(1), wanted, rtol=0, atol=1e-11)  # a projection of x
    check_together({str(i): view for i, view in enumerate(views)}, shape)


def test_views_that_overlap_askew_are_refused():
    askew = {"low": LowResolution(2), "box": Box(0, 0, 8, 3, [8, 4])}
    with pytest.raises(BootlightError, match="low and box"):
        check_together(askew, (1, 8, 4))
