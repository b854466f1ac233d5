"""The embedded file is written again, and the benchmark runs that measured it follow."""

import shutil
from pathlib import Path

import pytest

from benchmarks.records.result import Run
from benchmarks.run_files import read_run, write_run
from benchmarks.studies.documents.results import EMBEDDED_ROW
from export.embed import embed_again, main
from fracture_edge.classifier import FractureClassifier
from fracture_edge.doctor import known_answers
from fracture_edge.errors import FractureEdgeError
from fracture_edge.models import EMBEDDED_FILE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(EMBEDDED_FILE, tmp_path)
    return tmp_path


def test_written_again(folder: Path, embedded_run: Run) -> None:
    before, run = FractureClassifier(), embedded_run
    write_run(run, folder / "run.json", force=False)
    path = embed_again(folder, version="99", runs=[folder / "run.json"])
    after, again = FractureClassifier(path), read_run(folder / "run.json")
    assert after.info.version == "99"
    answers = [known_answers.predictions(classifier) for classifier in (before, after)]
    assert answers[0]["probabilities"] == answers[1]["probabilities"]
    old, new = ({row.id: row for row in each.result.rows}[EMBEDDED_ROW] for each in (run, again))
    assert old.sha256 == before.sha256
    assert (new.sha256, new.bytes) == (after.sha256, path.stat().st_size)
    assert new.speed == old.speed
    assert new.quality is not None
    assert old.quality is not None
    assert new.quality.confusion == old.quality.confusion
    assert new.quality.uncertain == old.quality.uncertain
    assert [(each.by, each.value, each.images, each.fractured) for each in new.quality.subgroups] == [
        (each.by, each.value, each.images, each.fractured) for each in old.quality.subgroups
    ]
    for name, stored in old.quality.metrics.items():
        found = new.quality.metrics[name]
        # Another processor may sum in another order.
        assert (found.value, found.low, found.high) == pytest.approx(
            (stored.value, stored.low, stored.high), abs=1e-9
        )
    # Whose times they are stays known, also when it is written once more.
    assert new.timed_sha256 == old.sha256_of_times
    embed_again(folder, version="100", runs=[folder / "run.json"])
    (last,) = read_run(folder / "run.json").result.rows
    assert last.timed_sha256 == last.sha256_of_times == old.sha256_of_times
    assert f"those of the file with SHA-256 {old.sha256_of_times[:12]}" in (folder / "run.md").read_text()


def test_a_run_of_another_file_is_refused(folder: Path, embedded_run: Run) -> None:
    path = embed_again(folder, version="98")
    content = path.read_bytes()
    write_run(embedded_run, folder / "run.json", force=False)
    with pytest.raises(FractureEdgeError, match=r"run\.json: did not measure the file as it is"):
        embed_again(folder, version="99", runs=[folder / "run.json"])
    assert path.read_bytes() == content


def test_the_command_refuses_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["embed", str(tmp_path / "none.onnx")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'none.onnx'}: ")
