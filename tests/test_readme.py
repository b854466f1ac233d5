"""What README and model card say is what was measured, and what the command line knows."""

import csv
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.quality import quality
from benchmarks.studies.documents.fill import DOCUMENTS, filled
from benchmarks.studies.documents.results import EMBEDDED_ROW, EMBEDDED_RUN, OLDER, RESULTS, RUN
from benchmarks.studies.edge_model.reproduction import RUNS, Run
from fracture_edge.classifier import FractureClassifier

README = DOCUMENTS[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_figures_are_current(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert text.count("<!-- ") >= 2
    assert filled(text) == text


def _result(name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((RESULTS / name).read_text())
    return result


def _predictions(result: dict[str, Any]) -> list[dict[str, str]]:
    with (RESULTS / result["data"]["predictions"]).open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_run_holds_the_embedded_model() -> None:
    classifier, result = FractureClassifier(), _result(EMBEDDED_RUN)
    assert [row["sha256"] for row in result["rows"] if row["id"] == EMBEDDED_ROW] == [classifier.sha256]
    assert result["models"]["embedded"]["threshold"] == classifier.policy.threshold
    assert result["data"]["fingerprint"] == classifier.info.training["fingerprint"]
    assert len(_predictions(result)) == result["data"]["images"]


def test_a_processor_without_vnni_answers_the_same() -> None:
    result, older = _result(RUN), _result(OLDER)
    answers, there = ({line["path"]: line[EMBEDDED_ROW] for line in _predictions(run)} for run in (result, older))
    # Of version 0.2. The great run has the file as it was stored before; its answers are the same, every one.
    assert len(there) == result["data"]["images"]
    assert answers == there


@pytest.mark.parametrize(("run", "least"), [(EMBEDDED_RUN, 5), (RUN, 10)])
def test_every_figure_of_quality_can_be_computed_again_from_the_predictions(run: str, least: int) -> None:
    result = _result(run)
    predictions = _predictions(result)
    judged = [row for row in result["rows"] if row["quality"]]
    assert len(judged) > least
    for row in judged:
        model = result["models"][row["model"]]
        band = (model["uncertain_low"], model["uncertain_high"])
        # Another version of NumPy may add in another order.
        assert _numbers(quality(predictions, row["id"], model["threshold"], band)) == pytest.approx(
            _numbers(row["quality"]), abs=1e-9
        )


def _numbers(value: Any) -> list[float]:
    """All numbers of nested JSON, in order."""
    if isinstance(value, dict):
        return [number for each in value.values() for number in _numbers(each)]
    if isinstance(value, list):
        return [number for each in value for number in _numbers(each)]
    return [float(value)] if isinstance(value, int | float) else []


@pytest.mark.parametrize("run", [EMBEDDED_RUN, RUN])
def test_the_test_images_are_those_of_the_split_file(run: str) -> None:
    with (RESULTS / "fracatlas-splits.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    judged = {row["path"] for row in _predictions(_result(run))}
    assert {row["path"] for row in rows if row["split"] == "test"} == judged
    group_splits: dict[str, set[str]] = {}
    for row in rows:
        group_splits.setdefault(row["group"], set()).add(row["split"])
    assert {len(splits) for splits in group_splits.values()} == {1}


@pytest.mark.parametrize(
    ("document", "least"), [("README.md", 8), ("docs/training.md", 8), ("docs/benchmarks.md", 4)]
)
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
