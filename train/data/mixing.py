"""MixUp and CutMix over the images of one batch, by Keras's own layers."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from train.data.augment import Augmentation


class Mixing:
    """Blends the images of a batch with one another, and their labels with them."""

    def __init__(self, augmentation: Augmentation, seed: int) -> None:
        """Make the layers.

        Args:
            augmentation: Its ``mixup`` and ``cutmix``.
            seed: Of all draws, together with the number of the epoch.
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
        """The mixing that `augmentation` asks for; ``None`` when it asks for none."""
        return cls(augmentation, seed) if augmentation.mixup or augmentation.cutmix else None

    def start_epoch(self, number: int) -> None:
        """Begin the draws of epoch `number`, counted from 0."""
        self._random = np.random.default_rng([self._seed, number])
        for layer in self._layers:
            layer.generator.state.assign(self._random.integers(2**31, size=2, dtype=np.uint32))

    def __call__(
        self, images: npt.NDArray[np.uint8], targets: npt.NDArray[np.float32], weights: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[Any], ...]:
        """Mix one batch.

        The loss is linear in the target, so a blend of two examples that weigh differently has the blended
        weight, and the target that the blended products of weight and target give.

        Args:
            images: uint8 [N, H, W, channels].
            targets: [N, 1].
            weights: [N].

        Returns:
            Images (uint8), targets and weights in the same shapes.
        """
        layer = self._layers[self._random.integers(len(self._layers))]
        products = np.stack([weights * targets[:, 0], weights], axis=1)
        mixed = layer({"images": images.astype(np.float32), "labels": products}, training=True)
        pixels = np.rint(keras.ops.convert_to_numpy(mixed["images"])).astype(np.uint8)
        product, weight = keras.ops.convert_to_numpy(mixed["labels"]).astype(np.float32).T
        return pixels, (product / weight)[:, np.newaxis], weight
