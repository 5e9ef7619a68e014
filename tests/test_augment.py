"""Augmentations are functions of counters, do what their papers say, and agree with torchvision's."""

import math
import warnings
from functools import partial

import pytest
import torch
from torchvision.transforms import v2

from bootlight import BootlightError, CutMix, GaussianJitter, RandAugment, RandomCrop, RandomErasing, RandomFlip
from bootlight.batch import Batch
from bootlight.classifiers.augment import augmented
from bootlight.classifiers.randaugment import BINS, OPERATIONS
from bootlight.io.pictures import to_float

SHAPE = (3, 16, 12)


def pictures(count, shape=SHAPE):
    generator = torch.Generator().manual_seed(count)
    return to_float(torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator))


def batch(images, seed=5, start=0, total=None):
    labels = torch.arange(len(images)) % 3
    return Batch(images, labels, seed, start, total or len(images))


def one_hot(images):
    return torch.nn.functional.one_hot(torch.arange(len(images)) % 3, 3).float()


def said(**values):
    """Numbers of one's own choice in the place of random ones."""
    return lambda name, *shape: values[name].reshape(-1, *shape)


ALONE = [RandomFlip(), RandomCrop(2), RandomCrop(2, "reflect"), RandomErasing(1.0), GaussianJitter(), RandAugment()]


@pytest.mark.parametrize("augmentation", ALONE, ids=lambda a: type(a).__name__)
def test_an_image_is_augmented_by_its_place_in_the_step_alone(augmentation):
    images = pictures(12)
    whole, _ = augmented(batch(images), [augmentation], one_hot(images), "weak")
    again, _ = augmented(batch(images), [augmentation], one_hot(images), "weak")
    later = batch(images[8:], start=8, total=12)  # as the last rank of three sees it
    part, _ = augmented(later, [augmentation], one_hot(images[8:]), "weak")
    assert torch.equal(whole, again) and torch.equal(whole[8:], part) and not torch.equal(whole, images)
    other, _ = augmented(batch(images), [augmentation], one_hot(images), "strong")
    next_step, _ = augmented(batch(images, seed=6), [augmentation], one_hot(images), "weak")
    assert not torch.equal(other, whole) and not torch.equal(next_step, whole)
    assert torch.equal(images, pictures(12))  # nothing was changed in place
    before = torch.get_rng_state()
    augmented(batch(images), [augmentation], one_hot(images), "weak")
    assert torch.equal(before, torch.get_rng_state())


def test_a_crop_is_the_part_that_the_numbers_say():
    image = torch.arange(6.0).reshape(1, 1, 2, 3)
    # u = 0 is the upper left corner of the border, u close to 1 the lower right one: five starts for a border of 2.
    corner = RandomCrop(2).images(image, said(crop=torch.tensor([[0.0, 0.0]])))
    assert (corner == -1).all()
    still = RandomCrop(2).images(image, said(crop=torch.tensor([[0.5, 0.5]])))
    assert torch.equal(still, image)
    down = RandomCrop(1).images(image, said(crop=torch.tensor([[0.999, 0.4]])))
    assert down[0, 0].tolist() == [[3, 4, 5], [-1, -1, -1]]
    mirrored = RandomCrop(1, "reflect").images(image, said(crop=torch.tensor([[0.999, 0.4]])))
    assert mirrored[0, 0].tolist() == [[3, 4, 5], [0, 1, 2]]
    for wrong in (partial(RandomCrop, -1), partial(RandomCrop, 1, "wrap"), partial(RandomFlip, 2.0), partial(CutMix, 0.0)):
        with pytest.raises(BootlightError):
            wrong()
    with pytest.raises(BootlightError, match="reflected"):
        RandomCrop(2, "reflect").images(image, said(crop=torch.tensor([[0.5, 0.5]])))


