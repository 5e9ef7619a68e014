"""DDPO: its formulas, a round against a plain one, what stops it, what survives in half precision."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from oracle import awaken
from torch import distributions as law
from torch import nn

import bootlight
from bootlight.checking.training import train
from bootlight.diffusion.policy import clip_range, clipped_surrogate, divergence, log_prob, score_function
from bootlight.errors import BootlightError
from bootlight.generators.advantages import Advantages
from bootlight.metrics.reward import Reward
from bootlight.networks.mlp import MLP
from bootlight.rng import NoiseStreams, derive_seed, numpy_rng

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning, in this process
LEVELS = 4


class Scaled(nn.Module):
    """A network of two numbers."""

    def __init__(self, sizes):
        super().__init__()
        self.factor, self.shift = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor(0.1))

    def forward(self, x, time, labels=None):
        return self.factor * x + self.shift * torch.cos(time / 300).view(-1, 1, 1, 1)


class Awake(MLP):
    """A network whose answer is not 0."""

    def __init__(self, sizes):
        super().__init__(sizes, width=16)
        awaken(self)


class Watched(bootlight.DDPO):
    """Keeps what it has drawn, and its weights after each round."""

    def __init__(self, network=Scaled, look=None, **settings):
        sampler = bootlight.DDIM(LEVELS, eta=1.0, clip=False)
        super().__init__(4, network, **{"reward": bootlight.Brightness(), "channels": 1, "sampler": sampler} | settings)
        self.look, self.rounds, self.logged, self.after = look, [], [], []

    def draw_round(self, batch):
        self.rounds.append((batch, super().draw_round(batch)))
        return self.rounds[-1][1]

    def _update(self, optimizer, drawn, chosen, size):
        if self.look is not None:
            self.look(self, drawn, chosen)
            self.look = None
        return super()._update(optimizer, drawn, chosen, size)

    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)
        self.after.append([p.detach().clone() for p in self.network.parameters()])

    def log(self, name, value, **_):
        self.logged.append((name, float(value)))


class Answers(Reward):
    """What a function says of the images."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, images, labels=None):
        return self.function(images)


# Formulas


def test_log_probabilities_and_divergences_are_those_of_torch():
    rng = torch.Generator().manual_seed(0)
    x, mean, other = (torch.randn(3, 2, 4, 4, generator=rng, dtype=torch.float64) for _ in range(3))
    one = torch.tensor(0.3, dtype=torch.float64)
    for deviation in (one, torch.rand(3, 2, 4, 4, generator=rng, dtype=torch.float64) + 0.1):
        normal = law.Normal(mean, deviation)
        torch.testing.assert_close(log_prob(x, mean, deviation), normal.log_prob(x).flatten(1).mean(1), rtol=1e-12, atol=0)
        apart = law.kl_divergence(normal, law.Normal(other, 2 * deviation)).flatten(1).mean(1)
        torch.testing.assert_close(divergence(mean, deviation, other, 2 * deviation), apart, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("numbers", "joint"), [(3072, 1.36), (16384, 5.15)])
def test_the_clip_of_published_code_in_joint_terms(numbers, joint):
    assert clip_range(joint - 1, numbers) == pytest.approx(math.log(joint) / numbers, rel=1e-12)
    assert clip_range(joint - 1, numbers) == pytest.approx(1e-4, rel=2e-3)  # the ratios are given to three digits


