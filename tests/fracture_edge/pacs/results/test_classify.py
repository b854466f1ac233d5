"""`classify --dicom-results` writes results beside the records, and patient and study appear nowhere else."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

Cli = Callable[..., tuple[int, str, str]]
NAME, ID = b"Zyxwvut^Qponml", b"PID-918273"


@pytest.fixture
def study(tmp_path: Path, bone: Callable[..., Any], write_radiograph: Callable[..., Path]) -> Path:
    for number in (1, 2):
        write_radiograph(
            tmp_path / f"study/{number}.dcm",
            bone(number, number == 1),
            patient=NAME,
            patient_id=ID,
            uids=("1.2.3.1", "1.2.3.2", f"1.2.3.3.{number}"),
        )
    return tmp_path / "study"


def test_results_and_records(study: Path, cli: Cli, tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64), 90, np.uint8)).save(study / "3.png")
    (study / "4.dcm").write_bytes((study / "1.dcm").read_bytes()[:600])
    out = tmp_path / "results"
    code, text, err = cli("classify", study, "--dicom-results", out, "--jsonl")
    records = [json.loads(line) for line in text.splitlines()]
    assert (code, [record["status"] == "ok" for record in records]) == (3, [True, True, True, False])
    names = sorted(path.name[:2] for path in out.iterdir())
    assert names == ["SC", "SC", "SR", "SR"]
    assert f"{out}: DICOM results of 2 images; none of 1 DICOM image, see above; none of 1 file without" in err
    assert f"{study / '4.dcm'}: no DICOM results: the image has no answer" in err
    # The study's patient is in the results, and nowhere else.
    told = (text + err + " ".join(path.name for path in out.iterdir())).encode()
    for secret in (*NAME.split(b"^"), ID, b"1.2.3.1"):
        assert secret not in told
    found = {path.name: pydicom.dcmread(path) for path in out.iterdir()}
    assert {dataset.PatientID for dataset in found.values()} == {ID.decode()}
    reports = [dataset for name, dataset in found.items() if name.startswith("SR")]
    values = {
        node.MeasuredValueSequence[0].FloatingPointValue
        for report in reports
        for container in report.ContentSequence
        for group in container.get("ContentSequence", ())
        for node in group.get("ContentSequence", ())
        if node.ConceptNameCodeSequence[0].CodeValue == "122157"
    }
    assert values == {record["probability"] for record in records[:2]}


def test_a_repetition_replaces(study: Path, cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "results"
    for _ in range(2):
        code, _, err = cli("classify", study, "--dicom-results", out)
        assert (code, "DICOM results of 2 images\n" in err) == (0, True)
    assert len(list(out.iterdir())) == 4


def test_resuming_within_a_file_reports_all_of_its_frames(
    cli: Cli, tmp_path: Path, tiny_model: Path, write_radiograph: Callable[..., Path]
) -> None:
    frames = np.stack([np.full((64, 64), level, np.uint8) for level in (64, 128, 192)])
    path = write_radiograph(tmp_path / "x.dcm", frames, modality="OT")
    answers, out = tmp_path / "a.jsonl", tmp_path / "results"
    options = ("classify", path, "--model", tiny_model, "--jsonl", "-o", answers, "--dicom-results", out)
    assert cli(*options)[0] == 0
    first = {file.name: file for file in out.iterdir()}
    kept = answers.read_text().splitlines(keepends=True)
    (tmp_path / "a.jsonl.partial").write_text("".join(kept[:2]))
    answers.unlink()
    for file in first.values():
        file.unlink()
    assert cli(*options, "--resume")[0] == 0
    assert len(answers.read_text().splitlines()) == 3
    (report,) = (pydicom.dcmread(out / name) for name in first if name.startswith("SR"))
    groups = [
        group
        for container in report.ContentSequence
        for group in container.get("ContentSequence", ())
        if group.ConceptNameCodeSequence[0].CodeValue == "125007"
    ]
    assert len(groups) == 3


def test_a_missing_package_says_how_to_install_it(study: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "highdicom", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = cli("classify", study, "--dicom-results", study / "out")
    assert (code, err) == (1, "fracture-edge: DICOM results need highdicom: pip install 'fracture-edge[pacs]'\n")


def test_a_full_disk_loses_no_record(
    study: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fracture_edge.pacs.results.folder.atomic_path", fail)
    code, text, err = cli("classify", study, "--dicom-results", tmp_path / "out", "--jsonl")
    assert (code, len(text.splitlines())) == (0, 2)
    assert err.count("no DICOM results: No space left on device") == 2


@pytest.mark.skipif(shutil.which("dsr2html") is None, reason="needs dcmtk")
def test_another_program_shows_the_report(study: Path, cli: Cli, tmp_path: Path) -> None:
    _, text, _ = cli("classify", study / "1.dcm", "--dicom-results", tmp_path / "out", "--json")
    (record,) = json.loads(text)
    (report,) = (tmp_path / "out").glob("SR-*.dcm")
    page = tmp_path / "page.html"
    subprocess.run(["dsr2html", report, page], check=True, capture_output=True)
    shown = page.read_text(encoding="latin-1")
    assert "Imaging Measurement Report" in shown
    assert f"P(fractured) = {record['probability']:.3f}" in shown
    assert f"model SHA-256 {record['model_sha256']}" in shown


def test_the_entry_point_of_the_documents_makes_a_module(
    study: Path, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (repository / "docs/pacs.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)
    script = script.replace("/tmp/records", f"{tmp_path}/records")
    script = script.replace("fracture-edge classify", f"{sys.executable} -m fracture_edge classify")
    # A router's own file lies beside the images.
    (study / "task.json").write_text("{}")
    (study / "broken.dcm").write_bytes((study / "1.dcm").read_bytes()[:600])
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setenv("MERCURE_IN_DIR", str(study))
    monkeypatch.setenv("MERCURE_OUT_DIR", str(out))
    monkeypatch.setenv("PYTHONPATH", str(repository))
    subprocess.run(["sh", "-e", "-c", script], check=True, capture_output=True)
    records = json.loads((out / "result.json").read_text())["fracture_edge"]
    assert [record["status"] for record in records] == ["ok", "ok", records[2]["status"]]
    assert records[2]["status"] != "ok"
    assert sorted(path.name[:2] for path in out.iterdir()) == ["SC", "SC", "SR", "SR", "re"]
    assert NAME.split(b"^")[0] not in (out / "result.json").read_bytes()
