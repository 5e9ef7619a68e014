"""Curves, scores and tables: what is written is what was measured, and a kill loses at most the last line."""

import ast
import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from tracking_run import make_run, metrics

from bootlight import loggers, report
from bootlight.errors import BootlightError
from bootlight.loggers import history
from bootlight.loggers.history import HistoryLogger
from bootlight.metrics.score import Score, format_value
from bootlight.report.remarks import WIDTH
from bootlight.report.scores import main_scores, read_scores, score_names
from bootlight.report.table import format_table, write_table
from bootlight.runs.folder import RunFolder
from bootlight.runs.history import read_history, read_timing


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def test_optional_and_slow_packages_are_imported_inside_functions():
    """`bootlight fit` must work without wandb, and start without loading matplotlib."""
    for path in (file for room in (loggers, report) for file in Path(room.__file__).parent.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:  # the top level only
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                assert not {name.split(".")[0] for name in names} & {"wandb", "matplotlib"}, path


# ---- history


def test_history_returns_what_was_logged_and_leaves_epoch_out(tmp_path):
    logger = HistoryLogger(tmp_path / "gen" / "train.jsonl")
    for step in range(0, 40, 10):
        logger.log_metrics({"train/loss": 1 / (1 + step), "epoch": 0}, step)
    logger.log_metrics({"train/lr": 0.5}, 20)
    logger.finalize("success")
    assert read_history(logger.path) == {
        "train/loss": ([0, 10, 20, 30], [1.0, 1 / 11, 1 / 21, 1 / 31]),
        "train/lr": ([20], [0.5]),
    }


def test_history_takes_the_later_of_two_lines_of_one_step(tmp_path):
    killed = HistoryLogger(tmp_path / "train.jsonl")
    for step in (10, 20, 30):
        killed.log_metrics({"a": step, "b": -step}, step)
    killed.finalize("failed")
    resumed = HistoryLogger(tmp_path / "train.jsonl")
    for step in (15, 20, 30, 40):
        resumed.log_metrics({"a": step + 0.5}, step)
    resumed.finalize("success")
    # "b" has no later line, so its points stay.
    assert read_history(resumed.path) == {
        "a": ([10, 15, 20, 30, 40], [10, 15.5, 20.5, 30.5, 40.5]),
        "b": ([10, 20, 30], [-10, -20, -30]),
    }


def test_history_goes_on_after_a_torn_line(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text('{"step": 1, "a": 1.0}\n{"step": 2, "a": 2.')
    assert read_history(path) == {"a": ([1], [1.0])}
    logger = HistoryLogger(path)
    logger.log_metrics({"a": 3.0}, 3)
    logger.finalize("success")
    assert read_history(path) == {"a": ([1, 3], [1.0, 3.0])}


def test_history_is_flushed_after_fifty_lines_or_a_second(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(history.time, "monotonic", lambda: now[0])
    logger = HistoryLogger(tmp_path / "train.jsonl")
    for step in range(49):
        logger.log_metrics({"a": 0.0}, step)
    assert read_history(logger.path) == {}
    logger.log_metrics({"a": 0.0}, 49)
    assert read_history(logger.path)["a"][0] == list(range(50))
    now[0] += 0.99
    logger.log_metrics({"a": 0.0}, 50)
    assert len(read_history(logger.path)["a"][0]) == 50
    now[0] += 0.01
    logger.log_metrics({"a": 0.0}, 51)
    assert read_history(logger.path)["a"][0] == list(range(52))
    logger.log_metrics({"a": 0.0}, 52)
    logger.finalize("success")
    assert read_history(logger.path)["a"][0] == list(range(53))


def test_history_of_other_ranks_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(history.rank_zero_only, "rank", 1)
    logger = HistoryLogger(tmp_path / "train.jsonl")
    logger.log_metrics({"a": 1.0}, 0)
    logger.finalize("success")
    assert not logger.path.exists()


def test_history_without_a_step_is_refused(tmp_path):
    with pytest.raises(BootlightError, match=r"train\.jsonl.*without a step"):
        HistoryLogger(tmp_path / "train.jsonl").log_metrics({"a": 1.0})


def test_history_that_cannot_be_written_names_the_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BootlightError, match=r"cannot write .*train\.jsonl"):
        HistoryLogger(tmp_path / "file" / "train.jsonl").log_metrics({"a": 1.0}, 0)


def test_missing_files_have_no_curves_and_no_times(tmp_path):
    assert read_history(tmp_path / "none.jsonl") == {}
    assert read_timing(tmp_path / "none.jsonl") == {}


def test_times_of_one_stage_add_up(run):
    assert read_timing(run.generation(0).timing) == {"training": 120.5, "synthesis": 7.25}


# ---- scores


@pytest.mark.parametrize(
    ("value", "standard_error", "text"),
    [
        (3.2149, 0.123, "3.21 ± 0.12"),
        (3.2149, 0.0567, "3.215 ± 0.057"),
        (0.04, 0.0012, "0.0400 ± 0.0012"),
        (1234.5, 17.2, "1234 ± 17"),  # 1234.5 rounds half to even
        (1234.5, 172.0, "1234 ± 172"),
        (-3.0, 1.0, "-3.0 ± 1.0"),
        (3.14159, None, "3.142"),
        (3.14159, math.nan, "3.142"),
        (math.nan, 0.1, "nan"),
        (0.5, 0.0, "0.5 ± 0"),
    ],
)
def test_value_and_error_are_rounded_to_the_same_decimal(value, standard_error, text):
    assert format_value(value, standard_error) == text


def test_scores_are_read_as_they_were_written(run):
    second = read_scores(run)[1]
    assert (second.generation, second.num_real, second.num_synthetic, second.steps) == (1, 1437, 700, 2001)
    assert second.loss == Score(1.0312, 0.0011, 20, {})
    assert second.scores["fd-digits/train"] == Score(3.75, 0.25, 500, {"features": "digits network"})
    assert second.scores["discriminator_score/real"].standard_error is None


def test_scores_of_real_images_are_not_main_scores(run):
    rows = read_scores(run)
    names = ["fd-digits/holdout", "fd-digits/train", "discriminator_score", "discriminator_score/real"]
    assert score_names(rows) == names
    assert main_scores(score_names(rows)) == names[:3]
    assert main_scores(["vendi/train", "vendi/real/train"]) == ["vendi/train"]


def test_score_names_keep_those_of_later_generations(run):
    first, second, _ = read_scores(run)
    later = replace(second, scores={**second.scores, "fd-new/holdout": Score(1.0, None, 5, {})})
    assert score_names([first, later])[-1] == "fd-new/holdout"


@pytest.mark.parametrize("damage", ['{"generation": 0}', "[1]", '{"generation": null}'])
def test_incomplete_metrics_name_the_file(run, damage):
    run.generation(1).metrics.write_text(damage)
    with pytest.raises(BootlightError, match=r"gen_001/metrics\.json is not complete") as error:
        read_scores(run)
    assert "\n" not in str(error.value)


# ---- table


def test_csv_and_json_hold_the_measured_numbers(run):
    write_table(run)
    with open(run.table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:10] == [
        *("generation", "num_real", "num_synthetic", "steps", "images_seen", "loss", "loss_se"),
        *("fd-digits/holdout", "fd-digits/holdout_se", "fd-digits/holdout_n"),
    ]
    for generation, row in enumerate(rows):
        written = metrics(generation)
        assert [int(row[key]) for key in ("generation", "num_synthetic", "steps")] == [
            generation,
            written["num_synthetic"],
            written["steps"],
        ]
        assert float(row["loss"]) == written["loss"]["value"]
        for name, score in written["scores"].items():
            assert float(row[name]) == score["value"]
            assert row[f"{name}_se"] == ("" if score["standard_error"] is None else str(score["standard_error"]))
            assert int(row[f"{name}_n"]) == score["n"]
    assert json.loads(run.metrics.read_text())["generations"] == [metrics(k) for k in range(3)]


def test_csv_leaves_empty_what_was_not_measured(run):
    entry = metrics(2)
    del entry["scores"]["fd-digits/train"]
    entry["loss"] = None
    run.generation(2).metrics.write_text(json.dumps(entry))
    write_table(run)
    with open(run.table, encoding="utf-8", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert [last[key] for key in ("loss", "loss_se", "fd-digits/train", "fd-digits/train_n")] == ["", "", "", ""]
    assert float(last["fd-digits/holdout"]) == 5.25
    assert format_table(run).splitlines()[7].split() == [
        *("2", "1437", "1400", "2002", "-"),
        *("5.25", "±", "0.12", "0.100", "±", "0.012", "-"),
    ]


def test_terminal_table_shows_rounded_scores_in_aligned_columns(run):
    lines = format_table(run).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert lines[0].split() == [
        *("generation", "real", "synthetic", "steps", "loss"),
        "fd-digits",
        "discriminator_score",
        "fd-digits",
    ]
    assert lines[1].split() == ["n=20", "holdout", "n=500", "train"]
    assert lines[2].split() == ["n=500", "n=500"]
    assert lines[4].split() == ["real", "-", "-", "-", "-", "-", "0.95", "(n=1437)", "-"]  # what the judge says of real images
    assert lines[5].split() == [
        *("0", "1437", "0", "2000", "0.0312", "±", "0.0011"),
        *("3.25", "±", "0.12", "0.300", "±", "0.012", "2.75", "±", "0.25"),
    ]
    rule = lines[3]
    assert all(len(line) == len(rule) for line in lines[4:8])
    assert all(line[i] == " " for line in lines[4:8] for i, dash in enumerate(rule) if dash == " ")
    assert "standard error" in lines[8]


def test_terminal_table_puts_n_into_the_cells_when_it_differs(run):
    entry = metrics(1)
    entry["scores"]["fd-digits/holdout"]["n"] = 400
    run.generation(1).metrics.write_text(json.dumps(entry))
    text = format_table(run)
    assert "3.25 ± 0.12 (n=500)" in text
    assert "4.25 ± 0.12 (n=400)" in text


def test_terminal_table_names_the_scores_that_do_not_fit(run):
    entry = metrics(0)
    for k in range(4):
        entry["scores"][f"another-long-name-{k}"] = {"value": k, "standard_error": 0.1, "n": 5}
    run.generation(0).metrics.write_text(json.dumps(entry))
    text = format_table(run)
    assert max(map(len, text.splitlines())) <= WIDTH
    table, closing = text.split("\nmore in metrics.csv: ")
    hidden = [f"another-long-name-{k}" for k in range(4) if f"another-long-name-{k}" not in table]
    assert hidden and closing.replace("\n", " ") == ", ".join(hidden)


def test_terminal_table_ends_with_what_the_metrics_remarked_of_the_last_generation(run):
    for generation, remark in ((1, "of before"), (2, "too few images")):
        entry = metrics(generation)
        for name in ("fd-digits/train", "fd-digits/holdout"):
            entry["scores"][name]["remarks"] = [remark]
        run.generation(generation).metrics.write_text(json.dumps(entry))
    text = format_table(run)
    assert text.endswith("\n! fd-digits/holdout, fd-digits/train: too few images") and "of before" not in text


def test_terminal_table_before_the_first_evaluation(tmp_path):
    assert format_table(RunFolder(tmp_path)) == "no generation has been evaluated yet"
