"""Closed forms through `bootlight fit`: samplers and loops of Gaussian data, in floats that nothing rounds or clips."""

from itertools import pairwise

import numpy as np
import pytest
import safetensors.torch
from oracle import beta_and_tilde, linear_abar

import bootlight

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and of the parser, in this process
DEVIATION = 0.25
SAMPLERS = {  # part: sampler, its settings, whether the module knows Var[x0 | x_t]
    **{f"ddim_{n}": ("DDIM", {"num_steps": n}, True) for n in (5, 50, 1000)},
    **{f"optimal_{n}": ("Ancestral", {"num_steps": n}, True) for n in (5, 50)},
    "small_10": ("Ancestral", {"num_steps": 10}, False),
    "large_50": ("Ancestral", {"num_steps": 50, "fixed_variance": "large"}, False),
    "heun_18": ("Heun", {"num_steps": 18}, True),
}


def named(name, **settings):
    return {"class_path": f"bootlight.{name}", "init_args": settings}


def config(folder, model, stages=None, count=500, size=32, drawn=200, generations=1, mixing=None):
    origin = named("GaussianImages", image_size=size, count=count, deviation=DEVIATION, rounded=False)
    passes = {"holdout_fraction": 0.2, "num_epochs": 1, "batch_size": 100}
    listed = {"stages": stages} if stages else {}
    return {
        "seed_everything": 0,
        "bootstrap": {"num_generations": generations, "num_synthetic": drawn, "run_dir": str(folder), **listed},
        "model": model,
        "data": named("BootstrapData", origin=origin, mixing=mixing or named("Accumulate"), **passes),
        "evaluation": {"features": None, "judge_steps": 0},
        "trainer": {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False},
    }


def fitted(folder, part="model"):
    """Mean and variance of each pixel that a part has learned."""
    state = safetensors.torch.load_file(folder.path / f"{part}.safetensors")
    mean, square = (state["sums"] / state["count"]).numpy()
    return mean, square - mean**2


def images(folder, into="samples"):
    """All drawn images (n, C, H, W)."""
    return np.concatenate([np.load(path) for path in sorted((folder.path / into).rglob("*.npy"))])


def ddim(v, num_steps):
    """The product of the gains, squared."""
    abar = linear_abar(num_steps)
    before, now = abar[:-1], abar[1:]
    gains = (np.sqrt(before * now) * v[..., None] + np.sqrt((1 - before) * (1 - now))) / (now * v[..., None] + 1 - now)
    return gains.prod(-1) ** 2


def ancestral(v, num_steps, kind):
    """The recursion u <- g^2 u + added; nothing is added by the last step."""
    abar = linear_abar(num_steps)
    beta, tilde = beta_and_tilde(abar)
    before, now, u = abar[:-1], abar[1:], np.ones_like(v)
    for i in reversed(range(num_steps)):
        x0, total = np.sqrt(before[i]) * beta[i] / (1 - now[i]), now[i] * v + 1 - now[i]
        gain = x0 * np.sqrt(now[i]) * v / total + np.sqrt(1 - beta[i]) * (1 - before[i]) / (1 - now[i])
        added = {"small": tilde[i], "large": beta[i], "optimal": tilde[i] + x0**2 * v * (1 - now[i]) / total}[kind]
        u = gain**2 * u + (added if i > 0 else 0)
    return u


