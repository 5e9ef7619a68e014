"""Public names: those of the rooms are those of the package, each in one room, and nothing heavy is imported for their sake."""

import subprocess
import sys
from importlib import import_module
from inspect import isclass

import pytest

import bootlight
from bootlight.generators.trust import OWN

ROOMS = (
    "checking",
    "bootstrap",
    "synthesis",
    "evaluation",
    "loggers",
    "classifiers",
    "generators",
    "data",
    "metrics",
    "diffusion",
    "networks",
)


def test_the_package_has_the_names_of_its_rooms():
    of_rooms = [(name, room) for room in ROOMS for name in import_module(f"bootlight.{room}").__all__]
    assert len(dict(of_rooms)) == len(of_rooms)  # no name in two rooms
    assert set(bootlight.__all__) == set(dir(bootlight)) == {*dict(of_rooms), "Batch", "BootlightError", "NoiseStreams"}
    for name, room in of_rooms:
        thing = getattr(bootlight, name)
        assert thing is getattr(import_module(f"bootlight.{room}"), name)
        assert thing.__module__.startswith(f"bootlight.{room}.")
        assert {f"bootlight.{name}", f"bootlight.{room}.{name}"} <= OWN
        assert not isclass(thing) or f"{thing.__module__}.{thing.__qualname__}" in OWN


@pytest.mark.parametrize("module", ["bootlight", "bootlight.data"])
def test_a_name_that_is_not_there(module):
    with pytest.raises(AttributeError, match=f"'{module}' has no attribute 'Digit'"):
        _ = import_module(module).Digit


def test_importing_is_cheap():
    code = "import sys, bootlight.data, bootlight.metrics; print({'torch', 'lightning', 'numpy', 'PIL'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
