"""The loop over generations and its stages; a configuration becomes objects."""

from bootlight.lazy import public

__getattr__, __dir__, __all__ = public(
    __name__,
    {
        "adopt": "Adopt",
        "begin": "run",
        "choose": "Choose",
        "classifiers": "Classifiers",
        "curate": "Curate",
        "early_stop": "EarlyStop",
        "evaluate": "Evaluate",
        "merge": "Merge",
        "stage": "Stage",
        "synthesize": "Synthesize",
        "train": "Train",
    },
)
