"""Classifiers as parts of a generation: augmentations by counters, self-training, and when a label is believed."""

from bootlight.lazy import public

__getattr__, __dir__, __all__ = public(
    __name__,
    {
        "amst": "AMST",
        "augment": "Augmentation GaussianJitter RandomCrop RandomErasing RandomFlip",
        "classifier": "ClassifierModule ImageClassifier",
        "cutmix": "CutMix",
        "randaugment": "RandAugment",
        "softmatch": "SoftMatch",
    },
)
