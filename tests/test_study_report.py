"""The report of a study: complete, escaped, without network, equal for equal input; its charts lie where the numbers say."""

import base64
import re
import shutil

import numpy as np
import pytest
from study_folder import judge, write_gaussian_weights, write_record, write_run
from test_tracking_report import HOSTILE, Page, path_points
from tracking_run import score, write_previews

from bootlight.errors import BootlightError
from bootlight.report.strip import write_strip
from bootlight.runs.folder import RunFolder
from bootlight.studies.charts import (
    BETTER,
    COLORS,
    UNKNOWN,
    WORSE,
    Band,
    Difference,
    Losses,
    band_chart,
    difference_chart,
    loss_chart,
)
from bootlight.studies.gaussian_loop import Loop, expected_variances
from bootlight.studies.report import format_study_table, write_study_report

CLAIM = {"text": "Samples help.", "score": "discriminator_score", "higher": "mixed", "lower": "real70"}


def write_table1(folder):
    write_record(
        folder, {"real70": "70 %", "mixed": "70 % + 30 %"}, [0, 1, 2], comparisons=[["real70", "mixed"]], claims=[CLAIM]
    )
    for arm, means in (("real70", (0.10, 0.12, 0.15)), ("mixed", (0.20, 0.23, 0.24))):
        for seed, mean in enumerate(means):
            row = {"discriminator_score": judge(mean, 0.3), "fd-tiny/train": score(9.0 + mean * (seed + 1), 0.5, 100)}
            run = write_run(folder, arm, seed, [row | {"discriminator_score/train": judge(0.98, 0.02)}])
            if seed == 0:
                write_strip(run)
    return folder


def read(folder):
    return Page(write_study_report(folder).read_text(encoding="utf-8"))


def test_page_has_table_claims_and_configurations(tmp_path):
    folder = write_table1(tmp_path)
    page = read(folder)
    first = page.cells.index("trained on")
    assert page.cells[first : first + 14] == [
        *("trained on", "mean", "sd", "SE images", "SE seeds", "n", "seeds"),
        *("70 %", "0.1233", "0.3000", "0.0300", "0.0145", "100", "3"),
    ]
    # Differences 0.10, 0.11, 0.09 between the arms: 0.1 ± 0.01 / √3.
    assert "Supported: 70 % + 30 % scores higher in discriminator_score than 70 %, by 0.1000 ± 0.0058" in page.text
    assert "2 arms, 3 seeds: all 6 runs are finished. 1 claim: 1 supported." in page.text
    assert "bootlight study study.yaml --report" in page.text
    assert "--data.real_fraction 0.7" in page.cells
    assert page.text.count('"num_generations": 1') == 2  # the configuration of one run of each arm
    assert '"claims": [{"text": "Samples help."' in page.text  # study.json itself
    assert "One judge scored all runs" in page.text


def test_page_needs_no_network_and_its_links_exist(tmp_path):
    folder = write_table1(tmp_path)
    (folder / "real70" / "seed_1" / "report.html").write_text("a run's own")
    page = read(folder)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert [link for link in page.links if not link.startswith(("data:", "#"))] == ["real70/seed_1/report.html"]
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "@import" not in text and "url(http" not in text and 'name="viewport"' in text


def test_strips_and_neighbours_of_the_first_seed_are_inside(tmp_path):
    folder = write_table1(tmp_path)
    neighbours = folder / "mixed" / "seed_0" / "neighbours.png"
    write_previews(neighbours, 2)
    pictures = [link for link in read(folder).links if link.startswith("data:")]
    expected = [RunFolder(folder / arm / "seed_0").strip for arm in ("real70", "mixed")] + [neighbours]
    assert [base64.b64decode(p.removeprefix("data:image/png;base64,")) for p in pictures] == [e.read_bytes() for e in expected]


def test_strips_are_of_one_seed_where_all_arms_have_it(tmp_path):
    folder = write_table1(tmp_path)
    shutil.rmtree(folder / "mixed" / "seed_0")
    for k, arm in enumerate(("real70", "mixed")):
        write_previews(RunFolder(folder / arm / "seed_1").strip, 2 + k)
    pictures = [link for link in read(folder).links if link.startswith("data:")]
    expected = [RunFolder(folder / arm / "seed_1").strip for arm in ("real70", "mixed")]
    assert [base64.b64decode(p.removeprefix("data:image/png;base64,")) for p in pictures] == [e.read_bytes() for e in expected]


