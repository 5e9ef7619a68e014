"""Whether views are what they should be, found out on a few images of noise."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations

import torch
from torch import Tensor

from bootlight.diffusion.corruption import View
from bootlight.errors import BootlightError, told_in_a_line
from bootlight.rng import derive_key, normal_rows, split_key

ROUNDING = 1e-5  # of sums of float64 numbers that a class may have made from float32 ones
Shape = tuple[int, int, int]


def part_shape(view: View, shape: Shape, who: str) -> Shape:
    """(C, H, W) of the parts of images of a shape.

    Raises:
        BootlightError: the view cannot look at such images; begins with `who`.
    """
    with _blamed(who, shape):
        part = view.project(torch.zeros(1, *shape))
    return (part.shape[1], part.shape[2], part.shape[3])


@contextmanager
def _blamed(who: str, shape: Shape) -> Iterator[None]:
    try:
        yield
    except BootlightError as error:
        raise BootlightError(f"{who}: {error}") from error
    except Exception as error:  # someone else's code
        raise BootlightError(f"{who}: images {tuple(shape)} cannot be looked at: {told_in_a_line(error)}") from error


def check_view(view: View, shape: Shape, who: str) -> Shape:
    """See whether a view has orthonormal rows, on its parts of images of a shape.

    Args:
        view: in question.
        shape: (C, H, W) of the images.
        who: how a message begins.

    Returns:
        The shape of a part.

    Raises:
        BootlightError: it has not, or it cannot look at such images.
    """
    x, other = _trial(2, shape)
    found = part_shape(view, shape, who)
    with _blamed(who, shape):
        part, back = view.project(x), view.adjoint(view.project(other))
        again, image = view.project(back), view.adjoint(part)
    if back.shape != x.shape or not torch.allclose((x * back).sum(), (part * view.project(other)).sum(), rtol=ROUNDING):
        raise BootlightError(f"{who}: its adjoint is none: <project x, y> must equal <x, adjoint y>; correct it")
    if not torch.allclose(again, view.project(other), rtol=ROUNDING, atol=ROUNDING) or image.shape != x.shape:
        raise BootlightError(
            f"{who}: its rows are not orthonormal: project(adjoint(y)) must be y, or a part has another noise level than its "
            "image; scale project and adjoint alike"
        )
    return found


def check_together(views: dict[str, View], shape: Shape) -> None:
    """See whether directions of images can be counted by how many views have them: their projections commute.

    Raises:
        BootlightError: two overlap askew.
    """
    (x,) = _trial(1, shape)

    def kept(first: View, second: View) -> Tensor:
        return first.adjoint(first.project(second.adjoint(second.project(x))))

    for (one, first), (other, second) in combinations(views.items(), 2):
        if not torch.allclose(kept(first, second), kept(second, first), rtol=ROUNDING, atol=ROUNDING):
            raise BootlightError(
                f"ViewSum: {one} and {other} overlap askew, so that nobody can say which directions both have; let the edges "
                "of one lie on those of the other's blocks"
            )


def _trial(count: int, shape: Shape) -> Tensor:
    """Normal images, float64 (count, 1, C, H, W)."""
    rows = torch.arange(count)[:, None]
    return normal_rows(split_key(derive_key("view on trial")), rows, 1, *shape).double()
