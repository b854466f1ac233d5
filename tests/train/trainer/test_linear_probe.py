"""The head that a logistic regression finds on the features of the network as it comes."""

from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fracture_edge.errors import FractureEdgeError
from fracture_edge.preprocess import Preprocessing
from train.architectures import build, edge
from train.data.batches import Batches
from train.evaluation.predict import predict
from train.recipes.recipe import Phase, Recipe, load_recipe, override
from train.recipes.tables import RecipeError
from train.runs import train_model as run
from train.runs.options import RunOptions
from train.trainer import loop
from train.trainer import train_once as once
from train.trainer.callbacks import SaveState
from train.trainer.linear_probe import STRENGTH, fit_head, views_of

SIZE = 64
LABELS = [0, 1, 0, 0] * 6


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (len(LABELS), SIZE, SIZE, 1), np.uint8)


def _edge(**options: object) -> keras.Model:
    keras.utils.set_random_seed(0)
    return build("edge", SIZE, SIZE, filters=0.1, depth=0.5, **options)


def _log_odds(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    probability = predict(model, pixels)
    return np.log(probability / (1 - probability))


@pytest.mark.parametrize(("balanced", "mirrored"), [(True, True), (True, False), (False, False)])
def test_the_network_answers_as_the_regression(balanced: bool, mirrored: bool, pixels: np.ndarray) -> None:
    model = _edge()
    pool = keras.Model(model.input, model.get_layer("pool").output)
    views = [pixels, pixels[:, :, ::-1]] if mirrored else [pixels]
    features = np.concatenate([pool.predict_on_batch(view) for view in views]).astype(np.float64)
    regression = make_pipeline(
        StandardScaler(),
        LogisticRegression(
            C=STRENGTH / features.shape[1], class_weight="balanced" if balanced else None, max_iter=1000
        ),
    ).fit(features, LABELS * len(views))
    fit_head(model, views, LABELS, balanced=balanced)
    # The features are float32, and so small that their standardisation is large.
    np.testing.assert_allclose(
        _log_odds(model, pixels), regression.decision_function(features[: len(pixels)]), atol=2e-3
    )
    assert np.ptp(regression.decision_function(features)) > 0.02
    cells = keras.Model(model.input, model.get_layer("cells").output).predict_on_batch(pixels)
    assert np.unique(cells).tolist() == [-3.0]


def test_what_the_head_is_fitted_to(pixels: np.ndarray) -> None:
    plain, mirrored = views_of(pixels, mirrored=True)
    np.testing.assert_array_equal(plain, pixels)
    np.testing.assert_array_equal(mirrored, pixels[:, :, ::-1])
    # Without mirrored training, the images alone.
    (only,) = views_of(pixels, mirrored=False)
    np.testing.assert_array_equal(only, pixels)


def test_other_networks_are_refused(pixels: np.ndarray) -> None:
    model = build("custom_cnn", SIZE, SIZE, filters=(4, 4, 4), units=4)
    with pytest.raises(FractureEdgeError, match="'custom_cnn' has no single layer to fit"):
        fit_head(model, [pixels], LABELS, balanced=True)


@pytest.mark.slow
def test_frozen_norms_keep_everything_and_the_rest_learns(pixels: np.ndarray, tmp_path: Path) -> None:
    model = _edge(drop_path=0.0, dropout=0.0)
    before = {layer.name: [weight.copy() for weight in layer.get_weights()] for layer in model.layers}
    recipe = Recipe("edge", Preprocessing(SIZE, SIZE), (Phase(1, 1e-3),), frozen_norms=True, keep="last")
    training = Batches(pixels, LABELS, batch_size=8, seed=0)
    loop.fit(model, recipe, training, Batches(pixels, LABELS, batch_size=8), folder=tmp_path, seed=0)
    for layer in model.layers:
        same = all(
            np.array_equal(old, new) for old, new in zip(before[layer.name], layer.get_weights(), strict=True)
        )
        assert same == (isinstance(layer, keras.layers.BatchNormalization) or not layer.weights), layer.name


def test_norms_cannot_be_frozen_and_refitted() -> None:
    with pytest.raises(RecipeError, match="refit_norms: must be false where frozen_norms is true"):
        Recipe("edge", Preprocessing(SIZE, SIZE), (Phase(1, 1e-3),), frozen_norms=True, refit_norms=True)


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_the_head_it_has(
    train_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "STAGES", edge.STAGES[:2])
    recipe = override(
        load_recipe("edge", str(train_data / "edge.toml")), settings=["probe=true", "frozen_norms=true"]
    )

    def train(out: Path, *, resume: bool = False) -> list[list[str]]:
        options = RunOptions(
            data=train_data / "data",
            splits=train_data / "splits.csv",
            out=out,
            recipe_name="edge.toml",
            weights="none",
            resume=resume,
        )
        folder = run.train_model(recipe, options)
        # All but the seconds.
        return [line.split(",")[:-1] for line in (folder / "history.csv").read_text().splitlines()]

    whole = train(tmp_path / "whole")

    class CutOff(SaveState):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            super().on_epoch_end(epoch, logs)
            if epoch == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "SaveState", CutOff)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "cut")

    def no_fit(*_: object, **__: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(once, "fit_head", no_fit)
    assert train(tmp_path / "cut", resume=True) == whole
    assert len(whole) == 3