def test_hostile_names_and_values_are_text(tmp_path):
    arms = {"a": f"A {HOSTILE}", "b": "B"}
    claim = {"text": f"claim {HOSTILE}", "score": f"kid {HOSTILE}", "higher": "a", "lower": "b"}
    write_record(
        tmp_path,
        arms,
        [0, 1],
        name=f"name {HOSTILE}",
        claims=[claim],
        comparisons=[["a", "b"]],
        command=f"run {HOSTILE}",
        layout="curves",
    )
    for arm in arms:
        for seed in (0, 1):
            row = {f"kid {HOSTILE}": score(seed + (arm == "a") / 3, 0.1, 9) | {"remarks": [f"remark {HOSTILE}"]}}
            mixing = {"class_path": f"my.{HOSTILE}"}
            write_run(tmp_path, arm, seed, [row, row], mixing=mixing)
    page = read(tmp_path)
    assert "script" not in page.tags
    for start in ("name ", "claim ", "remark ", "run ", "A ", "· "):
        assert start + HOSTILE in page.text, start


def test_numbers_that_are_none_leave_the_rest_alone(tmp_path):
    write_record(tmp_path, {"a": "A", "b": "B"}, [0, 1], layout="curves", comparisons=[["a", "b"]], claims=[
        {"text": "x", "score": name, "higher": "a", "lower": "b"} for name in ("kid/train", "recall-k3/train")
    ])  # fmt: skip
    for k, arm in enumerate("ab"):
        for seed, value in enumerate((float("nan"), 1e300)):
            strange = score(value, 1e300, 9) | {"protocol": {"left": False, "standard_deviation": 1e300}}
            row = {"kid/train": strange, "discriminator_score": strange, "recall-k3/train": score(0.5 + k + seed / 10, 0.1, 9)}
            write_run(tmp_path, arm, seed, [row, row])
    page = read(tmp_path)
    assert page.cells.count("1.5500") == 0 and "1.550 ± 0.050" in page.cells
    assert "Not tested: kid/train is no number in some runs of A and B; look at their losses." in page.text
    assert "Not tested: 2 seeds all give the difference -1 in recall-k3/train" in page.text


def test_an_unfinished_study_has_a_page_that_says_so(tmp_path):
    write_record(tmp_path, {"a": "A", "b": "B"}, [0, 1], claims=[CLAIM | {"higher": "a", "lower": "b"}], layout="curves")
    page = read(tmp_path)
    assert "0 of 4 runs are finished" in page.text
    assert "Not begun yet: a (seed 0, 1), b (seed 0, 1)." in page.text
    assert page.cells.count("not begun") == 4
    write_run(tmp_path, "a", 0, [{}], planned=2)
    broken = write_run(tmp_path, "b", 0, [{}])
    broken.generation(0).metrics.write_text("torn")
    page = read(tmp_path)
    assert page.cells.count("not begun") == 2 and "unfinished" in page.cells and "unreadable" in page.cells
    assert f"b (seed 0) is unreadable and takes no part: {broken.generation(0).metrics} is not valid JSON" in page.text


def test_equal_studies_give_equal_bytes(tmp_path):
    pages = []
    for name in ("x", "y"):
        folder = tmp_path / name / "study"
        write_record(folder, {"a": "A"}, [0, 1], layout="curves")
        for seed in (0, 1):
            write_run(folder, "a", seed, [{"kid/train": score(seed + k, 0.1, 9)} for k in (0, 2)])
        pages.append(write_study_report(folder).read_bytes())
    assert pages[0] == pages[1]


def test_missing_study_is_one_line(tmp_path):
    with pytest.raises(BootlightError, match=r"study\.json is missing"):
        write_study_report(tmp_path)


def test_terminal_table_has_claims_and_remarks(tmp_path):
    folder = write_table1(tmp_path)
    shutil.rmtree(folder / "mixed" / "seed_2")
    text = format_study_table(folder)
    assert max(map(len, text.splitlines())) <= 100
    assert "70 % + 30 %              0.2150" in text
    # Two pairs are left; their differences are 0.10 and 0.11: t = 0.105 / 0.005 = 21 with one degree of freedom, p = 0.03.
    assert "Samples help. Supported" in text and "p = 0.03" in text
    assert "! Not begun yet: mixed (seed 2)." in text


