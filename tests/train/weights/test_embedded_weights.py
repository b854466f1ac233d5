"""The embedded model's weights, read back from its 8-bit file into the trainable `edge`."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from scipy.special import logit

from fracture_edge.classifier import FractureClassifier
from train.architectures import build
from train.recipes.recipe import load_recipe
from train.trainer import loop
from train.weights import WeightsError, initialise
from train.weights.embedded import refit_batch_norms

BONES = 10


@pytest.fixture(scope="module")
def classifier() -> FractureClassifier:
    return FractureClassifier()


@pytest.fixture(scope="module")
def pixels(classifier: FractureClassifier, bone: Callable[..., np.ndarray]) -> np.ndarray:
    """Bones as the embedded model gets them, the fractured ones every other."""
    preprocessing = classifier.info.preprocessing
    sizes = [(220 + 30 * (n % 4), 200) for n in range(BONES)]
    bones = [bone(14 + n, n % 2 == 0, height=height, width=width) for n, (height, width) in enumerate(sizes)]
    return np.stack([preprocessing(picture) for picture in bones])


@pytest.fixture(scope="module")
def edge(classifier: FractureClassifier) -> keras.Model:
    size = classifier.info.preprocessing
    model = build("edge", size.height, size.width, **load_recipe("edge", "finetune").options)
    assert initialise(model, "embedded") == "embedded model (edge-int8)"
    return model


def _answers(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict(pixels, batch_size=BONES, verbose=0), np.float64)[:, 0]


def test_it_answers_as_the_embedded_model(
    edge: keras.Model, classifier: FractureClassifier, pixels: np.ndarray
) -> None:
    expected = classifier.probabilities(pixels).astype(np.float64)
    found = _answers(edge, pixels)
    assert np.ptp(logit(expected)) > 1
    # The file rounds every activation to 8 bits, the network does not: on radiographs that makes 0.013 of
    # probability on average and 0.09 at most.
    difference = np.abs(found - expected)
    assert difference.mean() < 0.02
    assert difference.max() < 0.1
    assert np.abs(logit(found) - logit(expected)).mean() < 0.4
    assert np.corrcoef(logit(found), logit(expected))[0, 1] > 0.9


@pytest.mark.slow
def test_refitted_norms_change_nothing(edge: keras.Model, pixels: np.ndarray) -> None:
    before = _answers(edge, pixels)
    norms = [layer for layer in edge.layers if isinstance(layer, keras.layers.BatchNormalization)]
    # Folded norms: no mean, and a variance of 1 with epsilon.
    for norm in norms:
        np.testing.assert_array_equal(norm.moving_mean.numpy(), 0.0)
        np.testing.assert_allclose(norm.moving_variance.numpy(), 1 - norm.epsilon, rtol=1e-6)
    refit_batch_norms(edge, pixels, images=4, seed=2)
    # Four float32 roundings for each of 49 layers.
    np.testing.assert_allclose(_answers(edge, pixels), before, atol=1e-5)

    # All pixels of the drawn images count, and only those.
    drawn = pixels[np.sort(np.random.default_rng(2).permutation(BONES)[:4])]
    names = ("stem", "block05_depthwise", "top")
    outputs = keras.Model(edge.input, [edge.get_layer(f"{name}_conv").output for name in names])(drawn)
    for name, output in zip(names, outputs, strict=True):
        norm, values = edge.get_layer(f"{name}_norm"), np.asarray(output, np.float64)
        scale = np.abs(values).max()
        # Means of float32 squares.
        np.testing.assert_allclose(norm.moving_mean.numpy(), values.mean((0, 1, 2)), atol=1e-5 * scale)
        np.testing.assert_allclose(norm.moving_variance.numpy(), values.var((0, 1, 2)), atol=1e-4 * scale**2)
        assert (norm.moving_variance.numpy() >= 0).all()

    # A second time from other images: still the same network.
    refit_batch_norms(edge, pixels, images=4, seed=3)
    np.testing.assert_allclose(_answers(edge, pixels), before, atol=1e-5)


@pytest.mark.slow
def test_a_training_run_refits_the_norms(
    train_data: Path, train_tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def stop(model: keras.Model, *_: Any, **__: Any) -> None:
        started.append(model)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "fit", stop)
    # The embedded weights are those of a network of full width, whatever the size of its input.
    recipe = (train_data / "edge.toml").read_text()
    own = train_data.parent / f"{train_data.name}-wide"
    own.mkdir()
    (own / "edge.toml").write_text(recipe.replace("filters = 0.25, depth = 0.5", "deep_evidence = true"))
    for name in ("data", "splits.csv"):
        (own / name).symlink_to(train_data / name)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(own, "edge", tmp_path, weights="embedded")
    (model,) = started
    for name in ("stem", "block07_project", "top"):
        assert np.abs(model.get_layer(f"{name}_norm").moving_mean.numpy()).max() > 1e-3


def _error(model: keras.Model) -> str:
    before = [value.copy() for value in model.get_weights()]
    with pytest.raises(WeightsError) as caught:
        initialise(model, "embedded")
    for value, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)
    return str(caught.value)


def test_another_architecture() -> None:
    model = build("custom_cnn", 32, 32, filters=(4, 6, 8), units=10)
    assert _error(model) == "--weights embedded fits 'edge' only, not 'custom_cnn'"


def test_another_width() -> None:
    message = _error(build("edge", 64, 64, filters=0.25))
    assert message == "the embedded model has no convolution left of the shape (3, 3, 1, 8) of stem_conv"


def test_another_head() -> None:
    assert _error(build("edge", 64, 64)) == (
        "the embedded model has 0 arrays of 1280 values for kernel of 'pooled_evidence': use the options of the "
        "recipe finetune"
    )


def test_another_number_of_convolutions() -> None:
    other = build("edge", 64, 64, depth=0.5)
    assert re.fullmatch(
        r"the embedded model has \d+ convolutions, this one \d+: use the options of the recipe finetune",
        _error(other),
    )
