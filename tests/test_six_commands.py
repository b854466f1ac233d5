"""The README's six commands in sequence, each in a process of its own, on synthetic bones."""

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

RECIPE = """
architecture = "edge"
batch_size = 16
optimizer = "adamw"
weight_decay = 0.01
ema_momentum = 0.9
monitor = "val_auroc"
refit_norms = true

[preprocessing]
height = 96
width = 96

[[phases]]
epochs = 3
learning_rate = 2e-3
schedule = "cosine"
warmup_epochs = 1

[augmentation]
rotation = 10.0
flip_horizontal = true
contrast = 0.1

[options]
filters = 0.25
"""


@pytest.mark.slow
def test_from_a_folder_of_images_to_a_prediction(
    tmp_path: Path,
    write_bones: Callable[..., Path],
    run_python: Callable[..., subprocess.CompletedProcess[bytes]],
) -> None:
    data = write_bones(tmp_path / "bones", 60)
    (tmp_path / "tiny.toml").write_text(RECIPE)

    def run(*arguments: object) -> str:
        done = run_python("-m", "fracture_edge", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    audit = json.loads(run("data", "audit", data, "--json"))
    assert (audit["images"], audit["fractured"], audit["identical"]["groups"]) == (120, 60, 0)

    assert "120 images, 0 left out" in run("data", "split", data, "--out", "splits.csv")
    leaks = json.loads(run("data", "audit", data, "--splits", "splits.csv", "--json", "--strict"))
    assert leaks["leaking"] is False

    trained = run("train", "edge", "--data", data, "--splits", "splits.csv", "--recipe", "tiny.toml")
    assert trained == "artifacts/edge\n"

    # A network this small may lose more accuracy than the default budgets allow.
    (tmp_path / "loose.toml").write_text("[float16]\n[dynamic]\n[int8]\n")
    exported = run("export", "edge", "--onnx", "--budgets", "loose.toml")
    assert exported.split() == [f"artifacts/edge/edge-{kind}.onnx" for kind in ("float32", "float16", "int8")]

    assert "| edge | onnx int8 |" in run("benchmark", "edge", "--runs", "5", "-o", "result.json")

    # The device gives the predictions that the benchmark recorded for the test images.
    with (tmp_path / "result.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    images = [data / row["path"] for row in rows]
    answers = json.loads(run("classify", *images, "--model", "artifacts/edge/edge-int8.onnx", "--json"))
    # Written with six decimals.
    assert [answer["probability"] for answer in answers] == [
        pytest.approx(float(row["edge/onnx int8"]), abs=1e-6) for row in rows
    ]
    threshold = json.loads((tmp_path / "artifacts/edge/training.json").read_text())["threshold"]
    assert {answer["threshold"] for answer in answers} == {threshold}