def test_erased_areas_are_those_of_torchvision():
    count, shape = 3000, (1, 32, 32)
    ones = torch.ones(count, *shape)
    ours, _ = augmented(batch(ones), [RandomErasing(1.0)], one_hot(ones), "weak")
    torch.manual_seed(0)
    theirs = torch.stack([v2.RandomErasing(1.0)(image) for image in ones])
    areas = [(images == 0).flatten(1).float().mean(1) for images in (ours, theirs)]
    # Means of 3,000 areas of deviation 0.09 each: five standard errors of their difference are 0.012.
    assert areas[0].mean().item() == pytest.approx(areas[1].mean().item(), abs=0.012)
    assert areas[0].std().item() == pytest.approx(areas[1].std().item(), abs=0.01)
    never, _ = augmented(batch(ones), [RandomErasing(0.0)], one_hot(ones), "weak")
    assert torch.equal(never, ones)


NAMES = [
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness"),
    *("Color", "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
]


@pytest.mark.parametrize("number", range(len(OPERATIONS)), ids=NAMES)
@pytest.mark.parametrize("magnitude", [0, 9, 30])
def test_each_operation_is_torchvisions(number, magnitude):
    theirs = v2.RandAugment(1, magnitude)
    values, signed = theirs._AUGMENTATION_SPACE[NAMES[number]]
    assert signed == OPERATIONS[number][1]
    table = values(BINS, 16, 12)
    images = ((pictures(2) + 1) * 127.5).round().to(torch.uint8)
    for sign in (1, -1) if signed else (1,):
        strength = 0.0 if table is None else sign * float(table[magnitude])
        wanted = theirs._apply_image_or_video_transform(images, NAMES[number], strength, v2.InterpolationMode.NEAREST, {})
        found = OPERATIONS[number][0](images, sign * magnitude / (BINS - 1))
        # Strengths of theirs are float32: a number may be rounded to the next one.
        assert (found.int() - wanted.int()).abs().max() <= 1 and (found != wanted).float().mean() < 0.01


def test_randaugment_chooses_all_operations_alike_and_takes_pictures_only():
    chosen = torch.linspace(0, 1, 14001)[:-1]
    images = pictures(14000, (1, 1, 1)) * 0.5
    u = torch.stack([chosen, torch.full_like(chosen, 0.2)], 1)
    found = RandAugment(1).images(images, said(randaugment=u))
    assert torch.equal(found[:1000], images[:1000].mul(127.5).add(127.5).round().div(127.5).sub(1))  # the first is identity
    with pytest.raises(BootlightError, match="pictures"):
        RandAugment().images(3 * images, said(randaugment=u))
    assert torch.equal(RandAugment(0).images(pictures(3), lambda name, *shape: torch.zeros(3, *shape)), pictures(3))


def test_cutmix_mixes_labels_by_the_area_of_the_box():
    count = 400
    images = torch.arange(float(count)).view(-1, 1, 1, 1).expand(-1, 1, 64, 48).contiguous()
    targets = torch.eye(count)
    mixed, soft = augmented(batch(images), [CutMix(1.0, 1.0)], targets, "weak")
    own = (mixed == images).flatten(1).float().mean(1)
    assert torch.allclose(soft.diagonal(), own, atol=1e-6) and torch.allclose(soft.sum(1), torch.ones(count))
    assert torch.allclose(soft[torch.arange(count), torch.arange(count) - 1], 1 - own, atol=1e-6)
    # An edge e leaves e (1 - e / 4) inside, on the mean over its middle; e^2 is uniform with alpha = 1, so that the mean of the
    # area is 1/2 - 1/5 + 1/48 = 0.321. Whole pixels take up to 1/64 + 1/48 of an edge; five standard errors are 0.055.
    assert 0.679 - 0.055 < own.mean().item() < 0.679 + 0.055 + 0.03 and own.min() < 0.35 and own.max() > 0.97
    without = targets.clone()
    without[7] = 0  # no label: neither gives nor takes
    mixed, soft = augmented(batch(images), [CutMix(1.0, 1.0)], without, "weak")
    assert torch.equal(mixed[7], images[7]) and torch.equal(mixed[8], images[8]) and torch.equal(soft[8], targets[8])


def test_jitter_has_its_deviation():
    points = torch.zeros(20000, 2, 1, 1)
    found, _ = augmented(batch(points), [GaussianJitter(0.3)], one_hot(points), "weak")
    assert found.std().item() == pytest.approx(0.3, rel=5 / math.sqrt(2 * 40000))  # five standard errors of a deviation
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(augmented(batch(points), [], one_hot(points), "weak")[0], points)
