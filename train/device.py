"""Device and precision of the training."""

import os
import platform
from dataclasses import dataclass
from typing import Literal, get_args

import keras

from fracture_edge.errors import FractureEdgeError

Precision = Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"]


@dataclass(frozen=True, slots=True)
class Device:
    """Device and precision that a network is trained with.

    Attributes:
        name: Device and backend, in words.
        count: Number of devices that share a batch.
        precision: Dtype policy of Keras.
    """

    name: str
    count: int
    precision: str


def prepare(precision: str = "auto", *, distribute: bool = False) -> Device:
    """Choose device and precision for all models built afterwards.

    A GPU is used where the backend sees one, with memory allocated as needed. There the network computes in
    float16 (weights and loss stay float32, the loss is scaled); on a CPU in float32. Whether XLA is used is left
    to Keras: on a GPU where every layer supports it.

    Args:
        precision: Precision, one of `Precision`.
        distribute: Whether to share every batch among all devices (JAX only).

    Raises:
        FractureEdgeError: The precision is unknown, or the backend does not support `distribute`.
    """
    if precision not in get_args(Precision):
        raise FractureEdgeError(f"precision: must be one of: {', '.join(get_args(Precision))}; not {precision!r}")
    backend = keras.backend.backend()
    if backend == "tensorflow":
        _grow_memory()
    gpus = _count("gpu") if backend != "torch" else _torch_gpus()
    count = 1
    if distribute:
        if backend != "jax":
            raise FractureEdgeError(f"--distribute needs KERAS_BACKEND=jax; the backend is {backend}")
        count = gpus or _count("cpu")
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    chosen = precision if precision != "auto" else "mixed_float16" if gpus else "float32"
    keras.config.set_dtype_policy(chosen)
    kind = "GPU" if gpus else f"CPU ({os.cpu_count()} cores, {platform.machine()})"
    return Device(f"{kind} with {backend}" + (f", batches shared by {count}" if distribute else ""), count, chosen)


def devices_sharing() -> int:
    """Return the number of devices that share a batch."""
    distribution = keras.distribution.distribution()
    return 1 if distribution is None else int(distribution.device_mesh.devices.size)


def _count(kind: str) -> int:
    try:
        return len(keras.distribution.list_devices(kind))
    except RuntimeError:
        # JAX raises if there is no device of the kind.
        return 0


def _torch_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _grow_memory() -> None:
    """Let TensorFlow allocate GPU memory as needed; by default it allocates all of it at once."""
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, enable=True)
