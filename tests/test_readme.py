"""What the README shows is what there is."""

import re
from pathlib import Path

import pytest

import bootlight
from bootlight.__main__ import VERBS
from bootlight.bootstrap.builder import Builder
from bootlight.bootstrap.stages import chosen_stages

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


def test_links_and_names_in_all_pages_exist():
    for page in (*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for path in re.findall(r"\]\((?!http)([\w./]+)\)", text):
            assert (page.parent / path).exists(), (page.name, path)
        if page.name != "CHANGELOG.md":  # which names what is gone
            assert set(re.findall(r"bootlight\.([A-Z]\w+)", text)) <= set(bootlight.__all__), page.name


@pytest.mark.filterwarnings("ignore")  # of the parser: arguments are given beside those of pytest
def test_examples_of_stages_are_as_they_stand(tmp_path):
    text = (REPOSITORY / "docs" / "stages.md").read_text(encoding="utf-8")
    made = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        code = compile(block, "stages.md", "exec")
        if "class " in block:
            exec(code, made)
    assert made["CountPictures"]().name == "countpictures" and made["Contrast"](2.0).factor == 2 and made["Bright"]()
    config = tmp_path / "two_parts.yaml"
    config.write_text(re.findall(r"```yaml\n(.*?)```", text, re.S)[0], encoding="utf-8")
    listed = chosen_stages(Builder([f"--config={config}"]))
    assert [stage.name for stage in listed] == ["train", "train", "synthesize", "synthesize", "evaluate"]
    assert listed[1].changes == {"data.num_steps": 20, "model.learning_rate": 1e-4}
