"""Every choice of a training in one place: what a run can be repeated with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Augmentation:
    """
    How strongly images are changed; the ``_chance`` of each change is between 0 and 1.

    ``area`` is the smallest share of an image that a crop shows, unless its shape does not fit
    into the image at that size, ``aspect`` the largest ratio of the two scales, ``tilt_deg`` the
    largest roll of the camera; ``low_chance`` is that of a part from the lower half.
    """

    area: float = 0.3
    aspect: float = 1.25
    flip_chance: float = 0.5
    tilt_chance: float = 0.3
    tilt_deg: float = 12.0
    low_chance: float = 0.2
    jitter_chance: float = 0.8
    grey_chance: float = 0.1
    dark_chance: float = 0.15
    blur_chance: float = 0.3
    motion_chance: float = 0.15
    noise_chance: float = 0.2
    cutmix_chance: float = 0.5


# As the papers do it; and less of it, from which a student learns faster as long as it has seen
# little.
STRONG = Augmentation()
MEDIUM = Augmentation(
    tilt_chance=0.2, jitter_chance=0.7, grey_chance=0.05, dark_chance=0.08, blur_chance=0.2,
    motion_chance=0.08, noise_chance=0.12, cutmix_chance=0.0)
MILD = Augmentation(
    area=0.4, tilt_chance=0.15, jitter_chance=0.5, grey_chance=0.03, dark_chance=0.05,
    blur_chance=0.15, motion_chance=0.05, noise_chance=0.1, cutmix_chance=0.1)
# The largest part of a crop's shape that an image holds, as it is.
NO_AUGMENTATION = Augmentation(1.0, 1.0, **{
    name: 0.0 for name in Augmentation.__dataclass_fields__ if name.endswith('_chance')})


@dataclass(frozen=True)
class Recipe:
    """
    How a student learns.

    ``batch`` images per step, each a crop of ``crop_hw`` pixels; the learning rates of the
    pretrained encoder and of everything else rise for ``warmup`` steps and fall to 0 at step
    ``steps``. ``average`` is the decay of the averaged weights, ``drop_path`` the share of images
    for which the deepest residual branch of the encoder is left out. To the trimmed error of a map
    ``gradient_weight`` times that of its gradients is added, ``order_weight`` times that of its
    order, ``anchor_weight`` times that of the map as it is and ``alignment_weight`` times that of
    the tokens.
    """

    steps: int
    batch: int = 8
    crop_hw: tuple[int, int] = (192, 256)
    encoder_rate: float = 1e-4
    head_rate: float = 5e-4
    weight_decay: float = 0.02
    drop_path: float = 0.0
    warmup: int = 200
    average: float = 0.999
    gradient_norm: float = 5.0
    gradient_weight: float = 2.0
    order_weight: float = 2.0
    anchor_weight: float = 0.1
    alignment_weight: float = 0.0
    seed: int = 0
    augmentation: Augmentation = MILD
