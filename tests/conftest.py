"""Shared fixtures: synthetic bones, a model that can be computed by hand, and ways to run commands."""

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import train  # noqa: F401 -- before TensorFlow: it chooses the kernels
from fracture_edge.modelfile import ModelInfo, embed_info
from fracture_edge.policy import Policy
from fracture_edge.preprocess import Preprocessing
from train.artifacts import ClassCounts, TrainingData, TrainingRecord, ValidationMetrics
from train.evaluation.metrics import Estimate
from train.evaluation.record import EvaluatedData, EvaluationRecord, TrainingSummary
from train.export_record import ExportEntry, GateMetrics, PeakMemory

REPOSITORY = Path(__file__).resolve().parent.parent
NOBODY = 65534
SIDE = 64

Grey = npt.NDArray[np.uint8]


def _bone(seed: int, fractured: bool, *, height: int = 192, width: int = 128) -> Grey:
    """Draw a long bone in soft tissue; a fracture is a dark oblique line with a displaced end."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    middle = width * rng.uniform(0.38, 0.62) + rng.uniform(-0.15, 0.15) * (rows - height / 2)
    slope, gap = rng.uniform(0.3, 0.8) * rng.choice((-1, 1)), rng.uniform(2, 3)
    line = height * rng.uniform(0.35, 0.65) + slope * (columns - width / 2)
    displacement = width * rng.uniform(0.02, 0.05) * rng.choice((-1, 1))
    tissue_radius = width * rng.uniform(0.28, 0.46)
    # The shaft flares towards its ends.
    outer = width * rng.uniform(0.1, 0.18) * (1 + rng.uniform(0.1, 0.6) * (2 * rows / height - 1) ** 4)
    tissue = np.sqrt(np.maximum(0, 1 - ((columns - middle) / tissue_radius) ** 2))
    if fractured:
        middle = middle + displacement * (rows > line)
    distance = np.abs(columns - middle)
    hollow = 0.6 * outer
    # X-rays pass through two walls: brightest at the inner edge of the cortex, 0.8 of the outer radius thick.
    wall = np.sqrt(np.maximum(0, outer**2 - distance**2)) - np.sqrt(np.maximum(0, hollow**2 - distance**2))
    cortex = wall / (0.8 * outer)
    if fractured:
        cortex = np.where(np.abs(rows - line) / np.hypot(1, slope) <= gap / 2, 0, cortex)
    picture = 15 + rng.uniform(40, 90) * tissue + rng.uniform(90, 150) * cortex
    picture *= 1 + rng.uniform(-0.3, 0.3) * (rows / height - 0.5)
    picture += rng.normal(0, 4, (height, width))
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _write_bones(
    root: Path, per_class: int, *, splits: Sequence[str] = (), height: int = 192, width: int = 128
) -> Path:
    """Write class folders of alternating PNG and JPEG files, inside split folders if any; all images differ."""
    number = 0
    for split in splits or ("",):
        for name, fractured in (("fractured", True), ("not fractured", False)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(per_class):
                suffix = (".png", ".jpg")[index % 2]
                image = Image.fromarray(_bone(number, fractured, height=height, width=width))
                image.save(folder / f"bone{number:04d}{suffix}")
                number += 1
    return root


def _write_graph(
    path: Path,
    *,
    input_name: str = "image",
    output_name: str = "probability",
    element: str = "UINT8",
    side: int = SIDE,
    bias: float = -4.0,
) -> Path:
    """Write an ONNX file for P = sigmoid(mean grey / 32 + bias): 64, 128 and 192 grey give logits -2, 0 and 2."""
    from onnx import TensorProto, checker, helper, save

    kind = getattr(TensorProto, element)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", [input_name], ["grey"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["grey"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("Mul", ["mean", "scale"], ["scaled"]),
            helper.make_node("Add", ["scaled", "bias"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], [output_name]),
        ],
        "tiny",
        [helper.make_tensor_value_info(input_name, kind, ["N", side, side, 1])],
        [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, ["N", 1])],
        [
            helper.make_tensor("scale", TensorProto.FLOAT, [1], [1 / 32]),
            helper.make_tensor("bias", TensorProto.FLOAT, [1], [bias]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    save(model, os.fspath(path))
    return path


@contextmanager
def _as_nobody() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(NOBODY)
    except OSError:
        pytest.skip("root here may not become another user, and root reads everything")
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture(scope="session")
def bone() -> Callable[..., Grey]:
    return _bone


def _mark_bones(data: Path) -> Path:
    paths = sorted(data.rglob("bone*.*"))
    fractured = [path.name for path in paths if path.parent.name == "fractured"]
    rows = [
        f"{path.relative_to(data).as_posix()},{int(path.name in fractured)},{path.parts[-3]},{path.stem}"
        for path in paths
    ]
    (data.parent / "splits.csv").write_text("\n".join(["path,label,split,group", *rows]) + "\n")
    coco = data / "Annotations/COCO JSON/COCO_fracture_masks.json"
    coco.parent.mkdir(parents=True)
    images = [{"id": k, "file_name": name, "width": 64, "height": 64} for k, name in enumerate(fractured)]
    boxes = [{"image_id": k, "bbox": [16, 16, 20, 30]} for k in range(len(fractured))]
    coco.write_text(json.dumps({"images": images, "annotations": boxes}))
    return data


@pytest.fixture(scope="session")
def write_bones() -> Callable[..., Path]:
    return _write_bones


@pytest.fixture(scope="session")
def mark_bones() -> Callable[[Path], Path]:
    """Function that gives bones of 64 pixels a box for each fracture, and writes splits.csv beside them."""
    return _mark_bones


@pytest.fixture(scope="session")
def write_graph() -> Callable[..., Path]:
    return _write_graph


@pytest.fixture(scope="session")
def tiny_info() -> ModelInfo:
    return ModelInfo(
        name="tiny",
        architecture="mean",
        precision="float32",
        preprocessing=Preprocessing(SIDE, SIDE),
        policy=Policy(0.5, 0.4, 0.6),
        # The images of these tests are uniform on purpose.
        suitability={
            "least_side": 0,
            "most_colour": 1,
            "least_contrast": 0,
            "least_correlation": -2,
            "most_median": 255,
            "least_bright": 0,
            "most_clipped": 1,
            "least_sharpness": 0,
        },
        licence="none",
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_info: ModelInfo) -> Path:
    path = _write_graph(tmp_path_factory.mktemp("model") / "tiny.onnx")
    embed_info(path, tiny_info, path)
    return path


class TinyTflite(NamedTuple):
    """TFLite files of the function of `tiny_model`.

    Attributes:
        plain: Path of a float32 file whose only output is the probability.
        further: Path of a float32 file with a heat map, the mean grey / 32 - 4 of cells of 4 x 4 pixels, and the
            views "one" and "other".
        integer: Path of an int8 file, uint8 in and int8 out.
    """

    plain: Path
    further: Path
    integer: Path


@pytest.fixture(scope="session")
def tiny_tflite(tmp_path_factory: pytest.TempPathFactory, tiny_info: ModelInfo) -> TinyTflite:
    import keras
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("tflite")
    views = {"view": {"labels": ["one", "other"], "threshold": 0.5}}
    infos = {
        "plain": tiny_info,
        "further": replace(tiny_info, attributes=views),
        "integer": replace(tiny_info, precision="int8"),
    }
    for name, info in infos.items():
        integer = name == "integer"
        # The converter quantises from the first float tensor on.
        image = keras.Input((SIDE, SIDE, 1), batch_size=1, dtype="float32" if integer else "uint8", name="image")
        scaled = keras.layers.Rescaling(1 / 32, offset=-4.0)(image)
        logit = keras.layers.GlobalAveragePooling2D()(scaled)
        probability = keras.layers.Activation("sigmoid", name="probability")(logit)
        outputs: Any = probability
        if name == "further":
            cells = keras.layers.Reshape((SIDE // 4, SIDE // 4))(keras.layers.AveragePooling2D(4)(scaled))
            both = keras.layers.Concatenate()([probability, 1 - probability])
            outputs = {"probability": probability, "heatmap": cells, "view": both}
        converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, outputs))
        if integer:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: (
                [np.full((1, SIDE, SIDE, 1), grey, np.float32)] for grey in range(256)
            )
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type, converter.inference_output_type = tf.uint8, tf.int8
        with redirect_stdout(io.StringIO()):
            (folder / f"{name}.tflite").write_bytes(converter.convert())
        embed_info(folder / f"{name}.tflite", info, folder / f"{name}.tflite")
    return TinyTflite(*(folder / f"{name}.tflite" for name in infos))


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user can enter, unlike `tmp_path`."""
    folder = Path(tempfile.mkdtemp(prefix="fracture-edge-test-"))
    folder.chmod(0o755)
    yield folder
    for entry in folder.iterdir():
        entry.chmod(0o700)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def as_nobody() -> Callable[[], AbstractContextManager[None]]:
    """Run as an unprivileged user within this context, even if the tests run as root."""
    return _as_nobody


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process, and return exit code, stdout and stderr."""
    from fracture_edge.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
        monkeypatch.setattr(sys, "argv", ["fracture-edge", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        assert isinstance(stop.value.code, int)
        return stop.value.code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def make_training_record() -> Callable[..., TrainingRecord]:
    """Record of a short run on the CPU, with what a test changes."""

    def make(**changes: Any) -> TrainingRecord:
        record = TrainingRecord(
            schema_version=1,
            model="edge",
            positive_class="fractured",
            parameters=10,
            temperature=1.0,
            intercept=0.0,
            threshold=0.5,
            uncertain_low=0.5,
            uncertain_high=0.5,
            validation=ValidationMetrics(7, 3, 0.75, 0.7, 0.6, 0.0),
            recipe_name="corrected",
            recipe={"preprocessing": {"height": 64, "width": 48}, "phases": [{"epochs": 5}]},
            seed=3,
            initial_weights="random",
            data=TrainingData("/somewhere", "folders", "f", {"train": ClassCounts(3, 4)}),
            epochs=5,
            best_epoch=4,
            seconds=150,
            device="CPU",
            precision="float32",
            backend="tensorflow",
            versions={"keras": "3.15.1"},
            created="2026-01-01T00:00:00+00:00",
        )
        return replace(record, **changes)

    return make


@pytest.fixture(scope="session")
def make_evaluation_record(make_training_record: Callable[..., TrainingRecord]) -> Callable[..., EvaluationRecord]:
    """Evaluation of that run, with what a test changes."""

    def make(**changes: Any) -> EvaluationRecord:
        run = make_training_record()
        estimate = Estimate(0.75, 0.5, 1.0)
        record = EvaluationRecord(
            metrics={"auroc": estimate},
            confusion={},
            auroc_without_hardware=None,
            calibration={},
            schema_version=1,
            model=run.model,
            positive_class="fractured",
            split="test",
            threshold=run.threshold,
            data=EvaluatedData("folders", 7, 3, 4, "f"),
            training=TrainingSummary(
                recipe_name=run.recipe_name,
                initial_weights=run.initial_weights,
                seed=run.seed,
                parameters=run.parameters,
                epochs=run.epochs,
                best_epoch=run.best_epoch,
                seconds=run.seconds,
                device=run.device,
                precision=run.precision,
                backend=run.backend,
                versions=run.versions,
                images=ClassCounts(3, 4),
            ),
            trivial_baseline=estimate,
        )
        return replace(record, **changes)

    return make


@pytest.fixture(scope="session")
def make_gate_metrics() -> Callable[..., GateMetrics]:
    """Make gate metrics of a faithful file, with the changes of a test."""

    def make(**changes: Any) -> GateMetrics:
        found = GateMetrics(
            images=342,
            fractured=59,
            threshold=0.3,
            largest_difference=0.02,
            mean_difference=0.004,
            same_decision=0.99,
            sensitivity_keras=0.8,
            sensitivity_exported=0.8,
            specificity_keras=0.8,
            specificity_exported=0.8,
            auroc_keras=0.9,
            auroc_exported=0.9,
            auroc_change=0.0,
            sensitivity_change=0.0,
            intervals={"auroc_change": (-0.01, 0.01), "sensitivity_change": (-0.03, 0.03)},
        )
        return replace(found, **changes)

    return make


@pytest.fixture(scope="session")
def make_export_entry(make_gate_metrics: Callable[..., GateMetrics]) -> Callable[..., ExportEntry]:
    """Make the entry of an accepted file, with the changes of a test."""

    def make(**changes: Any) -> ExportEntry:
        entry = ExportEntry(
            recipe="onnx_int8_static_x86",
            precision="int8",
            source_sha256="",
            sha256="",
            bytes=1,
            gzip_bytes=1,
            heatmap=False,
            peak_memory_mb=PeakMemory(conversion=1, gate=1),
            gate=make_gate_metrics(),
            budget="int8",
            broken=[],
            versions={},
            seconds=1.0,
            created="2026-11-28T12:00:00+00:00",
        )
        return replace(entry, **changes)

    return make


@pytest.fixture(scope="session")
def repository() -> Path:
    """Folder that contains the packages under test."""
    return REPOSITORY


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run Python in a new process that can import the packages under test."""

    def run(
        *arguments: object, cwd: Path | None = None, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, *map(os.fsencode, map(str, arguments))],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": os.fspath(REPOSITORY), **(environment or {})},
            capture_output=True,
            check=False,
            timeout=600,
        )

    return run
