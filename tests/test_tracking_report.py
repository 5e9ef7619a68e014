"""The report: complete, escaped, without network, equal for equal input."""

import base64
import json
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from tracking_run import make_run, metrics

from bootlight.bootstrap.loop import finish
from bootlight.report.curves import Curve, group_means, history_chart, score_chart
from bootlight.report.page import table
from bootlight.report.report import write_report
from bootlight.report.report_run import format_duration
from bootlight.report.report_scores import summary
from bootlight.report.scores import read_scores
from bootlight.report.strip import write_strip
from bootlight.runs.folder import RunFolder

HOSTILE = "<script>alert('x')</script>&\"$\\frac{"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Tags, attributes, table cells and visible text of a page; refuses tags that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.cells, self.words = [], [], [], []
        self.open = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("href", "src", "xlink:href", "srcset", "action")]
        assert not any(key.startswith("on") for key, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("href", "src", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data

    @property
    def text(self):
        return "".join(self.words)


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "my run")


def read(run):
    return Page(write_report(run).read_text(encoding="utf-8"))


def test_table_shows_every_score_of_every_generation(run):
    cells = read(run).cells
    first = cells.index("real", 7)  # also the head of a column
    header, rows = cells[:first], [cells[first + k * len(cells[:first]) :][: len(cells[:first])] for k in range(4)]
    assert header == [
        *("generation", "fd-digitsholdoutn=500", "discriminator_scoren=500", "fd-digitstrainn=500", "lossn=20"),
        *("real", "synthetic", "steps", "images seen"),
    ]
    assert rows == [
        ["real", "-", "0.95 (n=1437)", "-", "", "", "", "", ""],
        ["0", "3.25 ± 0.12", "0.300 ± 0.012", "2.75 ± 0.25", "0.0312 ± 0.0011", "1437", "0", "2000", "128000"],
        ["1", "4.25 ± 0.12", "0.200 ± 0.012", "3.75 ± 0.25", "1.0312 ± 0.0011", "1437", "700", "2001", "128000"],
        ["2", "5.25 ± 0.12", "0.100 ± 0.012", "4.75 ± 0.25", "2.0312 ± 0.0011", "1437", "1400", "2002", "128000"],
    ]


def test_page_needs_no_network_and_its_links_exist(run):
    write_strip(run)
    page = read(run)
    assert "script" not in page.tags and "link" not in page.tags and "iframe" not in page.tags
    files = [link for link in page.links if not link.startswith(("data:", "#"))]
    assert len(files) > 10
    for link in files:
        assert not re.match(r"[a-z]+:|//", link)
        assert (run.path / link).exists(), link
    assert "@import" not in run.report.read_text() and "url(http" not in run.report.read_text()


def test_strip_is_inside_the_page(run):
    strip = write_strip(run)
    (picture,) = [link for link in read(run).links if link.startswith("data:")]
    assert base64.b64decode(picture.removeprefix("data:image/png;base64,")) == strip.read_bytes()


def test_hostile_names_and_values_are_text(tmp_path):
    run = make_run(tmp_path / "<b>&run")
    entry = metrics(0)
    entry["scores"][HOSTILE] = {"value": 1.5, "standard_error": 0.1, "n": 3, "protocol": {HOSTILE: HOSTILE}}
    run.generation(0).metrics.write_text(json.dumps(entry))
    run.config.write_text(f"name: {HOSTILE}\n")
    run.generation(0).history.write_text(json.dumps({"step": 1, f"loss {HOSTILE}": 1.0}) + "\n")
    run.generation(0).timing.write_text(json.dumps({"stage": HOSTILE, "seconds": 1}) + "\n")
    page = read(run)
    assert "script" not in page.tags and "b" not in page.tags
    assert page.words.count("<b>&run") == 1  # the heading
    assert f"name: {HOSTILE}" in page.text
    assert f"loss {HOSTILE}" in page.text
    # As a column of the scores, a curve's caption, a heading, a name and a value of the protocol, a stage: with the
    # slash of </script> it is broken in two where it is a score.
    assert page.text.count(HOSTILE) >= 5


def test_cells_are_text():
    assert Page(table(["a\nb"], [["<b>&"]])).cells == ["ab", "<b>&"]


def test_protocols_times_and_commands_are_shown(run):
    text = read(run).text
    assert "featuresdigits network" in text
    assert "resize<none>" in text
    # Training 100.5 s + 20 s, synthesis 7.25 s; three generations of it.
    times = read(run).cells[-20:]
    assert times[:4] == ["generation", "training", "synthesis", "total"]
    assert times[12:] == ["2", "2 min 00 s", "7.2 s", "2 min 08 s", "all", "6 min 02 s", "21.8 s", "6 min 23 s"]
    assert f"bootlight fit --config '{run.config}'" in text
    assert "class_path: bootlight.DDPM" in text


def test_equal_runs_give_equal_bytes(tmp_path):
    pages = []
    for parent in ("a", "b"):
        run = make_run(tmp_path / parent / "run")
        write_strip(run)
        pages.append(write_report(run).read_text().replace(str(run.path), "PATH"))
    assert pages[0] == pages[1]


def test_report_of_an_unfinished_run_says_so(tmp_path):
    text = read(RunFolder(tmp_path)).text
    assert "No generation has been evaluated yet." in text
    assert "Scores" not in text


def test_summary_says_where_the_first_score_stands(run):
    rows = read_scores(run)
    assert summary(rows) == (
        "3 generations, 1,437 real images at the start: fd-digits/holdout went from 3.25 ± 0.12 in generation 0 to "
        "5.25 ± 0.12 in generation 2."
    )
    assert summary(rows[:1]) == ("1 generation, trained on 1,437 real images: fd-digits/holdout is 3.25 ± 0.12 (n=500).")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (725.2, "12 min 05 s"),
        (3599.6, "1 h 00 min"),
        (11220.0, "3 h 07 min"),
    ],
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


