"""What README and model card say is what was measured, and what the command line knows."""

import csv
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.docs import DOCUMENTS, RESULTS, filled
from benchmarks.reproduction import RUNS, Run
from fracture_edge.classifier import FractureClassifier

README = DOCUMENTS[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_figures_are_current(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert text.count("<!-- ") >= 2
    assert filled(text) == text


def test_the_benchmark_is_of_the_embedded_model() -> None:
    result = json.loads((RESULTS / "embedded.json").read_text())
    (row,) = result["formats"]
    classifier = FractureClassifier()
    assert row["sha256"] == classifier.sha256
    assert result["threshold"] == classifier.policy.threshold
    assert result["data"]["fingerprint"] == classifier.info.training["fingerprint"]


def test_the_embedded_model_answers_as_the_int8_file_it_was_made_of() -> None:
    with (RESULTS / "embedded.csv").open(newline="") as stream:
        embedded = [float(row["onnx int8"]) for row in csv.DictReader(stream)]
    with (RESULTS / "edge.csv").open(newline="") as stream:
        exported = [float(row["onnx int8"]) for row in csv.DictReader(stream)]
    # Both have six decimals.
    assert embedded == pytest.approx(exported, abs=2e-6)


@pytest.mark.parametrize("name", ["edge", "embedded"])
def test_the_auroc_can_be_computed_again_from_the_images_probabilities(name: str) -> None:
    result = json.loads((RESULTS / f"{name}.json").read_text())
    with (RESULTS / f"{name}.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    labels = np.array([int(row["label"]) for row in rows])
    for entry in result["formats"]:
        scores = np.array([float(row[entry["format"]]) for row in rows])
        # The file has six decimals: two images closer than that may change places.
        assert roc_auc_score(labels, scores) == pytest.approx(entry["metrics"]["auroc"]["value"], abs=1e-4)


def test_the_test_images_are_those_of_the_split_file() -> None:
    with (RESULTS / "fracatlas-splits.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (RESULTS / "edge.csv").open(newline="") as stream:
        judged = {row["path"] for row in csv.DictReader(stream)}
    assert {row["path"] for row in rows if row["split"] == "test"} == judged
    group_splits: dict[str, set[str]] = {}
    for row in rows:
        group_splits.setdefault(row["group"], set()).add(row["split"])
    assert {len(splits) for splits in group_splits.values()} == {1}


@pytest.mark.parametrize(("document", "least"), [("README.md", 8), ("docs/training.md", 8)])
def test_every_command_and_option_shown_exists(
    document: str, least: int, repository: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    text = (repository / document).read_text(encoding="utf-8")
    shown = re.findall(r"^\$ fracture-edge (.*?)(?:\s+#.*)?$", text, flags=re.MULTILINE)
    assert len(shown) >= least
    for line in shown:
        words = line.split()
        command = words[:2] if words[0] == "data" else words[:1]
        code, out, _ = cli(*command, "--help")
        assert code == 0
        for option in (word for word in words if word.startswith("-")):
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", out), (line, option)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_every_command_of_the_reproduction_parses(run: Run, cli: Callable[..., tuple[int, str, str]]) -> None:
    # Without the data there is one line that says so; a wrong option or recipe would be another error.
    words = run.command.rpartition("fracture-edge ")[2].split()
    code, _, err = cli(*words, "--artifacts", "/nowhere/at/all")
    assert code == 1
    assert err.splitlines()[-1].endswith("no such folder")


def test_the_embedded_checksum_is_that_of_the_file() -> None:
    folder = DOCUMENTS[1].parent
    record = json.loads((folder / "edge-int8.json").read_text())
    assert record["sha256"] == hashlib.sha256((folder / record["file"]).read_bytes()).hexdigest()


def test_documents_say_it_is_not_a_medical_device() -> None:
    for document in DOCUMENTS[:2]:
        assert "Not a medical device" in document.read_text(encoding="utf-8")