def heun(v, num_steps=18, start=80.0):
    """dz / d sigma = sigma z / (v + sigma^2) by Heun's rule over the levels of Karras et al. 2022, z = sigma n at first."""
    ramp = np.linspace(0, 1, num_steps)
    sigma = np.append((80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7, 0.0)
    z = np.full_like(v, start)
    for now, then in pairwise(sigma):
        h, slope = then - now, now / (v + now**2)
        z = z * (1 + h * slope if then == 0 else 1 + h / 2 * (slope + then / (v + then**2) * (1 + h * slope)))
    return z**2


def expected(part, v):
    """The variance that a part draws where the data have variance v."""
    kind, steps = part.split("_")
    return {"ddim": ddim, "heun": heun}.get(kind, lambda v, steps: ancestral(v, steps, kind))(v, int(steps))


def test_every_sampler_draws_the_variance_of_its_closed_form(tmp_path):
    """One run: a part for each sampler, each with a folder of its own."""
    stages = []
    for part, (name, settings, knows) in SAMPLERS.items():
        schedule = named("SigmaSchedule" if name == "Heun" else "LinearSchedule")
        sampler = named(name, clip=False, **settings)
        model = named("FittedGaussian", learned_variance=knows, schedule=schedule, sampler=sampler)
        stages += [named("Train", part=part, module=model), named("Synthesize", part=part, into=f"from_{part}")]
    model = named("FittedGaussian", sampler=named("DDIM", num_steps=5, clip=False))
    run = bootlight.run(config(tmp_path / "run", model, stages, size=20))
    (folder,) = run.generations()
    assert expected("ddim_10", np.array([1 / 16])) == pytest.approx(0.0190, abs=5e-5)  # four published digits
    assert expected("large_10", np.array([1 / 16])) == pytest.approx(0.1666, abs=5e-5)
    for part in SAMPLERS:
        mean, v = fitted(folder, part)
        assert v.mean() == pytest.approx(DEVIATION**2, rel=5 * (2 / (400 * 400)) ** 0.5 + 1 / 400)
        drawn = images(folder, f"from_{part}")
        assert drawn.dtype == np.float32
        # 200 x 400 numbers: five deviations. x_T has mean 0 instead of 0.006 of that of the data, which is 0.05 at the most.
        assert ((drawn - mean) ** 2).mean() == pytest.approx(expected(part, v).mean(), rel=5 * (2 / 80_000) ** 0.5), part


@pytest.mark.parametrize(("policy", "drawn"), [("Replace", 1000), ("Accumulate", 300)])
def test_loops_of_a_sampler_that_multiplies_the_variance(tmp_path, policy, drawn):
    """Replace: v_k = c^k v; accumulate: v_k = v prod (N + i m + c m) / (N + i m + m); N = 1000 real, m = `drawn`, c = 0.8."""
    c, real, count = 0.8, 1000, 5
    mixing = named(policy, keep_real=policy == "Accumulate")
    model = named("PixelGaussian", sampling_bias=c)
    run = bootlight.run(config(tmp_path / "run", model, None, 1250, 16, drawn, count, mixing))
    found = np.array([fitted(folder)[1].mean() for folder in run.generations()])
    before = (real + np.arange(count - 1) * drawn) * (policy == "Accumulate")  # images that are there already
    factors = (before + c * drawn) / (before + drawn)
    # Fits of n images have (1 - 1 / n) of the variance, in each of 4 generations; 256 pixels of `drawn` images: five deviations
    # of a variance, of four generations together.
    tolerance = 5 * 2 * (2 / (256 * drawn)) ** 0.5 + 4 / drawn
    np.testing.assert_allclose(found[1:] / found[0], np.cumprod(factors), rtol=tolerance)
    assert np.abs(images(run.generations()[0])).max() > 1  # 4.5 deviations of 0.22, of 77,000 numbers: nothing is clipped


def test_heun_inflates_a_loop_of_perfect_denoisers(tmp_path):
    """Each generation is fitted to the images of the one before alone: v -> ratio(v) v with 1.141 at v = 1/16."""
    model = named("FittedGaussian", schedule=named("SigmaSchedule"), sampler=named("Heun", num_steps=18, clip=False))
    run = bootlight.run(config(tmp_path / "run", model, None, 500, 32, 300, 3, named("Replace", keep_real=False)))
    found = [fitted(folder)[1] for folder in run.generations()]
    assert heun(np.array([1 / 16]))[0] * 16 == pytest.approx(1.141, abs=5e-4)
    for before, after in pairwise(found):
        assert after.mean() == pytest.approx(heun(before).mean() * (1 - 1 / 300), rel=5 * (2 / (300 * 1024)) ** 0.5)
