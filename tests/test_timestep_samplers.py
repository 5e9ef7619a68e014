"""Strata, antithetic pairs, importance by losses, logit-normal: variances, unbiasedness and state, against closed forms."""

import math

import numpy as np
import pytest
import torch
from test_accumulation import STEPS, WHOLE, trained

from bootlight.diffusion.importance import RESOLUTION, LossSecondMoment
from bootlight.diffusion.schedules import CosineSchedule, LinearSchedule, SigmaSchedule
from bootlight.diffusion.strata import Antithetic, Stratified
from bootlight.diffusion.timesteps import LogitNormal, LogNormal, UniformTimesteps
from bootlight.errors import BootlightError
from bootlight.rng import numpy_rng

T = 1000
LINEAR, SMALL, SIGMAS = LinearSchedule(T), CosineSchedule(50), SigmaSchedule()
LAST = 1 - 2.0**-24  # the largest uniform number


def uniform(count, name="u"):
    return torch.from_numpy(numpy_rng("samplers", name).random(count, dtype="float32"))


def set_up(sampler, schedule=LINEAR):
    sampler.setup(schedule)
    return sampler


def drawn(sampler, u):
    return sampler.draw(u, torch.arange(len(u)))


def optimal_loss(v=0.25):
    """Of the noise, of an exact denoiser of N(0, v): abar v / (abar v + 1 - abar), at each timestep."""
    abar = LINEAR.alphas_cumprod.numpy()
    return abar * v / (abar * v + 1 - abar)


@pytest.mark.parametrize("total", [1, 2, 4, 8, 31, 32])
def test_each_stratum_has_one_time(total):
    sampler = set_up(Stratified())
    for name in ("low", "high", "random"):
        u = {"low": torch.zeros(total), "high": torch.full((total,), LAST), "random": uniform(total)}[name]
        t = drawn(sampler, u)[0]
        ends = T * np.arange(total + 1) / total  # floor(T (i + u) / B) lies in the i-th of them, sorted
        assert ((np.floor(ends[:-1]) <= np.sort(t)) & (np.sort(t) < ends[1:])).all()
    # It is floor(T (i + u_i) / B) to the digit, u being the middle of what a number of float32 stands for; i is each once.
    middle = u.double() + 2.0**-25
    i = (sampler.spread(middle) * total).floor().long()
    assert i.sort().values.tolist() == list(range(total))
    assert t.tolist() == [math.floor(T * (int(k) + float(x)) / total) for k, x in zip(i, middle, strict=True)]


