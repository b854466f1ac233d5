"""Prune or cluster the weights of a model and fine-tune it towards the answers that it gave before.

Neither makes the file smaller or inference faster by itself: zeros and repeated values are stored like any others.
They reduce the size after gzip, for a download or a compressed file system. Sources: Zhu and Gupta, "To prune, or
not to prune" (2017); Han et al., "Deep Compression" (ICLR 2016), section 3.

Fine-tuning has the network's own answers for targets, and no labels (distillation; Polino et al., "Model
compression via distillation and quantization", ICLR 2018): by labels, without the augmentation of its training, a
network soon knows the images by heart, and calibration and threshold no longer fit.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow_model_optimization as tfmot
import tf_keras
from sklearn.cluster import KMeans

from export.compression.tf_keras_twin import check_twin, from_twin, to_twin
from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError

#: Minimum number of weights of a kernel that is compressed; smaller ones hardly contribute to the size.
FEWEST_WEIGHTS = 1000
#: Number of selections of the weights to prune after the first one.
SELECTIONS = 10
#: Number of weights sampled from a kernel to fit its centroids.
_SAMPLE = 100_000
#: Tolerance of the reached sparsity: tfmot computes the number of weights to keep in float32, which is off by a
#: few for large kernels.
_FLOAT32_STEP = 2.0**-22


@dataclass(frozen=True, slots=True)
class FineTuning:
    """Data and parameters of fine-tuning.

    Attributes:
        pixels: Images of the training split, uint8 [N, H, W, 1].
        targets: P(fractured) that the network gave before it was compressed, [N].
        epochs: Number of epochs, at least 1.
        batch_size: Number of images in a batch.
        learning_rate: Learning rate of Adam.
        seed: Random seed for shuffling and other sampling.
    """

    pixels: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.floating[Any]]
    epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 1e-5
    seed: int = 0


def prune(model: keras.Model, sparsity: float, tuning: FineTuning) -> keras.Model:
    """Set the smallest weights of each large kernel to zero and fine-tune the others.

    Args:
        model: Model from ``image`` uint8 [N, H, W, 1] to ``probability`` [N, 1]; not changed.
        sparsity: Share of zeros in each kernel of `compressible_layers`, above 0 and below 1.
        tuning: Data and parameters of fine-tuning.

    Returns:
        A new model.

    Raises:
        FractureEdgeError: The sparsity is out of range, there is no kernel to prune, fine-tuning diverged, or a
            kernel did not reach the sparsity.
    """
    if not 0 < sparsity < 1:
        raise FractureEdgeError(f"sparsity {sparsity}: give a share above 0 and below 1, such as 0.8")
    schedule = sparsity_schedule(sparsity, math.ceil(len(tuning.pixels) / tuning.batch_size) * tuning.epochs)
    pruned = _compress(
        model,
        lambda layer: tfmot.sparsity.keras.prune_low_magnitude(layer, schedule),
        tfmot.sparsity.keras.strip_pruning,
        tuning,
        what=f"pruning to {sparsity:.0%} zeros",
        callbacks=[tfmot.sparsity.keras.UpdatePruningStep()],
    )
    for name in compressible_layers(model):
        kernel = pruned.get_layer(name).get_weights()[0]
        reached = 1 - np.count_nonzero(kernel) / kernel.size
        if abs(reached - sparsity) > 1 / kernel.size + _FLOAT32_STEP:
            raise FractureEdgeError(
                f"layer '{name}': {reached:.4f} of its kernel is zero after pruning, not {sparsity}; prune a "
                "model that was not pruned before"
            )
    return pruned


def sparsity_schedule(sparsity: float, steps: int) -> tfmot.sparsity.keras.PruningSchedule:
    """Return a schedule that raises the share of zeros during the first half of fine-tuning, then keeps it.

    The share rises by the cubic law of Zhu and Gupta (2017, section 3), fast at first, from half of `sparsity`. In
    the second half the remaining weights make up for those that are gone. Weights are selected `SELECTIONS` times:
    each selection sorts all of them. (With tfmot's default of one selection in 100 steps a short fine-tuning
    prunes nothing at all.)

    Args:
        sparsity: Share of zeros at the end, above 0 and below 1.
        steps: Number of steps of fine-tuning, at least 1.
    """
    every = steps // 2 // SELECTIONS
    if every == 0:
        # Too short for a ramp: all at once.
        return tfmot.sparsity.keras.ConstantSparsity(sparsity, begin_step=0, end_step=1, frequency=1)
    return tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=sparsity / 2,
        final_sparsity=sparsity,
        begin_step=0,
        end_step=every * SELECTIONS,
        power=3,
        frequency=every,
    )


def cluster(model: keras.Model, clusters: int, tuning: FineTuning) -> keras.Model:
    """Restrict each large kernel to a few distinct values and fine-tune these.

    tfmot compares every weight with every value at every step: for 16 values that takes about 150 bytes per
    weight, 6 GB for the custom CNN. Factorise the custom CNN first.

    Args:
        model: Model from ``image`` uint8 [N, H, W, 1] to ``probability`` [N, 1]; not changed.
        clusters: Maximum number of distinct values in each kernel of `compressible_layers`, 2 to 256. The zeros of
            a pruned kernel become one value near zero.
        tuning: Data and parameters of fine-tuning; its seed is also used for the initial values.

    Returns:
        A new model.

    Raises:
        FractureEdgeError: The number is out of range, there is no kernel to cluster, fine-tuning diverged, or a
            kernel has more distinct values.
    """
    if not 2 <= clusters <= 256:
        raise FractureEdgeError(f"{clusters} clusters: give 2 to 256, such as 16")

    def wrap(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        kernel, *others = layer.get_weights()
        # tfmot samples its initial values from the weights, and only fine-tuning changes them. If the weights have
        # exactly `clusters` distinct values, these become the initial values.
        layer.set_weights([_nearest(kernel, _centroids(kernel, clusters, tuning.seed)), *others])
        return tfmot.clustering.keras.cluster_weights(layer, clusters)

    clustered = _compress(
        model,
        wrap,
        tfmot.clustering.keras.strip_clustering,
        tuning,
        what=f"clustering to {clusters} values",
    )
    for name in compressible_layers(model):
        values = len(np.unique(clustered.get_layer(name).get_weights()[0]))
        if values > clusters:
            raise FractureEdgeError(f"layer '{name}': {values} different weights after clustering, not {clusters}")
    return clustered


def compressible_layers(model: keras.Model) -> list[str]:
    """Return the names of the Conv2D and Dense layers worth compressing.

    Excluded are layers with few weights, depthwise convolutions, whose few weights all matter, and layers with one
    output, which compute log-odds.
    """
    return [
        layer.name
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
        and layer.kernel.shape[-1] > 1
        and int(np.prod(layer.kernel.shape)) >= FEWEST_WEIGHTS
    ]


def fine_tune(
    network: tf_keras.Model,
    tuning: FineTuning,
    *,
    what: str,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
) -> None:
    """Train a tf_keras model in place towards the targets; print the progress to stderr.

    Args:
        network: Model to train; changed in place.
        tuning: Data and parameters of fine-tuning.
        what: Name of the operation in messages.
        callbacks: Additional callbacks.

    Raises:
        FractureEdgeError: The loss or a weight is NaN or infinite.
    """

    def report_epoch(epoch: int, logs: dict[str, float]) -> None:
        say(f"{what}: epoch {epoch + 1} of {tuning.epochs}, loss {logs['loss']:.4f}")

    network.compile(tf_keras.optimizers.Adam(tuning.learning_rate), tf_keras.losses.BinaryCrossentropy())
    say(f"{what}: {len(tuning.pixels)} images, {tuning.epochs} epochs")
    history = network.fit(
        tuning.pixels,
        tuning.targets.astype(np.float32)[:, np.newaxis],
        batch_size=tuning.batch_size,
        epochs=tuning.epochs,
        callbacks=[
            *callbacks,
            tf_keras.callbacks.TerminateOnNaN(),
            tf_keras.callbacks.LambdaCallback(on_epoch_end=report_epoch),
        ],
        verbose=0,
    )
    finite = np.isfinite(history.history["loss"]).all()
    if not finite or not all(np.isfinite(weight).all() for weight in network.get_weights()):
        raise FractureEdgeError(f"{what}: fine-tuning diverged; a smaller learning rate may help")


def as_at_inference(network: tf_keras.Model) -> None:
    """Freeze batch norms and disable dropout: the targets were computed at inference."""
    for layer in network.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.trainable = False
        elif isinstance(layer, tf_keras.layers.Dropout):
            layer.rate = 0.0


def _compress(
    model: keras.Model,
    wrap: Callable[[tf_keras.layers.Layer], tf_keras.layers.Layer],
    strip: Callable[[tf_keras.Model], tf_keras.Model],
    tuning: FineTuning,
    *,
    what: str,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
) -> keras.Model:
    """Fine-tune the tf_keras twin with its compressible layers wrapped, and copy the result back to Keras 3."""
    names = compressible_layers(model)
    if not names:
        raise FractureEdgeError(f"{model.name}: no kernel of {FEWEST_WEIGHTS} weights or more to compress")
    tf_keras.utils.set_random_seed(tuning.seed)
    some = tuning.pixels[:8]
    twin = to_twin(model)
    check_twin(model, twin, some)
    as_at_inference(twin)
    wrapped = tf_keras.models.clone_model(
        twin, clone_function=lambda layer: wrap(layer) if layer.name in names else layer
    )
    fine_tune(wrapped, tuning, what=what, callbacks=callbacks)
    stripped = strip(wrapped)
    compressed = from_twin(stripped, model)
    check_twin(compressed, stripped, some)
    return compressed


def _centroids(kernel: npt.NDArray[np.float32], clusters: int, seed: int) -> npt.NDArray[np.float32]:
    """Compute the k-means centroids of a sample of the weights, ascending."""
    weights = kernel.ravel()[np.random.default_rng(seed).integers(kernel.size, size=_SAMPLE)]
    count = min(clusters, len(np.unique(weights)))
    fitted = KMeans(count, n_init=1, random_state=seed).fit(weights[:, np.newaxis])
    return np.sort(fitted.cluster_centers_.ravel()).astype(np.float32)


def _nearest(kernel: npt.NDArray[np.float32], values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Replace each weight by the nearest of the ascending `values`."""
    return values[np.searchsorted((values[1:] + values[:-1]) / 2, kernel)]
