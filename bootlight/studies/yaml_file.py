"""Reading a YAML file by sections: whatever is wrong is told by file and key."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from bootlight.errors import BootlightError
from bootlight.io.atomic import read_text

MAX_BYTES = 2**20


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a file.

    Raises:
        BootlightError: it is missing, no YAML, or no mapping.
    """
    try:
        content = yaml.safe_load(read_text(file, MAX_BYTES))
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise BootlightError(f"{file} is no YAML ({' '.join(str(error).split())}); correct it") from error
    if not isinstance(content, dict):
        raise BootlightError(f"{file} describes no study; see docs/studies.md")
    return content


@dataclass(frozen=True)
class Section:
    """A mapping in a file.

    Args:
        file: the file.
        path: dotted place in it; empty for the whole file.
        content: of the mapping.
        keys: those that it may have; empty = any.
        name: last part of its place, which may have dots itself.
    """

    file: Path
    path: str
    content: dict[str, Any]
    keys: Sequence[str] = ()
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse what is not known: a key that is written wrongly would otherwise be left out in silence."""
        for key in self.content:
            if not isinstance(key, str):
                raise BootlightError(f"{self.file}: {self.key(str(key))}: {key!r} must be a text; put it in quotes")
            if self.keys and key not in self.keys:
                raise BootlightError(f"{self.file}: {self.key(key)} is not known; there are {', '.join(self.keys)}")

    def key(self, key: str) -> str:
        """The place of a key of it."""
        return f"{self.path}.{key}".strip(".")

    def wrong(self, key: str, what: str) -> BootlightError:
        """What to raise about a value."""
        return BootlightError(f"{self.file}: {self.key(key)} is {self.content.get(key)!r}; it must be {what}")

    def section(self, key: str, keys: Sequence[str] = ()) -> "Section":
        """The mapping at a key; where nothing stands there, an empty one."""
        value = self.content.get(key)
        value = {} if value is None else value
        if not isinstance(value, dict):
            raise self.wrong(key, "a mapping of keys and values")
        return Section(self.file, self.key(key), value, keys, key)

    def sections(self, key: str, keys: Sequence[str]) -> list["Section"]:
        """A list of mappings, each with all of the keys."""
        values = self.content.get(key) or []
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise self.wrong(key, f"a list of mappings with {', '.join(keys)}")
        found = [Section(self.file, f"{self.key(key)}[{number}]", value, keys) for number, value in enumerate(values)]
        for section in found:
            for missing in set(keys) - section.content.keys():
                raise BootlightError(f"{self.file}: {section.key(missing)} is missing")
        return found

    def text(self, key: str, default: str = "") -> str:
        """A text that is not empty."""
        value = self.content.get(key, default)
        if not isinstance(value, str) or not value:
            raise self.wrong(key, "a text")
        return value

    def texts(self, key: str) -> list[str]:
        """A text or a list of them."""
        value = self.content.get(key) or []
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(text, str | Path) for text in values):
            raise self.wrong(key, "a text or a list of texts")
        return [str(text) for text in values]

    def one_of(self, key: str, known: Sequence[str]) -> str:
        """One of several texts."""
        if self.content.get(key) not in known:
            raise self.wrong(key, f"one of {', '.join(known)}")
        return str(self.content[key])

    def seeds(self, key: str) -> list[int]:
        """A list of different seeds; 0 where there is none."""
        values = self.content.get(key, [0])
        if not isinstance(values, list) or not values or not all(is_seed(value) for value in values):
            raise self.wrong(key, "a list of numbers from 0 to 4294967295, such as [0, 1, 2]")
        return list(dict.fromkeys(values))


def is_seed(value: object) -> bool:
    """Whether `fit` would take it."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32