def test_map_of_the_boundary(tmp_path):
    # Arms differ in real images and ratio; the distance of one falls, of one rises, of one does neither, one has one seed.
    write_record(tmp_path, {arm: arm.upper() for arm in "abcd"}, range(3), layout="curves", baseline=None)
    changes = {"a": (-1.0, -1.1, -0.9), "b": (2.0, 2.1, 1.9), "c": (1.0, -1.0, 0.5), "d": (1.0,)}
    places = {"a": (1000, 500), "b": (1000, 2000), "c": (250, 125), "d": (250, 500)}
    for arm, values in changes.items():
        for seed, change in enumerate(values):
            rows = [{"fd-tiny/train": score(5.0, 0.1, 9)}, {"fd-tiny/train": score(5.0 + change, 0.1, 9)}]
            num_real, num_synthetic = places[arm]
            write_run(tmp_path, arm, seed, rows, num_real=num_real, num_synthetic=num_synthetic)
    page = Page(re.sub("</?span[^>]*>", "", write_study_report(tmp_path).read_text(encoding="utf-8")))
    at = page.cells.index("ratio 0.5")
    # 97.5 % quantile of t with 2 degrees of freedom 4.303; -1 ± 4.303 x 0.1 / √3 = 0.25. c: sd 1.0408 gives 2.6.
    assert page.cells[at - 1 : at + 8] == [
        *("real images", "ratio 0.5", "ratio 2"),
        *("1,000 (100%)", "▲ -1 ± 0.25", "▼ +2 ± 0.25"),
        *("250 (25%)", "○ +0.167 ± 2.6", "· +1"),
    ]
    assert "not corrected for their number: of 3 about 0.2 would exclude 0 by chance" in page.text


def test_measured_and_expected_variances_are_drawn(tmp_path):
    expected = expected_variances(Loop("Accumulate", 100, 50, 4, bias=0.7))
    write_record(tmp_path, {"a": "A"}, [0, 1], layout="curves")
    for seed, factor in enumerate((0.9, 1.1)):
        run = write_run(
            *(tmp_path, "a", seed, [{}] * 4),
            num_real=100, num_synthetic=50, class_path="bootlight.PixelGaussian", sampling_bias=0.7,
            data={"init_args": {"mixing": None, "origin": {"class_path": "bootlight.GaussianImages"}}}, images_seen=600 * 250,
        )  # fmt: skip
        write_gaussian_weights(run, [0.04, *(0.04 * factor * value for value in expected[1:])])
    text = write_study_report(tmp_path).read_text(encoding="utf-8")
    caption = text.index("pixel_variance · Accumulate, bias 0.7")
    svg = text[caption : text.index("</svg>", caption)]
    # The means over both seeds lie on the expectation, so solid and dashed line are one.
    solid, dashed = path_points(svg, COLORS[0]), path_points(svg.replace("fill: none; stroke-dasharray", "XX"), COLORS[0])
    measured = np.array(expected)
    slope, offset = np.polyfit(measured, solid[:, 1], 1)
    np.testing.assert_allclose(solid[:, 1], slope * measured + offset, atol=2e-5)
    dashed = re.search(rf'<path d="([^"]*)"[^>]*style="fill: none; stroke-dasharray: [^;]*; [^"]*stroke: {COLORS[0]}', svg)
    points = np.array(re.findall(r"-?\d+(?:\.\d+)?", dashed.group(1)), dtype=float).reshape(-1, 2) * [1, -1]
    np.testing.assert_allclose(points, solid, atol=2e-5)  # six decimals of the picture, float32 in the weights


