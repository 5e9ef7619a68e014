"""What the resolved configuration of a run says of its loop. Someone may have edited it: nothing is taken for granted."""

from typing import Any, TypeGuard


def arguments(config: dict[str, Any], part: str) -> dict[str, Any]:
    """The arguments of the class that a section names; empty where there are none."""
    section = config.get(part)
    found = section.get("init_args", section) if isinstance(section, dict) else {}
    return found if isinstance(found, dict) else {}


def class_name(entry: Any) -> str:
    """Last part of a class path; empty where there is none."""
    return str(entry.get("class_path", "")).rpartition(".")[2] if isinstance(entry, dict) else ""


def mixing(config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Class and arguments of the mixing policy, the innermost of policies around policies; the default where none is named."""
    *_, found = _policies(arguments(config, "data").get("mixing"))
    return found


def around(config: dict[str, Any]) -> list[str]:
    """Classes of the policies around the mixing policy, from outside."""
    return [name for name, _ in _policies(arguments(config, "data").get("mixing"))][:-1]


def _policies(entry: Any) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(entry, dict):
        return [("Accumulate", {})]
    given = entry.get("init_args")
    found = given if isinstance(given, dict) else {}
    return [(class_name(entry), found), *(_policies(found["mixing"]) if "mixing" in found else [])]


def is_gaussian(config: dict[str, Any]) -> bool:
    """Whether the generator is the one of normal pixels."""
    return class_name(config.get("model")) == "PixelGaussian"


def number(config: dict[str, Any], part: str, key: str) -> int | None:
    """A count of a section; None where it is none."""
    section = config.get(part)
    value = section.get(key) if isinstance(section, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number of ordinary size."""
    return isinstance(value, float | int) and not isinstance(value, bool) and abs(value) < 2**53
