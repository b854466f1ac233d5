"""Tests of the check on emulated processors, with real emulation where qemu-user is installed."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from benchmarks.studies.processors import emulation as module
from benchmarks.studies.processors import emulator
from benchmarks.studies.processors.emulation import check, compare, spread
from benchmarks.studies.processors.emulator import (
    ROOT_VARIABLE,
    Interpreter,
    PredictionRecord,
    ProcessResult,
    classify_in,
    cpu_features,
    emulated,
)
from fracture_edge import FractureClassifier, FractureEdgeError
from fracture_edge.modelfile import ModelInfo, embed_info
from fracture_edge.models import EMBEDDED_FILE
from train.json_records import to_plain

CHANNELS = 8
ROOT = os.environ.get(ROOT_VARIABLE)
#: Integer sums are equal; only the float operations around them can round differently, each to 1e-7.
TOLERANCE = 1e-5


def _record(path: str, decision: str | None, probability: float | None) -> PredictionRecord:
    status = "corrupt" if decision is None else "ok"
    return PredictionRecord(path, status, decision, probability, elapsed_ms=5.0)


NATIVE = [
    _record("a", "fractured", 0.9),
    _record("b", "uncertain", 0.5),
    _record("c", None, None),
    _record("d", "not_fractured", 0.125),
]
OTHER = [
    _record("a", "fractured", 0.875),
    _record("b", "fractured", 0.7),
    _record("c", None, None),
    _record("d", None, None),
]


def test_comparison_by_hand() -> None:
    found = json.loads(json.dumps(to_plain(compare(NATIVE, OTHER))))
    assert found == {
        "images": 4,
        "answered": 2,
        # "c" has no prediction.
        "same_decisions": 1,
        "largest_difference": pytest.approx(0.2),
        "mean_difference": pytest.approx((0.025 + 0.2) / 2),
        "differing": [
            {
                "path": "b",
                "native": {"status": "ok", "decision": "uncertain", "probability": 0.5},
                "emulated": {"status": "ok", "decision": "fractured", "probability": 0.7},
            },
            {
                "path": "d",
                "native": {"status": "ok", "decision": "not_fractured", "probability": 0.125},
                "emulated": {"status": "corrupt", "decision": None, "probability": None},
            },
        ],
    }


def test_without_common_predictions_the_comparison_is_refused() -> None:
    with pytest.raises(FractureEdgeError, match="none of the 2 images has a prediction on both processors"):
        compare(NATIVE[2:], OTHER[2:])


def test_images_are_evenly_spaced_in_their_order() -> None:
    files = [Path(str(number)) for number in range(10)]
    assert [path.name for path in spread(files, 4)] == ["0", "2", "5", "7"]
    assert spread(files, 10) == spread(files, 99) == files


def test_another_process_gives_the_same_predictions(
    tiny_model: Path, write_bones: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Would stop the process before it predicts, if the variable were passed on.
    monkeypatch.setenv("PYTHONHOME", str(tmp_path / "nowhere"))
    images = sorted(write_bones(tmp_path / "bones", 2).rglob("*.*"))
    found = classify_in(Interpreter(), tiny_model, images)
    classifier = FractureClassifier(tiny_model, threads=1)
    assert [record.path for record in found.records] == [str(image) for image in images]
    for record, expected in zip(found.records, classifier.predict_many(images), strict=True):
        assert record.probability == expected.probability
        assert record.decision == expected.decision
    assert list(found.cpu_features) == cpu_features()
    assert found.versions.keys() == {"onnxruntime", "numpy", "pillow"}
    assert found.milliseconds > 0


def test_the_process_needs_nothing_but_the_device_package(run_python: Callable[..., Any]) -> None:
    hidden = "sys.modules.update(dict.fromkeys(('cattrs', 'scipy', 'sklearn', 'keras', 'typer')))"
    done = run_python("-c", f"import sys; {hidden}; import benchmarks.studies.processors.emulator")
    assert done.returncode == 0, done.stderr


def test_the_error_of_a_failed_process_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FractureEdgeError, match=r"ended with 1: .*none\.onnx: No such file"):
        classify_in(Interpreter(), tmp_path / "none.onnx", [])


def test_missing_tools_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(FractureEdgeError, match=r"qemu-aarch64 is missing: .*apt-get install qemu-user"):
        emulated("aarch64", "max", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    with pytest.raises(FractureEdgeError, match=f"--root FOLDER.*{ROOT_VARIABLE}.*arm64 --root FOLDER"):
        emulated("aarch64", "max", None)
    with pytest.raises(FractureEdgeError, match="no Python for aarch64 with fracture-edge"):
        emulated("aarch64", "max", tmp_path)
    monkeypatch.setattr(emulator.platform, "machine", lambda: "riscv64")
    with pytest.raises(FractureEdgeError, match="this one is for riscv64"):
        emulated("x86_64", "Haswell-v4", None)


def test_commands_of_the_emulators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(emulator.platform, "machine", lambda: "x86_64")
    assert emulated("x86_64", "Haswell-v4", None).command == (
        "/bin/qemu-x86_64",
        "-cpu",
        "Haswell-v4",
        sys.executable,
    )
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    for name in ("python3", "python3-config", "python3.11"):
        (tmp_path / "usr" / "bin" / name).touch()
    packages = tmp_path / "opt" / "fracture-edge" / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    interpreter = tmp_path / "usr" / "bin" / "python3.11"
    assert emulated("aarch64", "cortex-a72", tmp_path) == Interpreter(
        ("/bin/qemu-aarch64", "-cpu", "cortex-a72", "-L", str(tmp_path), str(interpreter)), (packages,)
    )


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the predictions of both processes."""

    def pretend(
        native: Sequence[PredictionRecord], other: Sequence[PredictionRecord], features: Sequence[str] = ()
    ) -> None:
        def results(python: Interpreter, *_: object, **__: object) -> ProcessResult:
            return ProcessResult(
                tuple(features), {}, tuple(other) if python.command[0] == "echo" else tuple(native)
            )

        monkeypatch.setattr(module, "emulated", lambda *_: Interpreter(("echo",)))
        monkeypatch.setattr(module, "classify_in", results)

    return pretend


