"""Files that are still being written get no answer and are not moved: reserved, stalled, time set at the end."""

import io
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fracture_edge import FractureClassifier
from fracture_edge.batch import watch as watching
from fracture_edge.batch.watch import Watcher, watch
from fracture_edge.batch.watch_records import FileState

#: Seconds that a copy over a network was seen to stall.
STALL = 9.0
RUNS = 50
OLD = 1_000_000_000_000_000_000


def content(kind: str, *, side: int = 256, black: bool = False) -> bytes:
    """Picture of 192 and, in its upper half, 255 and 1; with black below, its lower half is 0."""
    grey = np.full((side, side), 192, np.uint8)
    grey[: side // 4], grey[side // 4 : side // 2] = 255, 1
    if black:
        grey[side // 2 :] = 0
    stream = io.BytesIO()
    if kind == "dcm":
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3"
        dataset.Rows = dataset.Columns = side
        dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelData = grey.tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(stream, enforce_file_format=True)
    else:
        # Uncompressed, or a picture this plain would have no middle that can be missing.
        options = {"png": {"compress_level": 0}, "jpg": {"comment": b"x" * 20_000}}.get(kind, {})
        Image.fromarray(grey).save(stream, {"jpg": "JPEG", "tif": "TIFF"}.get(kind, kind), **options)
    return stream.getvalue()


@dataclass
class Writer:
    """Writer that reserves the size, stalls, writes in pieces with stalls, and sets the time at the end.

    Attributes:
        path: Path of the file.
        data: Content of the file.
        moments: Times of the clock at which it goes on.
        done: Number of steps that it has taken.
    """

    path: Path
    data: bytes
    moments: list[float]
    done: int = 0
    cuts: list[int] = field(default_factory=list)

    @classmethod
    def at_random(cls, path: Path, seed: int, *, longest: float = STALL, start: float = 20.0) -> "Writer":
        rng = random.Random(seed)
        data = content(path.suffix[1:])
        pieces = rng.randint(1, 5)
        cuts = sorted(rng.randrange(1, len(data)) for _ in range(pieces - 1))
        moments = [rng.uniform(0, start)]
        # The first stall is the full one, after the size is reserved.
        for step in range(pieces + 1):
            moments.append(moments[-1] + (longest if step == 0 else rng.uniform(0, longest)))
        return cls(path, data, moments, cuts=[0, *cuts, len(data)])

    def go_on(self) -> None:
        """Take the next step."""
        if self.done == 0:
            with self.path.open("wb") as stream:
                stream.truncate(len(self.data))
        elif self.done < len(self.moments) - 1:
            first, last = self.cuts[self.done - 1 : self.done + 1]
            with self.path.open("r+b") as stream:
                stream.seek(first)
                stream.write(self.data[first:last])
        else:
            # It fails if the file is no longer there.
            os.utime(self.path, ns=(OLD + self.done, OLD + self.done))
        self.done += 1

    @property
    def finished(self) -> bool:
        return self.done == len(self.moments)


def writers(inbox: Path, **options: float) -> list[Writer]:
    kinds = ("dcm", "tif", "png", "jpg", "bmp")
    return [Writer.at_random(inbox / f"{run}.{kinds[run % 5]}", run, **options) for run in range(RUNS)]


@pytest.fixture(scope="module")
def classifier(tiny_model: Path) -> FractureClassifier:
    return FractureClassifier(tiny_model)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
def opened(tmp_path: Path, inbox: Path, classifier: FractureClassifier) -> Iterator[Callable[..., Watcher]]:
    watchers: list[Watcher] = []

    def run(**options: object) -> Watcher:
        watchers.append(Watcher(inbox, tmp_path / "out.jsonl", classifier, **options))  # type: ignore[arg-type]
        return watchers[-1]

    yield run
    for watcher in watchers:
        watcher.close()


def check(work: list[Writer], out: Path, classifier: FractureClassifier, moved_to: Path | None) -> None:
    """Every file has one answer, the right one, and lies whole where it should."""
    assert all(writer.finished for writer in work)
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(record["path"] for record in records) == sorted(str(writer.path) for writer in work)
    right = {str(writer.path): classifier.predict(writer.data).probability for writer in work}
    assert {record["path"]: record["probability"] for record in records} == right
    for writer in work:
        assert writer.path.exists() == (moved_to is None)
        place = writer.path if moved_to is None else moved_to / writer.path.name
        assert place.read_bytes() == writer.data
        assert place.stat().st_mtime_ns == OLD + writer.done - 1


@pytest.mark.parametrize("moving", [False, True])
def test_one_right_answer_beside_writers_that_stall(
    opened: Callable[..., Watcher], inbox: Path, tmp_path: Path, classifier: FractureClassifier, *, moving: bool
) -> None:
    # By a clock of its own, which nothing waits for.
    now = 0.0
    done = tmp_path / "done" if moving else None
    watcher = opened(clock=lambda: now, move_to=done)
    work = writers(inbox)
    answered: set[str] = set()
    for tick in range(300):
        now = tick / 2
        for writer in work:
            while not writer.finished and writer.moments[writer.done] <= now:
                writer.go_on()
        if tick % 4 == 0:
            answered |= {prediction.path for prediction in watcher.scan()}
    assert len(answered) == RUNS
    check(work, tmp_path / "out.jsonl", classifier, done)


@pytest.mark.endurance
@pytest.mark.parametrize("moving", [False, True])
def test_one_right_answer_beside_writers_that_stall_in_real_time(
    opened: Callable[..., Watcher], inbox: Path, tmp_path: Path, classifier: FractureClassifier, *, moving: bool
) -> None:
    done = tmp_path / "done" if moving else None
    watcher = opened(move_to=done)
    work = writers(inbox)
    begun = time.monotonic()

    def write(writer: Writer) -> None:
        for moment in writer.moments:
            time.sleep(max(0, begun + moment - time.monotonic()))
            writer.go_on()

    threads = [threading.Thread(target=write, args=(writer,)) for writer in work]
    for thread in threads:
        thread.start()
    # The last writer, the time that nothing may change, and some for the work itself.
    end = begun + max(writer.moments[-1] for writer in work) + 30 + 30
    watch(watcher, lambda _: None, interval=2, stopped=lambda: time.monotonic() > end)
    for thread in threads:
        thread.join()
    check(work, tmp_path / "out.jsonl", classifier, done)


def test_black_border_of_raw_pixels_is_answered_after_the_quiet_time(
    opened: Callable[..., Watcher], inbox: Path
) -> None:
    now = 0.0
    (inbox / "a.dcm").write_bytes(content("dcm", black=True))
    (inbox / "b.png").write_bytes(content("png", black=True))
    watcher = opened(clock=lambda: now)
    answers = {}
    for now in (0.0, 2.0, 28.0, 30.0, 32.0):
        for prediction in watcher.scan():
            answers[Path(prediction.path).name] = (now, prediction.status)
    assert answers == {"a.dcm": (30.0, "ok"), "b.png": (2.0, "ok")}


def test_truncated_file_gets_its_record_after_the_quiet_time(opened: Callable[..., Watcher], inbox: Path) -> None:
    now = 0.0
    (inbox / "a.png").write_bytes(content("png")[:-2000])
    watcher = opened(clock=lambda: now)
    seen = []
    for now in (0.0, 29.0, 31.0, 33.0):
        seen += [(now, prediction.status) for prediction in watcher.scan()]
    assert seen == [(31.0, "truncated")]


@pytest.mark.parametrize("moving", [False, True])
def test_change_after_the_answer_is_answered_with_the_same_size_and_time(
    opened: Callable[..., Watcher], inbox: Path, tmp_path: Path, *, moving: bool
) -> None:
    now = 0.0
    path = inbox / "a.tif"
    path.write_bytes(content("tif"))
    os.utime(path, ns=(OLD, OLD))
    options = {"clock": lambda: now, "move_to": tmp_path / "done" if moving else None}
    watcher = opened(**options)
    answers = []
    for now in (0.0, 2.0, 4.0):  # noqa: B007 -- the clock reads it
        answers += [prediction.decision for prediction in watcher.scan()]
    other = content("tif", black=True)
    assert len(other) == path.stat().st_size
    path.write_bytes(other)
    os.utime(path, ns=(OLD, OLD))
    for now in (6.0, 8.0, 34.0, 36.0, 70.0):  # noqa: B007
        answers += [prediction.decision for prediction in watcher.scan()]
    assert answers == ["fractured", "not_fractured"]
    assert path.exists() != moving
    if moving:
        assert (tmp_path / "done" / "a.tif").read_bytes() == other


def test_same_content_with_another_time_is_not_answered_again(
    opened: Callable[..., Watcher], inbox: Path, tmp_path: Path
) -> None:
    path = inbox / "a.png"
    path.write_bytes(content("png"))
    watcher = opened()
    assert [len(list(watcher.scan())) for _ in range(2)] == [0, 1]
    os.utime(path, ns=(OLD, OLD))
    assert [len(list(watcher.scan())) for _ in range(3)] == [0, 0, 0]
    # After a restart and a change of the file's number, too.
    watcher.close()
    copy = tmp_path / "copy.png"
    copy.write_bytes(content("png"))
    copy.replace(path)
    again = opened()
    assert [len(list(again.scan())) for _ in range(3)] == [0, 0, 0]


def test_records_of_version_0_1_count(opened: Callable[..., Watcher], inbox: Path, tmp_path: Path) -> None:
    path, out = inbox / "a.png", tmp_path / "out.jsonl"
    path.write_bytes(content("png"))
    watcher = opened()
    assert [len(list(watcher.scan())) for _ in range(2)] == [0, 1]
    watcher.close()
    record = json.loads(out.read_text())
    out.write_text(
        json.dumps({k: v for k, v in record.items() if k not in ("ctime_ns", "inode", "digest")}) + "\n"
    )
    again = opened()
    assert [len(list(again.scan())) for _ in range(3)] == [0, 0, 0]


def test_content_that_changes_while_size_and_time_stand_still(
    opened: Callable[..., Watcher], inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Windows shows a new time only when the writer closes the file.
    now = 0.0
    monkeypatch.setattr(watching, "state_of", lambda path: FileState(9, 9, 9, 9))
    path = inbox / "a.dcm"
    whole = content("dcm", black=True)
    path.write_bytes(whole[:5000] + bytes(len(whole) - 5000))
    watcher = opened(clock=lambda: now)
    answers = []
    for now in (0.0, 2.0, 25.0, 31.0, 33.0, 60.0, 62.0):
        if now == 25.0:
            path.write_bytes(whole)
        answers += [(now, prediction.decision) for prediction in watcher.scan()]
    assert answers == [(62.0, "not_fractured")]


def test_once_waits_for_what_its_content_does_not_tell(
    cli: Callable[..., tuple[int, str, str]], inbox: Path, tiny_model: Path, tmp_path: Path
) -> None:
    (inbox / "a.dcm").write_bytes(content("dcm", black=True))
    (inbox / "b.png").write_bytes(content("png"))
    code, out, err = cli(
        "watch", inbox, "--out", tmp_path / "out.jsonl", "--once", "--interval", "0.1", "--model", tiny_model,
        "--settle", "0.5", "--move-to", tmp_path / "done",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert [line.split("/")[-1].split(",")[0] for line in out.splitlines()] == [
        "b.png: fractured",
        "a.dcm: not_fractured",
    ]
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == ["a.dcm", "b.png"]
    assert list(inbox.iterdir()) == []
