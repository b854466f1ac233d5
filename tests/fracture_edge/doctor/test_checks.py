import io
import json
import os
import platform
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fracture_edge import FractureClassifier, machine
from fracture_edge.doctor import checks as doctor
from fracture_edge.doctor import known_answers, requirements
from fracture_edge.doctor import speed as device_speed
from fracture_edge.doctor.checks import MEAN_TOLERANCE, TOLERANCE, Check
from fracture_edge.errors import ModelError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_speed, "RUNS", 3)
    monkeypatch.setattr(device_speed, "WARM_UP", 1)
    monkeypatch.setattr(device_speed, "FRESH_PROCESSES", 1)


def check(name: str) -> Check:
    return {entry.name: entry for entry in doctor.checks()}[name]


def test_this_installation_is_healthy(quick: None, cli: Run) -> None:
    code, out, err = cli("doctor", "--json")
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert (report["schema_version"], report["healthy"]) == (1, True)
    assert {entry["name"]: entry["outcome"] for entry in report["checks"]} == {
        "Python": "ok",
        "numpy": "ok",
        "pillow": "ok",
        "onnxruntime": "ok",
        "typer": "ok",
        "packaging": "ok",
        "extras": "note",
        "libraries load": "ok",
        "LiteRT loads": "ok",
        "embedded model": "ok",
        "known answers": "ok",
        "processor": report["checks"][-1]["outcome"],
    }
    measured = report["measured"]
    for key in ("inference_ms", "file_to_decision_ms"):
        assert 0 < measured[key]["p50"] <= measured[key]["p90"] <= measured[key]["p99"] < 10_000
    # A process has to start and to load onnxruntime; that takes less than a minute on any machine.
    assert measured["inference_ms"]["p50"] < measured["first_answer_ms"] < 60_000
    assert measured["peak_memory_mb"] is None or 30 < measured["peak_memory_mb"] < 300
    assert (measured["threads"], measured["runs"]) == (min(4, report["machine"]["cores"]), 3)
    assert report["machine"]["versions"]["fracture-edge"]


def test_without_measurements(cli: Run) -> None:
    code, out, _ = cli("doctor", "--no-speed", "--json")
    report = json.loads(out)
    assert (code, report["healthy"], report["measured"]) == (0, True, None)
    assert report["checks"][-1]["name"] == "processor"
    code, out, _ = cli("doctor", "--no-speed")
    assert (code, out.splitlines()[-1], "Latency" in out) == (0, "Healthy.", False)


def test_report_contains_no_path_and_no_host_name(quick: None, cli: Run) -> None:
    _, out, _ = cli("doctor", "--json")
    strings: list[str] = []

    def collect(value: Any) -> None:
        if isinstance(value, str):
            strings.append(value)
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            collect(inner)

    collect(json.loads(out))
    for private in {
        socket.gethostname(),
        platform.node(),
        os.fspath(Path(known_answers.__file__).parents[1]),
        os.sep + "tmp",
    }:
        assert not any(private in text for text in strings)


def test_text(quick: None, cli: Run) -> None:
    code, out, err = cli("doctor")
    lines = out.splitlines()
    assert (code, err, lines[-1]) == (0, "", "Healthy.")
    assert lines[0] == f"ok    Python: {platform.python_version()}"
    assert any(
        line.startswith("ok    known answers: 7 images, P(fractured) differs by up to 0.0") for line in lines
    )
    assert any(line.strip().startswith("file to decision") for line in lines)


def test_damaged_model_is_found_and_nothing_is_measured(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(path: object) -> None:
        raise ModelError("the embedded model is damaged: reinstall fracture-edge")

    monkeypatch.setattr("fracture_edge.modelfile.read_model", damaged)
    code, out, _ = cli("doctor")
    assert code == 1
    lines = out.splitlines()
    place = lines.index("FAIL  embedded model: the embedded model is damaged: reinstall fracture-edge")
    assert lines[place + 1] == "      what to do: reinstall: pip install --force-reinstall fracture-edge"
    assert (lines[-1], "inference alone" in out) == ("Not healthy: 1 failed; see FAIL above.", False)


@pytest.mark.parametrize(
    ("shift", "pictures", "outcome", "advice"),
    [
        (TOLERANCE * 0.9, 1, "ok", ""),
        (TOLERANCE * 1.1, 1, "failed", "do not rely on them"),
        (MEAN_TOLERANCE * 0.9, known_answers.IMAGES, "ok", ""),
        (MEAN_TOLERANCE * 1.1, known_answers.IMAGES, "failed", "do not rely on them"),
    ],
)
def test_known_answers(
    shift: float, pictures: int, outcome: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The predictions of this machine, so that the test passes on any.
    known = known_answers.predictions(FractureClassifier())
    for number in range(pictures):
        known["probabilities"][number] += shift
    path = tmp_path / "known.json"
    path.write_text(json.dumps(known))
    monkeypatch.setattr(known_answers, "FILE", path)
    found = check("known answers")
    assert found.outcome == outcome
    assert advice in found.advice
    assert (
        f"differs by up to {shift:.4f} (tolerance 0.04), by {shift * pictures / 7:.4f} on average" in found.found
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"filter": "bilinear"},
        {"filter": "lanczos"},
        {"filter": "box"},
        {"framing": "stretch"},
        {"pad": 128},
        "moved",
    ],
    ids=str,
)
def test_wrong_pixels_are_found(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = FractureClassifier()
    right, runs = classifier.info.preprocessing, classifier.probabilities
    preprocessing = right if wrong == "moved" else replace(right, **wrong)

    def predictions(_: FractureClassifier, images: int) -> dict[str, Any]:
        pixels = [preprocessing.load(known_answers.phantom(number)) for number in range(images)]
        moved = [np.roll(each, 1, axis=1) for each in pixels] if wrong == "moved" else pixels
        return {"probabilities": [float(runs(each[None])[0]) for each in moved]}

    monkeypatch.setattr(known_answers, "predictions", predictions)
    assert check("known answers").outcome == "failed"


def test_litert_is_checked_only_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    found = check("LiteRT loads")
    assert (found.outcome, found.found.startswith("ModuleNotFoundError: ")) == ("failed", True)
    assert found.advice == "for TFLite files: pip install --force-reinstall 'fracture-edge[litert]'"
    find = doctor.find_spec
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "ai_edge_litert" else find(name))
    assert "LiteRT loads" not in {entry.name for entry in doctor.checks()}