def path_points(svg, color):
    """Vertices of the first line drawn in a colour, in the units of the picture, y upwards."""
    path = re.search(rf'<path d="([^"]*)"[^>]*style="fill: none; stroke: {color}', svg)
    numbers = re.findall(r"-?\d+(?:\.\d+)?", path.group(1))
    return np.array(numbers, dtype=float).reshape(-1, 2) * [1, -1]


def test_score_chart_is_an_affine_picture_of_the_values():
    x, y = [0, 1, 2, 5], [1.0, 4.0, 2.0, 2.5]
    points = path_points(score_chart([Curve("a", x, y, [0.1] * 4)]), "#3b82c4")
    for drawn, value in zip(points.T, (x, y), strict=True):
        slope, offset = np.polyfit(value, drawn, 1)
        assert slope > 0
        # Coordinates have six decimals; the fit over four points keeps the error below 1e-5.
        np.testing.assert_allclose(drawn, slope * np.array(value) + offset, atol=1e-5)


def test_history_chart_turns_logarithmic_beyond_a_factor_of_ten():
    x = [0, 1, 2, 3]
    for y, transform in (
        ([1.0, 2.0, 4.0, 9.0], np.asarray),
        ([1.0, 2.0, 4.0, 11.0], np.log),
        ([-1.0, 2.0, 4.0, 11.0], np.asarray),
    ):
        drawn = path_points(history_chart([Curve("a", x, y)]), "#3b82c4")[:, 1]
        slope, offset = np.polyfit(transform(y), drawn, 1)
        np.testing.assert_allclose(drawn, slope * transform(y) + offset, atol=1e-5)


def test_charts_take_the_colour_of_the_page_and_have_no_repeated_ids():
    svg = score_chart([Curve("a $x$ <b>", [0], [1.0], [0.1]), Curve("b", [0], [2.0])])
    assert "#010203" not in svg and "currentColor" in svg
    assert ">a $x$ &lt;b&gt;</text>" in svg
    assert not re.search(r'id="\w+_\d+"', svg)


def test_group_means_use_every_point_once():
    rng = np.random.default_rng(0)
    y = rng.normal(size=1000).tolist()
    x, means = group_means(list(range(1000)), y)
    assert len(means) == 200
    np.testing.assert_allclose(means, np.reshape(y, (200, 5)).mean(axis=1), rtol=1e-12)  # same sums, other order
    assert x[:2] == [2.0, 7.0]
    assert group_means([3, 9], [1.0, 2.0]) == ([3.0, 9.0], [1.0, 2.0])
    # 301 points: groups of one or two; their sizes times their means must give back the total.
    x, means = group_means(list(range(301)), [1.0] * 301)
    assert len(means) == 200 and x[0] >= 0 and x[-1] <= 300 and means == [1.0] * 200


def test_page_says_what_the_metrics_remarked(run):
    for generation in range(3):
        entry = metrics(generation)
        entry["scores"]["fd-digits/train"]["remarks"] = [f"about {generation}.5 of it is <bias>"]
        entry["scores"]["fd-digits/holdout"]["remarks"] = [f"about {generation} of it is <bias>"] + ["collapsed"] * (
            generation == 1
        )
        run.generation(generation).metrics.write_text(json.dumps(entry))
    page = write_report(run).read_text(encoding="utf-8")
    assert "<li>fd-digits/holdout, fd-digits/train: about 0 of it is &lt;bias&gt;</li>" in page  # once, whatever the numbers
    assert "<li>fd-digits/holdout (generation 1): collapsed</li>" in page


def test_what_is_current_is_told_by_content_not_by_time(tmp_path):
    run = make_run(tmp_path / "run", 2)
    finish(run, rebuild=True)
    pages = (run.table, run.metrics, run.strip, run.report)
    first = {page: page.read_bytes() for page in pages}
    for page in pages:
        os.utime(page, (1, 1))  # older than all scores, as in a folder that was copied file by file
    finish(run, rebuild=False)
    assert all(page.stat().st_mtime == 1 for page in pages)
    changed = metrics(1)
    changed["scores"]["discriminator_score"]["value"] = 0.25
    run.generation(1).metrics.write_text(json.dumps(changed))
    for file in (run.generation(0).metrics, run.generation(1).metrics):
        os.utime(file, (0, 0))  # older than all pages
    finish(run, rebuild=False)
    renewed = {page: page.read_bytes() for page in pages}
    assert all(renewed[page] != first[page] for page in pages)
    finish(run, rebuild=True)
    assert renewed == {page: page.read_bytes() for page in pages}
    for length in (0, 50):  # cut off
        for page in pages:
            page.write_bytes(renewed[page][:length])
        finish(run, rebuild=False)
        assert renewed == {page: page.read_bytes() for page in pages}
