"""MixUp and CutMix over the images of one batch, by Keras's own layers."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from train.data.augment import Augmentation


class Mixing:
    """MixUp or CutMix of the images and labels of a batch."""

    def __init__(self, augmentation: Augmentation, seed: int) -> None:
        """Create the layers.

        Args:
            augmentation: Augmentation; ``mixup`` and ``cutmix`` are used.
            seed: Random seed, used together with the number of the epoch.
        """
        self._layers: list[Any] = []
        if augmentation.mixup:
            self._layers.append(keras.layers.MixUp(alpha=augmentation.mixup, dtype="float32"))
        if augmentation.cutmix:
            self._layers.append(keras.layers.CutMix(factor=(augmentation.cutmix,) * 2, dtype="float32"))
        self._seed = seed
        self.start_epoch(0)

    @classmethod
    def of(cls, augmentation: Augmentation, seed: int) -> "Mixing | None":
        """Create the mixing of `augmentation`; ``None`` if both MixUp and CutMix are off."""
        return cls(augmentation, seed) if augmentation.mixup or augmentation.cutmix else None

    def start_epoch(self, number: int) -> None:
        """Seed the random numbers of epoch `number`, counted from 0."""
        self._random = np.random.default_rng([self._seed, number])
        for layer in self._layers:
            layer.generator.state.assign(self._random.integers(2**31, size=2, dtype=np.uint32))

    def __call__(
        self, images: npt.NDArray[np.uint8], targets: npt.NDArray[np.float32], weights: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[Any], ...]:
        """Mix one batch.

        The loss is linear in the target. A blend of two examples with different weights therefore has the blended
        weight, and as target the blended product of weight and target, divided by the blended weight.

        Args:
            images: Images, uint8 [N, H, W, channels].
            targets: Targets, 0 to 1, [N, 1 or more].
            weights: Weights in the loss, [N].

        Returns:
            Mixed images (uint8), targets and weights in the same shapes.
        """
        layer = self._layers[self._random.integers(len(self._layers))]
        products = np.column_stack([weights[:, np.newaxis] * targets, weights])
        mixed = layer({"images": images.astype(np.float32), "labels": products}, training=True)
        pixels = np.rint(keras.ops.convert_to_numpy(mixed["images"])).astype(np.uint8)
        blended = keras.ops.convert_to_numpy(mixed["labels"]).astype(np.float32)
        return pixels, blended[:, :-1] / blended[:, -1:], blended[:, -1]
