"""The embedded file is written again, and the benchmark runs that measured it follow."""

import shutil
from pathlib import Path

import pytest

from benchmarks.run_files import read_run, write_run
from benchmarks.studies.documents.results import EMBEDDED_ELSEWHERE, EMBEDDED_ROW, RESULTS
from export.embed import embed_again
from fracture_edge.classifier import FractureClassifier
from fracture_edge.doctor import known_answers
from fracture_edge.errors import FractureEdgeError
from fracture_edge.models import EMBEDDED_FILE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(EMBEDDED_FILE, tmp_path)
    return tmp_path


def test_written_again(folder: Path) -> None:
    before, run = FractureClassifier(), read_run(RESULTS / EMBEDDED_ELSEWHERE)
    write_run(run, folder / "run.json", force=False)
    path = embed_again(folder, version="99", runs=[folder / "run.json"])
    after, again = FractureClassifier(path), read_run(folder / "run.json")
    assert after.info.version == "99"
    answers = [known_answers.predictions(classifier) for classifier in (before, after)]
    assert answers[0]["probabilities"] == answers[1]["probabilities"]
    old, new = ({row.id: row for row in each.result.rows}[EMBEDDED_ROW] for each in (run, again))
    assert old.sha256 == before.sha256
    assert (new.sha256, new.bytes) == (after.sha256, path.stat().st_size)
    assert (new.speed, new.quality) == (old.speed, old.quality)


def test_a_run_of_another_file_is_refused(folder: Path) -> None:
    path = embed_again(folder, version="98")
    content = path.read_bytes()
    write_run(read_run(RESULTS / EMBEDDED_ELSEWHERE), folder / "run.json", force=False)
    with pytest.raises(FractureEdgeError, match="did not measure the file as it is"):
        embed_again(folder, version="99", runs=[folder / "run.json"])
    assert path.read_bytes() == content
