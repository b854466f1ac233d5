"""Answers to many images, written so that an interruption loses none and can be gone on from."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fracture_edge.batch.journal import Journal
from fracture_edge.batch.records import HEATMAP, REASON_CODE, Format, columns, csv_line, render
from fracture_edge.classifier import FractureClassifier
from fracture_edge.console import say
from fracture_edge.decoding import Wanted
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path, refuse_overwrite
from fracture_edge.policy import Decision, ReasonCode
from fracture_edge.prediction import Prediction


@dataclass(slots=True)
class _Answers:
    """The records of one file.

    Attributes:
        missing: Numbers of the frames that have none.
        ok: Whether each of the others has an answer.
    """

    missing: set[int]
    ok: bool = True


class _Held:
    """The records that an output holds, by path."""

    def __init__(self, output: Path, like: FractureClassifier, *, with_heatmap: bool) -> None:
        self.total = 0
        self._with_heatmap = with_heatmap
        self._output = output
        self._like = like
        # A path that is given twice has two.
        self._files: dict[str, list[_Answers]] = {}

    def add(self, record: Mapping[str, Any]) -> None:
        """Take note of a record that was there before.

        Raises:
            FractureEdgeError: It is of another model, of another policy, or with overlays and now without.
        """
        if record["model_sha256"] != self._like.sha256 or not _would_decide(self._like, record):
            raise FractureEdgeError(
                f"{self._output} holds answers of another model, threshold or uncertain band, or without "
                "--any-image; name another file, or give --force to begin again"
            )
        if (HEATMAP in record) != self._with_heatmap:
            raise FractureEdgeError(
                f"{self._output} was begun {'without' if self._with_heatmap else 'with'} --heatmap; go on as it "
                "was begun, or give --force to begin again"
            )
        self.note(record["path"], record["frame"], record["frames"], ok=record["status"] == "ok")

    def note(self, path: str, frame: int, frames: int, *, ok: bool) -> None:
        """Take note of any record."""
        self.total += 1
        files = self._files.setdefault(path, [])
        file = next((file for file in files if frame in file.missing), None)
        if file is None:
            file = _Answers(set(range(1, frames + 1)))
            files.append(file)
        file.missing.discard(frame)
        file.ok &= ok

    def missing(self, files: Iterable[Path]) -> list[Wanted]:
        """Those of `files` that have no record, or not for each of their frames."""
        wanted = []
        for file, answers in self._of(files):
            if answers is None:
                wanted.append(Wanted(file))
            elif answers.missing:
                wanted.append(Wanted(file, sorted(answers.missing)))
        return wanted

    def answered(self, files: Iterable[Path]) -> int:
        """How many of `files` have an answer, not just a record, to each of their frames."""
        return sum(answers is not None and answers.ok and not answers.missing for _, answers in self._of(files))

    def _of(self, files: Iterable[Path]) -> Iterator[tuple[Path, _Answers | None]]:
        times: Counter[str] = Counter()
        for file in files:
            path = str(file)
            held = self._files.get(path, [])
            yield file, held[times[path]] if times[path] < len(held) else None
            times[path] += 1


def _would_decide(like: FractureClassifier, record: Mapping[str, Any]) -> bool:
    """Whether a classifier's policy decides as the record says; one without an answer agrees with any.

    Of an image that is doubted the policy says nothing; a classifier that checks no images has none.
    """
    if not record["decision"]:
        return True
    decision, _ = like.policy.decide(float(record["probability"]))
    if code := record.get(REASON_CODE):
        doubted = ReasonCode(code).is_about_picture
    else:
        # JSON lines of version 0.1 have no code: an "uncertain" that is not the band's is a doubt.
        doubted = record["decision"] == Decision.UNCERTAIN != decision
    agrees = like.checks_images if doubted else record["decision"] == decision
    return agrees and float(record["threshold"]) == like.policy.threshold


def partial_path(output: Path) -> Path:
    """Where the records are until all of them are there."""
    return output.with_name(f"{output.name}.partial")


def write_resumable(
    output: Path,
    style: Format,
    files: Sequence[Path],
    predict: Callable[[Sequence[Wanted]], Iterator[Prediction]],
    *,
    like: FractureClassifier,
    resume: bool,
    force: bool,
    overlays: Callable[[Prediction], str | None] | None = None,
) -> int:
    """Append each record as it comes to a partial file, which takes the name of `output` at the end.

    Args:
        output: The final file.
        style: ``jsonl`` or ``csv``.
        files: All that shall have a record, or one for each of their frames.
        predict: Answers what has none yet.
        like: The classifier, whose model and policy all records must share.
        resume: Keep the records that the partial file, or else `output`, holds.
        force: Begin again, whatever is there.
        overlays: See `fracture_edge.batch.records.render`; a file to go on with must have been made with them too.

    Returns:
        How many of `files` have an answer, each of their frames if there are several.

    Raises:
        FractureEdgeError: There is a file that may not be replaced, or one to go on with that is not of this run.
    """
    partial = partial_path(output)
    _prepare(partial, output, resume=resume, force=force)
    held = _Held(partial, like, with_heatmap=overlays is not None)
    with Journal(partial, style, held.add, fresh=force) as journal:
        predictions = predict(held.missing(files))
        try:
            if style == "csv" and journal.empty:
                journal.append(csv_line(columns(with_heatmap=overlays is not None)))
            for prediction in predictions:
                (text,) = render([prediction], style, header=False, overlays=overlays)
                journal.append(text)
                held.note(prediction.path, prediction.frame, prediction.frames, ok=prediction.ok)
            journal.flush()
        except BaseException:
            journal.close()
            if held.total:
                done = len(files) - len(held.missing(files))
                kept = f"{partial} holds the answers to {done} of {len(files)} files"
                say(f"fracture-edge: {kept}; --resume goes on from there")
            else:
                partial.unlink()
            raise
    if not (force or resume):
        refuse_overwrite(output)
    partial.replace(output)
    return held.answered(files)


def _prepare(partial: Path, output: Path, *, resume: bool, force: bool) -> None:
    if not (resume or force) and partial.exists():
        raise FractureEdgeError(
            f"{partial} is left of an interrupted run; give --resume to go on with it, or --force to begin again"
        )
    if resume and not partial.exists() and output.exists():
        # A copy, so that the finished file stays as it is until the new one is finished too.
        with atomic_path(partial, force=False) as temporary:
            temporary.write_bytes(output.read_bytes())
