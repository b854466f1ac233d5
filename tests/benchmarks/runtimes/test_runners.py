"""Every runtime on the same function, P = sigmoid(mean grey / 32 - 4): 64, 128 and 192 give logits -2, 0 and 2."""

import hashlib
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.runtimes.process import WorkerProcess
from benchmarks.runtimes.runners import (
    KerasRunner,
    LiteRtRunner,
    OnnxRunner,
    OpenVinoRunner,
    Runner,
    load_runner,
    runner_of,
)
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError, ImageError, ModelError
from fracture_edge.modelfile import ModelInfo
from fracture_edge.policy import Decision
from train.artifacts import TrainingRecord
from train.json_records import write_record

GREYS = (64, 128, 192)
EXPECTED = [1 / (1 + math.exp(-logit)) for logit in (-2, 0, 2)]
RUNTIMES = ("onnxruntime", "litert", "openvino")


@pytest.fixture(scope="module")
def files(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_model: Path,
    tiny_tflite: Any,
    tiny_info: ModelInfo,
    make_training_record: Callable[..., TrainingRecord],
) -> SimpleNamespace:
    """Write the function in every format, and an image of each grey level."""
    import keras

    folder = tmp_path_factory.mktemp("tiny")
    side = tiny_info.preprocessing.height
    image = keras.Input((side, side, 1), dtype="uint8", name="image")
    logit = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 32, offset=-4.0)(image))
    model = keras.Model(image, keras.layers.Activation("sigmoid", name="probability")(logit))
    model.save(folder / "model.keras")
    policy = tiny_info.policy
    record = make_training_record(
        model="mean",
        threshold=policy.threshold,
        uncertain_low=policy.uncertain_low,
        uncertain_high=policy.uncertain_high,
        recipe={"preprocessing": tiny_info.preprocessing.to_dict()},
    )
    write_record(folder / "training.json", record)
    for grey in GREYS:
        Image.fromarray(np.full((100, 100), grey, np.uint8)).save(folder / f"{grey}.png")
    return SimpleNamespace(
        folder=folder,
        keras=folder / "model.keras",
        onnxruntime=tiny_model,
        openvino=tiny_model,
        litert=tiny_tflite.plain,
        images=[folder / f"{grey}.png" for grey in GREYS],
    )


@pytest.fixture(params=RUNTIMES)
def runner(request: pytest.FixtureRequest, files: SimpleNamespace) -> Runner:
    if request.param == "openvino":
        pytest.importorskip("openvino")
    return load_runner(request.param, getattr(files, request.param), threads=1)


def _pixels(*greys: int) -> np.ndarray:
    return np.stack([np.full((64, 64, 1), grey, np.uint8) for grey in greys])


def test_probabilities_of_one_and_of_several_images(runner: Runner) -> None:
    # float32: seven digits.
    for count in (1, 3, 2):
        found = runner.probabilities(_pixels(*GREYS[:count]))
        assert found == pytest.approx(EXPECTED[:count], abs=1e-6)


def test_the_result_of_an_earlier_call_is_not_overwritten(runner: Runner) -> None:
    first = runner.probabilities(_pixels(64))
    runner.probabilities(_pixels(192))
    assert first == pytest.approx(EXPECTED[:1], abs=1e-6)


def test_decide_classifies_an_image_file(runner: Runner, files: SimpleNamespace) -> None:
    assert [runner.decide(image) for image in files.images] == [
        Decision.NOT_FRACTURED, Decision.UNCERTAIN, Decision.FRACTURED,
    ]  # fmt: skip
    with pytest.raises(ImageError, match="no such file"):
        runner.decide(Path("missing.png"))


def test_properties_of_the_file(runner: Runner, files: SimpleNamespace) -> None:
    path = getattr(files, runner.runtime)
    assert (runner.info.policy.threshold, runner.info.preprocessing.height) == (0.5, 64)
    assert (runner.size, runner.sha256) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    words = {"onnxruntime": "onnx float32", "litert": "tflite float32", "openvino": "openvino float32"}
    assert runner.name == words[runner.runtime]


def test_a_closed_runner_has_no_model(runner: Runner) -> None:
    runner.close()
    with pytest.raises(AttributeError):
        runner.probabilities(_pixels(64))


