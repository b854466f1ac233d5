from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from export.keras_passes.fold_batch_norms import fold_batch_norms, output_scales
from fracture_edge.errors import FractureEdgeError
from train.architectures import build
from train.data.dataset import ImageTable, Item
from train.evaluation.attributes import (
    THRESHOLDS,
    Head,
    fit_head,
    fit_heads,
    labelled,
    load_heads,
    measure_attributes,
    save_heads,
    truth_of,
    with_attributes,
)
from train.evaluation.classes import class_truth
from train.evaluation.typicality import described_features

LABELS = ("a", "b")


def _features(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Twelve features, of which the first two tell the two labels, and the truth, [count, 2]."""
    random = np.random.default_rng(seed)
    truth = random.random((count, 2)) < 0.4
    features = random.normal(size=(count, 12))
    features[:, :2] += 4 * truth
    return features * np.linspace(0.5, 20, 12) + 3, truth


def _auroc(head: Head, features: np.ndarray, truth: np.ndarray) -> float:
    found = head.probabilities(features)
    return float(np.mean([roc_auc_score(truth[:, k], found[:, k]) for k in range(2)]))


def test_labels_are_learnt_and_shuffled_ones_are_not() -> None:
    (training, truth), (validation, wanted), (unseen, answers) = (_features(400, seed) for seed in range(3))
    head = fit_head(LABELS, training, truth, validation, wanted)
    # Two normal distributions four deviations apart: AUROC = Phi(4 / sqrt 2) = 0.9977.
    assert _auroc(head, unseen, answers) == pytest.approx(0.9977, abs=0.005)
    assert head.threshold in THRESHOLDS
    exact = ((head.probabilities(validation) >= head.threshold) == wanted).all(axis=1).mean()
    # Each label is at best told with 1 - Phi(-2) = 0.977, both with 0.955.
    assert exact > 0.93
    random = np.random.default_rng(0)
    shuffled = fit_head(LABELS, training, random.permutation(truth), validation, random.permutation(wanted))
    # Of 400 images the standard error of an AUROC without information is 0.03.
    assert _auroc(shuffled, unseen, answers) == pytest.approx(0.5, abs=0.1)


def test_equally_good_thresholds_give_one_half() -> None:
    truth = np.array([[True, False]] * 20 + [[False, True]] * 20)
    features = np.where(truth, 50.0, -50.0)
    assert fit_head(LABELS, features, truth, features, truth).threshold == 0.5


def _table(count: int, *, views: bool = True) -> ImageTable:
    items = []
    for n in range(count):
        part = ("hand", "leg", "hip", "shoulder")[n % 4]
        view = {("frontal", "lateral", "oblique")[n % 3]: "1"} if views else {}
        both = {"hand": "1"} if n % 8 == 3 else {}
        items.append(Item(f"{n}.png", n % 2, f"g{n}", "train", {part: "1", **view, **both}))
    return ImageTable(Path(), "fracatlas", tuple(items))


def test_attributes_of_the_data() -> None:
    table = _table(24)
    assert truth_of(table, ("hand", "shoulder"))[:4].tolist() == [
        [True, False],
        [False, False],
        [False, False],
        [True, True],
    ]
    assert table.items[3].body_part == "hand+shoulder"
    assert table.items[4].view == "lateral"
    assert labelled(table, table).keys() == {"body_part", "view"}
    assert labelled(table, _table(24, views=False)).keys() == {"body_part"}
    # No hip among three images.
    assert labelled(table, _table(2)) == {}
    features, _ = _features(24, 0)
    assert fit_heads(table, features, _table(24, views=False), features).keys() == {"body_part"}


def _heads(width: int) -> dict[str, Head]:
    random = np.random.default_rng(5)
    return {
        "body_part": Head(("hand", "leg", "hip", "shoulder"), random.normal(size=(width, 4)), np.zeros(4), 0.6),
        "view": Head(("frontal", "lateral", "oblique"), random.normal(size=(width, 3)), np.arange(3.0), 0.45),
        "classes": Head(("x", "y"), random.normal(size=(width, 2)), np.zeros(2), 0.5, exclusive=True),
    }


def test_written_and_read(tmp_path: Path) -> None:
    path, heads = tmp_path / "attributes.npz", _heads(8)
    save_heads(heads, path)
    again = load_heads(path)
    assert list(again) == list(heads)
    for name, head in heads.items():
        assert again[name].metadata == head.metadata
        assert again[name].exclusive is (name == "classes")
        np.testing.assert_array_equal(again[name].kernel, head.kernel)
        np.testing.assert_array_equal(again[name].bias, head.bias)
    path.write_bytes(b"none")
    with pytest.raises(FractureEdgeError, match=r"attributes\.npz: cannot be read"):
        load_heads(path)


def _classes(count: int, seed: int, names: tuple[str, ...]) -> tuple[ImageTable, np.ndarray]:
    """Images in folders of classes, and features of which each of the first ones tells a class."""
    random = np.random.default_rng(seed)
    numbers = random.integers(0, len(names), count)
    features = random.normal(size=(count, 12))
    features[np.arange(count), numbers] += 4
    paths = [f"{'normal' if n == 0 else 'fractured'}/{names[n]}/{row}.png" for row, n in enumerate(numbers)]
    return ImageTable(Path(), "class_folders", tuple(Item(path, 0, path) for path in paths)), features


@pytest.mark.parametrize("names", [("sound", "spiral", "oblique"), ("sound", "broken")])
def test_classes_have_a_softmax(names: tuple[str, ...]) -> None:
    (training, features), (validation, held_out), (unseen, values) = (
        _classes(400, seed, names) for seed in range(3)
    )
    (head,) = fit_heads(training, features, validation, held_out, names).values()
    assert (head.labels, head.exclusive) == (names, True)
    found = head.probabilities(values)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    # Each class is told from one other with Phi(4 / sqrt 2) = 0.9977, from two with at least 0.995.
    assert (found.argmax(axis=1) == class_truth(unseen, names).argmax(axis=1)).mean() > 0.98


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build("edge", 64, 64, filters=0.25, depth=0.5)


def _pixels(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 1), np.uint8)


def test_the_graph_gives_the_probabilities(network: keras.Model) -> None:
    features = described_features(network, "edge")
    heads = _heads(features.shape[-1])
    images = _pixels(2, 6)
    outputs = with_attributes(network, "edge", heads).predict_on_batch(images)
    assert outputs.keys() == {"probability", "body_part", "view", "classes"}
    np.testing.assert_array_equal(outputs["probability"], network.predict_on_batch(images))
    values = keras.Model(network.input, features).predict_on_batch(images)
    for name, head in heads.items():
        # The graph computes in float32.
        np.testing.assert_allclose(outputs[name], head.probabilities(values), atol=1e-5)


def test_the_probabilities_survive_the_folding_of_norms() -> None:
    """On export custom_cnn's features are multiplied by the scale of the batch norm behind them."""
    keras.utils.set_random_seed(1)
    network = build("custom_cnn", 64, 64, filters=(4, 6, 8), units=10)
    network(_pixels(0, 8), training=True)
    norm = network.get_layer("norm3")
    norm.set_weights([np.linspace(0.25, 3, 8), *norm.get_weights()[1:]])
    heads, images = _heads(8), _pixels(2, 6)
    whole, exported = (
        with_attributes(model, "custom_cnn", heads, scales).predict_on_batch(images)["body_part"]
        for model, scales in ((network, {}), (fold_batch_norms(network), output_scales(network)))
    )
    np.testing.assert_allclose(exported, whole, atol=1e-4)
    assert np.ptp(whole, axis=0).max() > 1e-3


def test_heads_of_other_features_are_refused(network: keras.Model) -> None:
    with pytest.raises(FractureEdgeError, match=r"3 features, but edge has .*; train again with --force"):
        with_attributes(network, "edge", _heads(3))


def test_heads_are_fitted_to_the_features_of_the_network(network: keras.Model) -> None:
    pixels, table = _pixels(0, 24), _table(24)
    heads = measure_attributes(network, "edge", table, pixels, table, pixels)
    assert {name: head.labels for name, head in heads.items()} == labelled(table, table)
    width = described_features(network, "edge").shape[-1]
    assert {head.kernel.shape[0] for head in heads.values()} == {width}
    assert measure_attributes(network, "edge", _table(2), pixels[:2], table, pixels) == {}
