"""Several predictions of one network: identities between them, what each can reach, and mixtures at their limits."""

import math

import numpy as np
import pytest
import torch
from oracle import Answer, fit, random_batch, tiny_ddpm
from test_accumulation import STEPS, WHOLE, trained

from bootlight.diffusion.denoiser import NetworkDenoiser
from bootlight.diffusion.edm import EDM
from bootlight.diffusion.grid import Level
from bootlight.diffusion.head_weights import Gate, InverseError, Switch
from bootlight.diffusion.mixed import Mixed
from bootlight.diffusion.objective import Hybrid
from bootlight.diffusion.prediction import X0, Epsilon, LearnedVariance, V, noise_from
from bootlight.diffusion.schedules import LinearSchedule, SigmaSchedule
from bootlight.errors import BootlightError

LINEAR = LinearSchedule(1000)
TYPES = (X0, Epsilon, V)
every_way = pytest.mark.parametrize("by", [InverseError, Switch, Gate])


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def levels(abar):
    abar = torch.as_tensor(abar, dtype=torch.float64).view(-1, 1, 1, 1)
    return Level(abar.sqrt(), (1 - abar).sqrt())


EVERY = levels(LINEAR.alphas_cumprod)


def test_errors_of_noise_and_of_v_are_those_of_the_image_times_its_snr():
    """||e - e'||^2 = SNR ||x - x'||^2 and ||v - v'||^2 = (1 + SNR) ||x - x'||^2, of what says one image."""
    x0, noise, says = normal(3, 1000, 2, 4, 4)
    x_t, snr = EVERY.noisy(x0, noise), (EVERY.signal / EVERY.noise).flatten() ** 2
    image = (x0 - says).square().flatten(1).mean(1)
    for prediction, factor in ((X0(), 1), (Epsilon(), snr), (V(), 1 + snr)):
        answer = prediction.target(says, noise_from(says, x_t, EVERY), EVERY)
        # float64, divided by a noise of 0.01 and squared.
        torch.testing.assert_close(prediction.error(answer, x0, noise, EVERY), factor * image, rtol=1e-10, atol=0)


@pytest.mark.parametrize(("build", "spread"), [(Epsilon, 99_070), (X0, 2_500), (V, 4.0)])
def test_what_each_type_can_reach_and_how_much_that_differs_between_timesteps(build, spread):
    """Of N(0, v): v (1 - A) / V in x0, A v / V in noise, v / V in v, where V = A v + 1 - A."""
    v, prediction, abar = 0.25, build(), LINEAR.alphas_cumprod
    variance = abar * v + 1 - abar
    reached = {X0: v * (1 - abar) / variance, Epsilon: abar * v / variance, V: v / variance}[build]
    # The exact denoiser's error in x0, in the units of the type.
    torch.testing.assert_close(v * (1 - abar) / variance * torch.as_tensor(prediction.scale(EVERY)).flatten(), reached)
    assert (reached.max() / reached.min()).item() == pytest.approx(spread, rel=5e-4)  # four digits are stated
    # And on images: 40,000 numbers at each of five levels, 5 errors of sqrt(2 / n).
    some = torch.tensor([0, 100, 400, 700, 999])
    level = levels(abar[some])
    x0, noise = v**0.5 * normal(5, 1, 200, 200), normal(5, 1, 200, 200, seed=1)
    x_t = level.noisy(x0, noise)
    says = level.signal * v / variance[some].view(-1, 1, 1, 1) * x_t
    found = prediction.error(prediction.target(says, noise_from(says, x_t, level), level), x0, noise, level)
    torch.testing.assert_close(found, reached[some], rtol=5 * math.sqrt(2 / 40_000), atol=0)


