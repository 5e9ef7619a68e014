"""Plug-ins are tried: what each kind promises, and a sentence for each promise that is not kept."""

from bootlight.lazy import public

__getattr__, __dir__, __all__ = public(
    __name__,
    {
        "kinds": "check",
        "finding": "Finding",
    },
)
