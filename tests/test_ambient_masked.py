"""Masked ambient training: masks travel with their images, and what is learned where nothing is seen."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from bootlight import (
    DSM,
    X0,
    BootlightError,
    BootstrapData,
    Corrupted,
    Digits,
    ImageFiles,
    Masked,
    MaskedAmbient,
    NetworkDenoiser,
    PixelMask,
    SigmaSchedule,
    Source,
    StoreOrigin,
    ThroughMask,
    store_from_arrays,
)
from bootlight.batch import Batch
from bootlight.data.batches import StepDataset
from bootlight.data.opened import checked, whole
from bootlight.io.pictures import encode_png

RHO, SIGMA, COUNT = 0.8, 0.5, 60_000


class ByPattern(nn.Module):
    """Of two pixels, a linear map for each pattern of those that are seen: it can learn any posterior mean there is."""

    maps = torch.zeros(4, 2, 2, dtype=torch.float64)

    def forward(self, x, t, labels=None):
        flat = x.flatten(1)
        pattern = (flat != 0).long() @ torch.tensor([1, 2])
        return torch.einsum("bij,bj->bi", self.maps[pattern], flat).view_as(x)


def normal_pairs(shown):
    """Pairs of correlation RHO and variance 1, each pixel seen with that probability, as a batch of two-pixel images."""
    generator = torch.Generator().manual_seed(0)
    e = torch.randn(COUNT, 2, generator=generator, dtype=torch.float64)
    x = torch.stack([e[:, 0], RHO * e[:, 0] + math.sqrt(1 - RHO**2) * e[:, 1]], 1)
    mask = torch.rand(COUNT, 2, generator=generator) < shown
    shape = (COUNT, 1, 1, 2)
    return Batch((x * mask).view(shape), None, 1, 0, COUNT, mask=mask.view(shape))


def learned(objective, batch):
    """The minimiser of the loss, by a step of Newton's method, since it is quadratic; and the curvature of each entry."""
    network = ByPattern()
    denoiser, t = NetworkDenoiser(network, X0(), SigmaSchedule()), torch.full((COUNT,), SIGMA, dtype=torch.float64)

    def loss(maps):
        network.maps = maps.view(4, 2, 2)
        return objective(denoiser, batch, t)[0].mean()

    start = torch.zeros(16, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(start), start)
    curve = torch.autograd.functional.hessian(loss, start.detach())
    return -(torch.linalg.pinv(curve) @ slope).view(4, 2, 2), curve.diagonal().view(4, 2, 2)


def test_hidden_pixels_are_learned_from_what_is_hidden_further():
    """For each pattern the map is that of E[x0 | what is seen] of a normal pair with noise: S_seen (S + sigma^2)_seen^-1."""
    found, _ = learned(MaskedAmbient(share=0.3), normal_pairs(0.7))
    cov = torch.tensor([[1, RHO], [RHO, 1]], dtype=torch.float64)
    noisy = cov + SIGMA**2 * torch.eye(2)
    for seen in ([0], [1], [0, 1]):
        pattern = sum(2**i for i in seen)
        wanted = torch.zeros(2, 2, dtype=torch.float64)
        wanted[:, seen] = cov[:, seen] @ torch.linalg.inv(noisy[seen][:, seen])
        # Of 60,000 pairs 0.7^2 * 0.3 * 0.7, 6,000, show what a pattern of one pixel hides from the network; the residual's
        # deviation is below 0.9, so an entry is known to 0.012; six of them.
        torch.testing.assert_close(found[pattern], wanted, rtol=0, atol=0.07)
    assert (found[1][1, 0] > 0.5) and (found[2][0, 1] > 0.5)  # RHO / (1 + sigma^2) = 0.64


def test_without_hiding_more_nothing_is_learned_of_what_is_hidden():
    """The curvature of the loss is 0 there: the pixel that a pattern hides is never asked for."""
    objective = MaskedAmbient(share=0.3)
    objective.share = 0.0
    _, curve = learned(objective, normal_pairs(0.7))
    assert curve[1][1, 0] == 0 == curve[2][0, 1] and curve[1][0, 0] > 0 and (curve[3] > 0).all()


def test_the_loss_is_that_of_the_pixels_that_are_seen():
    data = normal_pairs(0.5)
    data = data._replace(images=data.images[:9], mask=data.mask[:9], total=9)
    data.mask[0], data.images[0] = False, 0  # one that shows nothing at all
    t, objective = torch.full((9,), SIGMA, dtype=torch.float64), MaskedAmbient(share=0.4)
    found = objective(NetworkDenoiser(Answer(), X0(), SigmaSchedule()), data, t)[0]
    apart = ((0.25 - data.images) ** 2 * data.mask).flatten(1).sum(1) / data.mask.flatten(1).sum(1).clamp(min=1)
    torch.testing.assert_close(found, apart / SIGMA**2)
    assert found[0] == 0


class Answer(nn.Module):
    def forward(self, x, t, labels=None):
        self.seen = x
        return torch.full_like(x, 0.25)


