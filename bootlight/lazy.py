"""Public names that are imported when they are first used (PEP 562), so that importing a package costs nothing."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

known: set[str] = set()  # every full name of every public thing, such as `bootlight.data.Digits`


def public(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """The `__getattr__`, `__dir__` and `__all__` of a package.

    Args:
        package: its `__name__`.
        modules: public names, with spaces between them, by the module below the package that has them.
    """
    places = {name: f"{package}.{module}" for module, names in modules.items() for name in names.split()}
    known.update(f"{place}.{name}" for name, module in places.items() for place in (package, module))

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(places[name]), name)

    return find, lambda: sorted(places), sorted(places)
