"""README and model card agree with the measured results and with the command line."""

import csv
import hashlib
import json
import re
import shlex
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from benchmarks.quality import quality
from benchmarks.studies.__main__ import STUDIES
from benchmarks.studies.documents.fill import DOCUMENTS, filled
from benchmarks.studies.documents.results import (
    EMBEDDED_ROW,
    EMBEDDED_RUN,
    OLDER,
    REFERENCE_RUN,
    RESULTS,
    RUN,
)
from benchmarks.studies.edge_model.reproduction_runs import RUNS, Run
from fracture_edge.classifier import FractureClassifier
from train.json_records import to_plain

README = DOCUMENTS[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_generated_text_is_current(document: Path) -> None:
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


def test_a_processor_without_vnni_gives_the_same_predictions() -> None:
    result, older = _result(RUN), _result(OLDER)
    answers, there = ({line["path"]: line[EMBEDDED_ROW] for line in _predictions(run)} for run in (result, older))
    # Predictions of version 0.2. The large run has the file as it was stored before, with identical predictions.
    assert len(there) == result["data"]["images"]
    assert answers == there


@pytest.mark.parametrize(
    ("run", "least"), [(EMBEDDED_RUN, 5), pytest.param(REFERENCE_RUN, 10, marks=pytest.mark.slow)]
)
def test_quality_metrics_can_be_recomputed_from_the_predictions(run: str, least: int) -> None:
    result = _result(run)
    predictions = _predictions(result)
    judged = [row for row in result["rows"] if row["quality"]]
    assert len(judged) > least
    for row in judged:
        model = result["models"][row["model"]]
        band = (model["uncertain_low"], model["uncertain_high"])
        # Another version of NumPy may sum in another order.
        assert _numbers(to_plain(quality(predictions, row["id"], model["threshold"], band))) == pytest.approx(
            _numbers(row["quality"]), abs=1e-9
        )


def _numbers(value: Any) -> list[float]:
    """Return all numbers in nested JSON, in order."""
    if isinstance(value, dict):
        return [number for each in value.values() for number in _numbers(each)]
    if isinstance(value, list):
        return [number for each in value for number in _numbers(each)]
    return [float(value)] if isinstance(value, int | float) else []


@pytest.mark.parametrize("run", [EMBEDDED_RUN, REFERENCE_RUN, RUN])
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
    ("document", "least"),
    [("README.md", 10), ("docs/training.md", 8), ("docs/benchmarks.md", 4), ("docs/reproduction.md", 1)],
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


def _studies_shown(repository: Path) -> list[tuple[str, str]]:
    """Find every `python -m benchmarks.studies NAME ...` in documents and Makefile, with its file."""
    shown = []
    for path in [*DOCUMENTS, *sorted((repository / "docs").glob("*.md")), repository / "Makefile"]:
        text = path.read_text(encoding="utf-8")
        if path.name == "Makefile":
            found = re.findall(r"^\t(.*)$", text.replace("\\\n", " "), flags=re.MULTILINE)
        else:
            # In a sentence, where it may contain a line end, and in a code block.
            blocks = re.findall(r"^```.*?^```$", text, flags=re.MULTILINE | re.DOTALL)
            found = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
            found += [line for block in blocks for line in block.splitlines()]
        shown += [(path.name, " ".join(each.split())) for each in found]
    module = "python -m benchmarks.studies "
    studies = {(name, words.partition(module)[2]) for name, words in shown if module in words}
    # The list of all studies is not a study.
    return sorted((name, words) for name, words in studies if words != "--help")


def test_every_study_shown_takes_its_options(repository: Path) -> None:
    shown = _studies_shown(repository)
    assert len(shown) >= 20
    # Every study except these is shown somewhere.
    assert {words.split()[0] for _, words in shown} >= STUDIES.keys() - {"averaged"}
    for name, words in shown:
        study, *arguments = shlex.split(words, comments=True)
        assert study in STUDIES, (name, words)
        # A sentence may omit required options; nothing else may be wrong.
        allowed = ("", "MissingParameter") if name != "Makefile" else ("",)
        assert _refusal(study, arguments) in allowed, (name, words)
    assert _refusal("stress", ["--data", "x", "--splits", "y", "--nonsense"]) == "NoSuchOption"


def _refusal(study: str, arguments: list[str]) -> str:
    """Return the name of the exception that a study raises for arguments; empty if it accepts them."""
    command = get_command(import_module(STUDIES[study].module).app)
    try:
        command.make_context(study, arguments).close()
    except Exception as error:
        return type(error).__name__
    return ""


def test_each_study_says_what_it_does() -> None:
    for name, study in STUDIES.items():
        command = get_command(import_module(study.module).app)
        assert command.help, name
        assert all(option.help for option in command.params if option.param_type_name == "option"), name


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_every_command_of_the_reproduction_parses(run: Run, cli: Callable[..., tuple[int, str, str]]) -> None:
    # Without the data there is one line that reports it; a wrong option or recipe would give another error.
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
