"""The paper's table: what stands in each cell, in the terminal, in files and for documents."""

import csv
import json

import pytest
from study_folder import judge, write_record, write_run
from tracking_run import score

from bootlight.report.table import spreadsheet_text
from bootlight.studies.claims import judge_claims
from bootlight.studies.remarks import study_remarks
from bootlight.studies.report import write_study_report
from bootlight.studies.results import compare_arms, read_study
from bootlight.studies.table import format_markdown, format_text, judge_cells, markdown_text, table_lines
from bootlight.studies.table_files import write_tables

ARMS = {"real70": "70 % original", "mixed": "70 % original+30 % samples"}


@pytest.fixture
def results(tmp_path):
    """Judge 0.10, 0.11, 0.15 and 0.20, 0.22 with spreads 0.3, 0.4, 0.5; the second arm lacks a seed."""
    claims = [{"text": "Samples help.", "score": "discriminator_score", "higher": "mixed", "lower": "real70"}]
    write_record(tmp_path, ARMS, [0, 1, 2], claims=claims)
    for arm, means in (("real70", (0.10, 0.11, 0.15)), ("mixed", (0.20, 0.22))):
        for seed, mean in enumerate(means):
            row = {
                "discriminator_score": judge(mean, (0.3, 0.4, 0.5)[seed]),
                "discriminator_score/train": judge(0.98 + seed / 100, 0.02, 400),
                "kid/train": score(1.0 + 2 * seed, 0.5, 100),
            }
            write_run(tmp_path, arm, seed, [row])
    return read_study(tmp_path)


def test_the_papers_table(results):
    # 70 %: mean 0.12; spread of images √((0.09 + 0.16 + 0.25) / 3) = 0.4082, a tenth of it the error of 100 images;
    # over seeds -0.02, -0.01, 0.03: √(0.0014 / 2) / √3 = 0.01528.
    lines = table_lines(results)
    assert judge_cells(lines[0]) == ["70 % original", "0.1200", "0.4082", "0.0408", "0.0153", "100", "3"]
    # Mixed: √((0.09 + 0.16) / 2) = 0.3536; 0.02 / √2 / √2 = 0.01.
    assert judge_cells(lines[1]) == ["70 % original+30 % samples", "0.2100", "0.3536", "0.0354", "0.0100", "100", "2 of 3"]
    # Real images: 0.98, 0.99, 1.00 of 400 each: 0.01 / √3.
    assert judge_cells(lines[2]) == ["real images, trained on", "0.9900", "0.0200", "0.0010", "0.0058", "400", "3"]
    assert len(lines) == 3


def test_text_of_the_terminal(results):
    assert format_text(table_lines(results)).splitlines() == [
        "trained on                    mean      sd  SE images  SE seeds    n   seeds",
        "--------------------------  ------  ------  ---------  --------  ---  ------",
        "70 % original               0.1200  0.4082     0.0408    0.0153  100       3",
        "70 % original+30 % samples  0.2100  0.3536     0.0354    0.0100  100  2 of 3",
        "real images, trained on     0.9900  0.0200     0.0010    0.0058  400       3",
        "",
        "trained on                  kid/train   seeds",
        "--------------------------  ---------  ------",
        "70 % original               3.0 ± 1.2       3",
        "70 % original+30 % samples  2.0 ± 1.0  2 of 3",
    ]


def test_each_further_folder_of_an_arm_has_a_line_and_can_be_compared(tmp_path):
    # fd of the folder is 1.0 and 1.4 below that of the first one: mean -1.2, deviation 0.2828, error 0.2.
    claims = [{"text": "w helps.", "score": "fd", "higher": "base", "lower": "base/w_1"}]
    pairs = [["base", "base/w_1"], ["base", "base/nobody"]]
    write_record(tmp_path, {"base": "Base"}, [0, 1], comparisons=pairs, claims=claims)
    for seed, (first, further) in enumerate([(3.0, 2.0), (3.5, 2.1)]):
        run = write_run(tmp_path, "base", seed, [{"fd": score(first, 0.1, 100)}])
        content = json.loads(run.generation(0).metrics.read_text())
        content["folders"] = {"w_1": {"scores": {"fd": score(further, 0.1, 50)}}}
        run.generation(0).metrics.write_text(json.dumps(content))
    results = read_study(tmp_path)
    lines = table_lines(results)
    assert [(line.label, line.arm, line.seeds, line.planned) for line in lines] == [
        ("Base", "base", 2, 2),
        ("Base, w_1", "base/w_1", 2, 2),
    ]
    assert [line.scores["fd"].mean for line in lines] == pytest.approx([3.25, 2.05])
    assert [line.scores["fd"].n for line in lines] == [100, 50]
    difference = compare_arms(results, "fd", "base", "base/w_1")
    assert (difference.value, difference.standard_error) == pytest.approx((-1.2, 0.2))
    assert compare_arms(results, "fd", "base", "base/nobody") is None
    verdicts = judge_claims(results)
    assert verdicts[0].difference.value == pytest.approx(1.2)  # of the one said to be higher
    write_tables(results, lines, verdicts)
    with open(tmp_path / "scores.csv") as file:
        rows = [(row["arm"], row["seed"], row["value"]) for row in csv.DictReader(file)]
    assert rows == [("base", "0", "3.0"), ("base/w_1", "0", "2.0"), ("base", "1", "3.5"), ("base/w_1", "1", "2.1")]
    assert "Base, w_1" in write_study_report(tmp_path).read_text()
    assert [text for text in study_remarks(results) if "base/nobody" in text and "base/w_1" not in text]


