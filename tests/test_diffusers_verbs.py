"""`bootlight export` and `bootlight import`, as a user calls them."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from tiny_pipelines import diffusers, pixel_pipeline
from tiny_runs import draw_pictures, options

from bootlight.errors import BootlightError
from bootlight.io.pictures import decode_stored

UNET = ["--model.network=bootlight.UNet2D", '--model.network.settings={"block_out_channels": [8, 16], "norm_num_groups": 4, '
        '"down_block_types": ["DownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "UpBlock2D"], '
        '"layers_per_block": 1, "attention_head_dim": 4}']  # fmt: skip
FEW = ["--model.sampler=bootlight.Ancestral", "--model.sampler.num_steps=2", "--model.ema_decay=0.9"]


def pictures_in(folder):
    return torch.stack([torch.tensor(decode_stored(file.read_bytes(), "")) for file in sorted(folder.glob("*.png"))])


def test_import_then_train_on_then_export(bootlight, tmp_path, capsys):
    pipeline = pixel_pipeline(tmp_path / "folder", block_out_channels=(8, 16), down_block_types=("DownBlock2D",) * 2,
                              up_block_types=("UpBlock2D",) * 2)  # fmt: skip
    bootlight("import", tmp_path / "folder", tmp_path / "base")
    assert "DDPMPipeline, 8 x 8, 3 channels, BetaSchedule, Epsilon, Ancestral" in capsys.readouterr().out
    described = json.loads((tmp_path / "base/gen_000/model.json").read_text())
    bootlight("sample", tmp_path / "base", "--seeds", "0-2", "--steps", "2", "--to", tmp_path / "drawn")
    assert pictures_in(tmp_path / "drawn").float().std() > 10

    run = tmp_path / "run"
    stages = [{"class_path": "bootlight.Train", "init_args": {"start_from": f"{tmp_path / 'base'}@0"}},
              {"class_path": "bootlight.Synthesize"}]  # fmt: skip
    more = options(draw_pictures(tmp_path / "real"), run, **{"bootstrap.stages": json.dumps(stages)})
    schedule = ["--model.schedule=bootlight.BetaSchedule", "--model.learning_rate=1e-3"]
    bootlight("fit", "--model=bootlight.Diffusion", *UNET, *FEW, *schedule, *more)
    trained = json.loads((run / "gen_000/model.json").read_text())
    assert trained["start_from"]["weights_sha256"] == described["weights_sha256"]

    bootlight("export", run, "--to", "diffusers", tmp_path / "exported")
    again = diffusers.DDPMPipeline.from_pretrained(str(tmp_path / "exported"))
    state, published = again.unet.state_dict(), load_file(run / "gen_000/model.safetensors")
    assert published.keys() == {f"net.unet.{name}" for name in state}
    assert all(torch.equal(value, published[f"net.unet.{name}"]) for name, value in state.items())
    moved = [not torch.equal(value, pipeline.unet.state_dict()[name]) for name, value in state.items()]
    assert all(moved)
    note = json.loads((tmp_path / "exported/bootlight.json").read_text())
    assert note["weights_sha256"] == trained["weights_sha256"]
    assert note["class_names"] is None  # the data have classes, and the model has none
    bootlight("import", tmp_path / "exported", tmp_path / "again")
    assert json.loads((tmp_path / "again/gen_000/model.json").read_text())["model"]["init_args"]["num_classes"] is None


def test_what_cannot_be_imported_is_refused_and_nothing_is_written(bootlight, tmp_path):
    folder = tmp_path / "folder"
    pixel_pipeline(folder)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")

    def refused(*args):
        with pytest.raises(BootlightError):
            bootlight("import", *args)
        assert not (tmp_path / "run").exists()

    refused(folder, tmp_path / "full")
    refused(tmp_path / "nowhere", tmp_path / "run")
    refused(folder, tmp_path / "run", "--image-size", "9")  # does not halve
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    refused(folder, tmp_path / "run")
    weights.unlink()
    (folder / "unet/diffusion_pytorch_model.bin").write_bytes(data)  # a pickle would be read by nobody
    refused(folder, tmp_path / "run")
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("DDPMPipeline", "StableCascadePipeline"))
    refused(folder, tmp_path / "run")


def test_without_diffusers_the_extra_is_named(monkeypatch):
    from bootlight.networks import peer

    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(peer, "import_module", absent)
    with pytest.raises(BootlightError, match=r"bootlight\[diffusers\]"):
        peer.peer("diffusers", "UNet2DModel")
    monkeypatch.setattr(peer, "import_module", lambda _: SimpleNamespace())  # an old one
    with pytest.raises(BootlightError, match=r"bootlight\[diffusers\]"):
        peer.peer("diffusers", "UNet2DModel")


def test_what_is_drawn_at_import_is_measured(bootlight, tmp_path, capsys):
    pixel_pipeline(tmp_path / "folder", num_class_embeds=2)
    bootlight("import", tmp_path / "folder", tmp_path / "base", "--draw", "12", "--steps", "2", "--batch-size", "5")
    rows = [json.loads(line) for line in (tmp_path / "base/gen_000/samples/metadata.jsonl").read_text().splitlines()]
    assert sorted(row["label"] for row in rows) == [0] * 6 + [1] * 6
    bootlight("sample", tmp_path / "base", "--seeds", rows[0]["seed"], "--label", rows[0]["label"], "--steps", "2",
              "--to", tmp_path / "again")  # fmt: skip
    again = (tmp_path / "again").glob("*.png")
    first = decode_stored((tmp_path / "base/gen_000/samples" / rows[0]["file_name"]).read_bytes(), "")
    # A batch of 1 and one of 5 round otherwise, by less than one step of 8 bits.
    assert abs(first.astype(int) - decode_stored(next(again).read_bytes(), "").astype(int)).max() <= 1
    capsys.readouterr()
    known = ["--features", "bootlight.PixelFeatures", "--metrics", "fd", "--json"]
    bootlight("evaluate", "--real", draw_pictures(tmp_path / "real"), "--synthetic", tmp_path / "base", *known)
    assert json.loads(capsys.readouterr().out)["scores"]
