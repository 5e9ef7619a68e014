"""Measuring any two sets of images.

Where to look:

- `sets/`: the images of folders, zips and runs; `features`: what a network answers to them, kept by content;
- `networks/`: feature networks and judges that learn from the real images;
- `suite`: which metrics there are; `own_metrics`, `on_images`: those of users; `attempt`: one that fails takes none with it;
- `generation`: scores of a generation; `run`: of any two sets; `comparing/`: differences of sets and runs;
- `floors/`: what real images score, and whether a score can be believed; `chosen`: a setting by its score;
- `duplicates`, `near`: pictures that are there twice.
"""

from bootlight.lazy import public

__getattr__, __dir__, __all__ = public(
    __name__,
    {
        "downstream": "DownstreamAccuracy",
        "generation": "Evaluation",
        "mean_reward": "MeanReward",
        "networks.classifier_features": "ClassifierFeatures",
        "networks.learned_features": "LearnedFeatures",
        "pseudo_labels": "PseudoLabelQuality",
    },
)
