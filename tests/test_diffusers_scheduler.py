"""The scheduler of a folder: its table, what its answers mean, and what cannot be represented."""

import pytest
import torch
from tiny_pipelines import diffusers

from bootlight.diffusion.prediction import X0, Epsilon, LearnedVariance, V
from bootlight.diffusion.sampler import DDIM, Ancestral
from bootlight.diffusion.solvers import DPMSolver
from bootlight.errors import BootlightError
from bootlight.pipelines.scheduler import read_scheduler
from bootlight.pipelines.scheduler_of import scheduler_of


def config(cls="DDPMScheduler", **settings):
    made = getattr(diffusers, cls)(**settings)
    return dict(made.config) | {"_class_name": cls}, made


@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        ("DDPMScheduler", {}),
        ("DDPMScheduler", {"num_train_timesteps": 100, "beta_start": 1e-3, "beta_end": 0.2}),
        ("DDIMScheduler", {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}),
        ("DDPMScheduler", {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 50}),
        ("DDPMScheduler", {"beta_schedule": "sigmoid"}),
        ("PNDMScheduler", {"beta_schedule": "scaled_linear"}),
        ("DPMSolverMultistepScheduler", {"trained_betas": [0.01, 0.02, 0.5]}),
    ],
)
def test_tables_are_theirs(cls, settings):
    given, made = config(cls, **settings)
    schedule = read_scheduler(given, "file", pixels=True).schedule.make()
    # Theirs is a product of float32 factors 1 - beta: beta is rounded by 2^-24, the factor and the product by 2^-24 of each.
    off = (2**-24 * (2 + 1 / (1 - schedule.betas))).cumsum(0)
    assert ((schedule.alphas_cumprod / made.alphas_cumprod - 1).abs() <= off).all()
    t = torch.arange(len(schedule))
    assert torch.equal(schedule.seen(t), t.float())
    name, back, _ = scheduler_of(schedule, Epsilon(), Ancestral())
    assert torch.equal(getattr(diffusers, name)(**back).alphas_cumprod, made.alphas_cumprod)


def test_answers_and_samplers_are_theirs():
    for kind, cls in (("epsilon", Epsilon), ("v_prediction", V), ("sample", X0)):
        found = read_scheduler(config(prediction_type=kind)[0], "file", pixels=True)
        assert type(found.prediction.make()) is cls
    learned = read_scheduler(config(variance_type="learned_range")[0], "file", pixels=True).prediction.make()
    assert type(learned) is LearnedVariance
    assert type(learned.inner) is Epsilon

    given = config(variance_type="fixed_large", timestep_spacing="trailing", clip_sample=False)[0]
    sampler = read_scheduler(given, "file", pixels=True).sampler.make()
    assert (type(sampler), sampler.fixed_variance, sampler.spacing, sampler.clip) == (Ancestral, "large", "trailing", False)
    found = read_scheduler(config("PNDMScheduler", steps_offset=1)[0], "file", pixels=False)
    assert type(found.sampler.make()) is DDIM
    assert len(found.told) == 3  # the offset, the last step, the solver
    found = read_scheduler(config("DPMSolverMultistepScheduler", use_karras_sigmas=True)[0], "file", pixels=False)
    assert type(found.sampler.make()) is DPMSolver
    assert not found.sampler.make().clip
    assert not read_scheduler(config("DDIMScheduler")[0], "file", pixels=False).sampler.make().clip


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"thresholding": True}, "thresholding"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
        ({"beta_schedule": "laplace"}, "beta_schedule"),
        ({"prediction_type": "flow_prediction"}, "prediction_type"),
        ({"variance_type": "learned"}, "variance_type"),
        ({"variance_type": "fixed_large_log"}, "variance_type"),
        ({"clip_sample_range": 2.0}, "clip_sample_range"),
        ({"beta_start": 0.0}, "beta"),
        ({"trained_betas": [0.1, 1.0]}, "beta"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "_class_name"),
        ({"_class_name": "EDMEulerScheduler"}, "_class_name"),
        ({"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"}, "timestep_type"),
    ],
)
def test_what_cannot_be_represented_is_refused(change, key):
    given = config()[0]
    assert read_scheduler(given, "there/file.json", pixels=True)
    with pytest.raises(BootlightError, match=rf"there/file\.json.*{key}"):
        read_scheduler(given | change, "there/file.json", pixels=True)
