"""Augmentation as Keras layers, for float32 grey levels 0 to 255; active during training only.

Rotation, scaling, shifting and flipping are one affine transform with one interpolation: in a chain of Keras's
own layers each would interpolate again, and a fracture line is 1 to 3 pixels wide.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from fracture_edge.errors import FractureEdgeError
from train.data.scanners import ScannerVariation


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Limits of the random augmentation of training images. With all at their defaults there is none.

    Attributes:
        rotation: Largest angle in degrees, in either direction.
        scale: Largest change of size; 0.2 samples factors between 1/1.2 and 1.2.
        shift: Largest shift as a share of the side.
        flip_horizontal: Whether half of the images are flipped left to right.
        flip_vertical: Whether half of the images are flipped upside down.
        contrast: Largest change of contrast about the image's mean; 0.2 samples factors between 1/1.2 and 1.2.
        brightness: Largest shift of all grey levels, as a share of 255.
        gamma: Largest change of gamma; 0.2 samples exponents between 1/1.2 and 1.2.
        noise: Largest standard deviation of white noise, as a share of 255; sampled for each image.
        scanner: Share of images that are changed as by another scanner or archive (`train.data.scanners`).
        local: Share of images that are covered or cut so that the label follows the fracture
            (`train.data.local_evidence`); needs boxes around fractures.
        mixup: Alpha of MixUp (Zhang et al., ICLR 2018): images and labels of a batch are blended in pairs, with a
            weight sampled from Beta(alpha, alpha).
        cutmix: Alpha of CutMix (Yun et al., ICCV 2019), at most 1: a rectangle comes from another image, the label
            follows in proportion to its area. With both, one of the two is chosen at random for each batch.
    """

    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    contrast: float = 0.0
    brightness: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0
    scanner: float = 0.0
    local: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value < 0:
                raise FractureEdgeError(f"augmentation.{name} must not be negative")
        for name in ("scanner", "local", "cutmix"):
            if getattr(self, name) > 1:
                raise FractureEdgeError(f"augmentation.{name} must not be above 1")


class _RandomLayer(keras.layers.Layer):
    """Base of layers that sample one number per image during training and otherwise return images unchanged."""

    def __init__(self, augmentation: Augmentation, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.augmentation = augmentation
        self.seeds = keras.random.SeedGenerator(seed)

    def _between(self, count: Any, low: float, high: float) -> Any:
        return keras.random.uniform((count,), low, high, seed=self.seeds)

    def _factor(self, count: Any, change: float) -> Any:
        """Sample factors log-uniformly between 1 / (1 + change) and 1 + change."""
        limit = math.log(1.0 + change)
        return ops.exp(self._between(count, -limit, limit))

    def _sign(self, count: Any, *, active: bool) -> Any:
        if not active:
            return ops.ones((count,))
        return ops.where(self._between(count, 0.0, 1.0) < 0.5, -1.0, 1.0)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class RandomAffine(_RandomLayer):
    """Random rotation, scaling, shift and flips in one bilinear resampling; outside the image is black."""

    def call(self, images: Any, training: bool = False) -> Any:
        """Transform images, float32 [N, H, W, channels], with the same transform for all channels."""
        if not training:
            return images
        limits = self.augmentation
        count, height, width = ops.shape(images)[0], images.shape[1], images.shape[2]
        radians = math.radians(limits.rotation)
        angle = self._between(count, -radians, radians)
        zoom = 1.0 / self._factor(count, limits.scale)
        flip_x = self._sign(count, active=limits.flip_horizontal)
        flip_y = self._sign(count, active=limits.flip_vertical)
        # From output to input coordinates, about the centre: input = A (output - centre - shift) + centre.
        a, b = zoom * ops.cos(angle) * flip_x, -zoom * ops.sin(angle) * flip_y
        c, d = zoom * ops.sin(angle) * flip_x, zoom * ops.cos(angle) * flip_y
        centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
        from_x = centre_x + self._between(count, -limits.shift * width, limits.shift * width)
        from_y = centre_y + self._between(count, -limits.shift * height, limits.shift * height)
        zero = ops.zeros_like(a)
        transform = ops.stack(
            [a, b, centre_x - a * from_x - b * from_y, c, d, centre_y - c * from_x - d * from_y, zero, zero],
            axis=1,
        )
        return ops.image.affine_transform(
            images, transform, interpolation="bilinear", fill_mode="constant", fill_value=0.0
        )


class RandomGreyLevels(_RandomLayer):
    """Random gamma, contrast, brightness and noise; the result is clipped to 0 to 255."""

    def call(self, images: Any, training: bool = False) -> Any:
        """Transform images, float32 [N, H, W, 1]."""
        if not training:
            return images
        limits = self.augmentation
        count = ops.shape(images)[0]

        def per_image(values: Any) -> Any:
            return ops.reshape(values, (-1, 1, 1, 1))

        gamma = per_image(self._factor(count, limits.gamma))
        contrast = per_image(self._factor(count, limits.contrast))
        shift = per_image(self._between(count, -255.0 * limits.brightness, 255.0 * limits.brightness))
        levels = 255.0 * ops.power(ops.clip(images, 0.0, 255.0) / 255.0, gamma)
        mean = ops.mean(levels, axis=(1, 2, 3), keepdims=True)
        levels = (levels - mean) * contrast + mean + shift
        if limits.noise:
            deviation = per_image(self._between(count, 0.0, 255.0 * limits.noise))
            levels = levels + deviation * keras.random.normal(ops.shape(levels), seed=self.seeds)
        return ops.clip(levels, 0.0, 255.0)


def augmented_copies(
    pixels: npt.NDArray[np.uint8], limits: Augmentation, count: int, *, seed: int, batch_size: int = 64
) -> Iterator[npt.NDArray[np.uint8]]:
    """Augment all images several times.

    Args:
        pixels: Images, uint8 [N, H, W, 1].
        limits: Augmentation. MixUp and CutMix are not applied: they mix labels too.
        count: Number of augmented sets.
        seed: Random seed of all sets.
        batch_size: Number of images augmented at a time, in float32.

    Yields:
        A set of augmented images, rounded to integers, uint8 [N, H, W, 1].
    """
    affine = RandomAffine(limits, seed, dtype="float32")
    levels = RandomGreyLevels(limits, seed + 1, dtype="float32")
    scanners = ScannerVariation(limits.scanner, seed)
    for number in range(count):
        copies = np.empty_like(pixels)
        for start in range(0, len(pixels), batch_size):
            part = scanners(pixels[start : start + batch_size], number, start).astype(np.float32)
            copies[start : start + batch_size] = np.rint(
                ops.convert_to_numpy(levels(affine(part, training=True), training=True))
            )
        yield copies