def test_the_network_sees_a_random_part_of_what_is_seen():
    network = Answer()
    data = Batch(torch.randn(400, 3, 8, 8), None, 4, 0, 400, mask=torch.rand(400, 1, 8, 8) < 0.5)
    MaskedAmbient(share=0.25, patch=2)(NetworkDenoiser(network, X0(), SigmaSchedule()), data, torch.ones(400))
    shown = (network.seen != 0).all(1, keepdim=True)
    assert torch.equal(shown, (network.seen != 0).any(1, keepdim=True)) and not (shown & ~data.mask).any()
    # 400 x 16 squares: a deviation of sqrt(0.1875 / 6400) = 0.0054; five of them.
    assert abs(float(shown[data.mask].float().mean()) - 0.75) < 0.03
    hidden, left = ((data.mask & ~shown).view(400, 1, 4, 2, 4, 2), shown.view(400, 1, 4, 2, 4, 2))
    assert not (hidden.any((3, 5)) & left.any((3, 5))).any()  # a square is hidden whole, or not at all


def test_without_masks_all_is_seen_and_dsm_is_the_limit():
    data, t = Batch(torch.randn(6, 1, 4, 4), None, 4, 0, 6), torch.linspace(0.2, 3, 6)
    objective = MaskedAmbient(share=0.5)
    objective.share = 0.0
    denoiser = NetworkDenoiser(Answer(), X0(), SigmaSchedule())
    wanted = DSM()(denoiser, data, t)[0] / t**2  # in x0, weighted as the error of the noise
    torch.testing.assert_close(objective(denoiser, data, t)[0], wanted)


def test_masks_travel_with_their_images_and_are_mirrored_with_them():
    good = Digits()
    data = BootstrapData(origin=Corrupted(good, PixelMask(0.4, patch=3), seed=2), num_steps=1, num_images=300)
    data.setup()
    plain = Source("synthetic", data.real.store, np.arange(5))
    for batch in StepDataset([data.real.take(np.arange(0, 100)), plain], 3, num_steps=4, batch_size=30, flip=True):
        assert batch.mask.dtype == torch.bool and batch.mask.shape == (30, 1, 8, 8)
        own = batch.sources == 0
        assert (batch.images[own] * ~batch.mask[own] == 0).all() and not batch.mask[own].all()
        assert (batch.images[own] != 0).eq(batch.mask[own]).all()  # no grey level is exactly 0 in [-1, 1]
        assert batch.mask[~own].all()
    assert StepDataset([plain], 3, 4, 2)[0].mask is None


def test_the_users_own_masks(tmp_path):
    rng = np.random.default_rng(0)
    pictures, masks = rng.integers(0, 256, (4, 6, 6, 3), dtype=np.uint8), rng.integers(0, 2, (4, 6, 6, 1), dtype=np.uint8) * 255
    for folder, images in (("images", pictures), ("masks", masks)):
        (tmp_path / folder).mkdir()
        for i, image in enumerate(images):
            (tmp_path / folder / f"{i}.png").write_bytes(encode_png(image))
    images, of = (ImageFiles(str(tmp_path / n), 6, c, cache=str(tmp_path / "c")) for n, c in (("images", 3), ("masks", 1)))
    source, _ = whole(Masked(images, of))
    np.testing.assert_array_equal(source.masks.images, masks // 255)
    np.testing.assert_allclose(source.store.images, (pictures / 127.5 - 1) * (masks // 255), atol=1e-6)
    with pytest.raises(BootlightError, match="size"):
        Masked(images, ImageFiles(str(tmp_path / "masks"), 5, 1))
    (tmp_path / "masks" / "2.png").unlink()
    few = ImageFiles(str(tmp_path / "masks") + "/", 6, 1, cache=str(tmp_path / "c"))
    with pytest.raises(BootlightError, match=r"1 of the 4 images .* no partner .*2\.png"):
        Masked(images, few).load()


def test_masks_of_another_size_are_refused():
    store = store_from_arrays(np.zeros((3, 4, 4, 1), np.uint8))
    wrong = Source("real", store, np.arange(3), masks=store_from_arrays(np.zeros((3, 4, 5, 1), np.uint8)))
    with pytest.raises(BootlightError, match="masks"):
        checked([wrong], StoreOrigin(store))


def test_drawing_through_a_mask():
    network = Answer()
    denoiser, through = NetworkDenoiser(network, X0(), SigmaSchedule()), ThroughMask(0.5, patch=2, seed=3)
    x, t = torch.randn(5, 2, 8, 7), torch.tensor([0.3, 0.5, 1, 2, 4])
    estimate = through(denoiser)(x, t)
    kept = through.kept(8, 7)
    assert torch.equal(network.seen, x * kept) and 0 < kept.mean() < 1 and set(kept.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(estimate.x0 + t.view(-1, 1, 1, 1) * estimate.epsilon, x)
    assert not torch.equal(kept, ThroughMask(0.5, patch=2, seed=4).kept(8, 7))


@pytest.mark.parametrize(("make", "share"), list(itertools.product([MaskedAmbient, ThroughMask], [1.0, -0.1])))
def test_shares_that_are_none(make, share):
    with pytest.raises(BootlightError, match="share"):
        make(share=share)