@pytest.mark.parametrize("text", ["", "{}", '{"model_sha256": "00", "probabilities": [0.5]}'])
def test_known_answers_of_another_model(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "known.json"
    path.write_text(text)
    monkeypatch.setattr(known_answers, "FILE", path)
    assert (check("known answers").outcome, check("known answers").found) == (
        "failed",
        "missing, or of another model",
    )


@pytest.mark.parametrize(("exact", "outcome"), [(True, "ok"), (False, "note")])
def test_processor(exact: bool, outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "exact_int8_sums", lambda: exact)
    found = check("processor")
    assert (found.outcome, "the predictions are the same" in found.advice) == (outcome, not exact)


@pytest.mark.parametrize(
    ("there", "outcome", "found"),
    [
        ({}, "failed", "missing"),
        ({"onnxruntime": "1.21.1"}, "failed", "1.21.1, but >=1.22 is supported"),
        ({"onnxruntime": "1.22.0"}, "ok", "1.22.0"),
    ],
)
def test_packages(there: dict[str, str], outcome: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda *names: there)
    entry = check("onnxruntime")
    assert (entry.outcome, entry.found) == (outcome, found)
    assert entry.advice == ("pip install 'onnxruntime>=1.22'" if outcome == "failed" else "")


def test_library_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    *_, last = doctor.checks()
    assert (last.name, last.outcome) == ("libraries load", "failed")
    assert "Visual C++" in last.advice


@pytest.mark.parametrize(
    ("version", "spec", "expected"),
    [
        ("2.0", ">=2.0", True),
        ("2.0.0", "==2.0", True),
        ("1.9.9", ">=2.0", False),
        ("1.10", ">=1.9", True),
        ("0.28.0", "<0.29,>=0.15", True),
        ("0.29", "<0.29,>=0.15", False),
        ("0.29.0", "<0.29", False),
        ("3.14.0", ">=3.11,<3.14", False),
        ("2.0rc1", ">=2.0", True),
        ("1.0", "!=1.0", False),
        ("1.0", "", True),
    ],
)
def test_satisfies(version: str, spec: str, expected: bool) -> None:
    assert requirements.satisfies(version, spec) is expected


def test_requirements_are_those_of_the_project() -> None:
    found = list(requirements.requirements())
    assert {name for name, _, extra in found if extra is None} == {
        "numpy",
        "pillow",
        "onnxruntime",
        "typer",
        "packaging",
    }
    assert ("pydicom", ">=3.0.1", "dicom") in found
    assert requirements.supported_python() in ("<3.14,>=3.11", ">=3.11,<3.14")


def test_phantoms_differ_and_are_the_same_everywhere() -> None:
    pictures = [known_answers.phantom(number) for number in range(known_answers.IMAGES)]
    assert len(set(pictures)) == len(pictures)
    pixels = [np.asarray(Image.open(io.BytesIO(picture))) for picture in pictures]
    assert {picture.dtype for picture in pixels} == {np.dtype(np.uint8)}
    # The last one is three times as high as wide.
    assert [picture.shape for picture in pixels] == [(384, 288)] * 6 + [(864, 288)]
    # Integer arithmetic: no rounding, so sums of pixels are exact.
    sums = [7593135, 7843177, 8251783, 8557278, 9094079, 9422210, 43646100]
    assert [int(picture.sum()) for picture in pixels] == sums


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (list(range(1, 101)), {"p50": 50, "p90": 90, "p99": 99}),
        ([3, 1, 2], {"p50": 2, "p90": 3, "p99": 3}),
        ([7], {"p50": 7, "p90": 7, "p99": 7}),
    ],
)
def test_percentiles(values: list[float], expected: dict[str, float]) -> None:
    assert device_speed._percentiles(values) == expected


def test_runs_are_counted_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    times = device_speed._timed(lambda: calls.append(1))
    assert (len(times), len(calls)) == (device_speed.RUNS, device_speed.RUNS + device_speed.WARM_UP)


def test_peak_memory_and_machine() -> None:
    found = machine.describe("numpy", "no-such-package")
    assert found["versions"] == {"numpy": np.__version__}
    assert found["cores"] == machine.usable_cores() >= 1
    assert set(found["cpu_flags"]) <= set(machine.FLAGS)
    if Path("/proc/self/status").exists():
        before = machine.peak_memory_mb()
        block = np.ones(50_000_000, np.uint8)
        after = machine.peak_memory_mb()
        assert before is not None
        assert after is not None
        assert after >= 50
        assert block.sum() == 50_000_000
