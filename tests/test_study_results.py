"""What is read of a study folder: every run is accounted for, and bad files give one line."""

import json

import pytest
from study_folder import judge, write_record, write_run
from tracking_run import score

from bootlight.errors import BootlightError
from bootlight.report.scores import main_scores
from bootlight.studies.record import read_record
from bootlight.studies.remarks import study_remarks
from bootlight.studies.results import read_study


def fd(value, n=100, error=0.1):
    return {"fd-tiny/train": score(value, error, n)}


@pytest.fixture
def folder(tmp_path):
    write_record(tmp_path, {"a": "A", "b": "B"}, [0, 1, 5])
    return tmp_path


def test_every_run_has_a_state(folder):
    write_run(folder, "a", 0, [fd(1.0), fd(2.0)])
    write_run(folder, "a", 1, [fd(3.0)], planned=2)
    broken = write_run(folder, "a", 5, [fd(4.0)])
    broken.generation(0).metrics.write_text("{}")
    for arm, seed in (("a", 0), ("b", 1)):  # the first has been tried again since
        (folder / arm).mkdir(exist_ok=True)
        (folder / arm / f"seed_{seed}.failed.json").write_text('{"status": 1, "time": 1.0, "last_line": "no disk"}')
    (folder / "b" / "seed_0").mkdir(parents=True)  # begun, nothing written
    results = read_study(folder)
    states = {key: cell.state for key, cell in results.cells.items()}
    assert states == {
        ("a", 0): "finished", ("a", 1): "unfinished", ("a", 5): "unreadable",
        ("b", 0): "unfinished", ("b", 1): "failed", ("b", 5): "missing",
    }  # fmt: skip
    assert str(broken.generation(0).metrics) in results.cells["a", 5].note
    assert results.num_generations() == 2
    assert "b (seed 1) has failed and takes no part: no disk." in study_remarks(results)


def test_a_run_of_another_seed_takes_no_part(folder):
    # Pairs are of equal seeds, whatever the folders are called.
    write_record(folder, {"a": "A"}, [0, 1])
    for seed, chosen in enumerate((0, 7)):
        run = write_run(folder, "a", seed, [fd(1.0)])
        run.config.write_text(json.dumps(json.loads(run.config.read_text()) | {"seed_everything": chosen}))
    results = read_study(folder)
    assert [results.cells["a", seed].state for seed in (0, 1)] == ["finished", "unreadable"]
    assert "seed_everything 7" in results.cells["a", 1].note


def test_scores_are_of_finished_runs_by_seed_and_generation(folder):
    write_run(folder, "a", 0, [fd(1.0), fd(2.0)])
    write_run(folder, "a", 5, [fd(6.0), fd(7.0)])
    write_run(folder, "a", 1, [fd(9.0)], planned=2)
    results = read_study(folder)
    assert {seed: s.value for seed, s in results.scores("a", "fd-tiny/train").items()} == {0: 2.0, 5: 7.0}
    assert {seed: s.value for seed, s in results.scores("a", "fd-tiny/train", 0).items()} == {0: 1.0, 5: 6.0}
    assert results.scores("a", "fd-tiny/train", 2) == {} == results.scores("b", "fd-tiny/train")
    assert results.score_names() == ["fd-tiny/train"]


def test_the_study_says_how_many_generations_there_are_to_be(tmp_path):
    names = {"a": "A", "b": "B"}
    write_record(tmp_path, names, [0])
    record = json.loads((tmp_path / "study.json").read_text())
    for arm in record["arms"]:
        arm["settings"]["bootstrap.num_generations"] = 2
    (tmp_path / "study.json").write_text(json.dumps(record))
    write_run(tmp_path, "a", 0, [fd(1.0)])  # of a time when one was enough
    write_run(tmp_path, "b", 0, [fd(2.0), fd(3.0), fd(4.0)])
    results = read_study(tmp_path)
    assert (results.cells["a", 0].state, results.cells["b", 0].state) == ("unfinished", "finished")
    assert results.scores("b", "fd-tiny/train")[0].value == 3.0 and results.num_generations() == 2


