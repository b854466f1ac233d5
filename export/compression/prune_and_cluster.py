"""Pruning and weight clustering: kernels that compress well, with a short fine-tuning.

Neither makes a file smaller by itself, nor a runtime faster: zeros and repeated values are stored like any others.
They count after gzip, for a download or a packed file system. Sources: Zhu and Gupta, "To prune, or not to prune"
(2017); Han et al., "Deep Compression" (ICLR 2016), section 3.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
import tensorflow_model_optimization as tfmot
import tf_keras
from sklearn.cluster import KMeans

from export.compression.tf_keras_twin import check_twin, from_twin, to_twin
from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from train.data.batches import class_weights

#: Smaller kernels are left alone: they weigh nothing.
FEWEST_WEIGHTS = 1000
#: Weights that the centroids of a kernel are fitted to.
_SAMPLE = 100_000
#: tfmot counts the weights to keep in float32, which rounds large kernels by a few.
_FLOAT32_STEP = 2.0**-22


@dataclass(frozen=True, slots=True)
class FineTuning:
    """On what and how a network is trained further.

    Attributes:
        pixels: Images of the training split, uint8 [N, H, W, 1].
        labels: 0 or 1, N of them.
        epochs: At least 1.
        batch_size: Images at once.
        learning_rate: Of Adam.
        seed: Of order, dropout and whatever else is drawn.
    """

    pixels: npt.NDArray[np.uint8]
    labels: Sequence[int]
    epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 1e-5
    seed: int = 0


def prune(model: keras.Model, sparsity: float, tuning: FineTuning) -> keras.Model:
    """Set the smallest weights of each large kernel to zero and fine-tune the others.

    Args:
        model: From ``image`` uint8 [N, H, W, 1] to ``probability`` [N, 1]; not changed.
        sparsity: Share of zeros in each kernel of `compressible_layers`, above 0 and below 1.
        tuning: How the others are fine-tuned.

    Returns:
        A new model.

    Raises:
        FractureEdgeError: A sparsity out of range, no kernel to prune, fine-tuning that diverged, or a kernel that
            did not reach the sparsity.
    """
    if not 0 < sparsity < 1:
        raise FractureEdgeError(f"sparsity {sparsity}: give a share above 0 and below 1, such as 0.8")
    # One decision at the first step, kept from then on: each further one would sort all weights again. With
    # tfmot's own frequency of 100 steps a short fine-tuning prunes nothing at all.
    schedule = tfmot.sparsity.keras.ConstantSparsity(sparsity, begin_step=0, end_step=1, frequency=1)
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


def cluster(model: keras.Model, clusters: int, tuning: FineTuning) -> keras.Model:
    """Let each large kernel have few different values, and fine-tune those.

    tfmot compares every weight with every value at every step: for 16 values that takes some 150 bytes a weight,
    6 GB for the custom CNN. Factorise that first.

    Args:
        model: From ``image`` uint8 [N, H, W, 1] to ``probability`` [N, 1]; not changed.
        clusters: Most different values of each kernel of `compressible_layers`, 2 to 256. The zeros of a pruned
            kernel become one value near zero.
        tuning: How they are fine-tuned; its seed is that of the first values too.

    Returns:
        A new model.

    Raises:
        FractureEdgeError: A number out of range, no kernel to cluster, fine-tuning that diverged, or a kernel with
            more values.
    """
    if not 2 <= clusters <= 256:
        raise FractureEdgeError(f"{clusters} clusters: give 2 to 256, such as 16")

    def wrap(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        kernel, *others = layer.get_weights()
        # tfmot draws its first values among the weights and leaves them there but for fine-tuning. Drawn among
        # weights that have `clusters` different values, they are these.
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
    """Names of the Conv2D and Dense layers worth compressing.

    Not those with few weights, not depthwise convolutions, whose few weights all count, and not those with one
    output, which are log-odds.
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
    """Train a tf_keras network in place, with class weights; says on stderr how it goes.

    Raises:
        FractureEdgeError: The loss was no number.
    """

    def report_epoch(epoch: int, logs: dict[str, float]) -> None:
        say(f"{what}: epoch {epoch + 1} of {tuning.epochs}, loss {logs['loss']:.4f}")

    weights = class_weights(tuning.labels)
    network.compile(tf_keras.optimizers.Adam(tuning.learning_rate), tf_keras.losses.BinaryCrossentropy())
    say(f"{what}: {len(tuning.pixels)} images, {tuning.epochs} epochs")
    history = network.fit(
        tuning.pixels,
        np.asarray(tuning.labels, np.float32)[:, np.newaxis],
        sample_weight=np.array([weights[label] for label in tuning.labels], np.float32),
        batch_size=tuning.batch_size,
        epochs=tuning.epochs,
        callbacks=[
            *callbacks,
            tf_keras.callbacks.TerminateOnNaN(),
            tf_keras.callbacks.LambdaCallback(on_epoch_end=report_epoch),
        ],
        verbose=0,
    )
    numbers = np.isfinite(history.history["loss"]).all()
    if not numbers or not all(np.isfinite(weight).all() for weight in network.get_weights()):
        raise FractureEdgeError(f"{what}: fine-tuning diverged; a smaller learning rate may help")


def freeze_batch_norms(network: tf_keras.Model) -> None:
    """Keep scale and statistics of all norms: those taken with dropout do not fit (`train.trainer.batch_norm`)."""
    for layer in network.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.trainable = False


def _compress(
    model: keras.Model,
    wrap: Callable[[tf_keras.layers.Layer], tf_keras.layers.Layer],
    strip: Callable[[tf_keras.Model], tf_keras.Model],
    tuning: FineTuning,
    *,
    what: str,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
) -> keras.Model:
    """To the twin, its compressible layers wrapped, fine-tuned, stripped, and back."""
    names = compressible_layers(model)
    if not names:
        raise FractureEdgeError(f"{model.name}: no kernel of {FEWEST_WEIGHTS} weights or more to compress")
    tf_keras.utils.set_random_seed(tuning.seed)
    some = tuning.pixels[:8]
    twin = to_twin(model)
    check_twin(model, twin, some)
    freeze_batch_norms(twin)
    wrapped = tf_keras.models.clone_model(
        twin, clone_function=lambda layer: wrap(layer) if layer.name in names else layer
    )
    fine_tune(wrapped, tuning, what=what, callbacks=callbacks)
    stripped = strip(wrapped)
    compressed = from_twin(stripped, model)
    check_twin(compressed, stripped, some)
    return compressed


def _centroids(kernel: npt.NDArray[np.float32], clusters: int, seed: int) -> npt.NDArray[np.float32]:
    """The values that stand best for the weights in the least-squares sense, ascending."""
    weights = kernel.ravel()[np.random.default_rng(seed).integers(kernel.size, size=_SAMPLE)]
    count = min(clusters, len(np.unique(weights)))
    fitted = KMeans(count, n_init=1, random_state=seed).fit(weights[:, np.newaxis])
    return np.sort(fitted.cluster_centers_.ravel()).astype(np.float32)


def _nearest(kernel: npt.NDArray[np.float32], values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Each weight replaced by the nearest of the ascending `values`."""
    return values[np.searchsorted((values[1:] + values[:-1]) / 2, kernel)]
