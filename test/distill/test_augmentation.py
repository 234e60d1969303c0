"""Crops, flips, tilts and CutMix change image and label alike; batches repeat exactly."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('torch')

from depth_anything_ros.distill.batches import (  # noqa: E402, I100
    Batch, batches, change_appearance, crop_and_rotate, cutmix_box)
from depth_anything_ros.distill.dataset import LabelledImage  # noqa: E402
from depth_anything_ros.distill.job import Augmentation, NO_AUGMENTATION  # noqa: E402
from depth_anything_ros.errors import DepthAnythingError  # noqa: E402

CROP = (48, 64)
SHAPES = [(48, 64), (30, 40), (240, 320), (200, 90), (60, 400)]
GEOMETRY = Augmentation(0.3, 1.25, low_chance=0.3, flip_chance=0.0, tilt_chance=0.0,
                        cutmix_chance=0.0)


def encoded(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture whose green is its row and red its column, 0..200, and its label."""
    rows, columns = np.meshgrid(*(np.linspace(0, 200, side) for side in shape), indexing='ij')
    picture = np.stack([np.zeros(shape), rows, columns], -1).round().astype(np.uint8)
    return picture, label_of(picture)


def label_of(picture: np.ndarray) -> np.ndarray:
    """Return the label that a picture encodes."""
    return (picture[..., 1] + 2 * picture[..., 2].astype(np.float32)) / 10


def spans(part: np.ndarray) -> tuple[float, float]:
    """Return how many rows and columns, 0..200, a part without a turn shows."""
    rows, columns = part[..., 1].astype(float), part[..., 2].astype(float)
    return float(np.ptp(rows)), float(np.ptp(columns))


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('how', [
    NO_AUGMENTATION, GEOMETRY, replace(GEOMETRY, flip_chance=1.0),
    replace(GEOMETRY, tilt_chance=1.0), replace(GEOMETRY, flip_chance=0.5, tilt_chance=0.5)],
    ids=['unchanged', 'crop', 'flip', 'tilt', 'all'])
def test_label_and_picture_show_the_same_part(shape: tuple[int, int], how: Augmentation) -> None:
    picture, label = encoded(shape)
    for seed in range(5):
        part, part_label = crop_and_rotate(picture, label, CROP, how, np.random.default_rng(seed))
        assert part.shape == (*CROP, 3) and part_label.shape == CROP
        assert part.dtype == np.uint8 and part_label.dtype == np.float32
        # Of a picture that is made much smaller the mirrored edge is blurred, of its label not.
        inner = (slice(2, -2), slice(2, -2))
        apart = np.abs(label_of(part) - part_label)[inner]
        assert np.quantile(apart, 0.95) < 0.5 and apart.max() < 4


def test_a_picture_of_the_crops_shape_stays_as_it_is() -> None:
    picture, label = encoded(CROP)
    part, part_label = crop_and_rotate(picture, label, CROP, NO_AUGMENTATION,
                                       np.random.default_rng(0))
    assert np.array_equal(part, picture) and np.array_equal(part_label, label)


def test_a_larger_picture_is_only_resized() -> None:
    picture, label = encoded((144, 192))
    part, part_label = crop_and_rotate(picture, label, CROP, NO_AUGMENTATION,
                                       np.random.default_rng(0))
    assert np.abs(part.astype(int) - cv2.resize(picture, (64, 48)).astype(int)).max() <= 2
    np.testing.assert_allclose(part_label, cv2.resize(label, (64, 48)), atol=0.1)


@pytest.mark.parametrize('shape', SHAPES)
def test_without_change_the_largest_part_of_the_crops_shape_is_shown(
        shape: tuple[int, int]) -> None:
    picture, label = encoded(shape)
    part, _ = crop_and_rotate(picture, label, CROP, NO_AUGMENTATION, np.random.default_rng(3))
    fits = min(shape[0] / CROP[0], shape[1] / CROP[1])
    expected = [200 * fits * side / whole for side, whole in zip(CROP, shape)]
    assert spans(part) == pytest.approx(expected, rel=0.06)


def test_parts_keep_to_the_area_and_the_aspect() -> None:
    picture, label = encoded((300, 400))
    shares, ratios = [], []
    for seed in range(60):
        part, _ = crop_and_rotate(picture, label, CROP, GEOMETRY, np.random.default_rng(seed))
        height, width = spans(part)
        shares.append(height * width / 200 ** 2)
        ratios.append(height / width)
    assert 0.27 < min(shares) < 0.4 and 0.8 < max(shares) < 1.01
    assert 0.75 < min(ratios) < 0.9 and 1.1 < max(ratios) < 1.33


def test_a_flip_mirrors_and_a_tilt_turns() -> None:
    picture, label = encoded((96, 128))
    flipped, _ = crop_and_rotate(picture, label, CROP, replace(NO_AUGMENTATION, flip_chance=1.0),
                                 np.random.default_rng(0))
    plain, _ = crop_and_rotate(picture, label, CROP, NO_AUGMENTATION, np.random.default_rng(0))
    assert np.abs(flipped[:, ::-1].astype(int) - plain).max() <= 1
    angles = []
    for seed in range(20):
        how = replace(NO_AUGMENTATION, tilt_chance=1.0, tilt_deg=12.0)
        tilted, _ = crop_and_rotate(picture, label, CROP, how, np.random.default_rng(seed))
        across = np.diff(tilted[20:28, 28:36].astype(float), axis=1).mean((0, 1))
        angles.append(np.degrees(np.arctan2(across[1] / 200 * 96, across[2] / 200 * 128)))
    assert 8 < max(angles) < 13 and -13 < min(angles) < -8