@pytest.mark.parametrize("total", [8, 32, 60])
def test_images_in_a_row_have_levels_from_everywhere(total):
    """A device's share of a step, or one of several batches of it: its mean level is near the middle, whichever it is."""
    place = drawn(set_up(Stratified()), torch.full((total,), 0.5))[0].double() / T
    for size in (total // 4, total // 2):
        means = [float(place[start : start + size].mean()) for start in range(0, total, size)]
        # In their order the means of four quarters would be 1/8, 3/8, 5/8, 7/8.
        assert max(abs(mean - 0.5) for mean in means) < 0.17


# The variance between timesteps of a batch's loss, iid over that of the sampler: `docs/timesteps.md`.
@pytest.mark.parametrize(
    ("build", "total", "wanted"),
    [(Stratified, 4, 4.58), (Stratified, 8, 20.8), (Stratified, 32, 333), (Antithetic, 4, 1.61), (Antithetic, 32, 1.61)],
)
def test_the_loss_of_a_batch_varies_less(build, total, wanted):
    sampler, f = set_up(build()), torch.from_numpy(optimal_loss())
    draws = 4000
    means = torch.stack([f[drawn(sampler, uniform(total, f"{total} {k}"))[0]].mean() for k in range(draws)])
    # The variance of n normal means has a relative error of sqrt(2 / n) = 0.022; of the flatter ones of a small batch less.
    assert (f.var(correction=0) / total / means.var()).item() == pytest.approx(wanted, rel=0.09)
    assert means.mean().item() == pytest.approx(f.mean().item(), abs=5 * float(means.std()) / draws**0.5)


def test_antithetic_times_are_mirrored_to_the_digit():
    u = torch.cat([torch.tensor([0.0, 0.3, LAST, 0.7]), uniform(61)])  # an odd number: the last has no partner
    t, weight = drawn(set_up(Antithetic()), u)
    assert weight is None and torch.equal(t[0:64:2] + t[1:64:2], torch.full((32,), T - 1)) and t[:3:2].tolist() == [0, 999]
    plain, _ = drawn(set_up(UniformTimesteps()), u)
    assert torch.equal(t[::2], plain[::2])
    normal = drawn(set_up(Antithetic(LogNormal(-1.0, 1.0)), SIGMAS), u)[0].log() + 1.0
    # Mirrored in log sigma too; the schedule ends 5 deviations below, where 0 and 1 - 2^-24 are cut off unequally.
    torch.testing.assert_close(normal[4:64:2], -normal[5:64:2], rtol=0, atol=1e-5)


def warmed(bins=None, schedule=SMALL, history=10):
    sampler = set_up(LossSecondMoment(history, bins=bins), schedule)
    count = len(sampler.seen)
    places = (torch.arange(count).repeat(history).double() + 0.5) / count
    t = schedule.drawn(places)
    sampler.observe(t, 0.1 + 3 * places**4)
    return sampler


@pytest.mark.parametrize("bins", [None, 7])
@pytest.mark.parametrize("schedule", [SMALL, SIGMAS], ids=["table", "sigma"])
def test_importance_weights_make_up_for_its_choice_exactly(schedule, bins):
    sampler = warmed(bins, schedule)
    shares, count = sampler.shares(), len(sampler.seen)
    p = shares.double() / shares.sum()
    assert p.max() / p.min() > 10
    # A number in the middle of what leads to each part: its weight times its probability is 1 / n, so sum p w f = mean f.
    t, weight = drawn(sampler, (shares.cumsum(0) - shares // 2).double() / shares.sum())
    assert torch.equal(torch.searchsorted(sampler.edges, t.double(), right=True), torch.arange(count))
    torch.testing.assert_close(p * weight, torch.full((count,), 1 / count, dtype=torch.float64), rtol=1e-7, atol=0)
    # Theirs: sqrt of the mean squared loss, of which a thousandth is spread evenly.
    size = 0.1 + 3 * ((torch.arange(count, dtype=torch.float64) + 0.5) / count) ** 4
    torch.testing.assert_close(p, 0.999 * size / size.sum() + 0.001 / count, rtol=1e-9, atol=2 / RESOLUTION)


def test_importance_is_uniform_until_every_level_has_a_whole_history():
    sampler = warmed()
    sampler.seen[3] = 9
    t, weight = drawn(sampler, (torch.arange(5000) + 0.5) / 5000)
    assert torch.bincount(t).tolist() == [100] * 50 and (weight == 1).all()
    sampler.observe(torch.tensor([3]), torch.tensor([1.0]))
    assert torch.bincount(drawn(sampler, (torch.arange(5000) + 0.5) / 5000)[0]).max() > 200


def test_importance_remembers_the_last_losses():
    sampler = set_up(LossSecondMoment(3), SMALL)
    # Seven of t = 5 in one step, of which three are remembered, others between them, and one that is no number.
    t = torch.tensor([5, 5, 9, 5, 5, 5, 5, 9, 5, 7])
    sampler.observe(t, torch.tensor([1.0, 2, 30, 3, 4, 5, 6, 31, 7, math.nan]))
    assert sorted(sampler.losses[5].tolist()) == [5, 6, 7] and sampler.losses[9].tolist() == [30, 31, 0]
    assert sampler.seen[[5, 7, 9]].tolist() == [7, 0, 2] and (sampler.losses[7] == 0).all()
    for value in (8.0, 9.0):
        sampler.observe(torch.tensor([5]), torch.tensor([value]))
    assert sorted(sampler.losses[5].tolist()) == [7, 8, 9]
    # In which order images of a step come, and in how many batches, is no matter where a history has room.
    one, other = (set_up(LossSecondMoment(5), SMALL) for _ in range(2))
    one.observe(torch.tensor([1, 2, 1]), torch.tensor([1.0, 2.0, 3.0]))
    other.observe(torch.tensor([2, 1, 1]), torch.tensor([2.0, 3.0, 1.0]))
    assert torch.equal(one.losses.sort().values, other.losses.sort().values)


def test_strata_of_importance_are_parts_of_equal_probability():
    inner = warmed()
    sampler = Stratified(inner)
    sampler.schedule = SMALL
    t, weight = drawn(sampler, uniform(64))
    shares = inner.shares().double()
    # The expected number of images at low levels is met to within one at every cut.
    expected = 64 * shares.cumsum(0) / shares.sum()
    assert ((torch.bincount(t, minlength=50).cumsum(0) - expected).abs() < 1).all()
    assert weight.max() > 2 and sampler.observes and not sampler.biased and Stratified(LogNormal()).biased


def test_logit_normal_places_have_its_quantiles():
    u = (torch.arange(2000) + 0.5) / 2000
    t, weight = drawn(set_up(LogitNormal(0.5, 2.0)), u)
    assert weight is None
    for share, deviations in ((0.5, 0), (0.8413447, 1), (0.0227501, -2)):
        wanted = T / (1 + math.exp(-0.5 - 2 * deviations))
        assert t[int(share * 2000)].item() == pytest.approx(wanted, abs=3)  # a whole timestep; u is off by 2.5e-4
    assert drawn(set_up(LogitNormal(0.0, 30.0)), torch.tensor([0.0, LAST]))[0].tolist() == [0, 999]


def test_in_the_place_of_a_rectified_flow_it_is_log_normal():
    """There the place is noise / (signal + noise), whose logit is log sigma."""
    u = uniform(100)
    sigma = drawn(set_up(LogNormal(-0.4, 1.1), SIGMAS), u)[0].double()
    flow = drawn(set_up(LogitNormal(-0.4, 1.1), LinearSchedule(10_000_000 // 100)), u)[0].double() / 100_000
    torch.testing.assert_close((flow / (1 - flow)).log(), sigma.log(), rtol=0, atol=2e-3)  # timesteps of 1e-5 over 0.01


def test_numbers_out_of_range_are_refused():
    for build in (
        lambda: LossSecondMoment(0),
        lambda: LossSecondMoment(uniform=0.0),
        lambda: LossSecondMoment(uniform=math.nan),
        lambda: set_up(LossSecondMoment(bins=51), SMALL),
        lambda: set_up(LossSecondMoment(bins=0), SIGMAS),
        lambda: LogitNormal(0.0, 0.0),
        lambda: LogitNormal(math.inf),
    ):
        with pytest.raises(BootlightError, match="must be"):
            build()


def test_batches_of_a_step_share_its_strata_and_its_losses():
    """A step of four batches is that of one: the same levels, the same history, the same weights."""
    samplers = [Stratified(LossSecondMoment(1, bins=3)) for _ in range(2)]
    (one, at_once), (four, by_parts) = (
        trained(count, timesteps=sampler) for count, sampler in zip((1, 4), samplers, strict=True)
    )
    whole, parts = (sampler.inner for sampler in samplers)
    assert torch.equal(whole.seen, parts.seen) and int(whole.seen.sum()) == STEPS * WHOLE and whole.seen.min() > 2
    torch.testing.assert_close(whole.losses.sort().values, parts.losses.sort().values, rtol=1e-12, atol=0)
    np.testing.assert_allclose(np.array(by_parts.losses).reshape(STEPS, 4).mean(1), at_once.losses, rtol=1e-12)
    for mine, theirs in zip(four.parameters(), one.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
