"""What is run: another configuration is another entry."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from tiny_runs import DCGAN, DDPM, options

LONG = {
    "data.num_steps": 8, "bootstrap.num_generations": 2, "bootstrap.num_synthetic": 8, "bootstrap.checkpoint_every": 3,
    "evaluation.judge_steps": 3, "evaluation.judge_width": 4, "evaluation.judge_batch_size": 4,
    "evaluation.features": "bootlight.PixelFeatures",
}  # fmt: skip
CLASSIFIER = {"evaluation.features": "bootlight.ClassifierFeatures", "evaluation.features.name": "ab"}
DIGITS = {"data.origin": "bootlight.Digits", "data.batch_size": 32, "data.num_real": 64, "synthesis.num_previews": 4}
OF_FOLDERS = ("data.root", "data.image_size", "data.channels")  # what digits have of their own
GUIDED = ["--model.num_classes=2", "--model.sampler.guidance=2", "--model.warmup_steps=5"]
FRESH = {"data.mixing": "bootlight.FreshReal", "data.mixing.num_parts": 3, "bootstrap.num_generations": 3}
TAUGHT = {"data.mixing": "bootlight.WithTeacher", "data.mixing.root": "{pictures}/a", "data.mixing.number": 4}
AUXILIARY = {"part": "auxiliary", "start_from": "model", "settings": {"data.num_steps": 6, "model.learning_rate": 1e-3}}
TWO_PARTS = {
    "bootstrap.stages": json.dumps(
        [
            {"class_path": "bootlight.Train", "init_args": {"start_from": "@-1"}},
            {"class_path": "bootlight.Train", "init_args": AUXILIARY},
            {"class_path": "bootlight.Synthesize"},
            {"class_path": "bootlight.Curate", "init_args": {"curator": {"class_path": "bootlight.KeepAll"}}},
            {"class_path": "bootlight.Synthesize", "init_args": {"part": "auxiliary", "into": "probe", "n": 6}},
            {"class_path": "bootlight.Evaluate", "init_args": {"of": ["samples", "probe"]}},
        ]
    )
}
SIMS = {  # with Neon beside it, choices of both, a curator by the judge, and images that pollute the next generation
    "bootstrap.stages": json.dumps(
        [
            {"class_path": "bootlight.Train"},
            {"class_path": "bootlight.Synthesize", "init_args": {"into": "probe", "n": 8}},
            {
                "class_path": "bootlight.Train",
                "init_args": AUXILIARY | {"settings": AUXILIARY["settings"] | {"data.mixing": "bootlight.OwnImages"}},
            },
            {"class_path": "bootlight.Choose", "init_args": {"values": [0.0, 0.5, 1.0], "n": 6}},
            {"class_path": "bootlight.Choose", "init_args": {"key": "merge.w", "of": "merge_drawn", "values": [1.0, -0.5]}},
            {"class_path": "bootlight.Merge", "init_args": {"w": 0.0}},
            {
                "class_path": "bootlight.Synthesize",
                "init_args": {
                    "compose": {"class_path": "bootlight.Extrapolate", "init_args": {"auxiliary": "auxiliary", "w": 0.0}}
                },
            },
            {"class_path": "bootlight.Synthesize", "init_args": {"part": "merged", "into": "merge_drawn", "n": 6}},
            {"class_path": "bootlight.Curate", "init_args": {"curator": {"class_path": "bootlight.RejectionSampling"}}},
            {"class_path": "bootlight.Evaluate", "init_args": {"of": ["samples", "merge_drawn"]}},
        ]
    )
}
SFBD = {  # restored images replace those before, a third of them renewed; what a generation ends by
    "data.real_fraction": 0.4, "data.mixing": "bootlight.Denoised", "data.mixing.ramp": 3, "bootstrap.num_generations": 3,
    "data.origins": json.dumps(
        {
            "noisy": {
                "class_path": "bootlight.Corrupted",
                "init_args": {"corruption": {"class_path": "bootlight.GaussianNoise", "init_args": {"tau": 0.5}}},
            }
        }
    ),
    "evaluation.metrics": '[kid, "bootlight.PSNR"]',
    "bootstrap.stages": json.dumps(
        [
            {"class_path": "bootlight.Train", "init_args": {"start_from": "@-1"}},
            {
                "class_path": "bootlight.Synthesize",
                "init_args": {
                    "into": "restored",
                    "synthesizer": {"class_path": "bootlight.FromNoisy", "init_args": {"refresh": 0.34}},
                },
            },
            {"class_path": "bootlight.Synthesize"},
            {"class_path": "bootlight.Evaluate", "init_args": {"of": ["samples", "restored"]}},
            {"class_path": "bootlight.EarlyStop", "init_args": {"monitor": "kid/train", "patience": 5}},
        ]
    ),
}  # fmt: skip
DREAMDA = {  # variations that the next generation trains on, drawn by one inversion of each parent, and SDEdit beside them
    "data.mixing": "bootlight.Replace",
    "bootstrap.stages": json.dumps(
        [
            {"class_path": "bootlight.Train"},
            {
                "class_path": "bootlight.Synthesize",
                "init_args": {
                    "n": 12,
                    "synthesizer": {
                        "class_path": "bootlight.Variations",
                        "init_args": {"sampler": {"class_path": "bootlight.DDIM", "init_args": {"num_steps": 3, "eta": 1.0}}},
                    },
                },
            },
            {
                "class_path": "bootlight.Synthesize",
                "init_args": {"into": "edited", "synthesizer": {"class_path": "bootlight.SDEdit"}},
            },
            {"class_path": "bootlight.Evaluate", "init_args": {"of": ["samples", "edited"]}},
        ]
    ),
}
SMALL_NET = {"width": 8, "channel_multipliers": [1], "num_res_blocks": 1, "attention_resolutions": [], "num_heads": 1}
VIEW_OF = {
    "model.compose": None,
    "model.objective": "bootlight.DSM",
    "data.view": {"class_path": "bootlight.LowResolution", "init_args": {"factor": 2}},
    "data.num_steps": 6,
}
VIEWS = {  # a model of small images, a residual on whole ones, and drawing by both
    "bootstrap.stages": json.dumps(
        [
            {"class_path": "bootlight.Train", "init_args": {"part": "view_low", "settings": VIEW_OF}},
            {"class_path": "bootlight.Train"},
            {"class_path": "bootlight.Synthesize"},
            {"class_path": "bootlight.Evaluate"},
        ]
    ),
    "data.mixing": "bootlight.OnlyReal",
    "evaluation.denoising_levels": 2,
}
OF_VIEWS = {"low": {"part": "view_low", "view": VIEW_OF["data.view"]}}
RESIDUAL = {
    "network": {"class_path": "bootlight.UNet", "init_args": SMALL_NET},
    "compose": {"class_path": "bootlight.ViewSum", "init_args": {"views": OF_VIEWS}},
    "objective": {"class_path": "bootlight.Residual", "init_args": {"penalty": 0.1}},
    "prediction": {"class_path": "bootlight.V"},
    "sampler": {"class_path": "bootlight.DDIM", "init_args": {"num_steps": 2, "clip": False}},
    "ema_decay": 0.9,
}
SUM_OF_VIEWS = [f"--model={json.dumps({'class_path': 'bootlight.Diffusion', 'init_args': RESIDUAL})}"]
IMPORTANCE = {"class_path": "bootlight.LossSecondMoment", "init_args": {"history": 2, "bins": 3}}
ADAPTIVE = [  # levels by their losses, and heads by their errors: both learn from every step
    "--model=bootlight.Diffusion",
    "--model.network=bootlight.MLP",
    "--model.network.width=8",
    "--model.schedule=bootlight.LinearSchedule",
    "--model.sampler=bootlight.DDIM",
    "--model.sampler.num_steps=4",
    "--model.prediction=bootlight.Mixed",
    "--model.timesteps=" + json.dumps({"class_path": "bootlight.Stratified", "init_args": {"inner": IMPORTANCE}}),
]
LEARNING = {"trainer.accumulate_grad_batches": 2, "evaluation.noise_bins": 3, "bootstrap.warm_start": "true"}
AMBIENT = [  # levels first, then images: clean, noisy and drawn ones
    "--model=bootlight.Diffusion", "--model.network=bootlight.UNet", "--model.network.width=8",
    "--model.network.num_res_blocks=1", "--model.network.num_heads=1", "--model.schedule=bootlight.SigmaSchedule",
    "--model.prediction=bootlight.EDM", "--model.objective=bootlight.Ambient", "--model.timesteps=bootlight.LogNormal",
    "--model.sampler=bootlight.Heun", "--model.sampler.num_steps=3",
]  # fmt: skip
NOISY = {
    "data.origins": json.dumps(
        {
            "noisy": {
                "class_path": "bootlight.Corrupted",
                "init_args": {
                    "origin": {
                        "class_path": "bootlight.GaussianImages",
                        "init_args": {"image_size": 8, "channels": 3, "count": 12},
                    },
                    "corruption": {"class_path": "bootlight.GaussianNoise", "init_args": {"tau": 0.3}},
                },
            }
        }
    ),
    "data.mixing": "bootlight.WithOrigin",
    "data.mixing.origin": "noisy",
    "data.flip": "true",
}
GAUSSIAN = ["--model=bootlight.PixelGaussian"]

POLICY = {  # trained in the first generation, then on its rewards, against itself as the reference
    "network": {"class_path": "bootlight.UNet", "init_args": SMALL_NET},
    "reward": {"class_path": "bootlight.Brightness"},
    "sampler": {"class_path": "bootlight.DDIM", "init_args": {"num_steps": 3, "eta": 1.0}},
    "num_classes": 2,
    "advantages": "label",
    "updates": 2,
    "inner_epochs": 2,
    "kl_weight": 0.1,
    "ema_decay": 0.9,
    "learning_rate": 1e-3,
}
REWARDED = [f"--model={json.dumps({'class_path': 'bootlight.DDPO', 'init_args': POLICY})}"]
BASE = {"network": POLICY["network"], "num_classes": 2, "sampler": POLICY["sampler"]}
ROUNDS = {
    "data.num_steps": 5, "data.mixing": "bootlight.OnlyReal", "bootstrap.checkpoint_every": 2,
    "bootstrap.stages": json.dumps(
        [
            {
                "class_path": "bootlight.Train",
                "init_args": {
                    "part": "base",
                    "generations": "first",
                    "module": {"class_path": "bootlight.Diffusion", "init_args": BASE},
                },
            },
            {"class_path": "bootlight.Train", "init_args": {"start_from": "base", "generations": "first"}},
            {"class_path": "bootlight.Train", "init_args": {"start_from": "@-1/model", "generations": "later"}},
            {"class_path": "bootlight.Synthesize"},
            {"class_path": "bootlight.Evaluate"},
        ]
    ),
}  # fmt: skip
BRIGHT = {"class_path": "bootlight.ByReward", "init_args": {"reward": {"class_path": "bootlight.Brightness"}, "beta": 9.0}}
RWR = {
    "data.mixing": "bootlight.Replace", "data.mixing.keep_real": "false", "bootstrap.num_generations": 3,
    "bootstrap.stages": json.dumps(
        [
            {"class_path": "bootlight.Train", "init_args": {"start_from": "@-1/model"}},
            {"class_path": "bootlight.Synthesize"},
            {"class_path": "bootlight.Curate", "init_args": {"curator": BRIGHT}},
            {"class_path": "bootlight.Evaluate"},
        ]
    ),
}  # fmt: skip
BACKBONE = {"class_path": "bootlight.SmallResNet", "init_args": {"width": 4, "stages": 2}}
VIEWED = {
    "num_classes": 2,
    "backbone": BACKBONE,
    "weak": [{"class_path": "bootlight.RandomFlip"}],
    "strong": [{"class_path": f"bootlight.{name}"} for name in ("RandomCrop", "RandAugment", "RandomErasing")],
    "ema_decay": 0.9,
}
CLASSIFIED = {"class_path": "bootlight.ImageClassifier", "init_args": {"num_classes": 2, "backbone": BACKBONE}}
AMST = {  # heads, their labels, and classifiers of real images, of drawn ones, and of both with images without a label
    "bootstrap.num_generations": 1,
    "bootstrap.stages": json.dumps(
        [
            {"class_path": "bootlight.Train"},
            {"class_path": "bootlight.Synthesize"},
            {
                "class_path": "bootlight.Train",
                "init_args": {"part": "labeler", "module": {"class_path": "bootlight.AMST", "init_args": VIEWED}},
            },
            {
                "class_path": "bootlight.Curate",
                "init_args": {"curator": {"class_path": "bootlight.PseudoLabels", "init_args": {"passes": 3}}},
            },
            {
                "class_path": "bootlight.Classifiers",
                "init_args": {
                    "module": CLASSIFIED,
                    "settings": {"data.num_steps": 5},
                    "arms": {
                        "real": {"settings": {"model.augment": [{"class_path": "bootlight.CutMix"}]}},
                        "amst": {
                            "module": {"class_path": "bootlight.AMST", "init_args": VIEWED | {"stage": "main"}},
                            "start_from": "labeler",
                            "settings": {"data.mixing": "bootlight.WithOwn"},
                        },
                    },
                },
            },
            {"class_path": "bootlight.Evaluate"},
        ]
    ),
    "evaluation.metrics": '[kid, "bootlight.DownstreamAccuracy", "bootlight.PseudoLabelQuality"]',
}


@dataclass(frozen=True)
class Configuration:
    """A run of seconds.

    Args:
        model: arguments that say which model.
        changes: of the settings in `LONG`; `{pictures}` in a value is the folder of the pictures.
        without: settings that its data module does not have.
        processes: connected by gloo, as torchrun would have started them.
        pages: whether strip and report are drawn; see `Attempt`.
    """

    model: list[str]
    changes: dict[str, object] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    processes: int = 1
    pages: bool = False

    def arguments(self, pictures: Path, folder: Path) -> list[str]:
        """Of `bootlight fit`, with the run and its cache in a folder."""
        settings = {"data.cache": folder / "cache"} | LONG | self.changes
        if self.processes > 1:
            settings |= {"trainer.strategy": "ddp_find_unused_parameters_true", "trainer.devices": self.processes}
        left_out = tuple(f"--{key}=" for key in self.without)
        found = [option.replace("{pictures}", str(pictures)) for option in options(pictures, folder / "run", **settings)]
        return [*self.model, *(option for option in found if not option.startswith(left_out))]


CONFIGURATIONS = {
    "ddpm": Configuration(DDPM, pages=True),
    "dropout, long average": Configuration([*DDPM, "--model.dropout=0.3", "--model.ema_decay=0.99"]),
    "guided, classes, classifier": Configuration([*DDPM, *GUIDED], CLASSIFIER),
    "two batches a step": Configuration(DDPM, {"trainer.accumulate_grad_batches": 2}),
    "warm start": Configuration(DDPM, {"bootstrap.warm_start": "true", "bootstrap.num_generations": 3}),
    "bf16, workers": Configuration(DDPM, {"trainer.precision": "bf16-mixed", "data.num_workers": 2}),
    "teacher": Configuration(DDPM, TAUGHT),
    "fresh images": Configuration(DDPM, FRESH),
    "callback with a state": Configuration(DDPM, {"trainer.callbacks": "kills.steered.Steered"}),
    "dcgan": Configuration(DCGAN),
    "dcgan, warm start, workers": Configuration(DCGAN, {"bootstrap.warm_start": "true", "data.num_workers": 2}),
    "dcgan, bf16, warm start": Configuration(DCGAN, {"bootstrap.warm_start": "true", "trainer.precision": "bf16-mixed"}),
    "gaussian, digits": Configuration(GAUSSIAN, DIGITS, without=OF_FOLDERS),
    "ambient, workers": Configuration(AMBIENT, NOISY | {"data.num_workers": 2}),
    "ambient, two processes": Configuration(AMBIENT, NOISY, processes=2),
    "two parts": Configuration(DDPM, TWO_PARTS),
    "two parts, dcgan": Configuration(DCGAN, TWO_PARTS),
    "two parts, two processes": Configuration(DDPM, TWO_PARTS, processes=2),
    "sims": Configuration(DDPM, SIMS),
    "sims, two processes": Configuration(DDPM, SIMS, processes=2),
    "sfbd": Configuration(DDPM, SFBD),
    "dreamda": Configuration([*DDPM, "--model.num_classes=2"], DREAMDA),
    "ddpo": Configuration(REWARDED, ROUNDS),
    "ddpo, two processes": Configuration(REWARDED, ROUNDS, processes=2),
    "rwr": Configuration(DDPM, RWR),
    "amst": Configuration([*DDPM, *GUIDED], AMST),
    "views": Configuration(SUM_OF_VIEWS, VIEWS),
    "adaptive": Configuration(ADAPTIVE, LEARNING),
    "adaptive, two processes": Configuration(ADAPTIVE, LEARNING, processes=2),
    "two processes": Configuration(DDPM, processes=2, pages=True),
    "two processes, dcgan": Configuration(DCGAN, {"bootstrap.num_generations": 3}, processes=2),
}
