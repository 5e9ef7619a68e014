"""What the README shows is what there is."""

import re
from pathlib import Path

import bootlight
from bootlight.__main__ import VERBS

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_the_generator_in_the_readme_is_the_one_that_is_tested():
    (block,) = re.findall(r"```python\n(.*?)```", README, re.S)
    assert block == (REPOSITORY / "tests" / "gaussian.py").read_text(encoding="utf-8")


def test_files_verbs_and_names_exist():
    for name in re.findall(r"`(\w+\.yaml)`", README):
        assert (REPOSITORY / "configs" / name).exists() or name == "config.yaml", name
    for path in re.findall(r"\]\((?!http)([\w./]+)\)", README):
        assert (REPOSITORY / path).exists(), path
    assert set(re.findall(r"bootlight (fit|sample|report|weights|\w+) (?:--|runs)", README)) <= set(VERBS)
    for name in re.findall(r"bootlight\.([A-Z]\w+)", README):
        assert name in bootlight.__all__, name