def test_low_parts_show_the_lower_half() -> None:
    picture, label = encoded((300, 400))
    how = replace(GEOMETRY, area=0.1, low_chance=1.0)
    middles, anywhere = [], []
    for seed in range(40):
        for found, one in ((middles, how), (anywhere, replace(how, low_chance=0.0))):
            part, _ = crop_and_rotate(picture, label, CROP, one, np.random.default_rng(seed))
            found.append(part[24, :, 1].mean())
    assert min(middles) > 95 and min(anywhere) < 80


@pytest.mark.parametrize('name', ['jitter', 'grey', 'blur', 'motion', 'dark', 'noise'])
def test_each_change_of_appearance_changes_the_image(name: str) -> None:
    picture = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8), (0, 0), 1)
    how = replace(NO_AUGMENTATION, **{f'{name}_chance': 1.0})
    changed = change_appearance(picture, how, np.random.default_rng(1))
    assert changed.shape == picture.shape and changed.dtype == np.uint8
    assert not np.array_equal(changed, picture)
    unchanged = change_appearance(picture, NO_AUGMENTATION, np.random.default_rng(1))
    assert np.array_equal(unchanged, picture)
    seen = {
        'grey': np.ptp(changed, axis=2).max() == 0,
        'dark': (changed <= picture).all() and changed.mean() < picture.mean(),
        'blur': changed.astype(float).std() < 0.97 * picture.astype(float).std(),
        'motion': changed.astype(float).std() < 0.97 * picture.astype(float).std(),
        'noise': 1 < np.abs(changed.astype(float) - picture).mean() < 12,
        'jitter': not np.allclose(changed.mean((0, 1)), picture.mean((0, 1)), atol=2)}
    assert seen[name]


def test_cutmix_replaces_a_tenth_to_a_half_with_the_given_probability() -> None:
    generator = np.random.default_rng(0)
    shares = []
    for _ in range(300):
        rows, columns = cutmix_box(CROP, Augmentation(cutmix_chance=0.5), generator)
        assert 0 <= rows.start <= rows.stop <= 48 and 0 <= columns.start <= columns.stop <= 64
        shares.append((rows.stop - rows.start) * (columns.stop - columns.start) / (48 * 64))
    some = [share for share in shares if share]
    assert 120 < len(some) < 180
    assert min(some) > 0.08 and 0.4 < max(some) < 0.53


@pytest.fixture
def make_images(tmp_path: Path) -> Callable[[int], list[LabelledImage]]:
    """Return a function that writes pictures of one colour each, their number the label."""
    def make(count: int) -> list[LabelledImage]:
        found = []
        for index in range(count):
            one = LabelledImage(tmp_path / f'{index}.png', tmp_path / f'{index}.npy')
            cv2.imwrite(str(one.image), np.full((36, 50, 3), 10 * index, np.uint8))
            np.save(one.label, np.full((36, 50), index, np.float16))
            found.append(one)
        return found

    return make


def some_batches(images: Sequence[LabelledImage], count: int, size: int = 4,
                 how: Augmentation = NO_AUGMENTATION, seed: int = 0,
                 first: int = 0) -> list[Batch]:
    return list(islice(batches(images, size, (32, 32), how, seed, first), count))


def same(one: Batch, other: Batch) -> bool:
    return all(bool((getattr(one, name) == getattr(other, name)).all())
               for name in ('images', 'labels', 'pasted'))


def test_every_image_comes_once_per_epoch_in_another_order(
        make_images: Callable[[int], list[LabelledImage]]) -> None:
    found = [int(label[0, 0]) for batch in some_batches(make_images(10), 5)
             for label in batch.labels]
    assert sorted(found[:10]) == sorted(found[10:]) == list(range(10))
    assert found[:10] != found[10:] != list(range(10))


def test_cutmix_pastes_picture_and_label_in_the_same_place(
        make_images: Callable[[int], list[LabelledImage]]) -> None:
    how = replace(NO_AUGMENTATION, cutmix_chance=1.0)
    for batch in some_batches(make_images(8), 4, how=how):
        assert (batch.images[..., 0] == 10 * batch.labels).all()
        for number, (label, pasted) in enumerate(zip(batch.labels, batch.pasted)):
            own = batch.labels[number][~pasted].unique().tolist()
            others = batch.labels[(number + 1) % 4][~batch.pasted[(number + 1) % 4]].unique()
            assert len(own) == 1 and label[pasted].unique().tolist() == others.tolist()
            assert 0.05 < pasted.float().mean() < 0.55


def test_a_batch_depends_on_seed_and_step_alone(
        make_images: Callable[[int], list[LabelledImage]]) -> None:
    images, how = make_images(9), Augmentation()
    whole = some_batches(images, 6, how=how)
    later = some_batches(images, 3, how=how, first=3)
    assert all(same(*pair) for pair in zip(whole[3:], later))
    assert not same(whole[0], whole[1])
    assert not same(whole[0], some_batches(images, 1, how=how, seed=1)[0])


def test_one_image_alone_is_not_pasted_into_itself(
        make_images: Callable[[int], list[LabelledImage]]) -> None:
    how = replace(NO_AUGMENTATION, cutmix_chance=1.0)
    batch, = some_batches(make_images(1), 1, size=1, how=how)
    assert not batch.pasted.any()


@pytest.mark.parametrize('lost', ['image', 'label'])
def test_a_missing_file_is_named_when_its_batch_is_used(
        make_images: Callable[[int], list[LabelledImage]], lost: str) -> None:
    images = make_images(6)
    getattr(images[4], lost).unlink()
    with pytest.raises(DepthAnythingError, match=r'4\.(png|npy)'):
        some_batches(images, 2, size=3)
