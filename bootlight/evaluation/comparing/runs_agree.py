"""Whether runs were made of the same images and measured in the same way, so that they can be compared without options."""

from collections.abc import Sequence
from typing import Any

from bootlight.errors import BootlightError
from bootlight.evaluation.comparing.run_setting import OF_IMAGES, RunSetting
from bootlight.io.shape import height_width


def check_agree(settings: Sequence[RunSetting], *, real: bool, size: bool, features: bool) -> None:
    """Refuse runs that were made with different things, unless an option decides.

    Args:
        settings: of the runs, at least one.
        real: whether --real is given.
        size: whether --image-size is.
        features: whether --features is.

    Raises:
        BootlightError: names both values, and the option.
    """
    first, *others = settings
    for other in others:
        for key, said in _differing(first, other, real=real, size=size, features=features):
            values = [_short(one) for one in said]
            option = {"image_size": "--image-size", "features": "--features"}.get(key, "--real")
            name = "evaluation.features" if key == "features" else f"data.{key}"
            raise BootlightError(
                f"{first.where} was made with {name} {values[0]}, {other.where} with {values[1]}: "
                f"say which to compare with by {option}"
            )


def _differing(
    first: RunSetting, other: RunSetting, *, real: bool, size: bool, features: bool
) -> list[tuple[str, tuple[Any, Any]]]:
    """What differs of two runs and no option decides: by key, both values."""
    sides = first.images, other.images
    found = {key: (sides[0].get(key), sides[1].get(key)) for key in OF_IMAGES}
    found["image_size"] = (_size(sides[0]), _size(sides[1]))
    found["channels"] = (found["channels"][0] or 3, found["channels"][1] or 3)
    origins = tuple(_without_places(value) for value in found["origin"])
    found["origin"] = (origins[0], origins[1])
    known = first.known.get("content"), other.known.get("content")
    looks_same = all(found[key][0] == found[key][1] for key in ("image_size", "channels"))
    if looks_same and known[0] is not None and known[1] is not None:
        if known[0] == known[1]:  # wherever they lie
            found["root"] = found["origin"] = (None, None)
        elif found["root"][0] == found["root"][1] and found["origin"][0] == found["origin"][1]:
            name = found["root"][0] or "origin"  # changed in between
            found["root"] = (f"{name} as of {known[0][:8]}", f"{name} as of {known[1][:8]}")
    held_out = first.known.get("held_out"), other.known.get("held_out")
    if held_out[0] is not None and held_out[0] == held_out[1]:  # a split of their own
        found["holdout_fraction"] = (None, None)
    decided = {"image_size"} if size else set()
    if real:
        decided |= set(OF_IMAGES) - {"image_size", "channels"}
    rows = [(key, values) for key, values in found.items() if key not in decided and values[0] != values[1]]
    networks = first.features, other.features
    return rows + ([] if features or _plain(networks[0]) == _plain(networks[1]) else [("features", networks)])


def _size(images: dict[str, Any]) -> list[int] | None:
    value = images.get("image_size")
    return None if value is None else list(height_width(value))


def _without_places(origin: Any) -> Any:
    """An origin without where its images lie."""
    if not isinstance(origin, dict):
        return origin
    given = origin.get("init_args") or {}
    return {**origin, "init_args": {key: value for key, value in given.items() if key not in ("root", "cache")}}


def _plain(network: Any) -> Any:
    """A class path with its arguments, none of them the same as an empty dictionary."""
    return None if network is None else (network.get("class_path"), network.get("init_args") or {})


def _short(value: Any) -> str:
    """A setting in a message."""
    if isinstance(value, dict) and "class_path" in value:
        given = ", ".join(f"{key}={one}" for key, one in (value.get("init_args") or {}).items())
        return f"{value['class_path']}({given})"[:160]
    return "null" if value is None else str(value)[:160]
