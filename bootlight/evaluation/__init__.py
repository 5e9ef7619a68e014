"""Measuring any two sets of images: where they lie, their features, all metrics in one pass, and comparing the scores."""

from bootlight.lazy import public

__getattr__, __dir__, __all__ = public(
    __name__,
    {
        "generation": "Evaluation",
        "classifier_features": "ClassifierFeatures",
        "learned_features": "LearnedFeatures",
    },
)
