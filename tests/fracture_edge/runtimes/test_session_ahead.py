"""The session that `classify` opens during its imports: which classifier takes it, and a wrong guess."""

import csv
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fracture_edge import FractureClassifier
from fracture_edge.errors import ModelError
from fracture_edge.models import EMBEDDED_FILE
from fracture_edge.runtimes import opening, session
from fracture_edge.runtimes.opening import open_ahead, open_model

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Record the number of threads of every session that is made."""
    new: Callable[..., object] = session.open_session
    threads_of: list[int | None] = []

    def counting(name: str, data: bytes, threads: int | None) -> object:
        threads_of.append(threads)
        return new(name, data, threads)

    monkeypatch.setattr(session, "open_session", counting)
    return threads_of


def test_first_classifier_takes_over_the_session_with_equal_predictions(made: list[int | None]) -> None:
    pixels = np.full((300, 200), 90, np.uint8)
    usual = FractureClassifier()
    open_ahead()
    first, second = FractureClassifier(), FractureClassifier()
    assert made == [None, None, None]
    assert first._session is not second._session
    assert first.sha256 == second.sha256 == usual.sha256
    assert len({each.predict(pixels).probability for each in (usual, first, second)}) == 1


def test_other_threads_or_models_open_their_own_session(made: list[int | None], tiny_model: Path) -> None:
    open_ahead()
    assert open_model(None, 1).session.get_session_options().intra_op_num_threads == 1
    open_ahead()
    assert FractureClassifier(tiny_model).info.name == "tiny"
    # The two that are opened in the background, perhaps not yet, and these.
    assert (made.count(1), made.count(None) >= 1) == (1, True)


def test_error_in_the_background_is_reported_when_the_model_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(path: object) -> None:
        raise ModelError("the embedded model is damaged: reinstall fracture-edge")

    monkeypatch.setattr("fracture_edge.modelfile.read_model", damaged)
    open_ahead()
    with pytest.raises(ModelError, match=r"^the embedded model is damaged: reinstall fracture-edge$"):
        FractureClassifier()


def test_session_of_unverified_bytes_is_not_used(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    monkeypatch.setattr(opening, "EMBEDDED_FILE", tiny_model)
    open_ahead()
    # The session is that of the other file; `read_model` reads and verifies the embedded one.
    assert FractureClassifier().info.name == EMBEDDED_FILE.stem


def test_session_opens_without_importing_pillow(run_python: Run) -> None:
    script = (
        "import sys\nimport fracture_edge.runtimes.session, fracture_edge.runtimes.opening\n"
        "print(sorted({'PIL', 'typer', 'fracture_edge.modelfile'} & set(sys.modules)))"
    )
    done = run_python("-c", script)
    assert (done.stdout, done.stderr) == (b"[]\n", b"")


@pytest.mark.parametrize("words", [(), ("--threads", "1"), ("--threads=1",), ("--model", str(EMBEDDED_FILE))])
def test_output_does_not_depend_on_the_guess(words: tuple[str, ...], run_python: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(np.arange(256, dtype=np.uint8).repeat(64).reshape(128, 128)).save(path)
    done = run_python("-m", "fracture_edge", "classify", path, "--csv", *words)
    assert (done.returncode, done.stderr) == (0, b"")
    (row,) = csv.DictReader(done.stdout.decode().splitlines())
    assert float(row["probability"]) == FractureClassifier().predict(path).probability
