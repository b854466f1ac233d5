"""Classes trained in place of the binary answer, from folders of images to the answer of exported files."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from export.options import ExportOptions
from export.recipes import LADDER, Budget, load_budgets, select
from export.run import export_model
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from train.artifacts import read_record
from train.evaluation.attributes import load_heads
from train.evaluation.evaluate import evaluate_model
from train.recipes.recipe import Recipe, recipe_of
from train.runs.options import RunOptions
from train.runs.train_model import train_model

#: A tiny network is trained and exported in four formats: minutes.
pytestmark = pytest.mark.slow

#: Folder and mean grey level of each class, in the order of the recipe, which is not that of the alphabet.
FOLDERS = {
    "transverse": ("fractured/transverse", 200),
    "normal": ("normal", 40),
    "spiral": ("fractured/spiral", 120),
}
BROKEN = ("transverse", "spiral")
FORMATS = ("onnx_float32", "onnx_float16", "onnx_int8_static_x86", "tflite_float32")
FILES = ("float32.onnx", "float16.onnx", "int8.onnx", "float32.tflite")
SPLITS = {"train": 30, "val": 10, "test": 10}


def _recipe(**values: object) -> Recipe:
    return recipe_of(
        {
            "architecture": "custom_cnn",
            "preprocessing": {"height": 32, "width": 32},
            "phases": [{"epochs": 12, "learning_rate": 1e-2}],
            "batch_size": 15,
            "monitor": "val_loss",
            "patience": 0,
            "refit_norms": True,
            "options": {"filters": [4, 6, 8], "units": 10},
            "classes": list(FOLDERS),
            "softmax": "in_place",
            **values,
        }
    )


def _data(root: Path) -> Path:
    random = np.random.default_rng(0)
    for split, count in SPLITS.items():
        for folder, level in FOLDERS.values():
            place = root / split / folder
            place.mkdir(parents=True)
            for number in range(count):
                grey = random.normal(level, 12, (40, 40)).clip(0, 255).astype(np.uint8)
                Image.fromarray(grey).save(place / f"{split}{level}-{number:02}.png")
    return root


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The trained model's folder, and its data."""
    base = tmp_path_factory.mktemp("classes")
    data = _data(base / "data")
    folder = train_model(_recipe(), RunOptions(data=data, out=base / "artifacts"))
    options = ExportOptions(
        budgets={**load_budgets(), "int8": Budget()},
        calibration_images=45,
        heatmap=True,
        ladder=[rung for rung in LADDER if rung.calibration == "minmax" and not rung.float_tail],
    )
    export_model("custom_cnn", select(names=list(FORMATS)), artifacts=base / "artifacts", options=options)
    return SimpleNamespace(folder=folder, data=data)


def test_the_order_is_that_of_the_recipe(exported: SimpleNamespace) -> None:
    head = load_heads(exported.folder / "attributes.npz")["classes"]
    assert head.labels == tuple(FOLDERS)
    assert head.fractured == (True, False, True)
    assert read_record(exported.folder).recipe["softmax"] == "in_place"
    for file in FILES:
        assert FractureClassifier(exported.folder / f"custom_cnn-{file}").info.classes == list(FOLDERS)


def test_evaluation_is_that_of_the_sum(exported: SimpleNamespace) -> None:
    result = evaluate_model(exported.folder, "test")
    assert (result.data.images, result.data.fractured) == (30, 20)
    # Three grey levels, of which the network is sure.
    assert result.metrics["auroc"].value == 1
    with (exported.folder / "predictions-test.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    classifier = FractureClassifier(exported.folder / "custom_cnn-float32.onnx")
    for row in rows:
        found = classifier.predict(exported.data / row["path"])
        assert found.classes is not None
        # Six decimals are written; another runtime.
        assert sum(found.classes[name] for name in BROKEN) == pytest.approx(float(row["probability"]), abs=1e-4)


@pytest.mark.parametrize("file", FILES)
def test_classify(exported: SimpleNamespace, file: str) -> None:
    classifier = FractureClassifier(exported.folder / f"custom_cnn-{file}")
    right = 0
    for name, (folder, _) in FOLDERS.items():
        for path in sorted((exported.data / "test" / folder).iterdir()):
            found = classifier.predict(path)
            assert found.classes is not None
            assert found.probability is not None
            assert list(found.classes) == list(FOLDERS)
            # Sums of a few float32, in float16 and int8 files too.
            assert sum(found.classes.values()) == pytest.approx(1, abs=1e-6)
            assert sum(found.classes[each] for each in BROKEN) == pytest.approx(found.probability, abs=1e-6)
            # Not the decision: an image may be uncertain because it is unlike the few training images.
            assert (found.probability >= classifier.info.policy.threshold) is (name in BROKEN)
            right += max(found.classes, key=found.classes.__getitem__) == name
    assert right == 30


def test_the_heat_map_is_that_of_the_network_without_classes(exported: SimpleNamespace) -> None:
    import keras

    from export.keras_passes.heatmap import with_heatmap
    from export.keras_passes.rewrite import rewrite

    classifier = FractureClassifier(exported.folder / "custom_cnn-float32.onnx")
    paths = [
        path for folder, _ in FOLDERS.values() for path in sorted((exported.data / "test" / folder).iterdir())
    ]
    pixels = np.stack([classifier.info.preprocessing.load(path) for path in paths])
    network = keras.saving.load_model(exported.folder / "model.keras", compile=False)
    expected = with_heatmap(rewrite(network, pixels)[0]).predict_on_batch(pixels)["heatmap"]
    # Of some images no position speaks for a fracture.
    assert set(expected.max(axis=(1, 2)).round(5)) <= {0, 1}
    found = np.stack([classifier.predict(path).heatmap for path in paths])
    # Maps are divided by their maximum, in which float32 of two runtimes differs.
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["spiral", "transverse"], "none of spiral, transverse is not fractured"),
        (["normal", "bowed"], "no training images in a folder named 'bowed'"),
    ],
)
def test_classes_that_do_not_fit_the_data(
    exported: SimpleNamespace, tmp_path: Path, classes: list[str], message: str
) -> None:
    with pytest.raises(FractureEdgeError, match=f"recipe.classes: {message}"):
        train_model(_recipe(classes=classes), RunOptions(data=exported.data, out=tmp_path))
    assert not (tmp_path / "custom_cnn").exists()
