"""The W&B report of a study: what is asked of W&B's own API, here a module that remembers; and what goes wrong in one line."""

import importlib.util
import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
from study_folder import judge, write_record, write_run
from tracking_run import score

from bootlight.errors import BootlightError
from bootlight.studies.tracker import INSTALL, main, write_wandb_report

pytest.importorskip("wandb", reason="W&B is optional: pip install bootlight[wandb]")


class Report(SimpleNamespace):
    """Stands for W&B's; saving sets the address."""

    saved: list["Report"] = []  # noqa: RUF012 - emptied by the fixture
    error: Exception | None = None

    def save(self):
        if Report.error is not None:
            raise Report.error
        self.url = f"https://wandb.ai/{self.project}/reports/1"
        Report.saved.append(self)


@pytest.fixture
def api(monkeypatch):
    """A module in the place of `wandb_workspaces.reports.v2`."""
    module = ModuleType("wandb_workspaces.reports.v2")
    for name in ("Runset", "PanelGrid", "LinePlot", "MarkdownBlock", "MediaBrowser", "Layout"):
        setattr(module, name, type(name, (SimpleNamespace,), {}))
    module.Report = Report
    for name in ("wandb_workspaces", "wandb_workspaces.reports"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    sys.modules["wandb_workspaces.reports"].v2 = module
    monkeypatch.delenv("WANDB_MODE", raising=False)
    Report.saved, Report.error = [], None
    return module


@pytest.fixture
def folder(tmp_path):
    claims = [{"text": "Samples help.", "score": "discriminator_score", "higher": "b", "lower": "a"}]
    write_record(tmp_path, {"a": "70 %", "b": "70 % + 30 %"}, [0, 1], claims=claims, name="table1")
    for arm in ("a", "b"):
        for seed in (0, 1):
            row = {"discriminator_score": judge(0.1 + seed, 0.2), "discriminator_score/train": judge(0.9, 0.1)}
            run = write_run(tmp_path, arm, seed, [row | {"kid/train": score(1.0, 0.1, 9)}])
            config = json.loads(run.config.read_text())
            options = {"project": "faces", "group": "it's table1", "tags": [arm]}
            logger = {"class_path": "bootlight.BootstrapWandbLogger", "init_args": options}
            run.config.write_text(json.dumps(config | {"trainer": {"logger": [{"class_path": "CSVLogger"}, logger]}}))
    return tmp_path


def test_report_has_the_table_and_one_group_for_each_arm(api, folder):
    assert write_wandb_report(folder, entity="me") == "https://wandb.ai/faces/reports/1"
    (report,) = Report.saved
    text, grid = report.blocks
    assert (report.project, report.entity, report.title) == ("faces", "me", "table1 (bootlight study)")
    assert "| 70 % | 0.6000 |" in text.text and "- **Samples help.** " in text.text
    assert [(runset.name, runset.filters, runset.groupby) for runset in grid.runsets] == [
        ("70 %", "Metric('Group') == \"it's table1\" and Tags() in ['a']", ["group"]),
        ("70 % + 30 %", "Metric('Group') == \"it's table1\" and Tags() in ['b']", ["group"]),
    ]
    assert {(runset.project, runset.entity) for runset in grid.runsets} == {("faces", "me")}


def test_panels_are_over_generations_with_bands(api, folder):
    write_wandb_report(folder)
    panels = Report.saved[0].blocks[1].panels
    curves = [(panel.y, panel.x) for panel in panels if hasattr(panel, "y")]
    assert curves == [
        (["generation/discriminator_score"], "generation"),
        (["generation/kid/train"], "generation"),
        (["train/loss"], "total_step"),
        (["train/loss_d"], "total_step"),
    ]
    assert {(p.groupby_aggfunc, p.groupby_rangefunc) for p in panels if hasattr(p, "y")} == {("mean", "stddev")}
    assert panels[-1].media_keys == ["generation/previews"]
    assert [(p.layout.x, p.layout.y) for p in panels] == [(0, 0), (8, 0), (16, 0), (0, 6), (8, 6)]
    assert not hasattr(Report.saved[0], "entity")  # W&B chooses its default


def test_given_names_go_before_those_of_the_runs(api, folder):
    write_wandb_report(folder, project="other", group="g")
    assert Report.saved[0].project == "other"
    assert Report.saved[0].blocks[1].runsets[0].filters == "Metric('Group') == 'g' and Tags() in ['a']"


def test_runs_that_did_not_log_to_wandb(api, tmp_path):
    write_record(tmp_path, {"a": "A"}, [0])
    write_run(tmp_path, "a", 0, [{}])
    with pytest.raises(BootlightError, match=r"did not log to W&B; set trainer\.logger"):
        write_wandb_report(tmp_path)
    write_wandb_report(tmp_path, project="p", group="g")
    assert len(Report.saved) == 1


def test_offline_is_one_line(api, folder, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(BootlightError, match="WANDB_MODE is offline: reports are made online"):
        write_wandb_report(folder)


def test_without_the_package_the_cure_is_named(folder, monkeypatch, capsys):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert main([str(folder)]) == 1
    assert capsys.readouterr().err == f"error: {INSTALL}\n"


def test_a_refusal_of_wandb_is_one_line(api, folder):
    import wandb

    Report.error = wandb.errors.CommError("permission denied\n<Response 403>")
    with pytest.raises(BootlightError, match="W&B: permission denied; run wandb login") as caught:
        write_wandb_report(folder)
    assert "403" not in str(caught.value)


def test_address_is_printed(api, folder, capsys):
    assert main([str(folder), "--entity", "me"]) == 0
    assert capsys.readouterr().out == "https://wandb.ai/faces/reports/1\n"


@pytest.mark.skipif(importlib.util.find_spec("wandb_workspaces") is None, reason="optional: pip install wandb-workspaces")
def test_the_real_api_accepts_the_report(folder):
    import wandb_workspaces.reports.v2 as api
    from wandb_workspaces.expr import expr_to_filters

    from bootlight.studies.results import read_study
    from bootlight.studies.tracker import Place, build_report

    report = build_report(api, read_study(folder), Place("me", "faces", "it's table1"))
    group, tags = expr_to_filters(report.blocks[1].runsets[0].filters).filters
    assert (group.key.name, group.value, tags.key.name, tags.value) == ("group", "it's table1", "tags", ["a"])