def test_exit_code_and_result(
    pretended: Callable[..., None],
    tiny_model: Path,
    tmp_path: Path,
    study: Callable[..., tuple[int, str, str]],
) -> None:
    out, lines = tmp_path / "result.json", []
    for other, expected in ((NATIVE, 0), (OTHER, 1)):
        pretended(NATIVE, other)
        code, said, _ = study("emulation", tiny_model, "--images", "a.png", "--output", out)
        assert code == expected
        lines += said.splitlines()
    assert lines[0] == "tiny.onnx: 3 of 3 decisions the same on x86_64 Haswell-v4"
    assert lines[-2] == "b: uncertain (0.5) here, fractured (0.7) emulated"
    result = json.loads(out.read_text())
    assert result["model_sha256"] == FractureClassifier(tiny_model).sha256
    assert result["same_decisions"] == 1
    assert result["emulated"]["cpu"] == "Haswell-v4"
    assert {"cpu", "cores", "versions"} <= set(result["environment"])


def test_an_emulated_processor_with_avx512_is_refused(pretended: Callable[..., None], tiny_model: Path) -> None:
    pretended(NATIVE, NATIVE, ["AVX2", "AVX512F"])
    with pytest.raises(FractureEdgeError, match=r"-cpu Denverton has AVX-512; choose .* Haswell-v4"):
        check(tiny_model, [Path("a.png")], cpu="Denverton")


