"""The timesteps of a short walk, against the published lists and formulas, and what samplers make of them."""

import math

import numpy as np
import pytest
import torch
from oracle import GaussianDenoiser, linear_abar, mean_and_variance, tiny_ddpm

from bootlight.diffusion.sampler import DDIM, Ancestral
from bootlight.diffusion.schedules import LinearSchedule
from bootlight.diffusion.solvers import DPMSolver, Heun
from bootlight.diffusion.spacing import evenly_spaced
from bootlight.errors import BootlightError

SCHEDULE = LinearSchedule(1000)
SPACINGS = ("linspace", "leading", "trailing")
# Written down from numpy expressions of the definitions: diffusers' DDIM with steps_offset 0, rising.
PUBLISHED = {
    ("linspace", 1): [999],  # as the only step has to start from noise
    ("linspace", 7): [0, 166, 333, 500, 666, 832, 999],  # 499.5 and 166.5 are halves: to the even number
    ("linspace", 10): [0, 111, 222, 333, 444, 555, 666, 777, 888, 999],
    ("leading", 7): [0, 142, 284, 426, 568, 710, 852],
    ("leading", 10): [0, 100, 200, 300, 400, 500, 600, 700, 800, 900],
    ("trailing", 1): [999],
    ("trailing", 7): [142, 285, 428, 570, 713, 856, 999],
    ("trailing", 10): [99, 199, 299, 399, 499, 599, 699, 799, 899, 999],
}  # fmt: skip


@pytest.mark.parametrize(("spacing", "num_steps"), PUBLISHED)
def test_timesteps_are_the_published_ones(spacing, num_steps):
    assert evenly_spaced(1000, num_steps, spacing).tolist() == PUBLISHED[spacing, num_steps]


def test_fifty_steps():
    """DDIM-50 as published begins at 980; of the paper's code, diffusers and improved-diffusion's `ddim50`: one list."""
    assert evenly_spaced(1000, 50, "leading").tolist() == list(range(0, 1000, 20))
    assert evenly_spaced(1000, 50, "trailing").tolist() == list(range(19, 1000, 20))
    ours = evenly_spaced(1000, 50, "linspace").tolist()
    assert ours[:4] == [0, 20, 41, 61] and ours[-3:] == [958, 979, 999]  # strides of 999 / 49 = 20.39
    assert ours == [math.floor(k * 999 / 49 + 0.5) for k in range(50)]  # 49 is odd: no halves


@pytest.mark.parametrize("total", [1, 2, 25, 100, 1000])
def test_every_number_of_steps(total):
    for num_steps in range(1, total + 1):
        line, trail = (evenly_spaced(total, num_steps, spacing) for spacing in ("linspace", "trailing"))
        for steps, exact in (
            (line, [k * (total - 1) / max(num_steps - 1, 1) for k in range(num_steps)]),
            (trail, [k * total / num_steps - 1 for k in range(1, num_steps + 1)]),
        ):
            assert steps.dtype == torch.int64 and len(steps) == num_steps and steps[-1] == total - 1
            assert num_steps == 1 or steps.diff().min() >= 1
            # Nearest to the formula: at most half a timestep away, with roundings of 1e-13.
            assert num_steps == 1 or np.abs(steps.numpy() - exact).max() <= 0.5 + 1e-12
        if total % num_steps == 0 and (num_steps > 1 or total == 1):
            stride = total // num_steps
            assert evenly_spaced(total, num_steps, "leading").tolist() == list(range(0, total, stride))
            assert trail.tolist() == list(range(stride - 1, total, stride))
    for spacing in SPACINGS:  # with all steps there is nothing to choose
        assert evenly_spaced(total, total, spacing).tolist() == list(range(total))


def test_leading_is_refused_where_it_would_not_start_in_noise():
    for total, num_steps in ((1000, 1), (1000, 600), (1000, 400), (1000, 501), (25, 10), (3, 2)):
        with pytest.raises(ValueError, match=rf"num_steps is {num_steps}.* of {total}, .*trailing"):
            evenly_spaced(total, num_steps, "leading")
    # A tenth of the timesteps may be left over.
    assert evenly_spaced(1000, 300, "leading")[-1] == 897 and evenly_spaced(1000, 30, "leading")[-1] == 957
    for spacing in SPACINGS:
        for num_steps in (0, -1, 1001):
            with pytest.raises(ValueError, match=r"num_steps is .* allows 1 to 1000"):
                evenly_spaced(1000, num_steps, spacing)