def test_keras_in_a_process_of_its_own(files: SimpleNamespace) -> None:
    # TensorFlow's threads cannot be set here any more: the fixture has used it.
    with pytest.raises(RuntimeError, match="cannot be modified after initialization"):
        KerasRunner(files.keras, threads=7)
    with WorkerProcess("keras", files.keras, threads=1, images=files.images) as worker:
        found = [worker.ask("answer", image=str(image))["probability"] for image in files.images]
        assert found == pytest.approx(EXPECTED, abs=1e-6)
        assert len(worker.ask("decisions", warm_up=0, runs=4)["seconds"]) == 4
        assert len(worker.ask("inference", warm_up=1, runs=2, batch=8)["seconds"]) == 2


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_all_images_of_a_file(runtime: str, files: SimpleNamespace, tmp_path: Path) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    greys = [GREYS[number % 3] for number in range(70)]
    np.save(tmp_path / "pixels.npy", _pixels(*greys))
    with WorkerProcess(runtime, getattr(files, runtime), threads=1) as worker:
        worker.ask("probabilities", pixels=str(tmp_path / "pixels.npy"), target=str(tmp_path / "predictions.npy"))
    assert np.load(tmp_path / "predictions.npy") == pytest.approx((EXPECTED * 24)[:70], abs=1e-6)


def test_keras_needs_the_training_record(tmp_path: Path) -> None:
    with pytest.raises(FractureEdgeError, match="no trained model here"):
        KerasRunner(tmp_path / "model.keras", threads=1)


@pytest.mark.parametrize("threads", [1, 2])
def test_onnxruntime_uses_the_requested_threads_and_does_not_spin(files: SimpleNamespace, threads: int) -> None:
    options = OnnxRunner(files.onnxruntime, threads).classifier._session.get_session_options()
    assert options.intra_op_num_threads == threads
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize("threads", [1, 2])
def test_openvino_uses_the_requested_threads_and_computes_in_float32(files: SimpleNamespace, threads: int) -> None:
    openvino = pytest.importorskip("openvino")
    runner = OpenVinoRunner(files.openvino, threads)
    runner.probabilities(_pixels(64))
    compiled = runner._compiled[1].get_compiled_model()
    assert compiled.get_property("INFERENCE_NUM_THREADS") == threads
    assert compiled.get_property("NUM_STREAMS") == 1
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32


@pytest.mark.parametrize("threads", [1, 2])
def test_litert_uses_the_requested_threads(
    files: SimpleNamespace, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ai_edge_litert import interpreter

    asked = []

    class Interpreter(interpreter.Interpreter):  # type: ignore[misc]
        def __init__(self, model_content: bytes, num_threads: int) -> None:
            asked.append(num_threads)
            super().__init__(model_content=model_content, num_threads=num_threads)

    monkeypatch.setattr(interpreter, "Interpreter", Interpreter)
    LiteRtRunner(files.litert, threads)
    assert asked == [threads]


def test_a_missing_runtime_says_what_to_install(files: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("openvino", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(FractureEdgeError, match=r"needs openvino: pip install 'fracture-edge\[openvino\]'"):
        OpenVinoRunner(files.openvino, threads=1)
    with pytest.raises(FractureEdgeError, match=r"need LiteRT: pip install 'fracture-edge\[litert\]'"):
        LiteRtRunner(files.litert, threads=1)


def test_openvino_refuses_files_without_our_metadata(tmp_path: Path, write_graph: Callable[..., Path]) -> None:
    pytest.importorskip("openvino")
    with pytest.raises(ModelError, match="no fracture-edge metadata inside"):
        OpenVinoRunner(write_graph(tmp_path / "foreign.onnx"), threads=1)
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match=r"broken\.onnx: OpenVINO cannot read it"):
        OpenVinoRunner(tmp_path / "broken.onnx", threads=1)


def test_the_embedded_model_has_no_path() -> None:
    runner = load_runner("onnxruntime", None, threads=1)
    classifier = FractureClassifier(threads=1)
    assert runner.sha256 == classifier.sha256
    assert runner.size > 1_000_000
    side = classifier.info.preprocessing
    grey = np.full((1, side.height, side.width, 1), 90, np.uint8)
    assert runner.probabilities(grey)[0] == classifier.probabilities(grey)[0]


def test_the_suffix_selects_the_runtime(files: SimpleNamespace) -> None:
    assert runner_of(files.litert, threads=1).runtime == "litert"
    assert runner_of(files.onnxruntime, threads=1).runtime == "onnxruntime"


def test_one_runtime_does_not_import_another(
    files: SimpleNamespace, run_python: Callable[..., subprocess.CompletedProcess[bytes]]
) -> None:
    code = (
        "import sys; from pathlib import Path; from benchmarks.runtimes.runners import runner_of; "
        f"runner_of(Path({str(files.litert)!r}), 1); "
        "print({'onnxruntime', 'openvino', 'tensorflow', 'keras', 'train.data.dataset'} & set(sys.modules))"
    )
    done = run_python("-c", code)
    assert done.stdout.decode().strip() == "set()", done.stderr.decode()
