import csv
import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import onnx
import pytest

from export.compare import compare
from export.quantise import quantise
from export.run import ExportError, export_model
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    artifacts = tmp_path_factory.mktemp("exported") / "artifacts"
    copytree(trained, artifacts)
    export_model("edge", artifacts=artifacts, int8=True, calibration_images=12)
    return artifacts / "edge"


def _json(path: Path) -> Any:
    return json.loads(path.read_text())


def test_float32_agrees_with_keras(exported: Path) -> None:
    import keras

    pixels = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 1), np.uint8)
    model = keras.saving.load_model(exported / "model.keras", compile=False)
    expected = np.asarray(model(pixels, training=False))[:, 0]
    found = FractureClassifier(exported / "edge-float32.onnx").probabilities(pixels)
    # Two libraries sum float32 products in their own order; the product allows 1e-4.
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_file_carries_the_training_record(exported: Path, precision: str) -> None:
    record = _json(exported / "training.json")
    info = FractureClassifier(exported / f"edge-{precision}.onnx").info
    assert (info.name, info.precision) == (f"edge-{precision}", precision)
    assert (info.policy.threshold, info.policy.uncertain_low) == (record["threshold"], record["uncertain_low"])
    assert info.calibration["temperature"] == record["temperature"]
    assert info.training["fingerprint"] == record["data"]["fingerprint"]
    assert info.preprocessing.to_dict() == record["recipe"]["preprocessing"]
    assert str(exported.parent.parent) not in info.to_json()


def test_int8_is_smaller_and_quantised_per_channel(exported: Path) -> None:
    small, large = exported / "edge-int8.onnx", exported / "edge-float32.onnx"
    # At a quarter of the filters scales and metadata weigh more than at full size, where it is 0.28.
    assert small.stat().st_size < 0.5 * large.stat().st_size
    graph = onnx.load(small).graph
    sizes = {entry.name: int(np.prod(entry.dims)) for entry in graph.initializer}
    weights = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in sizes]
    assert max(sizes[node.input[1]] for node in weights) == 320  # one scale for each of the top's filters
    assert {node.op_type for node in graph.node} >= {"QuantizeLinear", "DequantizeLinear", "Conv"}


def test_log_odds_and_probability_stay_in_float(exported: Path) -> None:
    # In a byte a probability could take 256 values only.
    graph = onnx.load(exported / "edge-int8.onnx").graph
    producer = {name: node for node in graph.node for name in node.output}
    pending, operators = ["probability"], []
    while pending:
        node = producer.get(pending.pop())
        if node is None or node.op_type == "DequantizeLinear":
            continue
        operators.append(node.op_type)
        pending += node.input
    # From the answer back to the quantised features: sigmoid, scale, sum of both terms, cells and their maximum.
    assert {"Sigmoid", "Add", "GlobalMaxPool", "Conv"} <= set(operators)
    assert "QuantizeLinear" not in operators
    assert len(operators) < 12


def test_batch_is_dynamic_and_one_image_gives_what_a_batch_gives(exported: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 1), np.uint8)
    for precision in ("float32", "int8"):
        classifier = FractureClassifier(exported / f"edge-{precision}.onnx")
        together = classifier.probabilities(pixels)
        alone = np.concatenate([classifier.probabilities(pixels[k : k + 1]) for k in range(3)])
        # Blocks of a matrix product differ with the batch; int8 sums are exact.
        np.testing.assert_allclose(alone, together, atol=1e-6)


