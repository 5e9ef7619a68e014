"""Every class of bootlight's own keeps its promises, and each usual mistake of a plug-in is told by its own sentence."""

import inspect

import broken_plug_ins
import numpy as np
import pytest
import sound_plug_ins
import torch
from torch import nn

import bootlight
from bootlight.checking.kinds import KINDS, kind_of
from bootlight.checking.states import equal, global_generators
from bootlight.data.store import store_from_arrays
from bootlight.errors import BootlightError

NAMES = [name for name in bootlight.__all__ if inspect.isclass(getattr(bootlight, name))]
PLUG_INS = [
    name
    for name in NAMES
    if any(kind._takes(getattr(bootlight, name)) for kind in KINDS) and not inspect.isabstract(getattr(bootlight, name))
]


class Scaled(nn.Module):
    """A network of one number."""

    def __init__(self, sizes):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))
        self.outputs = sizes.outputs

    def forward(self, x, time, labels=None):
        return (self.factor * x * torch.cos(time / 300).view(-1, 1, 1, 1)).repeat(1, self.outputs, 1, 1)[:, : self.outputs]


SMALL = {"width": 8, "channel_multipliers": [1, 2], "num_res_blocks": 1, "attention_resolutions": []}
BLOCKS = {
    "block_out_channels": [4, 8],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "attention_head_dim": 4,
}
TEXT_BLOCKS = BLOCKS | {
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": 4,
}
NEEDED = {"UNet2D": "diffusers", "TextUNet": "diffusers", "Pretrained": "diffusers"}  # packages, without which it is not tried
# Arguments of what cannot be made, or is slow, without any.
ARGUMENTS = {
    "AnySize": {"size": [6, 11]},
    "Box": {"top": 1, "left": 2, "height": 3, "width": 4},
    "ByReward": {"reward": bootlight.Brightness(), "beta": 10.0},
    "Classifiers": {"arms": {"real": None}},
    "PerClass": {"origin": bootlight.Digits(), "count": 3},
    "Channels": {"which": [0], "channels": 3},
    "Crops": {"origin": bootlight.Lattice(16), "size": [8, 5]},
    "Curate": {"curator": bootlight.KeepAll()},
    "Corrupted": {"origin": bootlight.GaussianImages(4, count=9), "corruption": bootlight.GaussianNoise(0.1)},
    "Noisy": {"origin": bootlight.GaussianImages(4, count=9, rounded=False), "noise": [0.5, 3.0]},
    "Masked": {"origin": bootlight.GaussianImages(4, count=9), "masks": bootlight.GaussianImages(4, count=9)},
    "ThroughMask": {"share": 0.5},
    "DCGAN": {"width": 4, "latent_dim": 6},
    "ClassProbability": {"label": 2},
    "DDPM": SMALL,
    "DDPO": {
        "network": Scaled,
        "reward": bootlight.Brightness(),
        "sampler": bootlight.DDIM(4, eta=1.0),
        "kl_weight": 0.1,
        "reference": "@0/base",
    },
    "Diffusion": {"network": Scaled, "num_classes": 3},
    "DiscreteSchedule": {"alphas_cumprod": torch.linspace(0.99, 0.01, 30)},
    "EarlyStop": {"monitor": "fd"},
    "Extrapolate": {"auxiliary": "@-1/model", "w": 0.5},
    "GaussianDenoiser": {"mean": torch.full((1, 4, 4), 0.1), "variance": torch.full((1, 4, 4), 0.2)},
    "FromNoisy": {"tau": 0.5},
    "FramePairs": {"origin": bootlight.MovingDots(16, 5), "size": 8},
    "FrameTriples": {"origin": bootlight.MovingDots(16, 5), "size": 8},
    "FreshReal": {"num_parts": 3},
    "Frames": {"first": 1, "count": 1, "length": 3},
    "Half": {"side": "right"},
    "LowResolution": {"factor": 2},
    "Unmasked": {"hidden": [[1, 2, 3, 4]]},
    "ViewOf": {"origin": bootlight.GaussianImages(4, count=9), "view": bootlight.LowResolution(2)},
    "ViewSum": {"views": {"whole": bootlight.ViewModel("view", bootlight.Whole())}},
    "GaussianNoise": {"tau": 0.3},
    "Merge": {"w": 0.5},
    "KChoice": {"reward": bootlight.Brightness()},
    "LoRA": {"network": bootlight.MLP},
    "LearnedVariance": {"inner": bootlight.Epsilon()},
    "MixtureDenoiser": {
        "weights": torch.tensor([0.25, 0.75], dtype=torch.float64),
        "means": torch.tensor([[-0.5], [0.5]], dtype=torch.float64).expand(2, 16),
        "covariances": 0.1 * torch.eye(16, dtype=torch.float64).expand(2, 16, 16),
    },
    "NetworkDenoiser": {"network": Scaled(bootlight.Sizes((1, 4, 4), 1)), "prediction": bootlight.EDM()},
    "ScaledScore": {"scale": 1.2},
    "Rollout": {"size": [6, 11], "length": 3},
    "StoreOrigin": {"store": store_from_arrays(np.zeros((3, 2, 2, 1), np.uint8))},
    "Threshold": {"reward": bootlight.Brightness(), "least": -150.0},
    "UNet": SMALL,
    "UNet2D": {"settings": BLOCKS},
    "TextUNet": {"settings": TEXT_BLOCKS, "tokens": 3},
    "WithCopies": {"fraction": 0.1},
    "WithOwn": {"folder": "probe"},
    "WithOrigin": {"origin": "more", "number": 30},
    "WithTeacher": {"root": "runs/x@0", "number": 30},
}
# It is biased on purpose; its clips are single images; stages that need a whole run.
UNTRIED = {
    "LogNormal": {"unbiased"},
    "LogitNormal": {"unbiased"},
    "AnySize": {"continued"},
    "Draw": {"continued"},
    "FromNoisy": {"continued"},
    "SDEdit": {"continued"},
    "Variations": {"continued"},
    "EarlyStop": {"done"},
    "Mixed": {"true_scale"},  # it answers more channels than an image has
    "Gate": {"order", "state_saved"},  # it learns nothing on the way
}
UNTRIED["PseudoLabels"] = {"one_each", "possible", "sure"}  # by a part of the run
UNTRIED |= {name: {"done"} for name in ("Adopt", "Classifiers", "Train", "Synthesize", "Curate", "Merge", "Evaluate")}
UNTRIED["Choose"] = {"undone", "done"}  # which file, depends on other stages
BROKEN = {
    "Sound": (),
    "GlobalNoise": ("seed_alone", "draws_only"),
    "BatchNormTrains": ("seed_alone", "draws_only"),
    "StateInAttribute": ("continues",),
    "ZeroToOne": ("in_range",),
    "ZeroTo255": ("in_range",),
    "KeepsGradients": ("no_gradient",),
    "LooksAround": ("seed_alone",),
    "NumpyTraining": ("trains_again", "continues"),
    "Diverges": ("trains",),
    "OtherShape": ("sizes",),
    "Crashes": ("trains",),
    "NoSecondImage": ("constant", "seed_alone", "transitions"),
    "OtherTransition": ("transitions",),
    "Shortfall": ("constant", "cost", "recorded", "inverted"),
    "LowLevels": ("unbiased",),
    "ForgetfulTimesteps": ("state_saved",),
    "OwnCounters": ("own_share",),
    "WrongSign": ("reads_back", "errors"),
    "WrongScale": ("true_scale", "errors"),
    "TooFewOutputs": ("reads_back", "true_scale", "errors"),
    "TooFewHeads": ("sizes",),
    "HeadsOfAll": ("image_alone",),
    "LoudHeads": ("mute",),
    "LastHeads": ("order",),
    "ForgetfulHeads": ("state_saved",),
    "Falling": ("rising", "round_trip", "grids", "starts"),
    "Negative": ("size",),
    "OverTheBatch": ("image_alone", "gradient"),
    "OwnNoise": ("image_alone",),
    "Detached": ("gradient",),
    "NotQuiteNothing": ("identity",),
    "NoiseByPlace": ("name_alone",),
    "InPlace": ("sizes",),
    "SaysNothing": ("levels",),
    "NotAdjoint": ("adjoint", "levels"),
    "Affine": ("linear", "levels", "adjoint"),
    "BetterThanOthers": ("image_alone",),
    "OneForAll": ("one_each",),
    "Moody": ("image_alone", "fixed"),
    "Learns": ("fixed",),
    "EachImage": ("scalars",),
    "MeanOfSome": ("alike", "batches", "reset_forgets", "copied", "processes"),
    "LastBatch": ("batches",),
    "NeverForgets": ("reset_forgets", "processes"),
    "LocalSum": ("processes",),
    "HoldsALambda": ("copied",),
    "DropsRows": ("one_each",),
    "Sorts": ("one_each",),
    "KeepsNothing": ("possible",),
    "NegativeWeights": ("possible",),
    "KeepsByChance": ("sure",),
    "Remembers": ("sure",),
    "OneSeed": ("asks",),
    "SameSeedsAgain": ("asks",),
    "Shakes": ("request_alone",),
    "Levels": ("request_alone",),
    "StopsEarly": ("yields",),
    "Unrounded": ("continued",),
    "OutOfRange": ("allowed",),
    "TakesHeldOut": ("allowed",),
    "TakesDropped": ("allowed",),
    "Gambles": ("sure",),
    "LooksAhead": ("goes_on",),
    "NoStart": ("starts",),
    "NothingReal": ("starts",),
    "CountsTheFolder": ("planned",),
    "FixedNumber": ("smaller",),
    "OtherImages": ("loads",),
    "NeverTheSame": ("same",),
    "Nameless": ("loads",),
    "RankNoise": ("any_rank",),
    "HalfTones": ("in_range",),
    "CountsSteps": ("continues",),
    "OwnGenerator": ("continues",),
    "OneNoiseForAll": ("each_its_own",),
    "Unweighted": ("unbiased",),
    "Unsaved": ("state_saved",),
    "Unpublished": ("published",),
    "Unwritable": ("told",),
    "OneStepMore": ("follows",),
    "WithGradient": ("no_gradient",),
    "Untold": ("told",),
    "Beyond": ("inside",),
    "Relative": ("level_alone",),
    "OneChannel": ("outputs",),
    "TimeLost": ("sees",),
    "Flat": ("level_shape",),
    "SaysItKeeps": ("variance",),
    "Alike": ("seen_apart",),
    "DrawsBeyond": ("drawn_inside",),
    "Averages": ("losses",),
    "WeighsTwice": ("unweighted",),
    "WrongName": ("refers",),
    "HalfEstimate": ("estimates",),
    "BatchMean": ("image_alone",),
    "Forgets": ("estimates", "reaches"),
    "AveragesToo": ("image_alone",),
    "UntoldComposition": ("told",),
    "Chance": ("certain",),
    "Length0": ("needs_told", "yields"),
    "UntoldDraw": ("told",),
    "OfTheBatch": ("image_alone",),
    "NoNoise": ("perturbs",),
    "AlwaysSome": ("identity",),
    "UntoldNoise": ("told",),
    "Shapeless": ("told", "loads"),
    "FlatAnswer": ("outputs", "gradients"),
    "DarkensInPlace": ("views",),
    "CropsByChance": ("view_alone",),
    "DoneInAttribute": ("done",),
    "AlwaysDone": ("undone",),
    "SomeGenerations": ("told",),
    "NearlySimple": ("identity",),
    "NearlyClean": ("identity",),
    "NearlyAll": ("identity",),
    "Forgot": ("trains",),
    "LogOfSignal": ("losses",),
    "RandomFeatures": ("continues", "published"),
    "OwnAverage": ("continues", "published"),
    "Untrained": ("fixed",),
    "ShuffledOnce": ("same",),
    "Standardized": ("image_alone", "no_label", "gradients"),
}