def test_runs_of_other_lengths_are_remarked(folder):
    write_run(folder, "a", 0, [fd(1.0), fd(2.0)])
    write_run(folder, "b", 0, [fd(1.0)])
    wanted = "Runs have 1, 2 generations: comparisons of the last ones compare different numbers."
    assert wanted in study_remarks(read_study(folder))


def test_one_seed_is_remarked_whatever_else_has_not_begun(folder):
    write_run(folder, "a", 0, [fd(1.0)])
    assert any(remark.startswith("Some arm has a single finished seed") for remark in study_remarks(read_study(folder)))


@pytest.mark.parametrize("change", ["setting", "images", "nothing"])
def test_seeds_that_were_not_trained_alike_are_remarked(folder, change):
    for seed in (0, 1):
        width = 8 + seed * (change == "setting")
        run = write_run(folder, "a", seed, [fd(1.0)], width=width)
        run.references.mkdir()
        content = {"content": f"{'x' if change != 'images' else seed}", "count": 10}
        (run.references / "real_images.json").write_text(json.dumps(content))
    found = [remark for remark in study_remarks(read_study(folder)) if "not trained alike" in remark]
    why = {"setting": "model.init_args.width: 8 -> 9", "images": "other real images"}.get(change)
    assert found == [f"The seeds of a were not trained alike ({why}): their mean has no meaning."] * (change != "nothing")


def test_scores_of_real_images_are_not_main():
    names = ["discriminator_score", "discriminator_score/train", "kid/train", "kid/holdout"]
    assert main_scores(names) == ["discriminator_score", "kid/train", "kid/holdout"]


def test_record_is_read_whole(folder):
    write_record(
        folder, {"a": "A", "b": "B"}, [3, 3, 4], layout="gan", comparisons=[["a", "b"]],
        claims=[{"text": "B is better.", "score": "kid", "higher": "a", "lower": "b"}],
    )  # fmt: skip
    record = read_record(folder)
    assert record.seeds == (3, 4) and record.layout == "gan" and record.baseline == "a"
    assert record.comparisons == (("a", "b"),) and record.claims[0].higher == "a"
    assert record.label("b") == "B" and record.arms[0].base == ["base.yaml"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2 instead of 1"),
        ({"baseline": "c"}, "an arm 'c' that there is not; there are a, b"),
        ({"comparisons": [["a", "c"]]}, "an arm 'c'"),
        ({"claims": [{"text": "x", "score": "kid", "higher": "a"}]}, "is not complete"),
        ({"claims": [{"text": "x", "score": "kid", "higher": "a", "lower": "z"}]}, "an arm 'z'"),
        ({"seeds": []}, "is not complete"),
        ({"seeds": ["one"]}, "is not complete"),
        ({"arms": [{"name": "../up"}]}, "is not complete"),
        ({"arms": [{"name": "a"}, {"name": "a"}]}, "same name"),
        ({"arms": 7}, "is not complete"),
        ({"comparisons": [["a", "b", "a"]]}, "is not complete"),
    ],
)
def test_a_bad_record_is_one_line(folder, change, message):
    path = folder / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BootlightError, match=message) as caught:
        read_record(folder)
    assert "study.json" in str(caught.value)


def test_no_record_or_no_json_is_one_line(folder, tmp_path):
    with pytest.raises(BootlightError, match="is missing; give the folder of a study"):
        read_record(tmp_path / "nowhere")
    for text in ("", "[]", "null", '{"format": 1}', "[" * 10000):
        (folder / "study.json").write_text(text)
        with pytest.raises(BootlightError, match=r"study\.json"):
            read_record(folder)


@pytest.mark.parametrize(
    "text", ["[1]", "a: [", "bootstrap: 3", "bootstrap: {num_generations: many}", "model: {class_path: 3}", ""]
)
def test_a_strange_configuration_is_not_finished(folder, text):
    run = write_run(folder, "a", 0, [fd(1.0)])
    run.config.write_text(text)
    assert read_study(folder).cells["a", 0].state in ("unreadable", "unfinished")


