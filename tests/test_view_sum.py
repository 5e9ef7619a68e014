"""Views composed: closed forms of Gaussian data (the residual score of Ma 2025, of which nothing else is known)."""

import pytest
import torch
from view_models import Published, composed, fitted, gaussian, jacobian, matrix

from bootlight.batch import Batch
from bootlight.diffusion.compose import Alone
from bootlight.diffusion.corruption import Box, Whole
from bootlight.diffusion.denoiser import NetworkDenoiser
from bootlight.diffusion.edm import EDM
from bootlight.diffusion.mixed import Mixed
from bootlight.diffusion.objective import DSM
from bootlight.diffusion.prediction import X0, Epsilon, LearnedVariance, V
from bootlight.diffusion.residual import Residual
from bootlight.diffusion.schedules import CosineSchedule, LinearSchedule, SigmaSchedule
from bootlight.diffusion.view_sum import SumOfViews, ViewModel, ViewSum
from bootlight.diffusion.views import Channels, Half, LowResolution, Unmasked
from bootlight.errors import BootlightError
from bootlight.rng import normal_rows, split_key

SINGLE = {"first": Box(0, 0, 1, 1, [1, 2]), "second": Box(0, 1, 1, 1, [1, 2])}
HALVES = {"left": Half("left"), "right": Half("right")}
ROUNDING = 1e-12  # of a few sums of float64 numbers near 1


def identity(size):
    return torch.eye(size, dtype=torch.float64)


def ar(size, correlation=0.9):
    steps = torch.arange(size, dtype=torch.float64)
    return correlation ** (steps[:, None] - steps).abs()


def residual_score(views, covariance, shape, sigma):
    """Score of the data minus that of the views, (D, D)."""
    of_views = composed(views, covariance, shape, residual=False)(gaussian(covariance))
    full, parts = (jacobian(d, shape, sigma, "epsilon") for d in (gaussian(covariance), of_views))
    return -(full - parts) / sigma


def test_the_residual_of_single_numbers_is_its_closed_form():
    covariance = torch.tensor([[1, 0.6], [0.6, 1]], dtype=torch.float64)
    wanted = torch.tensor([[-0.2395, 0.4990], [0.4990, -0.2395]], dtype=torch.float64)
    torch.testing.assert_close(residual_score(SINGLE, covariance, (1, 1, 2), 0.5), wanted, rtol=0, atol=5e-5)
    noisy = covariance + 0.25 * identity(2)
    formula = -torch.linalg.inv(noisy) + torch.diag(1 / noisy.diag())
    torch.testing.assert_close(residual_score(SINGLE, covariance, (1, 1, 2), 0.5), formula, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 3.0])
def test_what_views_know_apart_leaves_no_residual(sigma):
    blocks = torch.block_diag(ar(4), 2 * ar(4, 0.3))
    residual = residual_score(HALVES, blocks, (1, 1, 8), sigma)
    torch.testing.assert_close(residual, torch.zeros_like(residual), rtol=0, atol=ROUNDING / sigma**2)
    whole = residual_score({"whole": Whole()}, ar(8), (1, 1, 8), sigma)
    torch.testing.assert_close(whole, torch.zeros_like(whole), rtol=0, atol=ROUNDING / sigma**2)