def kept(spacing, num_steps, total=1000):
    """The timesteps by the definitions, in numpy."""
    if spacing == "linspace":
        return np.round(np.linspace(0, total - 1, num_steps)).astype(int)
    if spacing == "leading":
        return np.arange(num_steps) * (total // num_steps)
    return np.round(np.arange(total, 0, -total / num_steps))[::-1].astype(int) - 1


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("num_steps", [7, 50])
@pytest.mark.parametrize("build", [DDIM, Ancestral, DPMSolver, Heun])
def test_every_sampler_asks_at_these_timesteps_of_the_training_schedule(build, num_steps, spacing):
    sampler = build(num_steps, spacing=spacing, **({"rho": None} if build in (DPMSolver, Heun) else {}))
    denoiser = GaussianDenoiser(SCHEDULE)
    mean_and_variance(sampler, denoiser, SCHEDULE)
    asked = [t[0] for t, _ in denoiser.calls]
    assert list(dict.fromkeys(asked)) == kept(spacing, num_steps)[::-1].tolist()  # Heun asks twice at each
    assert sampler.protocol()["spacing"] == spacing


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("num_steps", [10, 50])
def test_ddim_steps_from_each_timestep_to_the_next_and_the_last_to_the_clean_image(num_steps, spacing):
    """The variance of Gaussian data is the product of the gains between abar at these timesteps, with abar = 1 at the end."""
    v = 1 / 16
    abar = np.concatenate([[1.0], linear_abar()[1:][kept(spacing, num_steps)]])
    before, now = abar[:-1], abar[1:]
    gain = (np.sqrt(before * now) * v + np.sqrt((1 - before) * (1 - now))) / (now * v + 1 - now)
    _, variance = mean_and_variance(DDIM(num_steps, clip=False, spacing=spacing), GaussianDenoiser(SCHEDULE), SCHEDULE)
    # Both in float64: 50 factors, of 1 - abar with relative roundings of 1e-13.
    assert variance == pytest.approx(np.prod(gain) ** 2, rel=1e-9)


@pytest.mark.parametrize(("spacing", "timesteps"), [("leading", [80, 60, 40, 20, 0]), ("trailing", [99, 79, 59, 39, 19])])
def test_a_trained_network_is_asked_at_the_timesteps_that_it_was_trained_with(spacing, timesteps):
    module = tiny_ddpm(sampler=DDIM(5, spacing=spacing))
    asked = []
    module.ema.network.register_forward_pre_hook(lambda network, inputs: asked.append(inputs[1].tolist()))
    module.sample([1, 2])
    assert asked == [[10 * t, 10 * t] for t in timesteps]  # times 1000 / T
    assert module.protocol()["spacing"] == spacing


def test_what_a_model_cannot_draw_is_refused_before_it_is_built_and_changes_nothing():
    for wrong in (1, 40, 101):
        with pytest.raises(BootlightError, match=rf"model\.sampler\.num_steps is {wrong}"):
            tiny_ddpm(sampler=DDIM(wrong, spacing="leading"))
    module = tiny_ddpm(sampler=DDIM(5, spacing="leading"))
    with pytest.raises(BootlightError, match=r"model\.sampler\.num_steps is 40"):
        module.set_num_steps(40)
    assert module.protocol()["num_steps"] == 5
    odd = tiny_ddpm(num_train_timesteps=31, noise_schedule="cosine", sampler=DDIM(31, spacing="leading"))
    assert odd.shortened()[0].sample([1]).shape == (1, 1, 8, 8)


def test_no_such_spacing_and_two_at_once():
    for build in (DDIM, Ancestral, Heun):
        with pytest.raises(ValueError, match=r"model\.sampler\.spacing is quad; .*linspace, leading, trailing"):
            build(10, spacing="quad")
    for build in (DPMSolver, Heun):
        with pytest.raises(ValueError, match=r"model\.sampler\.spacing is leading, .*model\.sampler\.rho"):
            build(10, spacing="leading")
        assert build(10).protocol()["spacing"] == "karras"
        assert build(None).protocol()["spacing"] == "linspace"  # every timestep
