"""DICOM files of several frames, each of which is classified; the tiny model gives sigmoid(mean grey / 32 - 4)."""

import csv
import gc
import io
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from fracture_edge import FractureClassifier, Prediction, Status
from fracture_edge.batch.resume import partial_path
from fracture_edge.batch.watch import Watcher
from fracture_edge.decoding import Wanted
from fracture_edge.images import dicom_frames
from fracture_edge.images.image_file import ImageFile
from fracture_edge.images.limits import MAX_FRAMES

Run = Callable[..., tuple[int, str, str]]
Cine = Callable[..., Path]

WHITE_ROWS = (48, 16, 40)
# The graph computes in float32, the tests in float64.
EXACT = 1e-6


def probability(white_rows: int) -> float:
    """Compute P of a frame of 64 rows, `white_rows` of them at 255."""
    return 1 / (1 + math.exp(4 - white_rows / 64 * 255 / 32))


def save(path: Path, grey: int = 192) -> Path:
    Image.fromarray(np.full((64, 64), grey, np.uint8)).save(path)
    return path


def compress(path: Path, broken: int | None = None) -> Path:
    """Convert the file to JPEG 2000; the frame with index `broken` is invalid."""
    dataset = pydicom.dcmread(path)
    frames = []
    for pixels in dataset.pixel_array:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG2000", no_jp2=True)
        frames.append(buffer.getvalue())
    if broken is not None:
        frames[broken] = b"not a JPEG 2000 stream."
    dataset.PixelData = encapsulate(frames)
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.save_as(path)
    return path


def numbers(predictions: Sequence[Prediction]) -> list[tuple[int, int]]:
    return [(prediction.frame, prediction.frames) for prediction in predictions]


@pytest.fixture(scope="module")
def classifier(tiny_model: Path) -> FractureClassifier:
    return FractureClassifier(tiny_model, threads=1, check_images=False)


@pytest.fixture
def cine(write_cine: Cine, tmp_path: Path) -> Path:
    return write_cine(tmp_path / "cine.dcm", WHITE_ROWS)


def test_a_prediction_for_each_frame(classifier: FractureClassifier, cine: Path) -> None:
    answers = list(classifier.predict_frames(cine))
    assert numbers(answers) == [(1, 3), (2, 3), (3, 3)]
    assert [answer.probability for answer in answers] == pytest.approx(
        list(map(probability, WHITE_ROWS)), abs=EXACT
    )
    assert [answer.decision for answer in answers] == ["fractured", "not_fractured", "fractured"]
    assert {answer.path for answer in answers} == {str(cine)}
    assert answers[1].reason == "probability below the threshold"


def test_predict_classifies_the_first_frame_and_says_so(classifier: FractureClassifier, cine: Path) -> None:
    first = next(classifier.predict_frames(cine))
    said = replace(first, reason=f"{first.reason}; the first of 3 frames in the file", elapsed_ms=0)
    assert replace(classifier.predict(cine), elapsed_ms=0) == said
    assert [replace(answer, elapsed_ms=0) for answer in classifier.predict_many([cine], jobs=2)] == [said]


def test_given_frame_numbers(classifier: FractureClassifier, cine: Path) -> None:
    answers = list(classifier.predict_frames(cine.read_bytes(), [3, 4, 0, 1]))
    assert numbers(answers) == [(3, 3), (4, 3), (0, 3), (1, 3)]
    assert [answer.status for answer in answers] == ["ok", "corrupt", "corrupt", "ok"]
    assert answers[1].reason == "has no frame 4"
    assert answers[0].probability == pytest.approx(probability(40), abs=EXACT)


def test_a_corrupt_frame_does_not_affect_others(classifier: FractureClassifier, cine: Path) -> None:
    answers = list(classifier.predict_frames(compress(cine, broken=1)))
    assert numbers(answers) == [(1, 3), (2, 3), (3, 3)]
    assert [answer.status for answer in answers] == ["ok", "corrupt", "ok"]
    assert answers[2].probability == pytest.approx(probability(40), abs=EXACT)
    assert answers[1].probability is None