def test_the_surrogate_is_flat_where_a_ratio_has_gone_far_enough():
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
    far = torch.tensor([0.2, -0.2, 0.2, -0.2], dtype=torch.float64, requires_grad=True)
    losses = clipped_surrogate(far, advantages, 0.1)
    up, down = math.exp(0.2), math.exp(-0.2)
    wanted = torch.tensor([-1.1, -down, up, 0.9], dtype=torch.float64)  # better and above: clipped; worse and above: not
    torch.testing.assert_close(losses.detach(), wanted)
    losses.sum().backward()
    torch.testing.assert_close(far.grad, torch.tensor([0.0, -down, up, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("baseline", [0.0, 3.0])
def test_a_policy_of_one_step_is_led_by_the_slope_of_its_reward(baseline):
    """x of N(theta, s^2), reward 2 x: the expected reward has slope 2 in theta, with whatever baseline.

    Gauss and Hermite's rule is exact for the polynomials of degree 2 here, so that rounding alone is left.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    theta, s = torch.tensor(0.7, dtype=torch.float64, requires_grad=True), torch.tensor(0.4, dtype=torch.float64)
    x = (theta.detach() + s * torch.from_numpy(nodes)).reshape(-1, 1, 1, 1)
    losses = score_function(log_prob(x, theta.expand_as(x), s), 2 * x.flatten() - baseline)
    (losses * torch.from_numpy(weights / weights.sum())).sum().backward()
    assert -theta.grad.item() == pytest.approx(2.0, abs=1e-10)


def test_advantages_of_a_round_and_of_labels():
    rewards = torch.tensor([1.0, 2.0, 3.0, 100.0], dtype=torch.float64)
    values = rewards.numpy()
    np.testing.assert_allclose(Advantages(clip=None)(rewards), (values - values.mean()) / values.std(), rtol=1e-12)
    assert Advantages(clip=1.5)(rewards).max() == 1.5
    assert torch.equal(Advantages("none", clip=None)(rewards), rewards)
    assert torch.equal(Advantages()(torch.ones(4, dtype=torch.float64)), torch.zeros(4, dtype=torch.float64))
    by_label = Advantages("label", None, num_labels=2, history=3, least=2)
    labels = torch.tensor([0, 0, 0, 1])
    found = by_label(rewards, labels)
    np.testing.assert_allclose(found[:3], np.array([-1, 0, 1]) / np.std([1, 2, 3]), rtol=1e-12)
    assert found[3] == pytest.approx((100 - values.mean()) / values.std())  # alone of its label: against the round
    again = by_label(torch.tensor([5.0, 5.0, 9.0, 104.0], dtype=torch.float64), torch.tensor([0, 0, 1, 1]))
    np.testing.assert_allclose(again[:2], (5 - 13 / 3) / np.std([3, 5, 5]), rtol=1e-12)  # the newest three
    np.testing.assert_allclose(again[2:], (np.array([9, 104]) - 71) / np.std([100, 9, 104]), rtol=1e-12)


# A round


@pytest.mark.parametrize("settings", [{}, {"num_classes": 3, "guided": True}])
def test_the_ratio_is_one_at_first_and_ppo_is_then_reinforce(tmp_path, settings):
    """In float32, also where images of another batch are asked about."""
    settings = dict(settings)
    guided = settings.pop("guided", False)
    sampler = bootlight.DDIM(LEVELS, eta=1.0, guidance=3.0 if guided else 1.0, clip=guided)
    seen = []

    def look(module, drawn, chosen):
        for i in range(LEVELS - 1):
            own = None if drawn.labels is None else drawn.labels[chosen]
            states = drawn.trajectory.states
            normal = module.policy.transition(module.denoiser(ema=False), states[i, chosen], drawn.grid, i, own)
            now, then = log_prob(states[i + 1, chosen], *normal), drawn.trajectory.log_probs[i, chosen]
            advantages = torch.linspace(-2, 2, len(chosen), dtype=torch.float64)
            learned = list(module.network.parameters())
            gradients = [
                torch.autograd.grad(loss.sum(), learned, retain_graph=True, allow_unused=True)
                for loss in (clipped_surrogate(now - then, advantages, 1e-3), score_function(now, advantages))
            ]
            seen.append(((now - then).abs().max().item(), *gradients))

    network = Awake if not guided else Labelled
    # From v the estimates of an untrained network stay in range; from epsilon they are 10^4 at the noisiest level.
    train(Watched(network, look, sampler=sampler, prediction=bootlight.V(), images_at_once=3, **settings), tmp_path)
    assert len(seen) == LEVELS - 1
    for apart, ppo, reinforce in seen:
        assert apart < 1e-5
        largest = max(g.abs().max() for g in reinforce if g is not None)
        assert largest > 0
        for one, other in zip(ppo, reinforce, strict=True):
            if one is not None:  # equal but for the ratio's distance from 1
                assert (one - other).abs().max() <= 2e-5 * largest


class Labelled(nn.Module):
    """A network of labels."""

    def __init__(self, sizes):
        super().__init__()
        self.factors = nn.Parameter(torch.linspace(0.2, 0.6, sizes.num_classes + 1))

    def forward(self, x, time, labels=None):
        rows = torch.full((len(x),), len(self.factors) - 1) if labels is None else labels
        return self.factors[rows].view(-1, 1, 1, 1) * x


def plain_rounds(module, batches, kl_weight, updates, rate):
    """The same by hand: DDIM of Song et al. 2021 (equations 12 and 16), densities of torch, one number at a time."""
    factor, shift = (torch.tensor(v, requires_grad=True) for v in (0.5, 0.1))
    optimizer = torch.optim.AdamW([factor, shift], lr=rate, weight_decay=1e-4)
    grid = module.policy.grid(module.schedule)
    abar = (grid.signal**2).tolist()
    weights, divergences = [], []

    def normal(x, i, a, b):
        epsilon = a * x + b * math.cos(float(grid.t[i]) / 300)
        now, then = abar[i], abar[i + 1]
        s = math.sqrt((1 - then) / (1 - now) * (1 - now / then))
        x0 = (x - math.sqrt(1 - now) * epsilon) / math.sqrt(now)
        return law.Normal(math.sqrt(then) * x0 + math.sqrt(1 - then - s**2) * epsilon, s)

    for batch in batches:
        paths, rewards, apart = [], [], []
        with torch.no_grad():
            for p in range(batch.total):
                noise = NoiseStreams([derive_seed(batch.seed, "trajectory", p)])
                path = [noise.normal(1, 4, 4)]
                for i in range(LEVELS - 1):
                    step = normal(path[-1], i, factor, shift)
                    apart.append(law.kl_divergence(step, normal(path[-1], i, 0.5, 0.1)).sum())
                    path.append(step.mean + step.stddev * noise.normal(1, 4, 4))
                last = LEVELS - 1
                epsilon = factor * path[-1] + shift * math.cos(float(grid.t[last]) / 300)
                image = (path[-1] - math.sqrt(1 - abar[last]) * epsilon) / math.sqrt(abar[last])
                rewards.append(-abs(np.clip(np.round(127.5 * image.numpy() + 127.5), 0, 255).mean() - 255))
                old = [normal(path[i], i, factor, shift).log_prob(path[i + 1]).mean().item() for i in range(LEVELS - 1)]
                paths.append((path, old))
        divergences.append(float(sum(apart)) / batch.total)
        rewards = np.array(rewards)
        advantages = np.clip((rewards - rewards.mean()) / rewards.std(), -5, 5)
        order = numpy_rng(batch.seed, "inner epoch", 0).permutation(batch.total)
        for part in np.array_split(order, updates):
            loss = torch.tensor(0.0)
            for p in part:
                path, old = paths[p]
                for i in range(LEVELS - 1):
                    step = normal(path[i], i, factor, shift)
                    ratio = (step.log_prob(path[i + 1]).mean() - old[i]).exp()
                    clip = math.log(1.36) / 16
                    worst = max(-advantages[p] * ratio, -advantages[p] * ratio.clamp(1 - clip, 1 + clip))
                    loss = loss + worst + kl_weight * law.kl_divergence(step, normal(path[i], i, 0.5, 0.1)).mean()
            optimizer.zero_grad()
            (loss / (len(part) * (LEVELS - 1))).backward()
            optimizer.step()
        weights.append([factor.item(), shift.item()])
    return weights, divergences


@pytest.mark.parametrize("kl_weight", [0.0, 5.0])
def test_rounds_are_those_of_a_plain_implementation(tmp_path, kl_weight):
    module = Watched(kl_weight=kl_weight, learning_rate=0.03, gradient_clip=None, updates=2, images_at_once=3)
    train(module, tmp_path)
    batches = [batch for batch, _ in module.rounds]
    weights, divergences = plain_rounds(module, batches, kl_weight, 2, 0.03)
    # float32 in another order: 1e-6 of sums over 100 terms; Adam divides by the gradient's size.
    assert [[float(w) for w in after] for after in module.after] == [pytest.approx(w, abs=1e-4) for w in weights]
    assert abs(weights[-1][0] - 0.5) + abs(weights[-1][1] - 0.1) > 0.02  # so that there is something to see
    logged = [value for name, value in module.logged if name == "train/kl"]
    assert logged == [pytest.approx(value, rel=1e-2, abs=1e-6) for value in divergences]
    assert logged[0] == 0 and logged[-1] > 0.01


def test_global_step_counts_rounds_and_rewards_are_of_rounded_images(tmp_path):
    seen = []

    def mean(images):
        seen.append(images)
        return images.double().mean((1, 2, 3))

    module = Watched(reward=Answers(mean), updates=3, inner_epochs=2)
    trainer = train(module, tmp_path)
    assert trainer.global_step == len(module.after) == 4
    for (_, drawn), images in zip(module.rounds, seen, strict=True):
        assert images.dtype == torch.uint8
        exact = (127.5 * drawn.trajectory.images + 127.5).round().clamp(0, 255)
        assert torch.equal(images.float(), exact)


class Shifted(Scaled):
    """A network whose shift makes all pixels brighter or darker."""

    def forward(self, x, time, labels=None):
        return self.factor * x + self.shift


def test_what_is_liked_grows_and_with_shuffled_rewards_it_does_not(tmp_path, monkeypatch):
    """Brightness, 24 rounds of 64 images. Adam takes steps of equal size: all in one direction, or at random."""
    monkeypatch.setattr("bootlight.checking.training.BATCH", 64)
    monkeypatch.setattr("bootlight.checking.training.STEPS", 24)

    def gained(**settings):
        module = Watched(Shifted, prediction=bootlight.V(), learning_rate=0.03, clip=5.0, **settings)
        train(module, tmp_path)
        rewards = [value for name, value in module.logged if name == "train/reward"]
        return np.mean(rewards[-4:]) - np.mean(rewards[:4])

    liked, control = gained(), gained(shuffle_rewards=True)
    # Grey levels. Means of 256 images that differ by 10 have an error of 0.6.
    assert liked > 5, (liked, control)
    assert liked > 3 * abs(control), (liked, control)


def test_adapters_alone_are_trained_and_published_merged(tmp_path):
    module = Watched(lambda sizes: bootlight.LoRA(sizes, Awake, rank=2), learning_rate=0.01)
    frozen = {name: p.clone() for name, p in module.named_parameters() if not p.requires_grad}
    train(module, tmp_path)
    now = dict(module.named_parameters())
    assert frozen and all(torch.equal(now[name], before) for name, before in frozen.items())
    assert [value for name, value in module.logged if name == "train/kl"][-1] > 0
    plain = Watched(Awake)
    plain.load_published(module.published_state())
    images = [m.sample([1, 2]) for m in (module, plain)]
    torch.testing.assert_close(*images)


def test_half_precision_learns_with_fresh_weights_in_each_update(tmp_path, monkeypatch):
    """Autocast keeps weights that it has cast: those of the drawing have no gradient, those of an update are old soon."""
    from bootlight.checking import training

    monkeypatch.setattr(training, "Trainer", partial(training.Trainer, precision="bf16-mixed"))
    ratios = []

    class Late(Watched):
        def losses_of(self, drawn, i, here, denoiser, reference):
            found = super().losses_of(drawn, i, here, denoiser, reference)
            ratios.append(found.detach()[1].max().item())
            return found

    module = Late(Awake, learning_rate=0.05, updates=1, inner_epochs=2, clip=1e-3)
    before = [p.detach().clone() for p in module.network.parameters()]
    train(module, tmp_path)
    assert any(not torch.equal(b, p) for b, p in zip(before, module.network.parameters(), strict=True))
    steps = LEVELS - 1
    assert max(ratios[:steps]) == 0  # the weights that drew
    assert max(ratios[steps : 2 * steps]) == 1  # others


# What stops it


@pytest.mark.parametrize(
    "function",
    [
        lambda images: torch.full((len(images),), math.nan),
        lambda images: torch.zeros(len(images), 1),
        lambda images: torch.zeros(len(images) + 1),
    ],
)
def test_rewards_that_are_none_stop_the_training(tmp_path, function):
    with pytest.raises(BootlightError, match="Answers"):
        train(Watched(reward=Answers(function)), tmp_path)


def test_equal_rewards_stop_the_first_round_and_later_ones_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("bootlight.generators.rewarded.FEW", 4)
    with pytest.raises(BootlightError, match="ConstantReward"):
        train(Watched(reward=bootlight.ConstantReward(2.0)), tmp_path)
    calls = []
    later = Answers(lambda images: torch.arange(len(images)) * float(not calls.append(0) and len(calls) == 1))
    train(Watched(reward=later), tmp_path)
    assert capsys.readouterr().out.count("Answers") == 1


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"sampler": bootlight.DDIM(5)}, "sampler"),
        ({"sampler": bootlight.Heun(5)}, "sampler"),
        ({"sampler": bootlight.DDIM(1, eta=1.0)}, "num_steps"),
        ({"importance_sampling": False}, "importance_sampling"),
        ({"updates": 0}, "updates"),
        ({"clip": 0.0}, "clip"),
        ({"clip_advantages": -1.0}, "clip_advantages"),
        ({"kl_weight": -1.0}, "kl_weight"),
    ],
)
def test_settings_that_cannot_be_meant(settings, key):
    with pytest.raises(BootlightError, match=key):
        Watched(**settings)


def test_reinforce_takes_one_step_a_round(tmp_path):
    module = Watched(importance_sampling=False, updates=1)
    train(module, tmp_path)
    assert "train/clipped" not in dict(module.logged) and len(module.after) == 4


def test_a_plan_tells_the_memory_of_trajectories():
    (line,) = Watched().planned(100)
    assert "25.6 kB" in line  # 4 levels of 100 images of 16 numbers of 4 bytes
