"""Tables of noise levels by their betas, with the timesteps themselves told to the network: what published networks know."""

from typing import Literal, get_args

import torch
from torch import Tensor

from bootlight.diffusion.schedule import DiscreteSchedule
from bootlight.diffusion.schedules import CosineSchedule

Betas = Literal["linear", "scaled_linear", "sigmoid", "squaredcos_cap_v2"]


class BetaSchedule(DiscreteSchedule):
    """A table of noise levels by its betas; the network is told `t` itself, from 0 to T - 1, whatever T is.

    The names are diffusers' `beta_schedule`. `bootlight.LinearSchedule` and `bootlight.CosineSchedule` are two of these tables,
    but tell a network t * 1000 / T.

    Args:
        kind: linear: equal steps between the two ends (Ho et al. 2020); scaled_linear: equal steps between their roots (Rombach
            et al. 2022); sigmoid: between them along a sigmoid from -6 to 6 (Xu et al. 2022); squaredcos_cap_v2: the squared
            cosine, which has no ends (Nichol and Dhariwal 2021, equation 17).
        num_timesteps: T.
        beta_start: first beta.
        beta_end: last beta.
        betas: all of them, T numbers from 0 to 1, in the place of the four above.

    Raises:
        ValueError: betas that are none.
    """

    def __init__(
        self,
        kind: Betas = "linear",
        num_timesteps: int = 1000,
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        betas: list[float] | None = None,
    ) -> None:
        if betas is None and kind not in get_args(Betas):
            raise ValueError(f"kind is {kind}; it must be one of {', '.join(get_args(Betas))}")
        if betas is None and kind == "squaredcos_cap_v2":
            super().__init__(CosineSchedule(num_timesteps).alphas_cumprod)
        else:
            table = _between(kind, num_timesteps, beta_start, beta_end) if betas is None else torch.tensor(betas).double()
            if len(table) == 0 or not 0 < float(table.min()) <= float(table.max()) < 1:
                raise ValueError("betas must be numbers above 0 and below 1")
            super().__init__(torch.cumprod(1 - table, 0))
        self.given = None if betas is None else list(betas)
        self.kind: Betas | None = kind if betas is None else None
        self.ends = None if betas is not None or kind == "squaredcos_cap_v2" else (beta_start, beta_end)

    def seen(self, t: Tensor) -> Tensor:
        """`t` itself."""
        return t if t.is_floating_point() else t.float()


def _between(kind: Betas, num_timesteps: int, start: float, end: float) -> Tensor:
    """Betas in float64, (T,)."""

    def line(first: float, last: float) -> Tensor:
        return torch.linspace(first, last, num_timesteps, dtype=torch.float64)

    if num_timesteps < 1 or not 0 < start < 1 or not 0 < end < 1:
        raise ValueError(
            f"num_timesteps is {num_timesteps}, beta_start {start} and beta_end {end}; there must be 1 timestep or more, and "
            "betas above 0 and below 1"
        )
    if kind == "scaled_linear":
        return line(start**0.5, end**0.5) ** 2
    if kind == "sigmoid":
        return start + (end - start) * torch.sigmoid(line(-6, 6))
    return line(start, end)
