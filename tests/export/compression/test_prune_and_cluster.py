from typing import Any

import keras
import numpy as np
import pytest

from export.compression.prune_and_cluster import FineTuning, cluster, compressible_layers, prune, sparsity_schedule
from fracture_edge.errors import FractureEdgeError
from train.architectures import build
from train.data.batches import Batches
from train.evaluation.predict import predict
from train.trainer.batch_norm import RefitBatchNorms

SMALL: dict[str, dict[str, Any]] = {
    "custom_cnn": {"filters": (8, 12, 16), "units": 20},
    "edge": {"filters": 0.25, "depth": 0.5},
}
BOTH = ["custom_cnn", pytest.param("edge", marks=pytest.mark.slow)]


def _tuning(model: keras.Model, images: tuple[Any, list[int]], **options: Any) -> FineTuning:
    """Fine-tuning towards the model's own answers."""
    return FineTuning(images[0], predict(model, images[0]), **options)


@pytest.fixture(scope="module")
def images() -> tuple[Any, list[int]]:
    rng = np.random.default_rng(1)
    labels = [0] * 18 + [1] * 6
    pixels = rng.integers(0, 128, (24, 32, 32, 1), np.uint8)
    pixels[18:] += 100
    return pixels, labels


@pytest.fixture(scope="module")
def models(images: tuple[Any, list[int]]) -> dict[str, keras.Model]:
    keras.utils.set_random_seed(0)
    models = {name: build(name, 32, 32, **options) for name, options in SMALL.items()}
    for model in models.values():
        # Without statistics of its own a deep network passes nothing on, and no gradient back.
        RefitBatchNorms(model, Batches(*images, batch_size=8)).on_test_begin()
    return models


def _kernels(model: keras.Model) -> dict[str, Any]:
    return {name: model.get_layer(name).get_weights()[0] for name in compressible_layers(model)}


def test_what_is_compressed(models: dict[str, keras.Model]) -> None:
    # conv1 has 216 weights, conv2 864.
    assert compressible_layers(models["custom_cnn"]) == ["conv3", "hidden"]
    names = compressible_layers(models["edge"])
    assert "top_conv" in names
    assert not [name for name in names if "depthwise" in name or name in ("cells", "pooled_evidence")]


def test_the_share_of_zeros_rises_and_then_stays() -> None:
    schedule = sparsity_schedule(0.8, 100)
    asked = [schedule(step) for step in range(100)]
    selected = {step: float(share) for step, (now, share) in enumerate(asked) if now}
    assert list(selected) == list(range(0, 51, 5))
    shares = list(selected.values())
    # 0.8 - 0.4 (1 - t)^3.
    assert shares[:2] == pytest.approx([0.4, 0.8 - 0.4 * 0.9**3])
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(0.8)


def test_a_short_fine_tuning_prunes_at_once() -> None:
    schedule = sparsity_schedule(0.8, 6)
    assert [(bool(now), float(share)) for now, share in map(schedule, (0, 1, 2))] == [
        (True, pytest.approx(0.8)),
        (True, pytest.approx(0.8)),
        (False, pytest.approx(0.8)),
    ]


@pytest.mark.parametrize("name", BOTH)
def test_pruned_to_the_share_asked_for_and_trained_on(
    name: str, models: dict[str, keras.Model], images: tuple[Any, list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    model = models[name]
    before = [weight.copy() for weight in model.get_weights()]
    pruned = prune(model, 0.8, _tuning(model, images, batch_size=8, epochs=2, learning_rate=1e-3))
    for layer, kernel in _kernels(pruned).items():
        assert 1 - np.count_nonzero(kernel) / kernel.size == pytest.approx(0.8, abs=1 / kernel.size)
        original = model.get_layer(layer).get_weights()[0]
        kept = kernel != 0
        # Fine-tuning moves a weight by at most about the learning rate at each of the six steps.
        assert np.abs(original[kept]).min() >= np.abs(original[~kept]).max()
        assert 0 < np.abs(kernel - original)[kept].max() < 0.02, layer
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert [layer.name for layer in pruned.layers] == [layer.name for layer in model.layers]
    output = capsys.readouterr()
    assert "pruning to 80% zeros: epoch 2 of 2, loss" in output.err
    assert output.out == ""


@pytest.mark.parametrize("name", BOTH)
def test_clustered_to_few_values_near_the_weights(
    name: str, models: dict[str, keras.Model], images: tuple[Any, list[int]]
) -> None:
    model = models[name]
    clustered = cluster(model, 16, _tuning(model, images, batch_size=8))
    for layer, kernel in _kernels(clustered).items():
        assert 8 < len(np.unique(kernel)) <= 16
        original = model.get_layer(layer).get_weights()[0]
        # Sixteen evenly spread values leave 1/16 of a uniform kernel's deviation, and k-means no more than that;
        # three steps at 1e-5 add next to nothing.
        assert (kernel - original).std() < 0.08 * original.std()
    # Norms keep what they have: statistics taken with dropout would not fit.
    norm = "norm1" if name == "custom_cnn" else "top_norm"
    for left, right in zip(
        model.get_layer(norm).get_weights(), clustered.get_layer(norm).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(left, right)


@pytest.mark.slow
def test_same_seed_same_model(models: dict[str, keras.Model], images: tuple[Any, list[int]]) -> None:
    first, second = (
        prune(models["custom_cnn"], 0.5, _tuning(models["custom_cnn"], images, batch_size=8, seed=3))
        for _ in range(2)
    )
    for left, right in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_diverging_fine_tuning_is_an_error(
    models: dict[str, keras.Model], images: tuple[Any, list[int]]
) -> None:
    with pytest.raises(FractureEdgeError, match="fine-tuning diverged; a smaller learning rate may help"):
        prune(
            models["custom_cnn"],
            0.5,
            _tuning(models["custom_cnn"], images, batch_size=4, epochs=3, learning_rate=1e30),
        )


def test_numbers_out_of_range_are_refused(models: dict[str, keras.Model], images: tuple[Any, list[int]]) -> None:
    for sparsity in (0, 1, 80):
        with pytest.raises(FractureEdgeError, match=f"sparsity {sparsity}: give a share above 0 and below 1"):
            prune(models["edge"], sparsity, FineTuning(images[0], np.array(images[1])))
    for clusters in (1, 257):
        with pytest.raises(FractureEdgeError, match=f"{clusters} clusters: give 2 to 256"):
            cluster(models["edge"], clusters, FineTuning(images[0], np.array(images[1])))
    tiny = build("custom_cnn", 32, 32, filters=(2, 2, 2), units=2)
    with pytest.raises(FractureEdgeError, match="custom_cnn: no kernel of 1000 weights or more"):
        prune(tiny, 0.5, FineTuning(images[0], np.array(images[1])))


def test_fine_tuning_brings_the_answers_back(
    models: dict[str, keras.Model], images: tuple[Any, list[int]]
) -> None:
    # Labels have no part in it: these answers are those of random weights.
    model, pixels = models["custom_cnn"], images[0]
    before = predict(model, pixels)
    differences = []
    for rate in (1e-12, 1e-3):
        tuned = prune(model, 0.8, _tuning(model, images, batch_size=8, epochs=20, learning_rate=rate))
        differences.append(np.abs(predict(tuned, pixels) - before).mean())
    without, with_tuning = differences
    assert without > 0.1
    assert with_tuning < 0.5 * without
