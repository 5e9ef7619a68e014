"""Runs are compared as they were made: real images, size, split and network come from what they keep."""

import json

import numpy as np
import pytest
import torch
import yaml
from tiny_runs import draw_pictures

from bootlight.data.roots import load_roots
from bootlight.errors import BootlightError
from bootlight.evaluation.comparing.run_setting import data_of, network_of, open_data, read_run, run_of, runs_of
from bootlight.evaluation.comparing.runs_agree import check_agree
from bootlight.evaluation.networks.learned_features import LearnedFeatures
from bootlight.evaluation.sets.real_images import describe_images
from bootlight.evaluation.suite import measure_all
from bootlight.io.atomic import write_json
from bootlight.io.pictures import decode_whole, encode_png
from bootlight.metrics.features.features import PixelFeatures
from bootlight.runs.folder import RunFolder
from bootlight.runs.manifest import write_metadata

FEATURES = {"class_path": "bootlight.PixelFeatures", "init_args": {"size": 2, "channels": 3}}
DATA = {"image_size": 8, "batch_size": 4, "num_steps": 3, "holdout_fraction": 0.25, "subset_seed": 0}


def make_run(folder, data, features=FEATURES, count=12, generations=1, seed=0, shape=(8, 8, 3)):
    """The folder of a run as `fit` leaves it, with pictures of noise."""
    run = RunFolder(folder)
    run.references.mkdir(parents=True)
    config = {"data": {"class_path": "bootlight.BootstrapData", "init_args": data}, "evaluation": {"features": features}}
    run.config.write_text(yaml.safe_dump(config))
    rng = np.random.default_rng(seed)
    for number in range(generations):
        generation, rows = run.generation(number), []
        for i in range(count):
            file = generation.sample_file(i)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode_png(rng.integers(0, 256, shape, dtype=np.uint8)))
            rows.append({"file_name": str(file.relative_to(generation.samples)), "label": None, "seed": 100 * number + i})
        write_metadata(generation, rows)
    return run


def note(run, cache):
    """What `fit` notes of its real images."""
    data = data_of(read_run(run), cache=cache)
    data.setup()
    write_json(run.real_images, describe_images(data))


@pytest.fixture
def pictures(tmp_path):
    return draw_pictures(tmp_path / "pictures", 48)