SOUND = [
    name for name, thing in vars(sound_plug_ins).items() if inspect.isclass(thing) and thing.__module__ == "sound_plug_ins"
]


def wrong(findings):
    return {finding.key: finding.wrong for finding in findings if not finding.ok}


@pytest.mark.parametrize("name", PLUG_INS)
def test_each_class_of_our_own_keeps_its_promises(name, pictures, tmp_path):
    if name in NEEDED:
        pytest.importorskip(NEEDED[name], reason=f"{name} needs {NEEDED[name]}: pip install 'bootlight[diffusers]'")
    arguments = ARGUMENTS | {"ImageFiles": {"root": str(pictures)}, "Picture": {"file": str(next(pictures.rglob("*.png")))}}
    if name == "Pretrained":
        from tiny_pipelines import pixel_pipeline

        pixel_pipeline(tmp_path / "folder", num_class_embeds=3)
        arguments[name] = {"folder": str(tmp_path / "folder"), "num_classes": 3, "channels": 3}
    arguments["Clip"] = {"path": str(next(pictures.rglob("*.png")).parent)}
    findings = bootlight.check(getattr(bootlight, name), **arguments.get(name, {}))
    assert wrong(findings) == {}
    assert {finding.key for finding in findings if not finding.held} - {"views", "view_alone", "identity"} == UNTRIED.get(
        name, set()
    )
    assert len(findings) > 2


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_plug_in_of_an_unusual_kind_is_not_blamed(name):
    assert wrong(bootlight.check(getattr(sound_plug_ins, name))) == {}


