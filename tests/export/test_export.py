"""The whole export of a tiny network, every step in the process it runs in for real."""

import csv
import hashlib
import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from benchmarks.runtimes.runners import runner_of
from export.manifest import write_entry
from export.options import ExportOptions, Outcome
from export.recipes import LADDER, Budget, load_budgets, select
from export.run import export_model
from export.source import read_source
from export.verify import verify
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import read_tflite_info
from fracture_edge.suitability import NOT_COMPARED
from train.artifacts import sha256
from train.export_record import ExportEntry, read_manifest

#: Ten formats of one network are made and measured: minutes.
pytestmark = pytest.mark.slow

#: 120 validation images: one decision that flips is 0.8 %. The tiny network's 8 filters quantise more coarsely
#: than a real one's, so the tests allow it more than the product allows.
BUDGETS = {
    **load_budgets(),
    "int8": Budget(same_decision=0.9, auroc_change=-0.03, sensitivity_change=-0.1),
    "dynamic": Budget(same_decision=0.9, auroc_change=-0.03, sensitivity_change=-0.1),
}
READY = select(everything=True)
MINMAX = [rung for rung in LADDER if rung.calibration == "minmax" and not rung.float_tail]


@pytest.fixture(scope="module")
def exported(oracle: Any, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Every format of the oracle: its folder, the outcomes, the manifest's files."""
    artifacts = tmp_path_factory.mktemp("exported") / "artifacts"
    shutil.copytree(oracle.artifacts, artifacts)
    options = ExportOptions(budgets=BUDGETS, calibration_images=200, ladder=MINMAX)
    outcomes = export_model("custom_cnn", select(everything=True), artifacts=artifacts, options=options)
    folder = artifacts / "custom_cnn"
    return SimpleNamespace(folder=folder, outcomes=outcomes, files=read_manifest(folder).files)


def _pixels(exported: SimpleNamespace) -> Any:
    return _validation(exported.folder)


def test_every_format_is_written_and_accepted(exported: SimpleNamespace) -> None:
    assert [(outcome.file, outcome.reason) for outcome in exported.outcomes] == [
        (recipe.file_name("custom_cnn"), "") for recipe in READY
    ]
    assert not (exported.folder / "rejected").exists()
    assert not list(exported.folder.parent.glob(".*"))


@pytest.mark.parametrize("recipe", READY, ids=lambda recipe: recipe.name)
def test_the_manifest_says_what_was_made_and_how(exported: SimpleNamespace, recipe: Any) -> None:
    file = recipe.file_name("custom_cnn")
    entry = exported.files[file]
    assert entry.recipe == recipe.name
    assert entry.sha256 == hashlib.sha256((exported.folder / file).read_bytes()).hexdigest()
    assert entry.bytes == (exported.folder / file).stat().st_size
    assert entry.source_sha256 == sha256(exported.folder / "model.keras")
    assert entry.gate.images == 120
    assert entry.broken == []
    assert entry.seconds > 0
    assert (entry.calibration is not None) == (recipe.precision == "int8")
    if recipe.precision == "int8":
        assert entry.calibration.images == 200
        assert entry.calibration.seed == 0
    if recipe.runtime == "onnx":
        assert entry.opset == 17


@pytest.mark.parametrize("recipe", READY, ids=lambda recipe: recipe.name)
def test_a_file_answers_what_the_gate_saw(exported: SimpleNamespace, recipe: Any) -> None:
    import keras

    file = recipe.file_name("custom_cnn")
    found = runner_of(exported.folder / file, threads=1).probabilities(_pixels(exported))
    model = keras.saving.load_model(exported.folder / "model.keras", compile=False)
    expected = np.asarray(model(_pixels(exported), training=False))[:, 0]
    gate = exported.files[file].gate
    same = ((found >= gate.threshold) == (expected >= gate.threshold)).mean()
    assert same == pytest.approx(gate.same_decision, abs=0.02)
    # float32 to the product's own bound; the others as far as three (float16) and two digits (int8) carry here.
    atol = {"float32": 1e-4, "float16": 5e-3}.get(recipe.precision, 0.15)
    np.testing.assert_allclose(found, expected, atol=atol)


@pytest.mark.parametrize("ending", ["int8", "int8-full", "dynamic"])
def test_the_mean_answer_of_quantised_tflite_is_that_of_keras(exported: SimpleNamespace, ending: str) -> None:
    import keras

    images, _ = read_source(exported.folder).calibration(200, 0)
    found = runner_of(exported.folder / f"custom_cnn-{ending}.tflite", threads=1).probabilities(images)
    model = keras.saving.load_model(exported.folder / "model.keras", compile=False)
    expected = np.asarray(model(images, training=False), np.float64)[:, 0]
    # Recentred once; the converter's files have 0.013 and 0.008 without it.
    assert found.mean(dtype=np.float64) == pytest.approx(expected.mean(), abs=1e-3)


def test_float32_is_compared_on_the_training_images_too(exported: SimpleNamespace) -> None:
    assert exported.files["custom_cnn-float32.onnx"].gate.images_compared == 320
    assert exported.files["custom_cnn-float32.tflite"].gate.images_compared == 320
    assert exported.files["custom_cnn-float32.onnx"].gate.largest_difference < 1e-4


def test_int8_files_are_a_quarter_of_float32(exported: SimpleNamespace) -> None:
    sizes = {name: entry.bytes for name, entry in exported.files.items()}
    # Metadata and scales weigh more in a tiny file: 0.27 is for real ones.
    assert sizes["custom_cnn-int8.onnx"] < 0.6 * sizes["custom_cnn-float32.onnx"]
    assert sizes["custom_cnn-int8.tflite"] < 0.6 * sizes["custom_cnn-float32.tflite"]
    assert sizes["custom_cnn-float16.tflite"] < 0.7 * sizes["custom_cnn-float32.tflite"]


def test_onnx_has_no_norms_and_no_transpose_but_the_inputs(exported: SimpleNamespace) -> None:
    operators = exported.files["custom_cnn-float32.onnx"].operators
    assert operators.get("Transpose", 0) <= 1
    assert operators["Conv"] == 3
    assert "BatchNormalization" not in operators


def test_activations_are_what_the_target_wants(exported: SimpleNamespace) -> None:
    def kinds(file: str) -> set[str]:
        graph = onnx.load(exported.folder / file).graph
        zeros = {entry.name: onnx.numpy_helper.to_array(entry).dtype.name for entry in graph.initializer}
        return {zeros[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}

    assert kinds("custom_cnn-int8.onnx") == {"uint8"}
    assert kinds("custom_cnn-int8-arm64.onnx") == {"int8"}


@pytest.mark.parametrize(
    ("file", "types"),
    [
        ("custom_cnn-float32.tflite", (np.uint8, np.float32)),
        ("custom_cnn-int8.tflite", (np.float32, np.float32)),
        ("custom_cnn-int8-full.tflite", (np.uint8, np.int8)),
    ],
)
def test_interfaces_of_tflite(exported: SimpleNamespace, file: str, types: tuple[Any, Any]) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(exported.folder / file))
    (image,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (image["dtype"], answer["dtype"]) == types
    assert image["shape"].tolist() == [1, 48, 48, 1]
    if types[0] is np.uint8 and types[1] is np.int8:
        # The bytes of the image as they are.
        assert image["quantization"] == (1.0, 0)


def test_both_kinds_of_file_carry_the_training_record(exported: SimpleNamespace) -> None:
    record = json.loads((exported.folder / "training.json").read_text())
    for file, entry in exported.files.items():
        path = exported.folder / file
        info = read_tflite_info(path) if path.suffix == ".tflite" else FractureClassifier(path).info
        assert (info.name, info.precision) == (path.stem, entry.precision)
        assert info.policy.threshold == record["threshold"]
        assert info.preprocessing.to_dict() == record["recipe"]["preprocessing"]
        assert info.training["fingerprint"] == record["data"]["fingerprint"]
        assert str(exported.folder.parent.parent) not in info.to_json()
    with zipfile.ZipFile(exported.folder / "custom_cnn-int8.tflite") as archive:
        assert archive.read("labels.txt") == b"fractured\n"


def test_verify_holds_and_finds_what_was_changed(exported: SimpleNamespace, tmp_path: Path) -> None:
    folder = tmp_path / "custom_cnn"
    shutil.copytree(exported.folder, folder)
    files = ("custom_cnn-float32.onnx", "custom_cnn-int8.tflite")
    for file in set(exported.files) - set(files):
        (folder / file).unlink()
    manifest = read_manifest(folder)
    (folder / "export.json").unlink()
    for file in files:
        write_entry(folder, file, manifest.files[file])
    assert verify(folder, budgets=BUDGETS) == [Outcome(file, folder / file) for file in files]
    with (folder / files[0]).open("ab") as stream:
        stream.write(b"x")
    assert [outcome.reason for outcome in verify(folder, budgets=BUDGETS)] == [
        "is not the file that was exported (SHA-256 differs)",
        "",
    ]


def test_existing_files_are_kept(exported: SimpleNamespace) -> None:
    before = sha256(exported.folder / "custom_cnn-int8.onnx")
    with pytest.raises(FractureEdgeError, match=r"custom_cnn-float32\.onnx exists already; give --force"):
        export_model("custom_cnn", select(), artifacts=exported.folder.parent, options=ExportOptions())
    assert sha256(exported.folder / "custom_cnn-int8.onnx") == before


def test_one_that_fails_the_gate_is_set_apart_after_retries_and_the_others_stay(
    oracle: Any,
    tmp_path: Path,
    make_export_entry: Callable[..., ExportEntry],
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(oracle.artifacts, tmp_path / "artifacts")
    folder = tmp_path / "artifacts" / "custom_cnn"
    # Accepted once, when the model was another: it must not pass for the one that is refused now.
    (folder / "custom_cnn-int8.onnx").write_bytes(b"before")
    older = make_export_entry(sha256=sha256(folder / "custom_cnn-int8.onnx"), source_sha256="0" * 64)
    write_entry(folder, "custom_cnn-int8.onnx", older)
    # No quantisation gives the probabilities of float32.
    options = ExportOptions(budgets={**BUDGETS, "int8": Budget(largest_difference=1e-9)}, force=True)
    recipes = select(names=["onnx_int8_static_x86", "onnx_float32"])
    outcomes = export_model("custom_cnn", recipes, artifacts=tmp_path / "artifacts", options=options)
    assert outcomes[0] == Outcome("custom_cnn-float32.onnx", folder / "custom_cnn-float32.onnx")
    assert outcomes[1].path == folder / "rejected" / "custom_cnn-int8.onnx"
    assert outcomes[1].reason.startswith("largest_difference ")
    assert not (folder / "custom_cnn-int8.onnx").exists()
    assert "custom_cnn-int8.onnx" not in read_manifest(folder).files
    entry = read_manifest(folder).files["rejected/custom_cnn-int8.onnx"]
    assert entry.broken == [outcomes[1].reason]
    told = capsys.readouterr().err
    for name in ("minmax", "percentile", "entropy"):
        assert f"custom_cnn-int8.onnx: {name}\n" in told
    # 80 of 11,000 weights in the first convolution; all others have more than 2 % of them.
    assert [f"onnx: float-{count}\n" in told for count in (1, 2)] == [True, False]
    assert "custom_cnn-int8.onnx: REJECTED, largest_difference" in told


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FractureEdgeError, match=r"nosuch: no trained model here; `fracture-edge train nosuch`"):
        export_model("nosuch", select(), artifacts=tmp_path, options=ExportOptions())


def test_embedding_fuses_the_graph_and_keeps_its_answers(trained: Path, tmp_path: Path) -> None:
    from export.embed import embed

    shutil.copytree(trained, tmp_path / "artifacts")
    free = ExportOptions(budgets={**BUDGETS, "int8": Budget()}, calibration_images=12, ladder=MINMAX)
    export_model(
        "edge",
        select(names=["onnx_float32", "onnx_int8_static_x86"]),
        artifacts=tmp_path / "artifacts",
        options=free,
    )
    source = tmp_path / "artifacts" / "edge" / "edge-int8.onnx"
    target = embed(source, tmp_path)
    before, after = FractureClassifier(source), FractureClassifier(target)
    assert after.info == before.info
    pixels = np.random.default_rng(2).integers(0, 256, (4, 64, 64, 1), np.uint8)
    # The same integer arithmetic; only the float tail may be ordered otherwise.
    np.testing.assert_allclose(after.probabilities(pixels), before.probabilities(pixels), atol=1e-6)
    assert "QLinearConv" in {node.op_type for node in onnx.load(target).graph.node}
    known = json.loads((tmp_path / "known-answers.json").read_text())
    assert (known["model_sha256"], len(known["probabilities"])) == (after.sha256, 7)
    checksum = json.loads((tmp_path / "edge-int8.json").read_text())
    assert checksum["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()


def test_log_odds_and_probability_stay_in_float(exported: SimpleNamespace) -> None:
    # In a byte a probability could take 256 values only.
    graph = onnx.load(exported.folder / "custom_cnn-int8.onnx").graph
    producer = {name: node for node in graph.node for name in node.output}
    pending, operators = ["probability"], []
    while pending:
        node = producer.get(pending.pop())
        if node is None or node.op_type == "DequantizeLinear":
            continue
        operators.append(node.op_type)
        pending += node.input
    assert operators[0] == "Sigmoid"
    assert set(operators) & {"MatMul", "Gemm"}
    assert "QuantizeLinear" not in operators
    assert len(operators) < 6


def test_batch_is_dynamic_and_one_image_gives_what_a_batch_gives(exported: SimpleNamespace) -> None:
    pixels = _pixels(exported)[:3]
    for file in ("custom_cnn-float32.onnx", "custom_cnn-int8.onnx"):
        classifier = FractureClassifier(exported.folder / file)
        together = classifier.probabilities(pixels)
        alone = np.concatenate([classifier.probabilities(pixels[k : k + 1]) for k in range(3)])
        # Blocks of a matrix product differ with the batch; int8 sums are exact.
        np.testing.assert_allclose(alone, together, atol=1e-6)


def test_files_tell_what_is_unlike_the_training_images(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "artifacts")
    free = ExportOptions(budgets={**BUDGETS, "int8": Budget()}, calibration_images=12, ladder=MINMAX)
    recipes = select(names=["onnx_float32", "onnx_int8_static_x86", "tflite_float32"])
    export_model("edge", recipes, artifacts=tmp_path / "artifacts", options=free)
    folder = tmp_path / "artifacts" / "edge"
    noise, thresholds = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8), set()
    for file in ("edge-float32.onnx", "edge-int8.onnx"):
        classifier = FractureClassifier(folder / file)
        assert classifier.info.typicality.keys() == {"threshold", "false_alarms"}
        thresholds.add(classifier.info.typicality["threshold"])
        answer = classifier.predict(noise)
        assert (answer.decision, answer.reason.split(":")[0]) == ("uncertain", "not_like_training_images")
        assert answer.probability is not None
    # A TFLite file says that it cannot tell, and gives the probability of the others.
    lite = FractureClassifier(folder / "edge-float32.tflite")
    assert lite.info.typicality == {}
    assert lite.predict(noise).reason.endswith(NOT_COMPARED)
    pixels = _validation(folder)[:4]
    expected = FractureClassifier(folder / "edge-float32.onnx").probabilities(pixels)
    np.testing.assert_allclose(lite.probabilities(pixels), expected, atol=1e-4)
    assert len(thresholds) == 2
    # Each file has a threshold of its own: at most one of the 16 validation images, which settled it, lies beyond.
    for file in ("edge-float32.onnx", "edge-int8.onnx"):
        classifier = FractureClassifier(folder / file)
        answers = [classifier.predict(image[..., 0]) for image in _validation(folder)]
        assert sum("not_like_training_images" in answer.reason for answer in answers) <= 1


def _validation(folder: Path) -> Any:
    from export.source import read_source

    return read_source(folder).validation()


def test_benchmark_judges_every_file(
    trained: Path, run_python: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "artifacts")
    free = ExportOptions(budgets={**BUDGETS, "int8": Budget()}, calibration_images=12, ladder=MINMAX)
    recipes = select(names=["onnx_float32", "onnx_int8_static_x86", "tflite_float32"])
    export_model("edge", recipes, artifacts=tmp_path / "artifacts", options=free)
    folder = tmp_path / "artifacts" / "edge"
    # What cannot be loaded stays in the tables, with its error.
    broken = folder / "edge-int8.onnx"
    broken.write_bytes(b"no model")
    entry = read_manifest(folder).files[broken.name]
    write_entry(folder, broken.name, replace(entry, sha256=sha256(broken), bytes=broken.stat().st_size))
    out = tmp_path / "run.json"
    command = ("-m", "fracture_edge", "benchmark", "--artifacts", tmp_path / "artifacts", "--no-openvino")
    done = run_python(*command, "--runs", 2, "--threads", 1, "-o", out)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode() == out.with_suffix(".md").read_text()
    result = json.loads(out.read_text())
    rows = {row["format"]: row for row in result["rows"]}
    assert list(rows) == ["keras float32", "onnx float32", "tflite float32", "onnx int8"]
    assert "edge-int8.onnx" in rows["onnx int8"]["error"]
    assert rows["onnx int8"]["quality"] is None
    assert (result["data"]["images"], result["data"]["split"]) == (16, "test")
    record = json.loads((folder / "training.json").read_text())
    model = result["models"]["edge"]
    assert (model["threshold"], model["parameters"]) == (record["threshold"], record["parameters"])
    assert model["splits_of_training"] is True
    assert [row["epoch"] for row in model["history"]] == [1]
    good = [rows[name] for name in ("onnx float32", "tflite float32")]
    for row in good:
        # float32 through another runtime: the same decisions but for rounding.
        assert row["against_source"]["largest_difference"] < 1e-4
        assert row["speed"]["1"]["inference_ms"]["runs"] >= 2
        assert row["first_answer_ms"]["runs"] == 5
        assert row["peak_memory_mb"] > 10
    with out.with_suffix(".csv").open() as stream:
        predictions = list(csv.DictReader(stream))
    assert {line["edge/onnx int8"] for line in predictions} == {""}
    assert {line["path"].split("/")[0] for line in predictions} == {"test"}
    # Both formats of the report name the row that failed.
    assert "edge/onnx int8: " in out.with_suffix(".md").read_text()
    assert "edge-int8.onnx" in out.with_suffix(".html").read_text()

    again = run_python(*command, "-o", out)
    assert again.returncode == 1
    assert f"{out} exists already" in again.stderr.decode()
    # Nothing is left to measure: the run stays what it is.
    resumed = run_python(*command, "--runs", 2, "--threads", 1, "-o", out, "--resume")
    assert resumed.returncode == 0, resumed.stderr.decode()
    assert json.loads(out.read_text()) == result
    otherwise = run_python(*command, "--runs", 3, "--threads", 1, "-o", out, "--resume")
    assert otherwise.returncode == 1
    assert "was measured with other settings; use --force to start again" in otherwise.stderr.decode()
    same = run_python("-m", "fracture_edge", "benchmark", "--compare", out, out)
    assert same.stdout.decode().endswith("Nothing changed.\n")
