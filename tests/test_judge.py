"""The judge: a discriminator trained once on the real images, cached by settings and images."""

import hashlib
import json

import pytest
import safetensors.torch
import torch
from few_digits import FewDigits, digits, equal, never, tensors, weights
from lightning.pytorch import Trainer

from bootlight.evaluation.networks.judge import load_judge, train_judge
from bootlight.evaluation.networks.trained_networks import reference_key, save_network
from bootlight.generators.dcgan import DCGAN
from bootlight.io.pictures import to_float

quiet = pytest.mark.filterwarnings(  # Lightning's own use of torch; whole batches need no workers
    "ignore:.*LeafSpec",
    "ignore:.*does not have many workers",
    "ignore:.*smaller than the logging interval",
    "ignore:GPU available",
)


def plain_trainer(folder):
    silent = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    return Trainer(max_epochs=1, accelerator="cpu", devices=1, default_root_dir=folder, **silent)


def judge(data, folder, trainer=never, **options):
    return train_judge(data, folder, trainer=trainer, **{"num_steps": 40, "width": 8, "batch_size": 32, **options})


@quiet
def test_judge_tells_digits_from_noise_and_is_trained_once(tmp_path):
    data = digits(real_fraction=0.5)
    made = []
    folder = tmp_path / "references"
    first = judge(data, folder, lambda: made.append(plain_trainer(tmp_path)) or made[-1])
    trained_weights = {name: value.clone() for name, value in first.state_dict().items()}
    real = to_float(tensors(data.real_images(data.holdout)))
    noise = torch.rand(real.shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        # Measured: 0.999 after 30 steps, 1.000 after 60; untrained networks give 0.2 to 0.94.
        assert (first(real)[:, None] > first(noise)).double().mean() > 0.98
    assert [trainer.global_step for trainer in made] == [40]

    torch.manual_seed(99)
    again = judge(digits(), folder)  # all real images, whatever real_fraction is
    assert equal(again.state_dict(), trained_weights) and not again.training
    (settings,) = folder.glob("judge-*.json")
    assert json.loads(settings.read_text()) == {
        "weights_sha256": hashlib.sha256(settings.with_suffix(".safetensors").read_bytes()).hexdigest(),
        "steps": 40,
        "width": 8,
        "batch": 32,
        "flip": False,
        "size": 8,
        "channels": 1,
    }
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".safetensors"]  # nothing else is left behind


@quiet
def test_judge_does_not_depend_on_earlier_randomness(tmp_path, monkeypatch):
    for name, seed in (("one", 1), ("two", 2)):
        monkeypatch.setenv("BOOTLIGHT_CACHE", str(tmp_path / f"cache {name}"))  # each trains its own
        torch.manual_seed(seed)
        judge(FewDigits(), tmp_path / name, lambda: plain_trainer(tmp_path), num_steps=2, width=4)
    assert equal(weights(tmp_path / "one"), weights(tmp_path / "two"))


def test_judge_with_other_settings_or_images_is_another(tmp_path):
    settings = {"steps": 40, "width": 8, "batch": 32, "flip": False, "size": 8, "channels": 1}
    file = tmp_path / f"judge-{reference_key(FewDigits(), **settings)}.safetensors"
    known = {name: value.contiguous() for name, value in DCGAN(8, 1, width=8).net_d.state_dict().items()}
    file.write_bytes(safetensors.torch.save(known))
    assert equal(judge(FewDigits(), tmp_path).state_dict(), known)
    options = [{"num_steps": 41}, {"width": 4}, {"batch_size": 16}]
    for data, option in [
        *((FewDigits(), option) for option in options),
        (FewDigits(flip=True), {}),
        (FewDigits(subset_seed=1), {}),
    ]:
        with pytest.raises(AssertionError, match="nothing is to be trained"):
            judge(data, tmp_path, **option)


def test_a_judge_of_images_that_are_no_squares_is_read_back(tmp_path):
    network = DCGAN([8, 16], 2, width=4).net_d.eval()
    file = tmp_path / "judge-1.safetensors"
    save_network(network, file, {"size": [8, 16], "channels": 2, "width": 4})
    judge = load_judge(file)
    images = torch.randint(0, 256, (3, 2, 8, 16), dtype=torch.uint8)
    assert judge.image_size == [8, 16]
    assert torch.equal(judge.logits(images).flatten(), network(to_float(images)))
