"""Small labelled data for tests of the networks that are trained on real images, and ways to compare weights."""

import numpy as np
import safetensors.torch
import torch

from bootlight.data.archive import Archive
from bootlight.data.datamodule import BootstrapData
from bootlight.data.digits import Digits
from bootlight.data.mixing import Source
from bootlight.data.origin import StoreOrigin
from bootlight.data.store import store_from_arrays


def FewDigits(change=lambda images, labels: (images, labels), **options):
    """The first hundred digits, or what is made of them; a tenth is held out."""
    store = Digits().load()[0]
    images, labels = change(store.images[:100].copy(), store.labels[:100].copy())
    data = BootstrapData(
        origin=StoreOrigin(store_from_arrays(images, labels, store.class_names), name="digits"), **{"num_steps": 1, **options}
    )
    data.setup()
    return data


def digits(**options):
    data = BootstrapData(origin=Digits(), holdout_fraction=0.2, num_steps=1, **options)
    data.setup()
    return data


def grey(count, generation=None, role=None):
    """Images of one pixel, real ones or those of a generation."""
    store = store_from_arrays(np.zeros((count, 1, 1, 1), np.uint8))
    return Source(role or ("real" if generation is None else "synthetic"), store, np.arange(count), generation)


class Drawn(Archive):
    """Grey real images, and so many drawn ones of each generation; notes what was opened."""

    def __init__(self, num_real, num_drawn, seed=3, subset_seed=0):
        real = grey(2 * num_real).take(np.arange(0, 2 * num_real, 2))  # every other image in use
        super().__init__(seed, subset_seed, real, real)
        object.__setattr__(self, "num_drawn", num_drawn)
        object.__setattr__(self, "opened", [])

    def drawn(self, generation, folder="samples"):
        self.opened.append(generation)
        return grey(self.num_drawn, generation)

    def origin(self, name):
        raise AssertionError("nobody asks")

    def teacher(self, text):
        return grey(self.num_drawn, role="teacher")


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