def test_wide_tables_go_on_below(tmp_path):
    write_record(tmp_path, ARMS, [0])
    names = [f"a-long-name-of-a-score-{k}/train" for k in range(8)]
    write_run(tmp_path, "real70", 0, [{name: score(float(k), None, 9) for k, name in enumerate(names)}])
    text = format_text(table_lines(read_study(tmp_path)))
    blocks = text.split("\n\n")
    assert len(blocks) > 2 and max(map(len, text.splitlines())) <= 100
    assert [name for block in blocks for name in block.splitlines()[0].split() if name in names] == names
    assert all(block.splitlines()[2].startswith("70 % original ") for block in blocks)


def test_markdown(results):
    rows = format_markdown(table_lines(results)).splitlines()
    assert rows[:3] == [
        "| trained on | mean | sd | SE images | SE seeds | n | seeds |",
        "| --- | --: | --: | --: | --: | --: | --: |",
        "| 70 % original | 0.1200 | 0.4082 | 0.0408 | 0.0153 | 100 | 3 |",
    ]
    assert "| 70 % original+30 % samples | 2.0 ± 1.0 | 2 of 3 |" in rows


def test_a_label_cannot_break_the_markdown(tmp_path):
    write_record(tmp_path, {"a": "x|y\nz"}, [0])
    write_run(tmp_path, "a", 0, [{"kid/train": score(1.0, 0.1, 9)}])
    assert "| x\\|y z | 1 | 1 |" in format_markdown(table_lines(read_study(tmp_path)))


def test_nothing_is_finished(tmp_path):
    write_record(tmp_path, ARMS, [0, 1])
    lines = table_lines(read_study(tmp_path))
    assert [judge_cells(line) for line in lines] == [[label, "-", "-", "-", "-", "-", "0 of 2"] for label in ARMS.values()]
    assert "0 of 2" in format_text(lines)


def test_files_hold_the_numbers_in_full(results, tmp_path):
    lines, verdicts = table_lines(results), judge_claims(results)
    write_tables(results, lines, verdicts)
    with open(tmp_path / "table.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], row["score"]) for row in rows] == [
        *(("real70", "discriminator_score"), ("real70", "kid/train")),
        *(("mixed", "discriminator_score"), ("mixed", "kid/train"), ("", "discriminator_score")),
    ]
    assert float(rows[0]["mean"]) == pytest.approx(0.12, abs=1e-15) and rows[0]["seeds"] == "3"
    assert float(rows[0]["high"]) - float(rows[0]["mean"]) == pytest.approx(4.302653 * float(rows[0]["standard_error"]))
    entry = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert entry["lines"][0]["scores"]["kid/train"]["deviation"] == 2.0
    assert entry["claims"][0]["status"] == verdicts[0].status
    assert entry["claims"][0]["difference"]["value"] == pytest.approx(0.105)
    assert f"- **Samples help.** {verdicts[0].sentence}" in (tmp_path / "table.md").read_text(encoding="utf-8")


def test_times_that_are_bounds_say_so_in_the_files(tmp_path):
    write_record(tmp_path, {"a": "A"}, [0, 1], layout="gan")
    for seed, leaves in enumerate((200, 1000)):
        loss = [{"step": t, "train/loss_d": 0.2 if t < leaves else 1.2} for t in range(1, 401)]
        write_run(tmp_path, "a", seed, [{}], history=lambda _, loss=loss: loss)
    results = read_study(tmp_path)
    write_tables(results, table_lines(results), [])
    with open(tmp_path / "table.csv") as file:
        row = next(row for row in csv.DictReader(file) if row["score"] == "plateau_steps")
    assert (row["mean"], row["low"], row["high"], row["left"], row["never left"], row["no plateau"]) == (
        "",
        "",
        "",
        "1",
        "1",
        "0",
    )
    entry = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))["lines"][0]["scores"]["plateau_steps"]
    assert (entry["mean"], entry["interval"], entry["states"]) == (None, None, {"left": 1, "never left": 1})
    assert "left at 200 (1), never left by 320 (1)" in (tmp_path / "table.md").read_text(encoding="utf-8")
    with open(tmp_path / "scores.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["score"] == "plateau_steps"]
    assert [(row["value"], row["plateau"]) for row in rows] == [("200.0", "left"), ("320.0", "never left")]


def test_scores_csv_has_every_run(results, tmp_path):
    write_tables(results, table_lines(results), [])
    with open(tmp_path / "scores.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 3 + 1  # three scores of five runs, and the one that is missing
    assert [row["state"] for row in rows if row["arm"] == "mixed" and row["seed"] == "2"] == ["missing"]
    value = next(r for r in rows if (r["arm"], r["seed"], r["score"]) == ("real70", "2", "kid/train"))
    assert (float(value["value"]), float(value["standard_error"]), value["n"], value["generation"]) == (5.0, 0.5, "100", "0")


def test_texts_of_a_study_are_neither_markup_nor_formulas():
    hostile = "<img src=x onerror=alert(1)> | [a](javascript:b) *c* `d` _e_ \\f\n&amp; \x1b[2J"
    shown = markdown_text(hostile)
    assert shown == (r"&lt;img src=x onerror=alert(1)&gt; \| \[a\](javascript:b) \*c\* \`d\` \_e\_ \\f &amp;amp; \\x1b\[2J")
    assert markdown_text("70 % original, fd_tiny/train ± 3 (n = 5)") == "70 % original, fd_tiny/train ± 3 (n = 5)"
    formulas = ("=1+1", "+1", "-x", "@SUM(A1)", " =1", "\t=1")
    assert [spreadsheet_text(text) for text in formulas] == [f"'{text}" for text in formulas]
    assert [spreadsheet_text(text) for text in ("fd-tiny/train", "70 % = x", "")] == ["fd-tiny/train", "70 % = x", ""]