def test_frames_that_are_missing(classifier: FractureClassifier, write_cine: Cine, tmp_path: Path) -> None:
    answers = list(classifier.predict_frames(write_cine(tmp_path / "short.dcm", WHITE_ROWS, frames=5)))
    assert [(answer.frame, str(answer.status)) for answer in answers] == [
        (1, "ok"), (2, "ok"), (3, "ok"), (4, "corrupt"), (5, "corrupt"),
    ]  # fmt: skip


def test_too_many_frames(classifier: FractureClassifier, write_cine: Cine, tmp_path: Path) -> None:
    path = write_cine(tmp_path / "long.dcm", WHITE_ROWS, frames=MAX_FRAMES + 1)
    (answer,) = classifier.predict_frames(path)
    assert (answer.status, answer.frame, answer.frames) == (Status.TOO_LARGE, 1, 1)
    assert classifier.predict(path).probability == pytest.approx(probability(48), abs=EXACT)


def test_unreadable_file_gives_one_prediction(
    classifier: FractureClassifier, cine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom_frames, "_PLUGINS", ())
    for path, status in ((compress(cine), "decoder_not_installed"), (tmp_path / "none.dcm", "not_found")):
        (answer,) = classifier.predict_frames(path)
        assert (answer.status, answer.frame, answer.frames) == (status, 1, 1)
    # After a partial run each remaining frame gets its record.
    gone = list(classifier.predict_frames(tmp_path / "none.dcm", [2, 3]))
    assert numbers(gone) == [(2, 3), (3, 3)]


def test_other_formats_give_the_first_picture(classifier: FractureClassifier, tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((64, 64), grey, np.uint8)) for grey in (192, 10, 10)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    for image, end in (
        (tmp_path / "pages.tif", "; the first of 3 frames in the file"),
        (np.asarray(pages[0]), ""),
    ):
        (answer,) = classifier.predict_frames(image)
        assert (answer.frame, answer.frames) == (1, 1)
        assert answer.reason == f"probability at or above the threshold{end}"
        assert answer.probability == classifier.predict(image).probability


@pytest.mark.parametrize("jobs", [1, 3])
def test_files_in_order(jobs: int, classifier: FractureClassifier, write_cine: Cine, tmp_path: Path) -> None:
    files = [
        write_cine(tmp_path / "a.dcm", range(20, 40)),
        tmp_path / "none.png",
        save(tmp_path / "b.png"),
        compress(write_cine(tmp_path / "c.dcm", WHITE_ROWS), broken=2),
        write_cine(tmp_path / "d.dcm", [30]),
    ]
    wanted = [*map(Wanted, files), Wanted(files[0], [7, 20])]
    found = [list(frames) for frames in classifier.predict_files(wanted, jobs=jobs)]
    expected = [list(classifier.predict_frames(*one)) for one in wanted]
    assert [len(frames) for frames in found] == [20, 1, 1, 3, 1, 2]
    assert [[replace(answer, elapsed_ms=0) for answer in frames] for frames in found] == [
        [replace(answer, elapsed_ms=0) for answer in frames] for frames in expected
    ]


def test_waiting_files_hold_no_bytes(classifier: FractureClassifier, cine: Path) -> None:
    answers = classifier.predict_files([Wanted(cine)] * 9, jobs=2)
    waiting = next(answers)

    def open_files() -> int:
        # Collect objects that an earlier test left behind in reference cycles.
        gc.collect()
        return sum(isinstance(thing, ImageFile) for thing in gc.get_objects())

    deadline = time.monotonic() + 30
    while open_files() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert open_files() == 0
    assert len(list(waiting)) == 3
    assert [len(list(frames)) for frames in answers] == [3] * 8