def test_losses_of_a_gan(tmp_path):
    def history(leaves):
        return lambda _: [
            {"step": t, "train/loss_d": 0.2 if t < leaves else 1.2, "train/loss": 3.0 if t < leaves else 1.0}
            for t in range(1, 401)
        ]

    write_record(tmp_path, {"a": "A", "b": "B", "c": "no GAN"}, [0, 1], layout="gan")
    for seed in (0, 1):
        write_run(tmp_path, "c", seed, [{}], history=lambda _: [{"step": t, "train/loss": 1.0} for t in range(50)])
    for arm, times in (("a", (200, 240)), ("b", (100, 1000))):
        for seed, leaves in enumerate(times):
            write_run(tmp_path, arm, seed, [{}], history=history(leaves), num_real=100, num_synthetic=0)
    page = read(tmp_path)
    at = page.cells.index("steps on the plateau")
    # 220 ± 12.706 x 20; a step has 64 of 100 images; the second arm leaves before the margin of 160 steps, and never.
    assert page.cells[at + 6 : at + 13] == ["A", "220  [-34.12, 474.1]", "140.8  [-21.84, 303.4]", "2", "0", "0", "0"]
    bounds = ["left before 160 (1), never left by 320 (1)", "left before 102.4 (1), never left by 204.8 (1)"]
    assert page.cells[at + 13 : at + 20] == ["B", *bounds, "0", "1", "1", "0"]
    assert page.cells[at + 20] != "no GAN" and ">no GAN</text>" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "loss of the discriminator" in page.text and "loss of the generator" in page.text


def lines(svg, color):
    """Ends of all straight lines of a colour."""
    found = re.findall(
        rf'<path d="M ([\d.-]+) ([\d.-]+) \nL ([\d.-]+) ([\d.-]+) \n"[^>]*style="fill: none; [^"]*stroke: {color}', svg
    )
    return np.array(found, dtype=float)


def test_intervals_lie_where_their_numbers_say():
    rows = [
        Difference("first", "zeroth", 2.0, (1.0, 3.0), True),
        Difference("second", "first", -2.0, (-5.0, 1.0), None),
        Difference("third", "second", -3.0, (-4.0, -2.0), False),
        Difference("fourth", "third", 6.0, None, None),
    ]
    svg = difference_chart(rows)
    ends = np.array([lines(svg, color)[0][[0, 2]] for color in (BETTER, UNKNOWN, WORSE)])
    values = np.array([row.interval for row in rows[:3]])
    slope, offset = np.polyfit(values.ravel(), ends.ravel(), 1)
    assert slope > 0
    np.testing.assert_allclose(ends, slope * values + offset, atol=1e-4)
    zeros = lines(svg, "currentColor")
    zeros = zeros[(zeros[:, 0] == zeros[:, 2]) & (abs(zeros[:, 0] - offset) < 1e-4)]
    assert len(zeros) == 4  # a short line at 0 in each row
    heights = [lines(svg, color)[0][1] for color in (BETTER, UNKNOWN, WORSE)]
    assert heights == sorted(heights)  # from top to bottom
    for text in ("first", "- zeroth", "2 [1, 3]", "-2 [-5, 1]", "fourth", ">6</text>"):
        assert text in svg


def test_bands_are_one_deviation_wide():
    svg = band_chart([Band("A", [0, 1, 2], [1.0, 2.0, 4.0], [0.5, 0.25, 1.0], [])])
    points = path_points(svg, COLORS[0])
    slope, offset = np.polyfit([1.0, 2.0, 4.0], points[:, 1], 1)
    height, area = re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)".*?<path id="\w+" d="([^"]*)z', svg, re.DOTALL).groups()
    y = -float(height) - np.array(re.findall(r"-?\d+(?:\.\d+)?", area), dtype=float).reshape(-1, 2)[:, 1]  # from below
    drawn = np.unique(((y - offset) / slope).round(3))
    np.testing.assert_allclose(drawn, [0.5, 1.5, 1.75, 2.25, 3.0, 5.0], atol=2e-3)


def test_loss_chart_marks_where_the_plateau_is_left():
    svg = loss_chart([Losses("A", [([0, 10, 20], [1.0, 2.0, 1.5]), ([0, 10, 20], [1.0, float("inf"), 3.0])], [5, 15])])
    curve = path_points(svg, COLORS[0])
    slope, offset = np.polyfit([0, 10, 20], curve[:, 0], 1)
    marks = [line[0] for line in lines(svg, COLORS[0]) if line[0] == line[2]]
    np.testing.assert_allclose(sorted(marks), [slope * 5 + offset, slope * 15 + offset], atol=1e-4)
    assert svg.count(">A</text>") == 1  # one entry of the legend for both seeds