def test_remarks_name_what_takes_no_part(folder):
    write_run(folder, "a", 0, [fd(1.0)])
    write_run(folder, "b", 0, [fd(1.0)])
    write_run(folder, "a", 1, [fd(1.0)], planned=2)
    remarks = study_remarks(read_study(folder))
    assert remarks == [
        "Not begun yet: a (seed 5), b (seed 1, 5). Tables, intervals and verdicts are without.",
        "Not finished yet: a (seed 1). Tables, intervals and verdicts are without.",
        "Some arm has a single finished seed: there is no spread between trainings, and no claim can be made about it.",
    ]


def write_all(folder, scores):
    for arm in ("a", "b"):
        for seed in (0, 1, 5):
            write_run(folder, arm, seed, [scores(arm, seed)])
    return study_remarks(read_study(folder))


def test_no_doubt_no_remark(folder):
    assert write_all(folder, lambda arm, seed: fd(1.0) | {"discriminator_score/train": judge(0.9 + seed / 100, 0.1)}) == []


def test_arms_with_unlike_judges_are_remarked(folder):
    remarks = write_all(folder, lambda arm, seed: {"discriminator_score/train": judge(0.9 + (arm == "b" and seed == 5), 0.1)})
    assert remarks == ["The arms of seed 5 were not scored by the same judge: their discriminator scores cannot be compared."]


def test_one_judge_for_all_seeds_is_remarked(folder):
    (remark,) = write_all(folder, lambda arm, seed: {"discriminator_score/train": judge(0.9, 0.1)})
    assert remark.startswith("One judge scored all runs")


def test_unequal_numbers_of_images_are_remarked(folder):
    (remark,) = write_all(folder, lambda arm, seed: fd(1.0, n=100 + (arm == "b")))
    assert remark.startswith("fd-tiny/train: not all runs were measured on the same number of images")


def test_numbers_of_floors_and_tests_are_no_doubt_of_their_own(folder):
    def scores(arm, seed):
        beside = ("fd-tiny/real/train", "fd-tiny/same-n/train", "told-apart/train")
        return fd(1.0) | {name: score(1.0, 0.1, 100 + (arm == "b")) for name in beside}

    assert write_all(folder, scores) == []


def test_remarks_of_metrics_that_differ_in_numbers_are_one(folder):
    def scores(arm, seed):
        remark = f"about {seed + 1}.5 of the distance is bias."
        return {name: score(1.0, 0.1, 100) | {"remarks": [remark]} for name in ("kid/train", "kid/holdout")}

    assert write_all(folder, scores) == ["kid/train, kid/holdout: about 1.5 of the distance is bias."]


def test_unequal_trainings_are_remarked(tmp_path):
    write_record(tmp_path, {"a": "A", "b": "B", "c": "C"}, [0, 1, 5], comparisons=[["a", "b"], ["a", "c"]])
    for seed in (0, 1, 5):
        write_run(tmp_path, "a", seed, [fd(1.0)], steps=[352])
        write_run(tmp_path, "b", seed, [fd(1.0)], steps=[704])
        write_run(tmp_path, "c", seed, [fd(1.0)], steps=[1000], class_path="bootlight.DCGAN")  # nobody takes these for equal
    remark = "Trained for different numbers of steps, which alone may explain a difference: a and b (352 and 704 steps)."
    assert study_remarks(read_study(tmp_path)) == [remark]


def test_loops_whose_trainings_grow_are_remarked(folder):
    for seed in (0, 1, 5):
        write_run(folder, "a", seed, [fd(1.0), fd(2.0)], steps=[500, 700])
        write_run(folder, "b", seed, [fd(1.0), fd(2.0)])
    expected = "a: later generations were trained for more steps, which alone may explain what changed since the first."
    assert study_remarks(read_study(folder)) == [expected]