@every_way
@pytest.mark.parametrize("build", TYPES)
def test_equal_heads_are_each_of_them(by, build):
    head, mixture = build(), Mixed([build(), build(), build()], by())
    x0, noise, answer = normal(3, 1000, 2, 3, 3)
    output = torch.cat([answer, answer, answer, 0 * answer[:, : mixture.num_outputs(2) - 6].repeat(1, 2, 1, 1)[:, :3]], 1)
    output = output[:, : mixture.num_outputs(2)]
    x_t = EVERY.noisy(x0, noise)
    alone, together = (p.estimate(o, x_t, EVERY) for p, o in ((head, answer), (mixture, output)))
    # Thirds of x0, of a size of up to 1 / 0.006, in float64.
    torch.testing.assert_close(together.x0, alone.x0, rtol=0, atol=1e-12)
    torch.testing.assert_close(together.epsilon, alone.epsilon, rtol=0, atol=1e-10)
    error = mixture.error(output, x0, noise, EVERY)
    combined = (alone.x0 - x0).square().flatten(1).mean(1) if by is Gate else 0
    torch.testing.assert_close(error, 3 * head.error(answer, x0, noise, EVERY) + combined)


def known(errors, by=None):
    """A mixture of heads of x0 whose running errors are known."""
    mixture = Mixed([X0() for _ in errors], by or InverseError())
    mixture.by.errors[:] = torch.tensor(errors, dtype=torch.float64)
    return mixture


@pytest.mark.parametrize("by", [InverseError, Switch])
def test_a_hopeless_head_is_not_heard(by):
    level, (x0, answer) = levels([0.5] * 10), normal(2, 10, 2, 3, 3)
    for hopeless in (math.inf, 1e300):
        estimate = known([hopeless, 0.3], by()).estimate(torch.cat([1e6 * x0, answer], 1), level.noisy(x0, x0), level)
        torch.testing.assert_close(estimate.x0, answer, rtol=0, atol=1e-280)


def test_heads_with_independent_errors_are_better_together():
    """Weights of 1 / E_k have the least error of all: 1 / (sum of 1 / E_k)."""
    errors = [0.1, 0.2, 0.8]
    x0, noise, level = normal(4000, 1, 5, 5), normal(4000, 1, 5, 5, seed=9), levels([0.5] * 4000)
    output = torch.cat([x0 + e**0.5 * normal(*x0.shape, seed=k + 1) for k, e in enumerate(errors)], 1)
    found = {}
    for name, by in (("inverse", InverseError()), ("sharp", InverseError(50.0)), ("switch", Switch())):
        says = known(errors, by).x0(output, level.noisy(x0, noise), level)
        found[name] = (says - x0).square().mean().item()
    best = 1 / sum(1 / e for e in errors)
    # 100,000 squares of normal numbers: a relative error of sqrt(2e-5) = 0.0045, five times.
    assert found["inverse"] == pytest.approx(best, rel=0.023) and best < 0.062
    assert found["switch"] == pytest.approx(0.1, rel=0.023)
    assert found["sharp"] == pytest.approx(found["switch"], rel=1e-9)  # its limit: weights of 2^-50


@every_way
def test_estimates_are_finite_at_both_ends(by):
    """Noise cannot be told from an image at a signal of 0, an image not from noise at next to none."""
    mixture = Mixed(by=by())
    level = Level(*(value.float() for value in levels([0.0, 1e-30, 1e-12, 0.5, 1 - 1e-7])))
    x0, noise = (part.float() for part in normal(2, 5, 2, 3, 3))
    output = normal(5, mixture.num_outputs(2), 3, 3, seed=4).float().requires_grad_()
    x_t = level.noisy(x0, noise)
    estimate = mixture.estimate(output, x_t, level)
    weights = mixture.weights(output, x_t, level)
    assert (weights[:2, 1] == 0).all() and ((weights[3] > 0).all() or by is Switch)  # of the head of noise
    assert weights[4, 0].max() < 1e-5  # of the image's, whose noise would be its error over 3e-4
    torch.testing.assert_close(weights.sum(1), torch.ones_like(weights[:, 0]))
    assert estimate.x0.abs().max() < 10 and estimate.epsilon.abs().max() < 20
    for weight in (None, torch.full((5, 1, 1, 1), 0.1)):
        error = mixture.error(output, x0, noise, level, weight)
        assert torch.isfinite(error).all()
        (grad,) = torch.autograd.grad(
            error[[0, 1, 3, 4]].sum() + estimate.x0.sum() if weight is None else error.sum(), output, retain_graph=True
        )
        assert torch.isfinite(grad).all() and (grad.flatten(1).abs().max(1).values > 0).all()
    # Where a head of noise alone can say nothing, the mixture does.
    assert not torch.isfinite(Epsilon().estimate(output[:1, :2], x_t[:1], Level(level.signal[:1], level.noise[:1])).x0).all()