def _write_sum(path: Path, side: int) -> Path:
    """Write P = sigmoid(20 (mean brightness - 0.7)) with two averaging convolutions of positive weights."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    rng = np.random.default_rng(0)

    def blur(inputs: int) -> npt.NDArray[np.float32]:
        weights = rng.uniform(0.8, 1, (CHANNELS, inputs, 3, 3))
        return (weights / weights.sum(axis=(1, 2, 3), keepdims=True)).astype(np.float32)

    weights = {
        "scale": np.float32([1 / 255]),
        "first": blur(1),
        "second": blur(CHANNELS),
        "head": np.full((CHANNELS, 1), 20 / CHANNELS, np.float32),
        "bias": np.float32([-14]),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["grey"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["grey"], ["planes"], name="transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "scale"], ["unit"], name="scaled"),
        helper.make_node("Conv", ["unit", "first"], ["sum1"], name="conv1"),
        helper.make_node("Relu", ["sum1"], ["relu1"], name="activation1"),
        helper.make_node("Conv", ["relu1", "second"], ["sum2"], name="conv2"),
        helper.make_node("Relu", ["sum2"], ["relu2"], name="activation2"),
        helper.make_node("GlobalAveragePool", ["relu2"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["features"], name="flatten"),
        helper.make_node("Gemm", ["features", "head", "bias"], ["logit"], name="dense"),
        helper.make_node("Sigmoid", ["logit"], ["probability"], name="sigmoid"),
    ]
    graph = helper.make_graph(
        nodes,
        "sum",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", side, side, 1])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    save(model, os.fspath(path))
    return path


@pytest.fixture
def quantised(tmp_path: Path, tiny_info: ModelInfo) -> Callable[[str], Path]:
    """Return a function that quantises the sum model for a target, calibrated with every grey level."""
    from export.conversion.quantise import quantise
    from export.recipes import FORMATS

    def make(target: str) -> Path:
        side = tiny_info.preprocessing.height
        levels = np.linspace(0, 255, 8).astype(np.uint8)
        images = np.broadcast_to(levels[:, None, None, None], (8, side, side, 1))
        path = tmp_path / f"{target}.onnx"
        quantise(_write_sum(tmp_path / "float32.onnx", side), path, images, FORMATS[f"onnx_int8_static_{target}"])
        embed_info(path, tiny_info, path)
        return path

    return make


@pytest.fixture
def pictures(tmp_path: Path, bone: Callable[..., npt.NDArray[np.uint8]]) -> list[Path]:
    """Write three dark images of bones, and their bright negatives."""
    paths = []
    for seed in range(3):
        grey = bone(seed, fractured=bool(seed % 2), height=128, width=128)
        for name, values in (("dark", grey), ("bright", 255 - grey // 4)):
            paths.append(tmp_path / f"{name}{seed}.png")
            Image.fromarray(values).save(paths[-1])
    return paths


needs_qemu = pytest.mark.skipif(
    not shutil.which("qemu-x86_64") or os.uname().machine != "x86_64",
    reason="needs an x86_64 machine with qemu-user (apt-get install qemu-user)",
)
needs_root = pytest.mark.skipif(
    not ROOT or not shutil.which("qemu-aarch64"),
    reason=f"needs qemu-user, and {ROOT_VARIABLE} to name what the study arm64 made with --root",
)


@pytest.mark.slow
@needs_qemu
def test_safe_decides_alike_without_vnni(quantised: Callable[[str], Path], pictures: list[Path]) -> None:
    result = check(quantised("safe"), pictures, plain=True)
    assert (result.images, result.same_decisions, result.answered) == (6, 6, 6)
    assert result.largest_difference < TOLERANCE
    assert "AVX2" in result.emulated.cpu_features


@pytest.mark.slow
@needs_qemu
def test_eight_bit_weights_overflow_without_vnni(quantised: Callable[[str], Path], pictures: list[Path]) -> None:
    """The check above can fail: 2 x 255 x 127 saturates at 32767, so that bright images appear dark."""
    if "AVX512VNNI" not in cpu_features():
        pytest.skip("this processor has no VNNI: it overflows itself")
    result = check(quantised("x86"), pictures, plain=True)
    assert [Path(entry.path).stem for entry in result.differing] == ["bright0", "bright1", "bright2"]
    for entry in result.differing:
        assert entry.native.decision == "fractured"
        assert entry.emulated.decision == "not_fractured"


@pytest.mark.slow
@needs_qemu
def test_the_classifier_sums_exactly_without_vnni(quantised: Callable[[str], Path], pictures: list[Path]) -> None:
    result = check(quantised("x86"), pictures)
    assert (result.same_decisions, result.largest_difference < TOLERANCE) == (6, True)


@pytest.mark.slow
@needs_qemu
def test_the_embedded_model_decides_alike_without_vnni(pictures: list[Path]) -> None:
    result = check(EMBEDDED_FILE, pictures[:2])
    assert (result.images, result.same_decisions, result.answered) == (2, 2, 2)
    assert result.largest_difference < TOLERANCE


@pytest.mark.slow
@needs_root
@pytest.mark.parametrize("cpu", ["max", "cortex-a72"])
def test_arm64_decides_alike_on_aarch64(cpu: str, quantised: Callable[[str], Path], pictures: list[Path]) -> None:
    result = check(quantised("arm64"), pictures, arch="aarch64", cpu=cpu, root=Path(ROOT or ""))
    assert (result.images, result.same_decisions, result.answered) == (6, 6, 6)
    assert result.largest_difference < TOLERANCE
    # The Raspberry Pi 4 has no dot product instructions; onnxruntime then uses another kernel.
    assert ("ASIMDDP" in result.emulated.cpu_features) == (cpu == "max")
