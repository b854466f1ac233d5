from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from benchmarks.records.result import Run
from benchmarks.run_files import read_run
from benchmarks.studies.documents.results import EMBEDDED_ROW, EMBEDDED_RUN, RESULTS, row_of
from train.artifacts import (
    TRAINING_FILE,
    TRAINING_SCHEMA,
    ClassCounts,
    TrainingData,
    TrainingRecord,
    ValidationMetrics,
)
from train.json_records import write_record

SIDE = 48
RECIPE = """
architecture = "edge"
batch_size = 8
class_balance = "weights"
monitor = "val_loss"

[preprocessing]
height = 64
width = 64

[[phases]]
epochs = 1
learning_rate = 1e-3

[options]
filters = 0.25
depth = 0.5
"""


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, write_bones: Callable[..., Path], tiny_recipe: Path) -> Path:
    """Artifacts of a tiny edge, trained for one epoch on generated bones."""
    import csv

    from train.data.dataset import read_table, write_splits
    from train.recipes.recipe import load_recipe
    from train.runs.options import RunOptions
    from train.runs.train_model import train_model

    base = tmp_path_factory.mktemp("trained")
    data = write_bones(base / "data", 8, splits=("train", "val", "test"))
    splits = base / "splits.csv"
    with splits.open("w", newline="") as stream:
        write_splits(read_table(data), csv.writer(stream))
    options = RunOptions(data=data, splits=splits, out=base / "artifacts")
    train_model(load_recipe("edge", str(tiny_recipe)), options)
    return base / "artifacts"


@dataclass(frozen=True)
class Oracle:
    """A tiny custom CNN that is right by construction: the labels of its images were drawn from its answers.

    Attributes:
        artifacts: Holds ``custom_cnn``, complete with record and split file.
        threshold: The frozen one.
    """

    artifacts: Path
    threshold: float


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory, bone: Callable[..., Any]) -> Oracle:
    import keras

    from fracture_edge.preprocess import Preprocessing
    from train.architectures import build
    from train.data.dataset import read_table, write_splits

    base = tmp_path_factory.mktemp("oracle")
    folder = base / "artifacts" / "custom_cnn"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    model = build("custom_cnn", SIDE, SIDE, filters=(8, 12, 16), units=32)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            low, high = (0.5, -0.2, -0.2, 0.5), (1.5, 0.2, 0.2, 1.5)
            layer.set_weights(
                [
                    random.uniform(a, b, weight.shape)
                    for a, b, weight in zip(low, high, layer.get_weights(), strict=True)
                ]
            )
    preprocessing = Preprocessing(SIDE, SIDE)
    greys = [bone(seed, seed % 2 == 1) for seed in range(320)]
    pixels = np.stack([preprocessing(grey) for grey in greys])
    last = model.get_layer("probability")
    kernel, bias = last.get_weights()
    odds = np.log(1 / (1 / np.asarray(model(pixels, training=False), np.float64) - 1))[:, 0]
    # Log-odds of mean 0 and deviation 2: probabilities over the whole range, AUROC about 0.9.
    scale = 2 / odds.std()
    last.set_weights([kernel * scale, (bias - odds.mean()) * scale])
    answers = np.asarray(model(pixels, training=False))[:, 0]
    labels = random.random(len(answers)) < answers
    for number, (grey, label) in enumerate(zip(greys, labels, strict=True)):
        split = "train" if number < 200 else "val"
        place = base / "data" / split / ("fractured" if label else "normal")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).save(place / f"{number:03d}.png")
    model.save(folder / "model.keras")
    with (folder / "splits.csv").open("w", newline="") as stream:
        import csv

        write_splits(read_table(base / "data"), csv.writer(stream))
    counts = Counter(zip((number < 200 for number in range(320)), labels.tolist(), strict=True))
    record = TrainingRecord(
        schema_version=TRAINING_SCHEMA,
        model="custom_cnn",
        positive_class="fractured",
        parameters=model.count_params(),
        threshold=0.5,
        uncertain_low=0.3,
        uncertain_high=0.7,
        temperature=1.0,
        intercept=0.0,
        validation=ValidationMetrics(
            images=120,
            fractured=counts[False, True],
            auroc=0.9,
            balanced_accuracy=0.8,
            log_loss=0.4,
            uncertain_share=0.1,
        ),
        recipe_name="oracle",
        recipe={"preprocessing": preprocessing.to_dict(), "phases": [{"epochs": 1, "learning_rate": 1e-3}]},
        seed=0,
        epochs=1,
        best_epoch=1,
        seconds=1.0,
        initial_weights="random",
        device="CPU",
        precision="float32",
        backend="tensorflow",
        data=TrainingData(
            root=str(base / "data"),
            layout="split_folders",
            fingerprint="0" * 64,
            images={
                "train": ClassCounts(counts[True, True], counts[True, False]),
                "val": ClassCounts(counts[False, True], counts[False, False]),
                "test": ClassCounts(0, 0),
            },
        ),
        versions={},
        created="2026-01-01T00:00:00+00:00",
    )
    write_record(folder / TRAINING_FILE, record)
    return Oracle(base / "artifacts", 0.5)


@pytest.fixture(scope="module")
def patches() -> npt.NDArray[np.uint8]:
    """Pictures for `tiny_convolutions`, uint8 [24, 24, 24, 1]."""
    # Patches: noise of single pixels would average out.
    coarse = np.random.default_rng(0).integers(0, 256, (24, 6, 6, 1), np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


@pytest.fixture
def tiny_convolutions(tmp_path: Path) -> Path:
    """A convolution with ReLU6, a depthwise one, and one without a bias, averaged."""
    path = tmp_path / "float.onnx"
    random = np.random.default_rng(1)
    constants = {
        "scale": np.float32(1 / 128),
        "shift": np.float32(-127 / 128),
        "w1": random.normal(size=(8, 1, 3, 3)),
        "b1": random.normal(size=8),
        # One large number in each kernel leaves few steps for the others.
        "wd": random.normal(size=(8, 1, 3, 3)) * np.where(np.arange(9).reshape(3, 3) == 4, 12.0, 0.4),
        "bd": random.normal(size=8),
        "w2": random.normal(size=(4, 8, 1, 1)),
        "low": np.float32(0),
        "high": np.float32(6),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["normal"]),
        helper.make_node("Transpose", ["normal"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w1", "b1"], ["one"], name="one", pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["one", "low", "high"], ["one_clipped"], name="one_relu"),
        helper.make_node("Conv", ["one_clipped", "wd", "bd"], ["deep"], name="deep", group=8, pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["deep", "low", "high"], ["deep_clipped"], name="deep_relu"),
        helper.make_node("Conv", ["deep_clipped", "w2"], ["two"], name="two"),
        helper.make_node("GlobalAveragePool", ["two"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 24, 24, 1])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


@pytest.fixture
def embedded_run() -> Run:
    """Committed benchmark of the embedded model, without the other files of the same run."""
    run = read_run(RESULTS / EMBEDDED_RUN)
    row = row_of(run.result, EMBEDDED_ROW)
    models = {row.model: run.result.models[row.model]}
    return replace(run, result=replace(run.result, rows=(row,), models=models))