def test_running_errors_by_hand():
    by = InverseError(bins=4, decay=0.75)
    by.setup(2)
    # Bins of log sigma from log 0.002 to log 80: 2.65 wide; -6.2, -3.6, -0.9, 1.7, 4.4.
    assert by.bin(torch.tensor([-99.0, -6.0, -3.0, 0.0, 2.0, math.inf, -math.inf])).tolist() == [0, 0, 1, 2, 3, 3, 0]
    where, errors = torch.tensor([-3.0, -3.0, 2.0, 0.0]), torch.tensor([[3.0, 5.0], [1.0, 1.0], [7.0, 0.5], [math.nan, 1.0]])
    by.observe(where.double(), errors.double())
    # The first mean counts as much as the 1 of before; what is no number is not heard.
    assert by.errors.tolist() == [[1, 1], [1.5, 2], [1, 1], [4, 0.75]] and by.seen.tolist() == [0, 1, 0, 1]
    for share, seen in ((1 / 3, 2), (1 / 4, 3), (1 / 4, 4)):
        before = by.errors[1].clone()
        by.observe(torch.tensor([-3.0]).double(), torch.tensor([[10.0, 0.0]]).double())
        torch.testing.assert_close(by.errors[1], before + share * (torch.tensor([10.0, 0.0]) - before), rtol=1e-12, atol=0)
        assert by.seen[1] == seen
    # Weights: one over the error, for x0 and v at sigma = 1, where an error in v is twice that in x0.
    mixture = Mixed([X0(), V()], by)
    mixture.by.errors[2] = torch.tensor([0.1, 0.3])
    weights = mixture.weights(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, 1), Level(0.5**0.5, 0.5**0.5)).flatten()
    assert weights.tolist() == pytest.approx([10 / (10 + 2 / 0.3), 2 / 0.3 / (10 + 2 / 0.3)], rel=1e-6)


