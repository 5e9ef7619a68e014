"""The handwritten digits."""

import numpy as np
import pytest
from few_digits import digits

from bootlight.data.digits import Digits


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    data = digits()
    store = data.real.store
    assert len(store.images) == 1797 and (len(data.real), len(data.holdout)) == (1438, 359)
    assert (data.image_shape, data.image_size, data.channels) == ((1, 8, 8), 8, 1)
    assert store.labels[:10].tolist() == list(range(10))  # the file begins with one digit of each
    assert store.class_names == tuple("0123456789")
    original = load_digits()
    # Halves occur (8 of 16 is 127.5), and go to the even neighbour in both.
    table = np.array([round(v * 255 / 16) for v in range(17)])
    assert np.array_equal(store.images[..., 0], table[original.images.astype(int)])
    assert np.array_equal(store.labels, original.target)


def test_digits_in_other_sizes_and_colours():
    small, images = (origin.load()[0].images for origin in (Digits(), Digits([16, 12], 3)))
    assert images.shape == (1797, 16, 12, 3) and Digits([16, 12], 3).shape == (3, 16, 12)
    assert (images == images[..., :1]).all()  # grey
    # Enlarging keeps the mean but for the border and the clipping of overshoot.
    assert images.mean() == pytest.approx(small.mean(), rel=0.05)
