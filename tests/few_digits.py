"""Small labelled data for tests of the networks that are trained on real images, and ways to compare weights."""

import safetensors.torch
import torch

from bootlight.data.datamodule import BootstrapData
from bootlight.data.digits import Digits
from bootlight.data.store import store_from_arrays


class FewDigits(BootstrapData):
    """The first hundred digits, or what is made of them; a tenth is held out."""

    def __init__(self, change=lambda images, labels: (images, labels), **options):
        super().__init__("digits", 8, 1, **{"num_steps": 1, **options})
        self.change = change
        self.setup()

    def load_real(self):
        store = digits().real.store
        images, labels = self.change(store.images[:100].copy(), store.labels[:100].copy())
        return store_from_arrays(images, labels, store.class_names), None


def digits(**options):
    data = Digits(num_steps=1, **options)
    data.setup()
    return data


def tensors(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def weights(folder):
    """The one file of weights in a folder."""
    (file,) = folder.glob("*.safetensors")
    return safetensors.torch.load_file(file)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def never(*_, **__):
    raise AssertionError("nothing is to be trained")
