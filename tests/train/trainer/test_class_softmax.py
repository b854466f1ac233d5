from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from fracture_edge.preprocess import Preprocessing
from train.architectures import build
from train.data.batches import Batches
from train.data.mixing import Mixing
from train.evaluation.attributes import load_heads, save_heads, with_attributes
from train.evaluation.calibration import Calibration
from train.recipes.recipe import Augmentation, Phase, Recipe, recipe_of
from train.recipes.tables import RecipeError, plain_values
from train.trainer import loop
from train.trainer.class_softmax import head_of, with_classes

NAMES, FRACTURED = ("normal", "spiral", "transverse", "cast"), (False, True, True, False)
#: Class of each image; the last two are a fracture and a sound bone of no class.
CLASSES = np.vstack([np.eye(4, dtype=bool)[[0, 1, 2, 3, 1, 0]], np.zeros((2, 4), bool)])
LABELS = [0, 1, 1, 0, 1, 0, 1, 0]


def _recipe(**values: object) -> Recipe:
    defaults = {"architecture": "custom_cnn", "preprocessing": Preprocessing(32, 32), "phases": (Phase(1, 1e-2),)}
    return Recipe(**(defaults | {"classes": NAMES, "softmax": "in_place", "patience": 1} | values))


@pytest.fixture
def network(liven: Callable[..., keras.Model]) -> keras.Model:
    keras.utils.set_random_seed(0)
    return liven(build("custom_cnn", 32, 32, filters=(4, 6, 8), units=10), _images())


def _images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 32, 32, 1), np.uint8)


def _with_any_head(network: keras.Model) -> keras.Model:
    model = with_classes(network, FRACTURED)
    random = np.random.default_rng(1)
    model.get_layer("classes_head").set_weights([0.1 * random.normal(size=(8, 4)), random.normal(size=4)])
    return model


def _joint(answer: np.ndarray) -> np.ndarray:
    """Probability of each class, [N, 4]."""
    fractured = answer[:, :1].astype(np.float64)
    return answer[:, 1:] * np.where(FRACTURED, fractured, 1 - fractured)


def test_classes_share_their_side_equally_at_first(network: keras.Model) -> None:
    answer = with_classes(network, (False, True, True, True)).predict_on_batch(_images())
    np.testing.assert_array_equal(answer[:, :1], network.predict_on_batch(_images()))
    np.testing.assert_allclose(answer[:, 1:], [[1, 1 / 3, 1 / 3, 1 / 3]] * 8, rtol=1e-6)


def test_the_loss_is_the_categorical_cross_entropy(network: keras.Model) -> None:
    model, weights = _with_any_head(network), {0: 0.5, 1: 3.0}
    trainer = loop.with_augmentation(model, _recipe(), seed=0)
    loop.compile_phase(trainer, _recipe(), Phase(1, 1e-3), steps=2)
    batches = Batches(_images(), LABELS, batch_size=4, classes=CLASSES, weights=weights)
    found = trainer.evaluate(batches, verbose=0, return_dict=True)
    joint = _joint(model.predict_on_batch(_images()))
    np.testing.assert_allclose(joint.sum(axis=1), 1, rtol=1e-6)
    # Of an image of no class only its side counts, whose probability is the sum over the classes.
    side = np.array(LABELS)[:, None] == np.array(FRACTURED)
    likely = (joint * np.where(CLASSES.any(axis=1, keepdims=True), CLASSES, side)).sum(axis=1)
    expected = np.mean(np.where(LABELS, 3.0, 0.5) * -np.log(likely))
    assert found["loss"] == pytest.approx(expected, rel=1e-4)
    # Metrics are those of P(fractured).
    fractured = joint[:, np.array(FRACTURED)].sum(axis=1)
    weight_of = np.where(LABELS, 3.0, 0.5)
    right = (fractured > 0.5) == np.array(LABELS)
    assert found["accuracy"] == pytest.approx((weight_of * right).sum() / weight_of.sum(), rel=1e-5)