def test_manifest_names_and_hashes_what_was_written(exported: Path) -> None:
    manifest = _json(exported / "export.json")
    assert [entry["file"] for entry in manifest["artifacts"]] == ["edge-float32.onnx", "edge-int8.onnx"]
    for entry in manifest["artifacts"]:
        data = (exported / entry["file"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert entry["bytes"] == len(data)
        assert entry["validation"]["images"] == 16
    model = hashlib.sha256((exported / "model.keras").read_bytes()).hexdigest()
    assert manifest["source_sha256"] == model
    assert manifest["artifacts"][1]["calibration"]["images"] == 12


def test_existing_files_are_kept(exported: Path) -> None:
    before = (exported / "edge-int8.onnx").read_bytes()
    with pytest.raises(FractureEdgeError, match=r"edge-float32\.onnx exists already; give --force"):
        export_model("edge", artifacts=exported.parent, int8=True)
    assert (exported / "edge-int8.onnx").read_bytes() == before


def test_a_float32_that_differs_is_refused_and_not_left_behind(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copytree(trained, tmp_path / "artifacts")
    right = FractureClassifier.probabilities

    def wrong(self: FractureClassifier, pixels: Any) -> Any:
        return right(self, pixels) + 0.001

    monkeypatch.setattr(FractureClassifier, "probabilities", wrong)
    with pytest.raises(ExportError, match=r"edge-float32\.onnx: differs from Keras by 1\.0e-03"):
        export_model("edge", artifacts=tmp_path / "artifacts")
    assert not list((tmp_path / "artifacts" / "edge").glob("*.onnx"))
    assert not list((tmp_path / "artifacts" / "edge").glob(".*"))


def test_unknown_models_and_targets_say_what_there_is(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(FractureEdgeError, match=r"nosuch: no trained model here; `fracture-edge train nosuch`"):
        export_model("nosuch", artifacts=trained)
    with pytest.raises(FractureEdgeError, match="there are x86, safe, arm64 and minmax, entropy, percentile"):
        quantise(tmp_path / "a", tmp_path / "b", np.zeros((1, 2, 2, 1), np.uint8), processor="z80")


def test_compare_by_hand() -> None:
    found = compare([1, 1, 0, 0], np.array([0.9, 0.6, 0.4, 0.1]), np.array([0.8, 0.3, 0.4, 0.1]), 0.5)
    assert found == {
        "images": 4,
        "largest_difference": pytest.approx(0.3),
        "mean_difference": pytest.approx(0.1),
        "same_decision": 0.75,
        "sensitivity_keras": 1.0,
        "sensitivity_exported": 0.5,
        "specificity_keras": 1.0,
        "specificity_exported": 1.0,
        "auroc_keras": 1.0,
        "auroc_exported": 0.75,
    }


def test_embedding_fuses_the_graph_and_keeps_its_answers(exported: Path, tmp_path: Path) -> None:
    from export.embed import embed

    target = embed(exported / "edge-int8.onnx", tmp_path)
    before, after = FractureClassifier(exported / "edge-int8.onnx"), FractureClassifier(target)
    assert after.info == before.info
    pixels = np.random.default_rng(2).integers(0, 256, (4, 64, 64, 1), np.uint8)
    # The same integer arithmetic; only the float tail may be ordered otherwise.
    np.testing.assert_allclose(after.probabilities(pixels), before.probabilities(pixels), atol=1e-6)
    assert "QLinearConv" in {node.op_type for node in onnx.load(target).graph.node}
    checksum = _json(tmp_path / "edge-int8.json")
    assert checksum["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()


def test_benchmark_judges_all_formats_on_the_test_split(
    exported: Path, run_python: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path
) -> None:
    out = tmp_path / "edge.json"
    # In a process of its own: TensorFlow takes the number of threads before its first operation only.
    command = ("-m", "fracture_edge", "benchmark", "edge", "--artifacts", exported.parent, "--runs", 2, "-o", out)
    done = run_python(*command)
    assert done.returncode == 0, done.stderr.decode()
    stdout = done.stdout.decode()
    result = _json(out)
    assert [row["format"] for row in result["formats"]] == ["keras float32", "onnx float32", "onnx int8"]
    assert result["data"]["images"] == 16
    assert result["threshold"] == _json(exported / "training.json")["threshold"]
    assert f"| onnx int8 | {result['formats'][2]['bytes'] / 1e6:.2f} |" in stdout
    with out.with_suffix(".csv").open() as stream:
        rows = list(csv.DictReader(stream))
    # The figures can be computed again from the per-image probabilities.
    right = sum((float(row["onnx int8"]) >= result["threshold"]) == (row["label"] == "1") for row in rows)
    assert result["formats"][2]["metrics"]["accuracy"]["value"] == right / 16
    assert {row["path"].split("/")[0] for row in rows} == {"test"}