@pytest.mark.parametrize(("name", "keys"), BROKEN.items())
def test_a_usual_mistake_is_told(name, keys):
    found = wrong(bootlight.check(getattr(broken_plug_ins, name)))
    assert found.keys() == set(keys), found


def test_sentences_name_what_was_lost():
    """A cure names the attribute, whatever it is, and a batch norm is told as one though it fails on a single image."""
    for name, key, words in (
        ("StateInAttribute", "continues", "self.seen"),
        ("CountsSteps", "continues", "self.steps"),
        ("OwnGenerator", "continues", "self.rng"),
        ("BatchNormTrains", "seed_alone", "depends on the batch"),
        ("Crashes", "trains", "broken_plug_ins.py, line "),
    ):
        assert words in wrong(bootlight.check(getattr(broken_plug_ins, name)))[key]


@pytest.mark.parametrize("kind", KINDS)
def test_no_promise_is_kept_by_every_plug_in(kind):
    told = {key for name, keys in BROKEN.items() if issubclass(kind_of(getattr(broken_plug_ins, name)), kind) for key in keys}
    promises = {name for name, method in vars(kind).items() if inspect.isfunction(method) and not name.startswith("_")}
    assert promises <= told


def test_a_class_that_is_no_plug_in_is_told_which_kinds_there_are():
    for thing in (int, bootlight.Batch, nn.Linear):
        with pytest.raises(BootlightError, match=r"GeneratorModule.*Curator.*Sizes"):
            bootlight.check(thing)


def test_our_own_classes_have_identities():
    names = [
        "Alone",
        "Extrapolate",
        "Simple",
        "MinSNR",
        "P2",
        "Clean",
        "GaussianNoise",
        "ViewSum",
        "Whole",
        "KeepAll",
        "ByReward",
        "ScaledScore",
    ]
    names += ["KChoice", "Threshold"]
    names += ["StartNoise", "LevelNoise", "ImageNoise", "BottleneckNoise", "DecoderNoise", "EncoderNoise"]
    for name in names:
        found = bootlight.check(getattr(bootlight, name), **ARGUMENTS.get(name, {}))
        assert next(finding for finding in found if finding.key == "identity").held, name


def test_copies_of_an_instance_are_tried():
    weighting = bootlight.P2(gamma=0.5)
    assert wrong(bootlight.check(weighting)) == {}
    weighting.gamma = float("nan")
    assert wrong(bootlight.check(weighting)).keys() == {"size", "level_alone"}


def test_global_random_generators_are_left_as_they_were():
    states = global_generators()
    bootlight.check(broken_plug_ins.NumpyTraining)
    assert equal(states, global_generators())
