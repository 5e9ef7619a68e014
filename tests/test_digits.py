"""The handwritten digits."""

import numpy as np
import pytest

from bootlight.data.digits import Digits


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    data = Digits(num_steps=1)
    data.setup()
    store = data.real.store
    assert len(store.images) == 1797 and (len(data.real), len(data.holdout)) == (1438, 359)
    assert store.labels[:10].tolist() == list(range(10))  # the file begins with one digit of each
    assert store.class_names == tuple("0123456789")
    original = load_digits()
    # Halves occur (8 of 16 is 127.5), and go to the even neighbour in both.
    table = np.array([round(v * 255 / 16) for v in range(17)])
    assert np.array_equal(store.images[..., 0], table[original.images.astype(int)])
    assert np.array_equal(store.labels, original.target)


def test_digits_in_other_sizes_and_colours():
    small, large = Digits(num_steps=1), Digits(16, 3, num_steps=1)
    small.setup()
    large.setup()
    images = large.real.store.images
    assert images.shape == (1797, 16, 16, 3)
    assert (images == images[..., :1]).all()  # grey
    # Enlarging keeps the mean but for the border and the clipping of overshoot.
    assert images.mean() == pytest.approx(small.real.store.images.mean(), rel=0.05)
    assert np.array_equal(large.real.indices, small.real.indices)
