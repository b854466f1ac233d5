import keras
import numpy as np
import pytest

from export.keras_passes.fold_batch_norms import fold_batch_norms, output_scales
from fracture_edge.errors import FractureEdgeError
from train.architectures import build, edge
from train.evaluation.typicality import (
    AXES,
    Typicality,
    described_features,
    fit_typicality,
    load_typicality,
    measure_typicality,
    pooled_features,
    with_typicality,
)


def _features(count: int, seed: int, width: int = 60) -> np.ndarray:
    """Sample features with a large variance in some directions and a small one in most."""
    random = np.random.default_rng(seed)
    scales = np.concatenate([np.linspace(5, 2, 10), np.full(width - 10, 0.3)])
    return random.normal(size=(count, width)) * scales + np.arange(width)


def test_distance_is_mahalanobis_of_the_fitted_covariance() -> None:
    fitted = fit_typicality(_features(500, 0), _features(100, 1))
    assert fitted.axes.shape == (60, AXES)
    assert fitted.axes.T @ fitted.axes == pytest.approx(np.eye(AXES), abs=1e-9)
    # The full covariance that axes and residual represent, inverted.
    along = fitted.axes @ np.diag(fitted.variances - fitted.residual) @ fitted.axes.T
    inverse = np.linalg.inv(along + fitted.residual * np.eye(60))
    centred = _features(20, 2) - fitted.mean
    expected = np.einsum("nk,kl,nl->n", centred, inverse, centred)
    assert fitted.distances(_features(20, 2)) == pytest.approx(expected, rel=1e-9)
    # In 60 dimensions the squared distance of what the distribution was fitted to is 60 on average.
    assert fitted.distances(_features(500, 0)).mean() == pytest.approx(60, rel=0.02)


def test_two_in_a_hundred_validation_images_lie_beyond() -> None:
    validation = _features(1000, 1)
    fitted = fit_typicality(_features(500, 0), validation)
    assert (fitted.distances(validation) > fitted.threshold).sum() == 19
    # A little off in a thin direction is far.
    odd = validation[:50].copy()
    odd[:, 40] += 6
    assert (fitted.distances(odd) > fitted.threshold).all()


def test_fewer_images_than_features() -> None:
    fitted = fit_typicality(_features(12, 0), _features(12, 1))
    assert fitted.axes.shape == (60, 11)
    assert np.isfinite(fitted.distances(_features(5, 2))).all()


def test_constant_features_have_a_distance_all_the_same() -> None:
    fitted = fit_typicality(np.ones((10, 8)), np.ones((4, 8)))
    assert fitted.threshold == 0
    assert (fitted.distances(np.full((1, 8), 1.5)) > 0).all()


def test_written_and_read(tmp_path: object) -> None:
    fitted = fit_typicality(_features(50, 0), _features(20, 1))
    path = tmp_path / "typicality.npz"  # type: ignore[operator]
    fitted.save(path)
    again = load_typicality(path)
    assert (again.residual, again.threshold) == (fitted.residual, fitted.threshold)
    np.testing.assert_array_equal(again.axes, fitted.axes)
    path.write_bytes(b"none")
    with pytest.raises(FractureEdgeError, match=r"typicality\.npz: cannot be read"):
        load_typicality(path)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build("edge", 64, 64, filters=0.25, depth=0.5)


def _pixels(seed: int, count: int) -> np.ndarray:
    """Smooth images with a bright band at a random position."""
    random = np.random.default_rng(seed)
    columns = np.arange(64)
    bands = [200 * np.exp(-(((columns - random.uniform(20, 44)) / 8) ** 2)) for _ in range(count)]
    return np.stack([np.tile(band, (64, 1)) for band in bands]).astype(np.uint8)[..., None]


def test_the_graph_gives_the_distance(network: keras.Model) -> None:
    fitted = measure_typicality(network, "edge", _pixels(0, 60), _pixels(1, 20), seed=0)
    model = with_typicality(network, "edge", fitted)
    images = np.concatenate([_pixels(2, 4), np.random.default_rng(3).integers(0, 256, (4, 64, 64, 1), np.uint8)])
    outputs = model.predict_on_batch(images)
    np.testing.assert_allclose(outputs["probability"], network.predict_on_batch(images), atol=1e-6)
    features = keras.Model(network.input, described_features(network, "edge")).predict_on_batch(images)
    distances = outputs["atypicality"][:, 0]
    # The graph adds up in float32, and what lies along the axes and beside them partly cancels.
    np.testing.assert_allclose(distances, fitted.distances(features), rtol=1e-2)
    assert (distances[4:] > fitted.threshold).all()


def test_the_distance_survives_the_folding_of_norms() -> None:
    """On export (`export.keras_passes.fold_batch_norms`) custom_cnn loses its last batch norm.

    Its scale, here far from 1, has then been multiplied into the features.
    """
    keras.utils.set_random_seed(1)
    network = build("custom_cnn", 64, 64, filters=(4, 6, 8), units=10)
    network(_pixels(0, 8), training=True)
    norm = network.get_layer("norm3")
    norm.set_weights([np.linspace(0.25, 3, 8), *norm.get_weights()[1:]])
    fitted = measure_typicality(network, "custom_cnn", _pixels(0, 60), _pixels(1, 20), seed=0)
    folded = fold_batch_norms(network)
    assert "dropout3" not in {layer.name for layer in folded.layers}
    images = _pixels(2, 6)
    whole, exported = (
        with_typicality(model, "custom_cnn", fitted, scales).predict_on_batch(images)["atypicality"]
        for model, scales in ((network, {}), (folded, output_scales(network)))
    )
    np.testing.assert_allclose(exported, whole, rtol=1e-3)
    assert np.ptp(whole) > 0.1


def test_a_distance_of_other_features_is_refused(network: keras.Model) -> None:
    fitted = fit_typicality(_features(50, 0), _features(20, 1))
    with pytest.raises(FractureEdgeError, match=r"60 features, but edge has .*; train again with --force"):
        with_typicality(network, "edge", fitted)


def test_typicality_is_of_a_known_layer(network: keras.Model) -> None:
    with pytest.raises(FractureEdgeError, match="this custom_cnn has no layer 'dropout3'"):
        pooled_features(network, "custom_cnn")


def test_the_features_are_those_of_the_last_addition(
    network: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = _pixels(0, 3)
    added = keras.Model(network.input, network.get_layer("block08_add").output).predict_on_batch(images)
    found = keras.Model(network.input, described_features(network, "edge")).predict_on_batch(images)
    np.testing.assert_allclose(found, added.mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)
    # A network without additions is described by the end of its backbone.
    monkeypatch.setattr(edge, "STAGES", edge.STAGES[:1])
    plain = build("edge", 64, 64, filters=0.25, depth=0.5)
    ends = keras.Model(plain.input, plain.get_layer("top_relu").output).predict_on_batch(images)
    found = keras.Model(plain.input, described_features(plain, "edge")).predict_on_batch(images)
    np.testing.assert_allclose(found, ends.mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)


def test_typicality_is_frozen() -> None:
    typicality = Typicality(np.zeros(2), np.eye(2)[:, :1], np.ones(1), 1.0)
    assert typicality.threshold == np.inf
    assert typicality.distances(np.array([[3.0, 4.0]])) == pytest.approx([25.0])