def test_frames_of_one_file_are_classified_at_the_same_time(
    classifier: FractureClassifier, write_cine: Cine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fracture_edge.machine.usable_cores", lambda: 2)
    path = write_cine(tmp_path / "five.dcm", range(20, 25))
    expected = [answer.probability for answer in classifier.predict_frames(path)]
    (frames,) = classifier.predict_files([Wanted(path)], jobs=2)
    found = [next(frames).probability]
    both, run = Barrier(2), classifier._run

    def meeting(*arguments: Any) -> Any:
        both.wait(timeout=30)
        return run(*arguments)

    monkeypatch.setattr(classifier, "_run", meeting)
    found += [answer.probability for answer in frames]
    assert found == expected


MEMORY = """
import sys
from fracture_edge import FractureClassifier
from fracture_edge.machine import peak_memory_mb
classifier = FractureClassifier(sys.argv[1])
answers = classifier.predict_frames(sys.argv[2])
assert [next(answers).frame for _ in range(10)] == list(range(1, 11))
few = peak_memory_mb()
assert sum(answer.ok for answer in answers) == 990
print(few, peak_memory_mb())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory comes from /proc")
def test_memory_does_not_grow_with_the_number_of_frames(
    run_python: Callable[..., subprocess.CompletedProcess[bytes]],
    write_cine: Cine,
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    done = run_python("-c", MEMORY, tiny_model, write_cine(tmp_path / "cine.dcm", [30] * 1000))
    assert done.stderr == b""
    few, every = map(float, done.stdout.split())
    # 990 frames would be 4 MB.
    assert every - few < 1


def classify(cli: Run, model: Path, *arguments: object) -> tuple[int, str, str]:
    return cli("classify", *arguments, "--model", model, "--any-image")


def test_text_names_the_frame(cli: Run, cine: Path, tiny_model: Path, tmp_path: Path) -> None:
    code, out, err = classify(cli, tiny_model, cine, save(tmp_path / "x.png"))
    lines = out.splitlines()
    assert [line.partition(" (threshold")[0] for line in lines] == [
        f"{cine}, frame 1 of 3: fractured, P(fractured) = 0.878",
        f"{cine}, frame 2 of 3: not_fractured, P(fractured) = 0.118",
        f"{cine}, frame 3 of 3: fractured, P(fractured) = 0.727",
        f"{tmp_path / 'x.png'}: fractured, P(fractured) = 0.881",
    ]
    assert code == 0
    # Each frame is an image.
    assert re.fullmatch(r"4 images: 3 fractured, 1 not fractured, 0 uncertain; \d+\.\d s\n", err)


@pytest.mark.parametrize("target", [False, True])
def test_exit_status_counts_files(
    target: bool, cli: Run, cine: Path, write_cine: Cine, tiny_model: Path, tmp_path: Path
) -> None:
    short, picture = write_cine(tmp_path / "short.dcm", WHITE_ROWS, frames=4), save(tmp_path / "x.png")
    for files, expected in (((cine, picture), 0), ((cine, short), 3), ((short,), 1), ((short, picture), 3)):
        options = ("--csv", "-o", tmp_path / "out.csv", "--force") if target else ("--json",)
        assert classify(cli, tiny_model, *files, *options)[0] == expected


def records(path: Path) -> list[tuple[str, int, int, str]]:
    text = path.read_text()
    rows = csv.DictReader(io.StringIO(text)) if ".csv" in path.name else map(json.loads, text.splitlines())
    return [(Path(row["path"]).name, int(row["frame"]), int(row["frames"]), row["status"]) for row in rows]


@pytest.mark.parametrize("style", ["csv", "jsonl"])
def test_resuming_after_any_record_equals_one_run(
    style: str, cli: Run, cine: Path, write_cine: Cine, tiny_model: Path, tmp_path: Path
) -> None:
    # A path twice, and a frame that cannot be classified.
    files = [cine, save(tmp_path / "x.png"), write_cine(tmp_path / "short.dcm", WHITE_ROWS, frames=4), cine]
    target = tmp_path / f"out.{style}"
    options = (f"--{style}", "-o", target, "--jobs", "1")
    assert classify(cli, tiny_model, *files, *options)[0] == 3
    whole = records(target)
    assert [row[:3] for row in whole] == [
        *(("cine.dcm", frame, 3) for frame in (1, 2, 3)),
        ("x.png", 1, 1),
        *(("short.dcm", frame, 4) for frame in (1, 2, 3, 4)),
        *(("cine.dcm", frame, 3) for frame in (1, 2, 3)),
    ]
    lines = target.read_text().splitlines(keepends=True)
    target.unlink()
    for kept in range(style == "csv", len(lines) + 1):
        partial_path(target).write_text("".join(lines[:kept]))
        code, out, err = classify(cli, tiny_model, *files, *options, "--resume")
        assert (code, out) == (3, "")
        # What this run has classified; nothing is said where nothing was left.
        left = len(lines) - kept
        assert re.fullmatch(rf"{left} images: .*; \d+\.\d s\n" if left else "", err)
        assert target.read_text().startswith("".join(lines[:kept]))
        assert records(target) == whole
        target.unlink()


def test_resuming_counts_earlier_records(cli: Run, write_cine: Cine, tiny_model: Path, tmp_path: Path) -> None:
    path = compress(write_cine(tmp_path / "a.dcm", WHITE_ROWS), broken=0)
    target = tmp_path / "out.jsonl"
    options = (path, "--jsonl", "-o", target)
    assert classify(cli, tiny_model, *options)[0] == 1
    lines = target.read_text().splitlines(keepends=True)
    target.write_text(lines[0])
    # Both frames of this run are classified, the one of the earlier run is not.
    assert classify(cli, tiny_model, *options, "--resume")[0] == 1
    assert records(target) == [("a.dcm", 1, 3, "corrupt"), ("a.dcm", 2, 3, "ok"), ("a.dcm", 3, 3, "ok")]


def test_file_that_disappears_between_runs(cli: Run, cine: Path, tiny_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    options = (cine, "--jsonl", "-o", target)
    assert classify(cli, tiny_model, *options)[0] == 0
    target.write_text(target.read_text().splitlines(keepends=True)[0])
    cine.unlink()
    for _ in range(2):
        assert classify(cli, tiny_model, *options, "--resume")[0] == 1
        assert records(target) == [
            ("cine.dcm", 1, 3, "ok"), ("cine.dcm", 2, 3, "not_found"), ("cine.dcm", 3, 3, "not_found"),
        ]  # fmt: skip


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def looks(watcher: Watcher, number: int | None = None) -> list[tuple[str, int]]:
    """Scan three times, or stop after some predictions."""
    answers = islice(chain.from_iterable(watcher.scan() for _ in range(3)), number)
    found = [(Path(answer.path).name, answer.frame) for answer in answers]
    watcher.close()
    return found


def test_watch_continues_in_the_middle_of_a_file(
    classifier: FractureClassifier, write_cine: Cine, inbox: Path, tmp_path: Path
) -> None:
    write_cine(inbox / "a.dcm", WHITE_ROWS)
    write_cine(inbox / "b.dcm", WHITE_ROWS)
    out, done = tmp_path / "out.jsonl", tmp_path / "done"

    def start() -> Watcher:
        return Watcher(inbox, out, classifier, move_to=done, settle=0)

    assert looks(start(), 2) == [("a.dcm", 1), ("a.dcm", 2)]
    # An incomplete record, as a kill leaves it, does not count.
    out.write_bytes(out.read_bytes()[:-9])
    assert not done.exists()
    assert looks(start(), 2) == [("a.dcm", 2), ("a.dcm", 3)]
    assert [path.name for path in done.iterdir()] == ["a.dcm"]
    assert looks(start(), 1) == [("b.dcm", 1)]
    assert looks(start()) == [("b.dcm", 2), ("b.dcm", 3)]
    assert [row[:3] for row in records(out)] == [
        (name, frame, 3) for name in ("a.dcm", "b.dcm") for frame in (1, 2, 3)
    ]
    assert sorted(path.name for path in done.iterdir()) == ["a.dcm", "b.dcm"]
    assert list(inbox.iterdir()) == []


def test_watch_classifies_new_content_from_its_first_frame(
    classifier: FractureClassifier, write_cine: Cine, inbox: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    write_cine(inbox / "a.dcm", WHITE_ROWS)
    assert looks(Watcher(inbox, out, classifier, settle=0), 2) == [("a.dcm", 1), ("a.dcm", 2)]
    write_cine(inbox / "a.dcm", [30, 30])
    assert looks(Watcher(inbox, out, classifier, settle=0)) == [("a.dcm", 1), ("a.dcm", 2)]
    assert [row[1:3] for row in records(out)] == [(1, 3), (2, 3), (1, 2), (2, 2)]