def test_a_gate_is_trained_on_the_combined_image_and_heads_on_their_own():
    x0, noise = normal(2, 40, 1, 3, 3)
    level = levels(torch.linspace(0.05, 0.95, 40))
    gated, plain = Mixed(by=Gate()), Mixed()
    output = normal(40, 6, 3, 3, seed=5).requires_grad_()
    grads = [
        torch.autograd.grad(mixture.error(output[:, : mixture.num_outputs(1)], x0, noise, level).sum(), output)[0]
        for mixture in (gated, plain)
    ]
    torch.testing.assert_close(grads[0][:, :3], grads[1][:, :3])  # heads are detached in the combined loss
    assert (grads[0][:, 3:].abs() > 0).any() and (grads[1][:, 3:] == 0).all()
    # Trained alone, for each pixel: its combined error is at most that of the best head there.
    heads, gate = output[:, :3].detach(), torch.zeros(40, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    images = gated.images(torch.cat([heads, gate], 1), level.noisy(x0, noise), level)[:, :, 0]
    optimizer = torch.optim.Adam([gate], lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        gated.error(torch.cat([heads, gate], 1), x0, noise, level).sum().backward()
        optimizer.step()
    combined = (gated.x0(torch.cat([heads, gate], 1), level.noisy(x0, noise), level)[:, 0] - x0[:, 0]) ** 2
    best = ((images - x0) ** 2).min(1).values
    assert (combined <= best + 1e-3).all() and combined.mean() < 0.8 * best.mean()  # between two heads it can be exact


@pytest.mark.parametrize("learned_variance", [False, True])
@every_way
def test_a_mixture_is_trained_drawn_from_and_published(by, learned_variance):
    made = [tiny_ddpm(prediction=Mixed(by=by()), learned_variance=learned_variance, learning_rate=1e-3) for _ in range(2)]
    module, other = made
    fit(module, [random_batch(seed=seed) for seed in range(4)])
    state = module.published_state()
    if by is not Gate:
        seen = state[f"prediction.{'inner.' * learned_variance}by.seen"]
        assert 4 <= seen.sum() <= 32 and torch.equal(
            seen, (module.prediction.inner if learned_variance else module.prediction).by.seen
        )
    images = module.sample([1, 2])
    assert torch.isfinite(images).all()
    other.load_published(state)
    torch.testing.assert_close(other.sample([1, 2]), images, rtol=0, atol=1e-6)


def test_the_bound_of_a_learned_variance_sees_the_combined_image_detached():
    mixture, batch, t = LearnedVariance(Mixed(by=Gate())), random_batch(6), torch.tensor([0, 5, 30, 60, 90, 99])
    schedule = LinearSchedule(100)
    assert mixture.num_outputs(1) == 3 + 3 + 1
    output = normal(6, 7, 8, 8, seed=3).float()
    network = Answer(output)
    _, parts = Hybrid()(NetworkDenoiser(network, mixture, schedule), batch, t)
    (grad,) = torch.autograd.grad(parts["vlb"].sum(), network.answer)
    assert (grad[:, :6] == 0).all() and (grad[:, 6:].abs() > 0).any()
    estimate = mixture.estimate(output, batch.images, schedule.level(t))
    inner = mixture.inner.estimate(output[:, :6], batch.images, schedule.level(t))
    assert torch.equal(estimate.x0, inner.x0) and torch.equal(estimate.variance_fraction, (output[:, 6:] + 1) / 2)


@pytest.mark.parametrize("learned", [False, True])
def test_errors_are_learned_once_a_step_from_all_of_it(learned):
    """A step of four batches is that of one."""

    def mixture():
        mixed = Mixed(by=InverseError(bins=5))
        return LearnedVariance(mixed) if learned else mixed

    (one, at_once), (four, by_parts) = (trained(count, prediction=mixture()) for count in (1, 4))
    whole, parts = ((module.prediction.inner if learned else module.prediction).by for module in (one, four))
    assert torch.equal(whole.seen, parts.seen) and STEPS <= whole.seen.sum() <= STEPS * WHOLE
    torch.testing.assert_close(whole.errors, parts.errors, rtol=1e-12, atol=0)
    assert (whole.errors != 1).any(1).sum() >= 3
    np.testing.assert_allclose(np.array(by_parts.losses).reshape(STEPS, 4).mean(1), at_once.losses, rtol=1e-12)


def test_what_cannot_be_mixed_is_refused():
    for heads, what in (
        ([], "empty"),
        ([X0(), EDM()], "EDM"),
        ([LearnedVariance(X0())], "LearnedVariance"),
        ([Mixed()], "Mixed"),
    ):
        with pytest.raises(BootlightError, match=what):
            Mixed(heads)
    for build in (lambda: InverseError(0.0), lambda: InverseError(math.inf), lambda: Switch(0), lambda: Switch(decay=1.0)):
        with pytest.raises(BootlightError, match="must be"):
            build()
    # Heads that fit a schedule without a table; V does not.
    assert not Mixed([X0(), Epsilon()]).needs_constant_variance and Mixed().needs_constant_variance
    level = SigmaSchedule().level(torch.tensor([0.01, 80.0]))
    assert torch.isfinite(Mixed([X0(), Epsilon()]).x0(torch.zeros(2, 2, 3, 3), torch.ones(2, 1, 3, 3), level)).all()
