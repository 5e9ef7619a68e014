"""SFBD in closed form: maps of the variance of restored images, alone and through `bootlight fit`; what they are made of."""

import json
from itertools import pairwise

import numpy as np
import pytest
from oracle import linear_abar
from PIL import Image
from test_closed_forms import config, fitted, images, named
from tiny_runs import write_plain_pages

import bootlight
from bootlight.checking.policy import StandInArchive
from bootlight.synthesis.from_noisy import refreshed

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and of the parser, in this process
TAU, TRUTH, START = 0.59, 0.25, 0.15


@pytest.fixture(autouse=True)
def plain_pages(monkeypatch):
    write_plain_pages(monkeypatch)


def karras(num_steps, low=0.002, high=80.0, rho=7.0):
    ramp = np.linspace(0, 1, num_steps)
    return (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho


def cut(sigma):
    """Levels below tau, noisiest first, with tau before them and 0 at the end."""
    return np.concatenate([[TAU], sigma[sigma < TAU], [0.0]])


def heun(v, num_steps=40):
    """Of N(0, v): d z / d sigma = sigma z / (v + sigma^2) by Heun's rule, from variance s2 + tau^2 on."""
    z = np.sqrt(TRUTH + TAU**2) * np.ones_like(v)
    for now, then in pairwise(cut(karras(num_steps))):
        h, slope = then - now, now / (v + now**2)
        z = z * (1 + h * slope if then == 0 else 1 + h / 2 * (slope + then / (v + then**2) * (1 + h * slope)))
    return z**2


def vp_levels(num_steps):
    """abar of the respaced linear schedule below tau, noisiest first, then 1."""
    abar = linear_abar(num_steps)[1:]
    kept = np.sort(abar[np.sqrt((1 - abar) / abar) < TAU])
    return np.concatenate([[1 / (1 + TAU**2)], kept, [1.0]])


def ddim(v, num_steps):
    z = np.sqrt(vp_levels(num_steps)[0] * (TRUTH + TAU**2)) * np.ones_like(v)
    for now, then in pairwise(vp_levels(num_steps)):
        z = z * (np.sqrt(then * now) * v + np.sqrt((1 - then) * (1 - now))) / (now * v + 1 - now)
    return z**2


def posterior(v, num_steps):
    """Ancestral steps with the optimal variance: the posterior, whatever the steps, but for the noise of the last one."""
    levels = vp_levels(num_steps)
    u = levels[0] * (TRUTH + TAU**2) * np.ones_like(v)
    for now, then in pairwise(levels):
        beta = 1 - now / then
        x0, total = np.sqrt(then) * beta / (1 - now), now * v + 1 - now
        gain = x0 * np.sqrt(now) * v / total + np.sqrt(1 - beta) * (1 - then) / (1 - now)
        tilde = beta * (1 - then) / (1 - now)
        u = gain**2 * u + (tilde + x0**2 * v * (1 - now) / total if then < 1 else 0)
    return u


def one_step(v, _=None):
    return (v / (v + TAU**2)) ** 2 * (TRUTH + TAU**2)


MAPS = {"heun": (heun, 40), "ddim_50": (ddim, 50), "ddim_100": (ddim, 100), "sde": (posterior, 50), "mean": (one_step, 1)}


def applied(name, times, v=START):
    step, num_steps = MAPS[name]
    for _ in range(times):
        v = float(step(np.array([v]), num_steps)[0])
    return v


def test_the_maps_give_the_published_values():
    """`systems` of the literature: at finite steps, and their limits for infinitely many."""
    for name, values, last in (
        ("heun", (0.1820, 0.2072, 0.2249), 0.2540),
        ("ddim_50", (0.1591, 0.1663, 0.1720), 0.1884),
        ("ddim_100", (0.1693, 0.1847), 0.2214),
        ("mean", (0.0542, 0.0109), 0.0),
    ):
        assert [applied(name, k + 1) for k in range(len(values))] == pytest.approx(values, abs=5e-5), name
        assert applied(name, 30) == pytest.approx(last, abs=6e-5), name  # 0.25395 is published as 0.2540


def test_fixed_points_and_rates():
    """With ever more steps each map goes to its limit, with the truth as its fixed point; the posterior mean collapses."""
    square, rho = TAU**2, TRUTH / (TRUTH + TAU**2)
    limits = {
        "heun": lambda v: v * (TRUTH + square) / (v + square),
        "ddim_50": lambda v: v * (TRUTH + square) / (v + square),
        "sde": lambda v: (v / (v + square)) ** 2 * (TRUTH + square) + v * square / (v + square),
    }
    rates = {"heun": 1 - rho, "ddim_50": 1 - rho, "sde": 1 - rho**2}
    for name, limit in limits.items():
        step = MAPS[name][0]
        for v in (0.05, START, TRUTH, 0.6):
            off = [abs(float(step(np.array([v]), n)[0]) / limit(v) - 1) for n in (125, 250, 500, 1000)]
            # Heun's error is of second order, and what is left of it at 1000 steps is that of sigma_min. The schedule's lowest
            # level of 0.01 stays for the others, of which DDIM's is of first order.
            assert off[-1] < (1e-4 if name == "heun" else 0.02 if name == "ddim_50" else 2e-3), (name, v)
            assert off[2] < off[1] < off[0], (name, v, off)
        assert limit(TRUTH) == pytest.approx(TRUTH, rel=1e-12)
        slope = (limit(TRUTH + 1e-6) - limit(TRUTH - 1e-6)) / 2e-6
        assert slope == pytest.approx(rates[name], abs=1e-6), name
    assert [round(applied_limit(limits["sde"], k), 4) for k in (1, 2, 30)] == [0.1591, 0.1680, 0.2493]
    assert [round(applied_limit(limits["heun"], k), 4) for k in (1, 2, 30)] == [0.1801, 0.2039, 0.2500]


def applied_limit(limit, times):
    v = START
    for _ in range(times):
        v = limit(v)
    return v


@pytest.mark.parametrize(("ratio", "share"), [(2.9, 0.0), (3.1, 0.44), (6.0, 0.80)])
def test_the_posterior_mean_keeps_nothing_below_three_times_the_noise(ratio, share):
    """v <- (v / (v + t2))^2 (s2 + t2), from the truth on: published shares of it."""
    v = ratio
    for _ in range(20_000):
        v = (v / (v + 1)) ** 2 * (ratio + 1)
    assert v / ratio == pytest.approx(share, abs=5e-3)


SAMPLERS = {
    "heun": ("SigmaSchedule", named("Heun", num_steps=40, clip=False)),
    "ddim_50": ("LinearSchedule", named("DDIM", num_steps=50, clip=False)),
    "sde": ("LinearSchedule", named("Ancestral", num_steps=50, clip=False)),
    "mean": ("SigmaSchedule", named("Heun", num_steps=40, clip=False)),
}
NUM_NOISY, SIZE = 1500, 8


def noisy_origin(count=NUM_NOISY, size=SIZE, tau=TAU):
    good = named("GaussianImages", image_size=size, count=count, deviation=TRUTH**0.5, image_seed=1, rounded=False)
    return named("Corrupted", origin=good, corruption=named("GaussianNoise", tau=tau))


def sfbd(folder, model, stages, generations, mixing=None, count=1875, size=SIZE, noisy=None):
    made = config(folder, model, stages, count, size, 100, generations, mixing or named("OnlyReal"))
    data = made["data"]["init_args"]
    data["origin"]["init_args"]["deviation"] = START**0.5
    data["origins"] = {"noisy": noisy_origin(size=size) if noisy is None else noisy}
    return made


def test_every_loop_of_restored_images_follows_its_map(tmp_path):
    """Each part learns of images of variance 0.15, then of its own restored ones alone; one run has them all."""
    stages = []
    for part, (schedule, sampler) in SAMPLERS.items():
        model = named("FittedGaussian", schedule=named(schedule), sampler=sampler)
        mixing = named("Denoised", folder=f"of_{part}", include_clean=False)
        synthesizer = named("FromNoisy", tau=TAU, one_step=part == "mean")
        stages += [
            named("Train", part=part, module=model, settings={"data.mixing": mixing}),
            named("Synthesize", part=part, into=f"of_{part}", synthesizer=synthesizer),
        ]
    run = bootlight.run(sfbd(tmp_path / "run", named("FittedGaussian", sampler=named("DDIM", clip=False)), stages, 3))
    numbers = NUM_NOISY * SIZE**2
    sharp = 5 * (2 / numbers) ** 0.5
    for name in SAMPLERS:
        for k, folder in enumerate(run.generations()):
            mean, v = fitted(folder, name)
            found = images(folder, f"of_{name}")
            assert found.dtype == np.float32 and len(found) == NUM_NOISY  # of each noisy image one
            # A map is linear in y: five deviations of the variance of 96,000 numbers. The mean of a pixel, at most 0.05 away
            # from that of the noisy images, adds its square, 1 / 1500 of a variance.
            step, num_steps = MAPS[name]
            assert ((found - mean) ** 2).mean() == pytest.approx(step(v, num_steps).mean(), rel=sharp + 2 / NUM_NOISY), (
                name,
                k,
            )
        # Three fits, each of which loses 1 / n, and that average over pixels what is curved in the map: v^2 at most. Of what
        # collapses the mean of a pixel stays, whose square is 1 / n of a variance.
        closed, kept = applied(name, 3), 2 * TRUTH / NUM_NOISY if name == "mean" else 0
        assert found.var() == pytest.approx(closed, rel=3 * (sharp + 3 * 2 / NUM_NOISY), abs=kept), name
    assert applied("mean", 3) + kept < 1e-3 < 0.15 < min(applied(name, 3) for name in SAMPLERS if name != "mean")


# What is restored


def drawn_rows(folder, into="restored"):
    return [json.loads(line) for line in (folder.path / into / "metadata.jsonl").read_text().splitlines()]


RESTORING = [
    named("Train", start_from="@-1"),
    named("Synthesize", into="restored", synthesizer=named("FromNoisy")),
    named("Synthesize"),
]
FLOAT = named("FittedGaussian", sampler=named("DDIM", num_steps=10, clip=False))


def test_each_noisy_image_is_restored_once_and_knows_its_parent(tmp_path):
    """130 images in batches of 50: no last batch is lost, and number i is of noisy image i; level 0 gives them as they are."""
    stages = [
        named("Train"),
        named("Synthesize", into="restored", synthesizer=named("FromNoisy", tau=0.0)),
        named("Synthesize", into="some", n=7, synthesizer=named("FromNoisy")),
    ]
    made = sfbd(tmp_path / "run", FLOAT, stages, 1, size=4, noisy=noisy_origin(130, 4))
    made["synthesis"] = {"batch_size": 50}
    (folder,) = bootlight.run(made).generations()
    good = bootlight.GaussianImages(image_size=4, count=130, deviation=TRUTH**0.5, image_seed=1, rounded=False)
    store, _ = bootlight.Corrupted(good, bootlight.GaussianNoise(TAU)).load()
    assert np.array_equal(images(folder, "restored"), store.images.transpose(0, 3, 1, 2))
    rows = drawn_rows(folder)
    assert [row["parent"] for row in rows] == [f"noisy/{name}" for name in store.names]
    assert {row["tau"] for row in rows} == {0.0} and {row["tau"] for row in drawn_rows(folder, "some")} == {TAU}
    # The first ones are those of all: seeds are of the folder, so that only a sampler without noise gives equal images.
    assert [row["parent"] for row in drawn_rows(folder, "some")] == [f"noisy/{name}" for name in store.names[:7]]


def test_pictures_at_level_0_are_the_noisy_ones_rounded_and_clipped(tmp_path):
    origin = named("Corrupted", corruption=named("GaussianNoise", tau=0.8))
    stages = [named("Train"), named("Synthesize", into="restored", synthesizer=named("FromNoisy", tau=0.0))]
    made = sfbd(tmp_path / "run", named("PixelGaussian"), stages, 1, noisy=origin)
    made["model"] = named("FittedGaussian", sampler=named("DDIM", num_steps=10))
    made["data"]["init_args"] |= {"origin": named("Digits"), "real_fraction": 0.2}
    (folder,) = bootlight.run(made).generations()
    data = bootlight.BootstrapData(
        origin=bootlight.Digits(),
        real_fraction=0.2,
        holdout_fraction=0.2,
        num_epochs=1,
        origins={"noisy": bootlight.Corrupted(corruption=bootlight.GaussianNoise(0.8))},
    )
    data.setup()
    noisy = data.archive.origin("noisy").store
    found = np.stack([np.asarray(Image.open(folder.path / "restored" / row["file_name"])) for row in drawn_rows(folder)])
    wanted = np.clip(np.round(127.5 * noisy.images[..., 0] + 127.5), 0, 255)
    assert np.array_equal(found, wanted) and (found == 255).mean() > 0.05


def test_clean_and_noisy_images_have_no_image_in_common():
    """Real images in use, the others with noise, and held-out ones: each image once; of a smaller share more are noisy."""
    parts = {}
    for share in (0.04, 0.1):
        noisy = bootlight.Corrupted(corruption=bootlight.GaussianNoise(0.5))
        data = bootlight.BootstrapData(
            origin=bootlight.Digits(), real_fraction=share, holdout_fraction=0.2, num_epochs=1, origins={"noisy": noisy}
        )
        data.setup()
        store = data.real.store
        names = (
            [store.names[i] for i in data.real.indices],
            noisy.load()[0].names,
            [store.names[i] for i in data.holdout.indices],
        )
        assert sorted(name for part in names for name in part) == sorted(store.names)
        clean, _ = noisy.clean()
        assert clean.names == noisy.load()[0].names
        place = {name: i for i, name in enumerate(store.names)}
        assert np.array_equal(clean.images, store.images[[place[name] for name in clean.names]])
        off = noisy.load()[0].images - (clean.images / 127.5 - 1)
        assert off.std() == pytest.approx(0.5, rel=5 * (1 / off.size) ** 0.5)  # 5 deviations are 5 / sqrt(2 n)
        parts[share] = set(names[0])
    assert parts[0.04] < parts[0.1]
    with pytest.raises(bootlight.BootlightError, match="origin"):
        bootlight.BootstrapData(origin=bootlight.Corrupted(corruption=bootlight.GaussianNoise(0.5)), num_epochs=1)


def test_without_noisy_images_a_run_is_a_plain_one(tmp_path):
    """All clean: the policy changes nothing, to the bit."""
    states = []
    for name, mixing in (("plain", named("OnlyReal")), ("sfbd", named("Denoised"))):
        made = sfbd(tmp_path / name, FLOAT, [named("Train", start_from="@-1"), named("Synthesize")], 2, mixing, size=4)
        made["data"]["init_args"]["origins"] = {"noisy": named("Corrupted", corruption=named("GaussianNoise", tau=TAU))}
        made["data"]["init_args"]["real_fraction"] = 1.0
        run = bootlight.run(made)
        states.append([folder.weights.read_bytes() for folder in run.generations()])
    assert states[0] == states[1]


@pytest.mark.parametrize("include_clean", [True, False])
def test_a_generation_trains_on_what_the_one_before_has_restored(include_clean):
    archive = StandInArchive.of(3)
    policy = bootlight.Denoised(include_clean=include_clean)
    first, later = policy.sources(0, archive), policy.sources(3, archive)
    assert [source.role for source in first] == ["real"]
    *clean, restored = later
    assert len(clean) == include_clean and all(np.array_equal(part.indices, archive.real.indices) for part in clean)
    assert restored.generation == 2 and restored.store.key == archive.drawn(2, "restored").store.key
    assert restored.weights is None


def test_the_weight_of_restored_images_rises_on_a_line():
    policy = bootlight.Denoised(ramp=4)
    found = [policy.sources(k, StandInArchive.of(k))[-1].weights for k in range(1, 6)]
    assert [1.0 if w is None else float(w[0]) for w in found] == [0.25, 0.5, 0.75, 1.0, 1.0]
    with pytest.raises(bootlight.BootlightError):
        bootlight.Denoised(ramp=4, include_clean=False)


def test_a_buffer_renews_its_share_and_keeps_the_rest(tmp_path):
    """A third in each generation: what is not renewed is what it was, to the bit; after three all are new."""
    share = 1 / 3
    synthesizer = named("FromNoisy", refresh=share)
    stages = [named("Train"), named("Synthesize", into="restored", synthesizer=synthesizer)]
    mixing = named("Denoised", include_clean=False)
    run = bootlight.run(sfbd(tmp_path / "run", FLOAT, stages, 4, mixing, size=4, noisy=noisy_origin(90, 4)))
    before, renewed = None, []
    for k, folder in enumerate(run.generations()):
        found = images(folder, "restored")
        rows = drawn_rows(folder)
        assert [np.atleast_1d(row["parent"])[0] for row in rows] == [f"noisy/normal {i}" for i in range(90)]
        if before is not None:
            changed = (found != before).any((1, 2, 3)).nonzero()[0]
            assert sorted(refreshed(90, share, k, 0)) == changed.tolist() and len(changed) == 30
            assert [i for i, row in enumerate(rows) if len(row["parent"]) == 1] == changed.tolist()
            renewed.append(set(changed.tolist()))
        before = found
    assert set.union(*renewed) == set(range(90)) and sum(map(len, renewed)) == 90


# Input that cannot be meant


@pytest.mark.parametrize(
    ("changes", "settings", "said"),
    [
        ({"origins": {}}, {}, "noisy"),
        ({}, {"tau": 200.0}, "tau"),
        ({"origins": {"noisy": named("GaussianImages", image_size=4, count=9, rounded=False)}}, {}, "tau"),
        ({"origins": {"noisy": noisy_origin(20, 5)}}, {}, "noisy"),
        ({}, {"n": 21}, "21"),
        ({}, {"sampler": named("Heun")}, "clip"),
        ({}, {"into": "noisy"}, "noisy"),
    ],
)
def test_one_line_before_any_training(tmp_path, changes, settings, said):
    own = {key: settings[key] for key in settings if key in ("n", "into")}
    synthesizer = named("FromNoisy", **{key: settings[key] for key in settings if key not in own})
    stages = [named("Train"), named("Synthesize", **{"into": "restored", **own}, synthesizer=synthesizer)]
    model = named("FittedGaussian", schedule=named("LinearSchedule"), sampler=named("DDIM", num_steps=10, clip=False))
    made = sfbd(tmp_path / "run", model, stages, 1, size=4, noisy=noisy_origin(20, 4))
    made["data"]["init_args"] |= changes
    with pytest.raises(bootlight.BootlightError) as told:
        bootlight.run(made)
    assert said in str(told.value)
    assert not list((tmp_path / "run").glob("gen_*/*"))


@pytest.mark.parametrize(
    ("settings", "calls"),
    [
        ({"sampler": bootlight.Heun(num_steps=20, clip=False)}, 2 * (len(cut(karras(20))) - 1) - 1),  # the last step takes one
        ({"sampler": bootlight.Heun(num_steps=20, clip=False), "refresh": 0.5}, len(cut(karras(20))) - 1.5),
        ({"one_step": True}, 1),
        ({"tau": 0.0}, 0),
    ],
)
def test_a_plan_counts_the_network_calls_of_a_restored_image(settings, calls):
    clean = bootlight.GaussianImages(image_size=4, count=9, rounded=False)
    data = bootlight.BootstrapData(
        origin=clean, origins={"noisy": bootlight.Corrupted(clean, bootlight.GaussianNoise(TAU))}, batch_size=1, num_steps=1
    )
    schedule = bootlight.SigmaSchedule()
    model = bootlight.FittedGaussian(4, 1, schedule=schedule, sampler=bootlight.Heun(num_steps=10, clip=False))
    assert bootlight.FromNoisy(**settings).relative_cost(model, data) == pytest.approx(calls / 19)
    assert bootlight.Draw().relative_cost(model, data) == 1


@pytest.mark.parametrize("settings", [{"tau": float("nan")}, {"tau": -0.1}, {"tau": float("inf")}, {"refresh": 1.5}])
def test_numbers_that_cannot_be_meant(settings):
    with pytest.raises(bootlight.BootlightError, match=next(iter(settings))):
        bootlight.FromNoisy(**settings)
