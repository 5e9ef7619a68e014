"""Images from a trained generator: what is asked for, drawing, the folder that holds them, and which of them are kept."""

from bootlight.lazy import public

__getattr__, __dir__, __all__ = public(
    __name__,
    {
        "any_size": "AnySize",
        "own_trainer": "Synthesis",
        "curator": "ByReward Curator KeepAll Threshold",
        "distinct": "Distinct",
        "folder": "as_stored",
        "from_noisy": "FromNoisy",
        "rejection": "KChoice RejectionSampling",
        "pseudo_labels": "PseudoLabels",
        "requests": "Request Requests",
        "rollout": "Rollout",
        "sdedit": "SDEdit",
        "synthesizer": "Draw Synthesizer variants",
        "variations": "Variations",
    },
)
