"""What a generation is worth: how far its images are from real ones, in quality and in variety, and what a judge says of them.

Each metric is a `torchmetrics.Metric` that takes uint8 images and answers with a `Score`. Where to look:

- `score`: `Score`, a value with error, interval, protocol and remarks; `uncertainty`: errors and intervals of shares;
- `features/`: feature networks, how they are called, what is kept; `distances/`: Fréchet and kernel distances, Inception score;
- `neighbours/`: precision and recall, density and coverage, authenticity, copying;
- `reward`: how much single images are liked;
- `discriminator`: the score of a frozen discriminator; `c2st`: of a fresh classifier; `vendi`; `pixel_statistics`: without any
  network.
"""

from bootlight.lazy import public

__getattr__, __dir__, __all__ = public(
    __name__,
    {
        "class_probability": "ClassProbability",
        "discriminator": "DiscriminatorScore",
        "distances.frechet": "FrechetDistance",
        "features.dino": "DinoFeatures",
        "features.feature_metric": "FeatureMetric",
        "features.features": "PixelFeatures",
        "features.inception": "InceptionFeatures",
        "evaluator": "Evaluator",
        "patch_metrics": "PatchNeighbors",
        "psnr": "PSNR",
        "realism": "JudgeLogit Realism",
        "reward": "Brightness ConstantReward JpegSize Reward",
        "score": "Score",
    },
)