@pytest.fixture
def runs(tmp_path, pictures, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOOTLIGHT_CACHE", str(tmp_path / "cache"))
    for seed, name in enumerate("ab"):
        note(make_run(tmp_path / name, DATA | {"root": "pictures"}, generations=2, seed=seed), tmp_path / "cache")
    return tmp_path


def test_runs_need_no_options(runs, bootlight, capsys):
    bootlight("compare", "a", "b", "--json", "--metrics=fd,precision-recall")
    answer = json.loads(capsys.readouterr().out)
    assert "36 to train on and 12 held out; 8 x 8 RGB, features pixels" in answer["taken"]
    assert [(one["name"], one["n"]) for one in answer["references"]] == [("train", 36), ("holdout", 12)]
    names = {row["score"]: row for row in answer["differences"]}
    kinds = [f"{kind}-k{k}/train" for k in (3, 5) for kind in ("precision", "recall")]
    assert set(names) == {"fd-pixels/train", "fd-pixels/holdout", *kinds}  # distances alone against few held-out images
    assert all(row["paired"] for row in names.values())
    data = open_data(read_run(RunFolder(runs / "a")), cache=runs / "cache")
    network = PixelFeatures(2)

    def features(images):
        return {"features": network(np_to_tensor(images))}

    drawn = features(np.stack([decoded(runs / "a" / "gen_001", i) for i in range(12)]))
    for which, source in (("train", data.available), ("holdout", data.holdout)):
        (score,) = measure_all(["fd"], network, real=features(data.real_images(source)), synthetic=drawn).values()
        assert names[f"fd-pixels/{which}"]["first_score"]["value"] == pytest.approx(score.value, rel=1e-9)
    bootlight("compare", "a@0", "a@1", "--metrics=fd")
    text = capsys.readouterr().out
    assert "train    pictures, to train on" in text and "fd-pixels/holdout" in text and "taken    from a: " in text
    assert len([line for line in text.splitlines() if line.startswith("! ")]) <= 4  # three remarks, and how many more


def np_to_tensor(images):
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def decoded(generation, i):
    return decode_whole((generation / "samples" / f"00000/{i:06d}.png").read_bytes(), "")


def test_a_run_and_a_folder_are_compared_as_the_run_was_made(runs, bootlight, capsys):
    wider = runs / "wider"
    wider.mkdir()
    for i in range(12):
        (wider / f"{i}.png").write_bytes(encode_png(np.pad(decoded(runs / "b" / "gen_001", i), ((0, 0), (2, 2), (0, 0)))))
    bootlight("compare", "a@1", "wider", "b@1", "--metrics=fd", "--json")
    found = json.loads(capsys.readouterr().out)["differences"]
    of = {(row["second"], row["score"]): row["second_score"]["value"] for row in found}
    assert len(of) == 4  # cut to the size of the run they are the pictures that the other one has
    for which in ("train", "holdout"):
        assert of["wider", f"fd-pixels/{which}"] == pytest.approx(of["b@1", f"fd-pixels/{which}"], rel=1e-6)


def test_options_win(runs, bootlight, capsys):
    bootlight(
        "compare", "a", "b", "--real=pictures/a", "--metrics=fd", "--features=bootlight.PixelFeatures", "--features.size=1"
    )
    text = capsys.readouterr().out
    assert "real     pictures/a (24 images)" in text and "8 x 8 RGB, features pixels" in text and "holdout" not in text
    bootlight("compare", "a", "b", "--image-size=4", "--metrics=fd", "--json")
    answer = json.loads(capsys.readouterr().out)
    assert "36 to train on and 12 held out; 4 x 4 RGB" in answer["taken"]


@pytest.mark.parametrize(
    ("change", "option"),
    [
        ({"image_size": 4}, "--image-size"),
        ({"image_size": [8, 4]}, "--image-size"),
        ({"channels": 1}, "--real"),
        ({"root": "pictures/a"}, "--real"),
        ({"num_images": 40}, "--real"),
        ({"holdout_fraction": 0.5}, "--real"),
        ({"subset_seed": 1}, "--real"),
        ({"features": {"class_path": "bootlight.PixelFeatures", "init_args": {"size": 4, "channels": 3}}}, "--features"),
        ({"features": None}, "--features"),
    ],
)
def test_runs_that_differ_name_both_values_and_the_option(runs, change, option):
    features = change.get("features", FEATURES)
    other = make_run(runs / "c", DATA | {"root": "pictures"} | {k: v for k, v in change.items() if k != "features"}, features)
    note(other, runs / "cache")
    settings = runs_of(["a", "c"])
    with pytest.raises(BootlightError, match=option) as found:
        check_agree(settings, real=False, size=False, features=False)
    key = next(iter(change))
    assert "a was made with" in str(found.value) and key in str(found.value)
    given = {"--real": "real", "--image-size": "size", "--features": "features"}[option]
    if key != "channels":  # which no option has
        check_agree(settings, **{name: name == given for name in ("real", "size", "features")})


def test_runs_are_alike_by_the_content_of_their_images(runs, pictures):
    """Another spelling of the size and another place make no other run; other images in the same place do."""
    pictures.rename(runs / "moved")
    other = make_run(runs / "c", DATA | {"root": "moved", "image_size": [8, 8], "channels": 3})
    note(other, runs / "cache")
    check_agree(runs_of(["a", "c"]), real=False, size=False, features=False)
    (runs / "moved").rename(pictures)
    load_roots.cache_clear()  # of this process
    next(pictures.rglob("*.png")).unlink()
    changed = make_run(runs / "d", DATA | {"root": "pictures"})
    note(changed, runs / "cache")
    with pytest.raises(BootlightError, match="--real"):
        check_agree(runs_of(["a", "d"]), real=False, size=False, features=False)


def test_images_that_moved_or_changed_are_told(runs, pictures, bootlight):
    pictures.rename(runs / "moved")
    load_roots.cache_clear()  # of this process
    with pytest.raises(BootlightError, match=r"pictures does not exist.*--real"):
        bootlight("compare", "a", "b")
    (runs / "moved").rename(pictures)
    load_roots.cache_clear()
    next(pictures.rglob("*.png")).write_bytes(encode_png(np.zeros((8, 8, 3), np.uint8)))
    with pytest.raises(BootlightError, match=r"does not hold the real images that a was begun with.*--real"):
        bootlight("compare", "a", "b")


def test_code_of_others_is_not_run_unless_it_is_trusted(runs, bootlight, monkeypatch):
    for name in ("c", "d"):
        make_run(runs / name, DATA | {"root": "pictures"}, {"class_path": "test_compare_runs.Loud", "init_args": {}})
    with pytest.raises(BootlightError, match=r"--trust test_compare_runs\.Loud"):
        bootlight("compare", "c", "d")
    Loud.made = 0
    bootlight("compare", "c", "d", "--trust=[test_compare_runs.Loud]", "--metrics=fd")
    assert Loud.made == 1


class Loud(PixelFeatures):
    """A network that is nobody's."""

    made = 0

    def __init__(self) -> None:
        super().__init__(2)
        Loud.made += 1


def test_the_default_network_is_trained_on_their_own_images(runs, bootlight, capsys, monkeypatch):
    seen = []

    def fit_real(self, real, folder, device):
        seen.append(
            (len(real), None if real.held_out is None else len(real.held_out), sorted(f.name for f in folder.iterdir()))
        )

    monkeypatch.setattr(LearnedFeatures, "fit_real", fit_real)
    monkeypatch.setattr(LearnedFeatures, "forward", lambda self, images: PixelFeatures(2)(images))
    for name in "cd":
        note(make_run(runs / name, DATA | {"root": "pictures"}, None), runs / "cache")
    for name in ("learned-1.safetensors", "learned-1.json", "judge-2.safetensors"):
        (runs / "c" / "references" / name).write_bytes(b"")
    bootlight("compare", "c", "d", "--metrics=fd")
    assert seen == [(36, 12, ["learned-1.json", "learned-1.safetensors", "real_images.json"])]
    assert "fd-learned/train" in capsys.readouterr().out


def test_numbers_have_a_default_network_of_their_own(runs):
    run = make_run(runs / "c", DATA | {"root": "pictures"}, None)
    assert isinstance(network_of(read_run(run), ())(), LearnedFeatures)
    write_json(run.generation(0).model_config, {"dtype": "float32"})
    assert isinstance(network_of(read_run(run), ())(), PixelFeatures)


def test_runs_that_cannot_be_read_are_told(runs, bootlight):
    with pytest.raises(BootlightError, match="--real is missing"):
        bootlight("compare", "pictures/a", "pictures/b")
    empty = make_run(runs / "empty", DATA | {"root": "pictures"}, generations=0)
    with pytest.raises(BootlightError, match="empty: no generation has all of its images"):
        bootlight("compare", "a", "empty")
    empty.config.write_text("[")
    with pytest.raises(BootlightError, match="damaged"):
        read_run(empty)
    empty.config.write_text("data: 3")
    with pytest.raises(BootlightError, match="--real"):
        read_run(empty)
    with pytest.raises(BootlightError, match="no generation 7"):
        bootlight("compare", "a@0", "b@7")
    with pytest.raises(BootlightError, match="there does not exist"):
        bootlight("compare", "a", "there")


@pytest.mark.parametrize("text", ["a", "a@0", "./a", "a/gen_001", "a/gen_001/samples"])
def test_a_run_is_known_by_any_of_its_names(runs, text):
    assert run_of(text).path.resolve() == (runs / "a").resolve()


def test_a_run_is_known_from_inside(runs, monkeypatch):
    assert run_of("pictures") is None and run_of("pictures@test") is None
    monkeypatch.chdir(runs / "a" / "gen_001")
    assert run_of(".").path.resolve() == (runs / "a").resolve() == run_of("..").path.resolve()


def test_images_of_an_origin_and_numbers(runs, bootlight, capsys):
    """An origin has its own size; a run of grey digits is compared as grey."""
    data = DATA | {"origin": {"class_path": "bootlight.Digits"}}
    del data["image_size"]
    features = {"class_path": "bootlight.PixelFeatures", "init_args": {"size": 2, "channels": 1}}
    for seed, name in enumerate("de"):
        note(make_run(runs / name, data, features, seed=seed, shape=(8, 8, 1)), runs / "cache")
    bootlight("compare", "d", "e", "--metrics=fd")
    text = capsys.readouterr().out
    assert "1,348 to train on and 449 held out; 8 x 8 grey" in text
    with pytest.raises(BootlightError, match="--real"):
        bootlight("compare", "d", "e", "--image-size=4")
