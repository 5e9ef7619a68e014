"""Which timesteps a sampler visits when it takes fewer than there are; names as in diffusers' `timestep_spacing`.

For T = 1000 and 10 steps, from the image to the noise: linspace 0, 111, 222, ..., 888, 999; leading 0, 100, ..., 900; trailing
99, 199, ..., 999. Lin et al. 2024 ("Common diffusion noise schedules and sample steps are flawed", table 2) compare them.
"""

from typing import Literal

import torch
from torch import Tensor

Spacing = Literal["linspace", "leading", "trailing", "karras"]
MAX_LEFT_OUT = 10  # leading: at most one in so many timesteps is left over when the schedule is divided


def evenly_spaced(total: int, num_steps: int, spacing: Spacing) -> Tensor:
    """`num_steps` of the timesteps 0 to `total` - 1, int64, rising.

    Raises:
        ValueError: more steps than timesteps, fewer than 1, or steps that `leading` cannot take.
    """
    if not 1 <= num_steps <= total:
        raise ValueError(f"num_steps is {num_steps}; this schedule allows 1 to {total}")
    return {"linspace": linspace, "leading": leading, "trailing": trailing}[spacing](total, num_steps)  # karras: by noise level


def linspace(total: int, num_steps: int) -> Tensor:
    """Both ends, and between them equal distances, rounded: `space_timesteps` of improved-diffusion with one section.

    A single step is the noisiest timestep, where improved-diffusion would take 0. Halves are rounded by their last bit.
    """
    if num_steps == 1:
        return torch.tensor([total - 1])
    return torch.linspace(0, total - 1, num_steps, dtype=torch.float64).round().long()


def leading(total: int, num_steps: int) -> Tensor:
    """Every (total // num_steps)-th timestep from 0: the grid of DDIM (Song et al. 2021, section D.2, linear).

    Where the division leaves nothing over, the paper's code, `ddimN` of improved-diffusion and diffusers (`steps_offset` 0)
    agree; elsewhere it is that of diffusers. The noisiest timesteps are not visited: 50 steps of 1000 begin at 980.

    Raises:
        ValueError: it would begin far from the noise: a single step would at 0, and so do steps that leave more than a tenth
            of the timesteps over.
    """
    stride, left_over = divmod(total, num_steps)
    if num_steps == 1 < total or left_over * MAX_LEFT_OUT > total:
        raise ValueError(
            f"num_steps is {num_steps}; with spacing leading it would begin at timestep {(num_steps - 1) * stride} of {total}, "
            f"where images are not yet noise: take 2 or more steps that divide {total}, or spacing trailing"
        )
    return torch.arange(num_steps) * stride


def trailing(total: int, num_steps: int) -> Tensor:
    """Down from the noisiest timestep in strides of total / num_steps, rounded, halves to even numbers (Lin et al. 2024)."""
    return (torch.arange(1, num_steps + 1, dtype=torch.float64) * total / num_steps).round().long() - 1
