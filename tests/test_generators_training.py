"""Training: losses against networks that know the answer, and the loop of a real Trainer."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from oracle import Answer, fit, random_batch, tiny_ddpm
from torch import nn

from bootlight.diffusion.prediction import X0, Epsilon, V
from bootlight.diffusion.sampler import DDIM
from bootlight.diffusion.variational import variational_term
from bootlight.errors import BootlightError
from bootlight.generators.dcgan import DCGAN
from bootlight.generators.ddpm import DDPM


class Witness(Answer):
    """Keeps what it was asked."""

    def forward(self, x_t, t, labels=None):
        self.asked = (x_t, t, labels)
        return self.answer


def ddpm_that_answers(answer, **options):
    module = tiny_ddpm(**options)
    module.unet = Witness(answer)
    return module


def means(module, batch):
    """Mean squared error and mean of the bound; None where the variance is not learned."""
    _, parts, _ = module.losses(batch)
    return parts["mse"].mean(), parts["vlb"].mean() if "vlb" in parts else None


def timesteps(batch, num_steps=100):
    return (batch.uniform("t") * num_steps).long()


@pytest.mark.parametrize("prediction", [Epsilon(), V(), X0()], ids=lambda p: type(p).__name__)
def test_the_right_answer_has_no_error_and_a_bound_of_the_likelihood_alone(prediction):
    batch = random_batch(200)
    batch = batch._replace(images=0.9 * batch.images)  # none in the two open bins
    module = tiny_ddpm(prediction=prediction)
    t, noise = timesteps(batch), batch.normal("noise", 1, 8, 8)
    abar = module.schedule.alphas_cumprod[t].float().view(-1, 1, 1, 1)
    known = {
        "Epsilon": noise,
        "V": module.schedule.level(t).signal * noise - module.schedule.level(t).noise * batch.images,
        "X0": batch.images,
    }[type(prediction).__name__]
    module.unet = Witness(torch.cat([known, -torch.ones_like(noise)], 1))  # o = -1: the variance of the posterior
    simple, bound = means(module, batch)
    assert simple.item() == 0
    x_t, asked_t, labels = module.unet.asked
    assert torch.equal(asked_t, 10.0 * t) and labels is None and (t == 0).any() and t.max() == 99
    # Both in float32, abar rounded before its square root in one of them: 6e-8 / sqrt(1 - abar_0 = 0.001).
    torch.testing.assert_close(x_t, abar.sqrt() * batch.images + (1 - abar).sqrt() * noise, rtol=0, atol=1e-4)
    deviation = module.schedule.posterior_variance[1].sqrt().item()
    # At t = 0 every pixel has its bin around its mean, with the smallest variance: -log2 erf(1 / (255 sqrt(2) deviation)).
    inside = math.erf(1 / 255 / deviation / math.sqrt(2))
    likelihood = -math.log2(inside) * (t == 0).float().mean().item()
    # The rest is a divergence of 0; reading epsilon back costs 1e-7 / sqrt(abar) = 1e-5 of x0.
    assert bound.item() == pytest.approx(likelihood, rel=1e-3)


def test_errors_of_a_network_that_answers_zero():
    batch = random_batch(50)
    t, noise, x0 = timesteps(batch), batch.normal("noise", 1, 8, 8), batch.images
    level = tiny_ddpm().schedule.level(t)
    for prediction, target in ((Epsilon(), noise), (V(), level.signal * noise - level.noise * x0), (X0(), x0)):
        module = ddpm_that_answers(torch.zeros(50, 2, 8, 8), prediction=prediction)
        simple, bound = means(module, batch)
        assert simple.item() == pytest.approx((target**2).mean().item(), rel=1e-6)
        x_t = level.signal * x0 + level.noise * noise
        guess = prediction.x0(torch.zeros_like(x_t), x_t, level)
        half = torch.full_like(x_t, 0.5)
        expected = variational_term(module.schedule, x0=x0, x_t=x_t, t=t, estimate_x0=guess, variance_fraction=half)
        assert bound.item() == pytest.approx(expected.mean().item(), rel=1e-5)
    plain = ddpm_that_answers(torch.zeros(50, 1, 8, 8), learned_variance=False)
    assert means(plain, batch)[1] is None


def test_the_bound_trains_the_variance_alone_and_the_error_the_prediction_alone():
    answer = torch.randn(8, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    module = ddpm_that_answers(answer)
    simple, bound = means(module, random_batch())
    (of_bound,) = torch.autograd.grad(bound, module.unet.answer, retain_graph=True)
    assert (of_bound[:, 0] == 0).all() and (of_bound[:, 1] != 0).all()
    (of_error,) = torch.autograd.grad(simple, module.unet.answer)
    assert (of_error[:, 0] != 0).all() and (of_error[:, 1] == 0).all()


def test_labels_are_dropped_at_the_given_share():
    count = 4000
    labels = torch.arange(count) % 3
    module = ddpm_that_answers(torch.zeros(count, 2, 8, 8), num_classes=3, label_dropout=0.2)
    batch = random_batch(count, labels=labels)
    module.losses(batch)
    _, _, seen = module.unet.asked
    dropped = seen == 3
    # A share of 4000 has a deviation of sqrt(0.16 / 4000) = 0.0063; five of them.
    assert dropped.float().mean().item() == pytest.approx(0.2, abs=0.032)
    assert torch.equal(seen[~dropped], labels[~dropped])
    # Which ones does not depend on the timestep: 0.2 among the early ones too (half as many, deviation 0.009).
    assert dropped[timesteps(batch) < 50].float().mean().item() == pytest.approx(0.2, abs=0.045)
    with pytest.raises(BootlightError, match="the data have no labels"):
        module.losses(random_batch(count))


def test_images_without_a_label_train_the_unconditional_part():
    module = ddpm_that_answers(torch.zeros(8, 2, 8, 8), num_classes=3, label_dropout=0.0)
    module.losses(random_batch(8, labels=torch.tensor([0, -1, 2, -1, 1, 0, 1, 2])))
    assert module.unet.asked[2].tolist() == [0, 3, 2, 3, 1, 0, 1, 2]


def test_hybrid_loss_and_its_fall_on_one_batch():
    module, batch = tiny_ddpm(learning_rate=3e-3, ema_decay=0.5), random_batch()
    before = means(module, batch)
    trainer = fit(module, [batch])
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert logged["train/mse"] == pytest.approx(before[0].item(), rel=1e-6)
    # L_simple + 0.001 L_vlb, where L_vlb is estimated by T = 100 times the mean term.
    assert logged["train/loss"] == pytest.approx(before[0].item() + 0.001 * 100 * before[1].item(), rel=1e-6)
    fit(module, [batch] * 40)
    after = means(module, batch)
    assert after[0] < before[0] / 2 and after[1] < before[1]  # by a factor of 3.6 when this was written


@pytest.mark.parametrize(("accumulate", "updates"), [(1, 6), (2, 3)])
def test_the_average_follows_optimizer_steps(accumulate, updates):
    module = tiny_ddpm(ema_decay=0.0)
    trainer = fit(module, [random_batch(seed=s) for s in range(6)], accumulate_grad_batches=accumulate)
    assert trainer.global_step == module.ema.num_updates == updates
    for mine, theirs in zip(module.ema.network.parameters(), module.unet.parameters(), strict=True):
        assert torch.equal(mine, theirs)  # decay 0: the average is the last step, taken after it


def test_training_is_a_function_of_the_batches_alone():
    start = tiny_ddpm(dropout=0.5, num_classes=2, label_dropout=0.5)
    labels = torch.arange(8) % 2
    weights = []
    for noise, seeds in ((1, (3, 4, 5)), (2, (3, 4, 5)), (1, (3, 4, 6))):
        module = copy.deepcopy(start)
        torch.manual_seed(noise)  # what happened before must not matter
        fit(module, [random_batch(seed=s, labels=labels) for s in seeds])
        weights.append(torch.cat([value.flatten().float() for value in module.published_state().values()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_linear_decay_falls_from_the_full_rate_to_a_fiftieth(monkeypatch):
    monkeypatch.setattr(DDPM, "trainer", SimpleNamespace(estimated_stepping_batches=100))
    configured = tiny_ddpm(learning_rate=0.1, warmup_steps=1, linear_decay=True).configure_optimizers()
    (share,) = configured["lr_scheduler"]["scheduler"].lr_lambdas
    # Half at step 0 (of one of warm-up), then 1 - step / 100, and never below 0.02.
    assert [share(step) for step in (0, 1, 50, 97, 98, 99, 100)] == pytest.approx([0.5, 0.99, 0.5, 0.03, 0.02, 0.02, 0.02])


@pytest.mark.parametrize(("steps", "accumulate"), [(6, 1), (6, 2)])
def test_the_decay_ends_with_the_training(steps, accumulate):
    """Of all optimizer steps, of which there are fewer with accumulation."""
    module = tiny_ddpm(learning_rate=1.0, linear_decay=True)
    rates = []
    module.on_before_optimizer_step = lambda optimizer: rates.append(optimizer.param_groups[0]["lr"])
    fit(module, [random_batch(seed=s) for s in range(steps)], accumulate_grad_batches=accumulate)
    total = steps // accumulate
    assert rates == pytest.approx([1 - step / total for step in range(total)])


def test_learning_rate_rises_over_the_warm_up():
    configured = tiny_ddpm(learning_rate=0.1, warmup_steps=4).configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    assert configured["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(7):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.1])
    assert tiny_ddpm(learning_rate=0.1).configure_optimizers()["optimizer"].param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize(("limit", "norm"), [(0.5, 0.5), (100.0, 5.0), (None, 5.0)])
def test_gradients_are_clipped_to_their_norm(limit, norm):
    module = ddpm_that_answers(torch.zeros(2), gradient_clip=limit)
    module.trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    module.unet.answer.grad = torch.tensor([3.0, -4.0])
    module.on_before_optimizer_step(None)
    # clip_grad_norm_ adds 1e-6 to the norm it divides by.
    assert module.unet.answer.grad.tolist() == pytest.approx([0.6 * norm, -0.8 * norm], rel=1e-6)


def test_what_is_clipped_are_the_true_gradients_not_those_scaled_for_float16():
    module = ddpm_that_answers(torch.zeros(2), gradient_clip=0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(torch.ones(1))  # sets the scale up
    module.trainer = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler))
    module.unet.answer.grad = 1024 * torch.tensor([3.0, -4.0])
    module.on_before_optimizer_step(torch.optim.AdamW(module.unet.parameters(), fused=True))
    assert module.unet.answer.grad.tolist() == pytest.approx([0.3, -0.4], rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 9}, "data.image_size is 9, halved 1 times by .* multiple of 2"),
        ({"num_heads": 3}, "model.width is 8; .*num_heads, 3"),
        ({"sampler": DDIM(101)}, "sampler.num_steps is 101; .* 1 to 100"),
        ({"sampler": DDIM(0)}, "sampler.num_steps is 0; .* 1 to 100"),
        ({"num_train_timesteps": 20, "sampler": DDIM(5)}, "num_train_timesteps is 20; the linear schedule needs more than 20"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(BootlightError, match=message):
        tiny_ddpm(**options)
    assert tiny_ddpm(num_train_timesteps=21).schedule.alphas_cumprod.min() > 0


def test_probe_draws_with_two_steps_and_leaves_the_model_as_it_is():
    for sampler, steps in ((DDIM(20), 20), (None, 100)):
        module = tiny_ddpm(sampler=sampler)
        short, factor = module.shortened()
        assert isinstance(short, DDPM) and factor == steps / 2
        assert short.protocol() == module.protocol() | {"num_steps": 2}
        assert torch.equal(short.sample([1]), tiny_ddpm(sampler=short.sampler).sample([1]))
        assert module.sampler.num_steps == (None if sampler is None else 20)


def test_number_of_steps_can_be_chosen_for_diffusion_only():
    module = tiny_ddpm(sampler=DDIM(20))
    module.set_num_steps(3)
    assert torch.equal(module.sample([1]), tiny_ddpm(sampler=DDIM(3)).sample([1]))
    for wrong in (0, 101):
        with pytest.raises(BootlightError, match=f"num_steps is {wrong}; .* 1 to 100"):
            module.set_num_steps(wrong)
    with pytest.raises(BootlightError, match="DCGAN draws an image in one step"):
        DCGAN(8, 1, width=4).set_num_steps(3)


# DCGAN


@pytest.mark.parametrize("ema_decay", [None, 0.0])
def test_dcgan_counts_a_pair_of_steps_once(ema_decay):
    module = DCGAN(8, 1, latent_dim=6, width=4, ema_decay=ema_decay)
    trainer = fit(module, [random_batch(seed=s) for s in range(5)])
    assert trainer.global_step == 5
    if module.ema is not None:
        assert module.ema.num_updates == 5
        assert torch.equal(module.ema.network.layers[0].weight, module.net_g.layers[0].weight)
        assert module.ema.network.layers[1].num_batches_tracked == 5
    assert all(parameter.requires_grad for parameter in module.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("weights", [None, [2.0, 0, 1, 1, 0.5, 1.5, 1, 1]])
def test_dcgan_step_is_the_one_of_the_paper(weights):
    """Discriminator first, on real and then on synthetic images with labels 1 and 0; then the generator, with label 1."""
    weights = None if weights is None else torch.tensor(weights)
    torch.manual_seed(0)
    module = DCGAN(8, 1, latent_dim=6, width=4, learning_rate=1e-2)
    generator, discriminator = copy.deepcopy(module.net_g), copy.deepcopy(module.net_d)
    batch = random_batch()._replace(weights=weights)
    trainer = fit(module, [batch])

    optimizers = [torch.optim.Adam(n.parameters(), lr=1e-2, betas=(0.5, 0.999)) for n in (generator, discriminator)]
    bce, ones = F.binary_cross_entropy_with_logits, torch.ones(8)
    images = generator(batch.normal("latent", 6))
    loss_d = bce(discriminator(batch.images), ones, weights) + bce(discriminator(images.detach()), 0 * ones)
    loss_d.backward()
    optimizers[1].step()
    loss_g = bce(discriminator(images), ones)
    loss_g.backward()
    optimizers[0].step()

    assert trainer.callback_metrics["train/loss_d"].item() == pytest.approx(loss_d.item(), rel=1e-5)
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(loss_g.item(), rel=1e-5)
    for ours, theirs in ((module.net_g, generator), (module.net_d, discriminator)):
        for mine, expected in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            # Adam's first step is the learning rate times the gradient's sign, so that a gradient of almost 0 may turn it:
            # rarely, hence the mean; everywhere else the gradients agree to 1e-6 of themselves.
            assert (mine.double() - expected.double()).abs().mean() < 1e-4
    assert [m.num_batches_tracked.item() for m in module.net_g.modules() if isinstance(m, nn.BatchNorm2d)] == [1]
