"""The YAML file of a study: what it becomes, and how each mistake is told, before any work."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from tiny_runs import draw_pictures

import bootlight
from bootlight.cli.study import as_value, take_overrides
from bootlight.errors import BootlightError
from bootlight.studies import input_checks, plan
from bootlight.studies.job import Job, jobs_of, with_teachers
from bootlight.studies.plan import check_arms
from bootlight.studies.spec import read_spec

CONFIGS = Path(__file__).parents[1] / "configs" / "studies"
MINIMAL = {"base": "base.yaml", "arms": {"a": {}, "b": {"settings": {"data.x": 1}}}}


def write(folder: Path, content: object, name: str = "s.yaml") -> Path:
    (folder / "base.yaml").write_text("{}")
    (folder / name).write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / name


def test_the_least_that_a_study_is(tmp_path):
    study = read_spec(write(tmp_path, MINIMAL))
    assert (study.name, study.folder, study.seeds, study.layout, study.group) == (
        "s",
        Path("runs/studies/s"),
        (0,),
        "plain",
        "s",
    )
    assert [(arm.name, arm.label, arm.settings, arm.teacher) for arm in study.arms] == [
        ("a", "a", {}, None), ("b", "b", {"data.x": 1}, None),
    ]  # fmt: skip
    assert [arm.base for arm in study.arms] == [[str(tmp_path / "base.yaml")]] * 2
    assert study.baseline is None and study.comparisons == () and study.claims == ()


def test_settings_of_an_arm_over_those_of_the_study_and_the_command_line_over_both(tmp_path):
    content = MINIMAL | {"settings": {"data.x": 0, "data.y": "k"}}
    study = read_spec(write(tmp_path, content))
    assert [arm.settings for arm in study.arms] == [{"data.x": 0, "data.y": "k"}, {"data.x": 1, "data.y": "k"}]
    changed = study.overridden({"data.y": 5, "data.z": None})
    assert [arm.settings["data.y"] for arm in changed.arms] == [5, 5]
    assert changed.arms[0].settings["data.z"] is None
    assert [arm.settings["data.x"] for arm in study.overridden({"data.x": 3}).arms] == [3, 1]  # an arm keeps what it is about
    assert study.keeping_their_own("data.x") == ["b"] and study.keeping_their_own("data.y") == []
    both = read_spec(write(tmp_path, {"base": "base.yaml", "arms": {"b": {"settings": {"data.x": 1}}}}))
    with pytest.raises(BootlightError, match=r"^--data\.x: every arm has its own; change it in .*s\.yaml$"):
        both.overridden({"data.x": 3})
    with pytest.raises(BootlightError, match=r"bootstrap\.run_dir is set by the study itself"):
        study.overridden({"bootstrap.run_dir": "x"})


def test_the_command_line_is_split_into_settings_and_options():
    args = [
        "f.yaml",
        "--data.root",
        "a b",
        "--arms",
        "x",
        "--model.width=8",
        "--data.flip=true",
        "--dry-run",
        "--data.mean",
        "-1",
    ]
    settings, others = take_overrides(args)
    assert settings == {"data.root": "a b", "model.width": 8, "data.flip": True, "data.mean": -1}
    assert others == ["f.yaml", "--arms", "x", "--dry-run"]
    assert [as_value(text) for text in ("null", "1e-3", "[1, 2]", "nan.zip", "True", "007")] == [
        *(None, 0.001, [1, 2], "nan.zip", "True", "007"),
    ]
    for args in (["--data.root"], ["--data.root", "--arms", "x"]):
        with pytest.raises(BootlightError, match=r"^--data\.root has no value; write --data\.root VALUE$"):
            take_overrides(args)


def test_a_grid_is_every_combination(tmp_path):
    grid = {"policy": {"replace": {"m": "R"}, "keep": {"m": "A"}}, "real": {"all": {}, "half": {"f": 0.5}, "none": {"f": 0}}}
    study = read_spec(write(tmp_path, {"base": "base.yaml", "arms": {"extra": {}}, "grid": grid, "baseline": "keep-all"}))
    assert [arm.name for arm in study.arms] == [
        "extra", "replace-all", "replace-half", "replace-none", "keep-all", "keep-half", "keep-none",
    ]  # fmt: skip
    named = {arm.name: arm for arm in study.arms}
    assert named["replace-half"].settings == {"m": "R", "f": 0.5} and named["replace-half"].label == "replace, half"
    assert named["keep-all"].settings == {"m": "A"}
    assert len(study.comparisons) == 6 and {first for first, _ in study.comparisons} == {"keep-all"}


def test_teachers_come_first_whatever_the_order_of_the_file(tmp_path):
    arms = {"c": {"teacher": "b"}, "b": {"teacher": "a"}, "x": {}, "a": {}}
    study = read_spec(write(tmp_path, MINIMAL | {"arms": arms, "seeds": [1, 2]}))
    assert [arm.name for arm in study.arms] == list(arms)  # as tables show them
    assert [(job.arm.name, job.seed) for job in jobs_of(study)] == [(n, s) for s in (1, 2) for n in ("a", "b", "c", "x")]
    assert [job.arm.name for job in jobs_of(study, ["x", "c"], [7])] == ["c", "x"]
    assert with_teachers(study, ["x", "c"]) == ["x", "c", "b", "a"] and with_teachers(study, None) is None
    job = Job(study.folder, study.arms[0], 2)
    assert f"--data.mixing.root={Path('runs/studies/s/b/seed_2')}@0" in job.arguments()


def test_a_study_that_extends_another(tmp_path):
    (tmp_path / "below").mkdir()
    below = {"name": "n", "seeds": [4], "settings": {"x": 1, "y": 1}} | MINIMAL
    write(tmp_path / "below", below, "below.yaml")
    above = {"extends": "below/below.yaml", "name": "m", "settings": {"y": 2}, "arms": {"b": None, "c": {"teacher": "a"}}}
    study = read_spec(write(tmp_path, above))
    assert (study.name, study.seeds, [arm.name for arm in study.arms]) == ("m", (4,), ["a", "c"])
    assert study.arms[0].settings == {"x": 1, "y": 2}
    assert study.arms[0].base == [str(tmp_path / "below" / "base.yaml")]
    with pytest.raises(BootlightError, match="extends goes round in a circle"):
        read_spec(write(tmp_path, {"extends": "s.yaml"} | MINIMAL))


MISTAKES = [
    ({"arm": {}}, "arm is not known; there are extends, name"),
    ({"arms": {"a": {"setings": {}}}}, "arms.a.setings is not known; there are label, settings, base, teacher"),
    ({"arms": {"a": []}}, "arms.a is []; it must be a mapping"),
    ({"arms": {}}, "there are no arms; add arms: or grid:"),
    ({"arms": {"a b": {}}}, "arms.a b 'a b' is no name for a folder"),
    ({"arms": {"a.b": {}, "c.b": {}}, "baseline": "b"}, "baseline is 'b'; it must be one of a.b, c.b"),
    ({"arms": {"../x": {}}}, "is no name for a folder"),
    ({"name": "../x"}, "name '../x' is no name for a folder"),
    ({"arms": {1: {}}}, "1 must be a text; put it in quotes"),
    ({"arms": {"a": {"teacher": "z"}}}, "arms.a.teacher: there is no arm 'z'; there are a"),
    ({"arms": {"a": {"teacher": "b"}, "b": {"teacher": "a"}}}, "teach each other in a circle: a -> b -> a"),
    ({"arms": {"a": {"teacher": "a"}}}, "teach each other in a circle: a -> a"),
    (
        {"arms": {"a": {"teacher": "b", "settings": {"data.mixing.root": "x"}}, "b": {}}},
        "arms.a has both teacher and data.mixing.root",
    ),
    ({"settings": {"data root": 1}}, "settings: 'data root' is no setting"),
    ({"settings": {"seed_everything": 1}}, "settings: seed_everything is set by the study itself"),
    ({"base": "other.yaml"}, "base: there is no file"),
    ({"seeds": 3}, "seeds is 3; it must be a list of numbers"),
    ({"seeds": [0, -1]}, "seeds is [0, -1]; it must be a list of numbers"),
    ({"baseline": "z"}, "baseline is 'z'; it must be one of a, b"),
    ({"layout": "table2"}, "layout is 'table2'; it must be one of plain, table1, curves, gan"),
    ({"comparisons": [["a", "z"]]}, "comparisons: ['a', 'z'] is no pair of arms"),
    ({"comparisons": "a b"}, "comparisons: 'a b' is no pair of arms"),
    ({"claims": [{"text": "t", "score": "s", "higher": "a"}]}, "claims[0].lower is missing"),
    ({"claims": [{"text": "t", "score": "s", "higher": "a", "lower": "z"}]}, "claims[0].lower is 'z'; it must be one of a, b"),
    ({"grid": {"x": {"a": {}}}}, "there are two arms of this name"),
    ({"grid": {"x": {"c": {"data.y z": 1}}}}, "'data.y z' is no setting"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), MISTAKES, ids=[message[:30] for _, message in MISTAKES])
def test_a_mistake_is_told_by_file_and_key(tmp_path, change, message):
    with pytest.raises(BootlightError, match=re.escape(message)) as error:
        read_spec(write(tmp_path, MINIMAL | change))
    assert str(error.value).startswith(str(tmp_path / "s.yaml"))


def test_an_empty_section_of_the_study_that_is_extended(tmp_path):
    write(tmp_path, {"base": "base.yaml", "arms": {"a": {}}, "seeds": [0], "settings": None}, "below.yaml")
    (tmp_path / "base.yaml").write_text("{}")
    study = read_spec(write(tmp_path, {"extends": "below.yaml", "settings": {"data.num_steps": 5}}))
    assert study.arms[0].settings == {"data.num_steps": 5}


@pytest.mark.parametrize("text", ["", "[1", "a: &x [*x]", "- a", "a: !!python/object:os.system x"])
def test_what_is_no_study(tmp_path, text):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(BootlightError, match=r"s\.yaml"):
        read_spec(tmp_path / "s.yaml")


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_shipped_study_can_be_read_and_each_of_its_settings_is_known(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan, "set_up", lambda *_: 0)  # there are no images
    monkeypatch.setattr(input_checks, "check_all", lambda *_: None)
    shutil.make_archive("images", "zip", draw_pictures(tmp_path / "pictures"))  # of dreamda.yaml, whose classes are counted
    has_images = any(name in file.stem for name in ("digits", "gaussian", "dreamda", "ddpo_cpu"))
    study = read_spec(file).overridden({} if has_images else {"data.root": "images"})
    assert len(study.seeds) >= 3 and study.name == file.stem
    # Arms that between them have every setting: to parse one takes half a second.
    covered: set[tuple[str, ...]] = set()
    for arm in study.arms:
        classes = [value for value in arm.settings.values() if str(value).startswith("bootlight.")]
        assert {value.removeprefix("bootlight.") for value in classes} <= set(bootlight.__all__)
        kinds = {(key, *arm.base) for key in arm.settings} | {tuple(arm.base)}
        if kinds - covered:
            check_arms(study, [arm.name])
            covered |= kinds


def test_equal_epochs_are_an_option_of_the_command_line(monkeypatch):
    monkeypatch.setattr(plan, "set_up", lambda *_: 0)  # there are no images
    monkeypatch.setattr(input_checks, "check_all", lambda *_: None)
    epochs = {"data.num_steps": None, "data.num_epochs": 20}
    study = read_spec(CONFIGS / "table1.yaml").overridden(epochs | {"data.root": "images"})
    kept = {arm.name: arm.settings for arm in study.arms}
    assert kept["real70_self"].items() >= epochs.items()
    assert (kept["gan"]["data.num_steps"], kept["gan"]["data.num_epochs"]) == (3125, None)
    check_arms(study, ["gan", "real70", "gaussian70"])


def test_a_wrong_setting_is_told_with_its_arm(tmp_path):
    (tmp_path / "base.yaml").write_text((CONFIGS.parent / "digits_ddpm.yaml").read_text())
    content = {"base": "base.yaml", "arms": {"good": {}, "bad": {"settings": {"data.real_fracton": 0.5}}}}
    file = tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(BootlightError, match=r"^arm bad: .*real_fracton"):
        check_arms(read_spec(file))
    content["arms"]["bad"] = {"settings": {"data.real_fraction": 1.5}}
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(BootlightError, match=r"^arm bad: data\.real_fraction must be in \(0, 1\]"):
        check_arms(read_spec(file))