def test_with_no_views_it_is_the_denoiser_itself():
    own = gaussian(ar(8))
    assert ViewSum({})(own) is own
    network = fitted(Residual(0.0), ViewSum({}), samples(ar(8), 24, 0), 1.0)
    plain = fitted(DSM(), Alone(), samples(ar(8), 24, 0), 1.0)
    torch.testing.assert_close(jacobian(network, SHAPE, 1.0), jacobian(plain, SHAPE, 1.0), rtol=0, atol=1e-10)
    empty = SumOfViews(own, {})  # of a denoiser without a network, what it says beyond the prior
    torch.testing.assert_close(jacobian(empty, SHAPE, 0.7), jacobian(own, SHAPE, 0.7), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("variance", [1.0, 0.25])
def test_directions_without_a_view_have_the_prior(variance):
    made = composed({"left": Half("left")}, ar(8), SHAPE, residual=False, prior_variance=variance)
    found = jacobian(made(gaussian(ar(8))), SHAPE, 0.5)
    shrunk = torch.linalg.inv(ar(4) + 0.25 * identity(4)) @ ar(4)
    wanted = torch.block_diag(shrunk, variance / (variance + 0.25) * identity(4))
    torch.testing.assert_close(found, wanted, rtol=0, atol=ROUNDING)


def test_overlapping_views_are_averaged_not_added():
    """The mean of blocks, and a half: by matrices, with a pseudo-inverse for the counts."""
    shape, covariance, sigma = (1, 2, 4), ar(8), 0.7
    views = {"low": LowResolution(2), "left": Half("left")}
    found = jacobian(composed(views, covariance, shape, residual=False)(gaussian(covariance)), shape, sigma)
    total, count = torch.zeros(8, 8, dtype=torch.float64), torch.zeros(8, 8, dtype=torch.float64)
    for view in views.values():
        p = matrix(view, shape)
        part = p @ covariance @ p.T
        total += p.T @ part @ torch.linalg.inv(part + sigma**2 * identity(len(part))) @ p
        count += p.T @ p
    inverse = torch.linalg.pinv(count, hermitian=True)
    wanted = inverse @ total + (identity(8) - inverse @ count) / (1 + sigma**2)
    torch.testing.assert_close(found, wanted, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("schedule", [LinearSchedule(), CosineSchedule()])
def test_a_part_is_asked_about_at_the_level_of_its_image(schedule):
    """Low resolution of independent pixels of variance v: the same shrinking as of a pixel, at every level of a table."""
    variance, shape = 0.3, (1, 4, 4)
    made = composed({"low": LowResolution(2)}, variance * identity(16), shape, schedule, residual=False)
    denoiser = made(gaussian(variance * identity(16), schedule))
    for t in (3, 400, 990):
        basis = identity(16).reshape(-1, *shape)
        found = denoiser(basis, torch.full((16,), t)).x0.flatten(1)
        abar = schedule.alphas_cumprod[t]
        p = matrix(LowResolution(2), shape)
        shrunk = abar.sqrt() * variance / (abar * variance + 1 - abar)
        wanted = shrunk * p.T @ p + abar.sqrt() * (identity(16) - p.T @ p)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)  # tables are float32 where times are


def test_what_is_hidden_has_no_say():
    """A model of parts that are 0 there was trained with noise there; what stands in its place changes nothing."""
    view, shape = Unmasked([[0, 0, 1, 2]], [2, 4]), (1, 2, 4)
    found = jacobian(composed({"seen": view}, ar(8), shape, residual=False)(gaussian(ar(8))), shape, 0.5)
    kept = [2, 3, 4, 5, 6, 7]
    part = ar(8)[kept][:, kept]
    wanted = 1 / 1.25 * identity(8)
    for row, i in enumerate(kept):
        wanted[i, kept] = (part @ torch.linalg.inv(part + 0.25 * identity(6)))[row]
    torch.testing.assert_close(found, wanted, rtol=0, atol=ROUNDING)


# Learning a residual

SHAPE = (1, 1, 8)


def samples(covariance, count, stream):
    normal = normal_rows(split_key(100 + stream), torch.arange(count)[:, None], len(covariance)).double()
    return (normal @ torch.linalg.cholesky(covariance).T).reshape(count, 1, 1, -1)


@pytest.mark.parametrize("prediction", [X0(), Epsilon(), EDM()])
def test_without_a_penalty_a_linear_residual_is_direct_training(prediction):
    x = samples(ar(8), 24, 1)
    direct = fitted(DSM(), Alone(), x, 1.0, prediction)
    views = fitted(Residual(0.0), composed(HALVES, ar(8), SHAPE), x, 1.0, prediction)
    torch.testing.assert_close(jacobian(views, SHAPE, 1.0), jacobian(direct, SHAPE, 1.0), rtol=0, atol=1e-10)
    assert views.base.network.weight.abs().max() > 0.05  # something was learned


@pytest.mark.parametrize(
    "schedule_and_prediction", [(SigmaSchedule(), EDM()), (SigmaSchedule(), X0()), (CosineSchedule(), V())]
)
def test_a_network_that_answers_nothing_leaves_the_views(schedule_and_prediction):
    schedule, prediction = schedule_and_prediction

    class Nothing(torch.nn.Module):
        def forward(self, x, time, labels=None):
            return torch.zeros_like(x)

    x, t = samples(ar(8), 5, 2), schedule.drawn(torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64))
    base = NetworkDenoiser(Nothing(), prediction, schedule)
    made = composed(HALVES, ar(8), SHAPE, schedule)(base)
    level = schedule.level(t)
    found, alone = made(x, t), made.of_views(x, t)
    assert torch.equal(found.x0, alone.x0) and torch.equal(found.epsilon, alone.epsilon)
    torch.testing.assert_close(level.signal * found.x0 + level.noise * found.epsilon, x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("prediction", [X0(), Epsilon(), V()])
def test_image_and_noise_of_the_sum_belong_together(prediction):
    class Half(torch.nn.Module):
        def forward(self, x, time, labels=None):
            return 0.5 * x.flip(3)

    schedule = CosineSchedule()
    x, t = samples(ar(8), 4, 3), torch.tensor([10, 300, 600, 900])
    level = schedule.level(t)
    found = composed(HALVES, ar(8), SHAPE, schedule)(NetworkDenoiser(Half(), prediction, schedule))(x, t)
    torch.testing.assert_close(level.signal * found.x0 + level.noise * found.epsilon, x, rtol=0, atol=1e-4)
    # What is added is the answer in the units of the prediction.
    known = composed(HALVES, ar(8), SHAPE, schedule)(NetworkDenoiser(Half(), prediction, schedule)).of_views(x, t)
    answer = prediction.target(found.x0 - known.x0, found.epsilon - known.epsilon, level)
    torch.testing.assert_close(
        answer, 0.5 * x.flip(3), rtol=0, atol=1e-4
    )  # differences of float32 tables, over a signal of 0.1


def excess(denoiser, covariance, sigma, shape):
    """E |x0_hat - E[x0 | x]|^2 over x."""
    noisy = covariance + sigma**2 * identity(8)
    wrong = jacobian(denoiser, shape, sigma) - covariance @ torch.linalg.inv(noisy)
    return (wrong @ noisy @ wrong.T).trace().item()


def risks(views, shape, penalty, trial):
    """Excess risks of direct training, of the best of its weight decays, of views, and of views with a penalized residual.

    Of 24 images with one draw of noise each; the views know 5,000 of their own.
    """
    covariance, sigma = ar(8), 1.0
    x = samples(covariance, 24, trial).reshape(24, *shape)
    many = samples(covariance, 5000, 1000 + trial).flatten(1)
    known = many.T @ many / len(many)
    found = {
        "direct": fitted(DSM(), Alone(), x, sigma, seed=trial),
        "views": composed(views, known, shape, residual=False)(gaussian(covariance)),
        "residual": fitted(Residual(penalty), composed(views, known, shape), x, sigma, seed=trial),
        **{f"ridge {w}": fitted(DSM(), Alone(), x, sigma, decay=w, seed=trial) for w in (0.3, 1.0, 3.0)},
    }
    values = {name: excess(denoiser, covariance, sigma, shape) for name, denoiser in found.items()}
    return values | {"ridge": min(values[name] for name in values if name.startswith("ridge"))}


@pytest.mark.parametrize(
    ("views", "shape", "penalty", "published"),
    [
        (HALVES, (1, 1, 8), 3.0, {"direct": 1.094, "ridge": 0.481, "views": 0.306, "residual": 0.243}),
        (
            {"even": Channels([0, 2, 4, 6], 8), "odd": Channels([1, 3, 5, 7], 8)},
            (8, 1, 1),
            1.0,
            {"direct": 1.108, "ridge": 0.485, "views": 0.738, "residual": 0.462},
        ),
    ],
    ids=["halves", "interleaved"],
)
def test_few_images_teach_more_beside_views(views, shape, penalty, published):
    trials = [risks(views, shape, penalty, trial) for trial in range(20)]
    found = {name: sum(trial[name] for trial in trials) / len(trials) for name in published}
    assert found["residual"] < min(found["ridge"], found["views"]) and max(found["ridge"], found["views"]) < found["direct"]
    # Means and deviations of trials are those of 400 in numpy; four errors of the mean of 20.
    for name, deviation in {
        "direct": 0.41,
        "ridge": 0.19,
        "views": 0.002,
        "residual": 0.117 if shape[0] > 1 else 0.041,
    }.items():
        assert found[name] == pytest.approx(published[name], abs=4 * deviation / 20**0.5), name


def test_without_the_penalty_nothing_is_gained():
    for trial in range(3):
        found = risks(HALVES, (1, 1, 8), 0.0, trial)
        assert found["residual"] == pytest.approx(found["direct"], rel=1e-9)


def test_the_objective_logs_both_terms():
    x = samples(ar(8), 6, 4)
    batch = Batch(x, None, 3, 0, 6, ids=torch.arange(6))
    made = fitted(Residual(0.5), composed(HALVES, ar(8), SHAPE), x, 1.0)
    t = torch.full((6,), 1.0, dtype=torch.float64)
    losses, parts = Residual(0.5)(made, batch, t)
    torch.testing.assert_close(losses, parts["mse"] + 0.5 * parts["residual"])
    assert parts.keys() == {"mse", "residual"} and (parts["residual"] > 0).all()
    noise = batch.normal("noise", *SHAPE)
    estimate = made(x + noise, t)
    torch.testing.assert_close(parts["mse"], ((estimate.x0 - x) ** 2).flatten(1).mean(1))  # of X0, in units of the image
    for without in (gaussian(ar(8)), network(Mixed()), network(LearnedVariance(Epsilon()))):
        with pytest.raises(BootlightError, match=r"model\.prediction"):
            Residual(0.5)(without, batch, t)


def network(prediction):
    return NetworkDenoiser(torch.nn.Identity(), prediction, SigmaSchedule())


# What is refused


def model(schedule=None, classes=None, prediction=None):
    own = Published(gaussian(ar(8), schedule), SHAPE, classes)
    own.prediction = prediction
    return own


def parts(schedule=None, shape=(1, 1, 4), classes=None):
    return {name: Published(gaussian(ar(4), schedule), shape, classes) for name in HALVES}


def halves(**changes):
    return ViewSum({name: ViewModel(name, view) for name, view in (HALVES | changes).items()})


@pytest.mark.parametrize(
    ("composition", "attached", "wanted"),
    [
        (halves(), parts(shape=(1, 1, 3)), "left"),
        (halves(), parts(schedule=LinearSchedule()), "noise levels"),
        (halves(), parts(classes=3), "classes"),
        (halves(right=Box(0, 3, 1, 5, [1, 8])), parts(), "right"),
        (halves(right=Unmasked([[0, 0, 1, 1]], 4)), parts(), "right"),
    ],
)
def test_what_does_not_fit_is_refused(composition, attached, wanted):
    composition.attach(attached)
    with pytest.raises(BootlightError, match=wanted):
        composition.fits(model())


def test_what_fits_is_taken():
    composition = halves()
    composition.attach(parts())
    composition.fits(model())
    composition.attach({})  # of a generation before the first one
    composition.fits(model())
    with pytest.raises(ValueError, match="not attached"):
        composition(gaussian(ar(8)))
    composition.attach(parts())
    with pytest.raises(BootlightError, match="learned_variance"):
        composition.fits(model(prediction=LearnedVariance(Epsilon())))


def test_a_view_named_twice_is_refused():
    twice = {"one": ViewModel("low", Half("left")), "two": ViewModel("low", Half("left"))}
    with pytest.raises(BootlightError, match="one and two"):
        ViewSum(twice).fits(model())
    ViewSum({"a": ViewModel("half", Half("left")), "b": ViewModel("half", Half("right"))}).fits(model())  # one model for two
    with pytest.raises(BootlightError, match="no name"):
        ViewSum({"a b": ViewModel("half", Half("left"))}).fits(model())
    for wrong in ({"prior_variance": 0.0}, {"prior_variance": float("nan")}):
        with pytest.raises(BootlightError, match="prior_variance"):
            ViewSum({}, **wrong)
    for penalty in (-1.0, float("inf"), float("nan")):
        with pytest.raises(BootlightError, match="penalty"):
            Residual(penalty)


def test_a_protocol_says_which_parts_were_seen_how():
    told = halves().protocol()
    assert told["class"] == "ViewSum" and told["prior_variance"] == 1.0 and told["residual"] is True
    assert told["views"]["left"] == {"part": "left", "view": "Half", "side": "left"}
