"""A training step never asks the device for a number: a GPU would have to finish everything before it could answer."""

import pytest
import torch
from lightning.pytorch import Callback
from oracle import fit, random_batch, tiny_ddpm
from torch.utils._python_dispatch import TorchDispatchMode

from bootlight.diffusion.schedules import LinearSchedule
from bootlight.generators.dcgan import DCGAN

NUM_STEPS = 4
MODELS = {
    "ddpm": lambda: tiny_ddpm(gradient_clip=1.0, linear_decay=True, warmup_steps=1),
    "dcgan": lambda: DCGAN(8, 1, width=4, latent_dim=4),
}


class Asked(TorchDispatchMode):
    """Collects the operations that bring a number to Python."""

    def __init__(self):
        super().__init__()
        self.found, self.seen = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen += 1
        if func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.is_nonzero, torch.ops.aten.item):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


class Watch(Callback):
    """Looks at the steps between the first, in which tables are made, and the last, after which the loop logs."""

    def __init__(self, device):
        self.device, self.asked = device, Asked()

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if 0 < batch_idx < NUM_STEPS - 1:
            if self.device == "cuda":
                torch.cuda.set_sync_debug_mode("error")
            self.asked.__enter__()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if 0 < batch_idx < NUM_STEPS - 1:
            self.asked.__exit__(None, None, None)
            if self.device == "cuda":
                torch.cuda.set_sync_debug_mode("default")


def train(model, watch):
    fit(model, [random_batch(seed=k) for k in range(NUM_STEPS)], accelerator=watch.device, devices=1, callbacks=[watch])
    return watch.asked


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"))],
)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_step_asks_for_no_number(model, device):
    asked = train(model(), Watch(device))
    assert asked.found == []
    assert asked.seen > 100  # it has watched


def test_a_question_would_be_noticed(monkeypatch):
    model = MODELS["ddpm"]()
    losses = model.losses

    def asking(batch):
        found = losses(batch)
        found[0].mean().item()
        return found

    monkeypatch.setattr(model, "losses", asking)
    assert len(train(model, Watch("cpu")).found) == NUM_STEPS - 2


def test_a_table_goes_to_a_device_once(monkeypatch):
    schedule, t = LinearSchedule(100), torch.tensor([0, 7, 99])
    moved = []
    to = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *args, **kwargs: moved.append(len(self)) or to(self, *args, **kwargs))
    first, second = schedule.level(t), schedule.level(t.flip(0))
    assert moved == [100, 100]  # signal and noise
    assert first.signal.flatten().tolist() == second.signal.flatten().tolist()[::-1] == [
        pytest.approx(schedule.alphas_cumprod[i].sqrt().item(), rel=6e-8) for i in (0, 7, 99)
    ]  # fmt: skip