def test_the_classes_train_the_network_in_front_of_them(network: keras.Model, tmp_path: Path) -> None:
    model = _with_any_head(network)
    # Labels that P(fractured) already has exactly: what moves the first layer is the classes.
    sure = Batches(_images(), LABELS, batch_size=8, classes=CLASSES)
    sure.targets[:, :1] = network.predict_on_batch(_images())
    before = network.get_layer("conv1").get_weights()[0]
    loop.fit(model, _recipe(keep="last"), sure, None, folder=tmp_path, seed=0)
    head = head_of(model, NAMES, FRACTURED)
    assert (head.labels, head.fractured, head.exclusive) == (NAMES, FRACTURED, True)
    # One step of Adam moves each weight by the learning rate, 0.01.
    assert np.abs(network.get_layer("conv1").get_weights()[0] - before).max() == pytest.approx(0.01, rel=0.01)
    np.testing.assert_array_equal(head.kernel, model.get_layer("classes_head").get_weights()[0])


class _Stop(keras.callbacks.Callback):
    """End the process when the second epoch begins."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if epoch == 1:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_with_its_classes(tmp_path: Path) -> None:
    recipe = _recipe(phases=(Phase(2, 1e-2),), ema_momentum=0.5, keep="last", patience=0)

    def fit(folder: Path, *callbacks: keras.callbacks.Callback) -> np.ndarray:
        folder.mkdir(exist_ok=True)
        keras.utils.set_random_seed(0)
        model = with_classes(build("custom_cnn", 32, 32, filters=(4, 6, 8), units=10), FRACTURED)
        training = Batches(_images(), LABELS, batch_size=4, classes=CLASSES, seed=1)
        loop.fit(model, recipe, training, None, folder=folder, seed=0, callbacks=callbacks)
        return head_of(model, NAMES, FRACTURED).kernel

    expected = fit(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", _Stop())
    # Threads may add float32 numbers in another order.
    np.testing.assert_allclose(fit(tmp_path / "cut"), expected, rtol=1e-3, atol=1e-5)
    assert np.abs(expected).max() > 1e-3


def test_classes_of_a_calibrated_network_add_up_to_its_answer(network: keras.Model, tmp_path: Path) -> None:
    model = _with_any_head(network)
    save_heads({"classes": head_of(model, NAMES, FRACTURED)}, tmp_path / "attributes.npz")
    Calibration(0.6, -0.8).fold_into(network.get_layer("probability"))
    heads = load_heads(tmp_path / "attributes.npz")
    assert heads["classes"].fractured == FRACTURED
    found = with_attributes(network, "custom_cnn", heads).predict_on_batch(_images())
    answer = model.predict_on_batch(_images())
    np.testing.assert_allclose(found["probability"], answer[:, :1])
    np.testing.assert_allclose(found["classes"], _joint(answer), atol=1e-6)
    np.testing.assert_allclose(found["classes"][:, FRACTURED].sum(axis=1), found["probability"][:, 0], atol=1e-6)
    assert np.ptp(found["probability"]) > 0.01


def test_mixed_images_have_mixed_classes() -> None:
    """Weight times target of a blend is the blend of both, in each column."""
    batches = Batches(_images(), LABELS, batch_size=8, classes=CLASSES, weights={0: 0.5, 1: 2.0})
    targets, weights = batches.targets, batches.weights
    mixing = Mixing(Augmentation(mixup=1.0), 3)
    _, mixed, blended = mixing(batches.pixels, targets, weights)
    assert mixed.shape == (8, 5)
    # Fractures of a class and of none, and sound bones, in the blend: solved from weight and first column.
    share = (blended - 0.5) / 1.5
    np.testing.assert_allclose(blended * mixed[:, 0], 2 * share, atol=1e-5)
    broken = (blended[:, None] * mixed[:, 1:])[:, np.array(FRACTURED)].sum(axis=1)
    assert ((broken >= -1e-6) & (broken <= 2 * share + 1e-5)).all()
    assert np.unique(mixed[:, 1:].round(4)).size > 4


def test_recipe() -> None:
    with pytest.raises(RecipeError, match=r"'in_place' needs recipe\.classes"):
        _recipe(classes=())
    with pytest.raises(RecipeError, match="classes: must be at least two different names"):
        _recipe(classes=("normal",))
    assert _recipe().to_dict()["softmax"] == "in_place"
    assert recipe_of(plain_values(_recipe())) == _recipe()
    # Records of other models stay as they were.
    assert not {"softmax", "classes"} & _recipe(softmax="beside", classes=()).to_dict().keys()
