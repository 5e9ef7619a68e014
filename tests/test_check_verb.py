"""`bootlight check`: a file of one's own, its faults with their places, and names that lead nowhere."""

import pytest

from bootlight.errors import BootlightError

SOUND = """
import torch
import bootlight

class Half(bootlight.Weighting):
    def __init__(self, factor: float = 0.5):
        self.factor = factor

    def __call__(self, level):
        return self.factor * torch.ones_like(level.signal)

class Broken(Half):
    def __call__(self, level):
        return self.missing

class Unfinished(bootlight.Weighting):
    pass

class Refuses(Half):
    def __init__(self):
        raise OSError("no such file")

class Leaves(Half):
    def __call__(self, level):
        raise SystemExit(3)

class Other:
    pass

def function():
    return Half()
"""


@pytest.fixture
def check(bootlight, tmp_path, monkeypatch, capsys):
    """Runs the verb beside a file of plug-ins, in an own interpreter's import path; answers status and lines."""

    def run(*args, text=SOUND, file="weightings_of_mine"):
        (tmp_path / f"{file}.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        status = 0
        try:
            bootlight("check", *args)
        except SystemExit as end:
            status = end.code
        return status, capsys.readouterr().out.splitlines()

    return run


def test_a_sound_plug_in(check):
    status, lines = check("weightings_of_mine.Half", "--factor", "0.25")
    assert status == 0
    assert "factor 0.25" in lines[0]
    assert all(line.startswith("ok ") for line in lines[:-1])
    assert len(lines) == 1 + 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Broken", ("AttributeError", "weightings_of_mine.py, line 14")),
        ("Unfinished", ("__call__",)),
        ("Refuses", ("OSError: no such file", "weightings_of_mine.py, line 21")),
        ("Leaves", ("SystemExit: 3", "weightings_of_mine.py, line 25")),
    ],
)
def test_a_fault_is_told_with_its_place(check, name, words):
    status, lines = check(f"weightings_of_mine.{name}")
    assert status == 1
    assert all(word in "\n".join(lines) for word in words), lines
    assert not any("Traceback" in line for line in lines)


def test_a_missing_argument_or_one_that_is_not_there(check):
    assert check("bootlight.Extrapolate")[0] == 2
    assert check("weightings_of_mine.Half", "--factr", "2")[0] == 2
    assert check("bootlight.Extrapolate", "--auxiliary=@-1/model", "--w=0.5")[0] == 0


def test_an_argument_that_is_a_class(check):
    status, lines = check("bootlight.LearnedVariance", "--inner", "bootlight.EDM", "--inner.sigma_data", "0.25")
    assert status == 0, lines


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("weightings_of_mine", "FILE.CLASS"),
        ("weightings_of_mine.py", "without .py"),
        ("DDIM", "such as bootlight.DDIM"),
        ("./weightings_of_mine.Half", "FILE.CLASS"),
        ("weightings_of_mine.Haf", "Half, Broken, Unfinished, Refuses, Leaves"),
        ("weightings_of_mine.function", "no class"),
        ("bootlight.Digit", "bootlight has Digits"),
        ("weightings_of_mine.Other", "GeneratorModule"),
        ("bootlight.Batch", "GeneratorModule"),
        ("nothing_here.Half", "run from the folder"),
    ],
)
def test_a_name_that_is_no_plug_in(check, path, words):
    with pytest.raises(BootlightError, match=words):
        check(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import math\n1 / 0\n", r"ZeroDivisionError.*damaged_.*\.py, line 2"),
        ("def half(:\n", r"SyntaxError.*damaged_.*\.py, line 1"),
        ("import there_is_no_such_package\n", r"there_is_no_such_package.*damaged_.*\.py, line 1"),
        ("raise SystemExit\n", r"SystemExit.*line 1"),
    ],
)
def test_a_file_that_cannot_be_imported(check, text, words):
    name = f"damaged_{abs(hash(text))}"
    with pytest.raises(BootlightError, match=words):
        check(f"{name}.Thing", text=text, file=name)


def test_a_setting_that_cannot_be_is_told_in_its_own_words(check):
    status, lines = check("bootlight.DCGAN", "--image_size", "9")
    assert status == 1 and "data.image_size is 9" in lines[1] and "image_size 9" in lines[1].split(";")[-1]


def test_settings_are_shown_that_are_not_the_usual_ones(check):
    assert "(num_steps 4)" in check("bootlight.DDIM", "--num_steps=4", "--eta=0")[1][0]
    lines = check("bootlight.PixelGaussian", "--image_size=[4, 6]", "--channels=1", "--sampling_bias=0.5")[1]
    assert "(image_size [4, 6], channels 1, sampling_bias 0.5)" in lines[0]
