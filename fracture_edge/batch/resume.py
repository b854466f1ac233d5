"""Writing the records of many images so that an interruption loses none and the run can be resumed."""

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
class _FileRecords:
    """State of the records of one file.

    Attributes:
        missing: Numbers of the frames without a record.
        ok: Whether all frames with a record were classified.
    """

    missing: set[int]
    ok: bool = True


class OutputRecords:
    """State of the records in an output file, by path of the image.

    Attributes:
        total: Number of records.
    """

    def __init__(self, output: Path, like: FractureClassifier, *, with_heatmap: bool) -> None:
        self.total = 0
        self._with_heatmap = with_heatmap
        self._output = output
        self._like = like
        # A path that is given twice has two entries.
        self._files: dict[str, list[_FileRecords]] = {}

    def add(self, record: Mapping[str, Any]) -> None:
        """Register a record of an earlier run.

        Raises:
            FractureEdgeError: The record is of another model or policy, or only one of both runs has overlays.
        """
        if record["model_sha256"] != self._like.sha256 or not _agrees_with_policy(self._like, record):
            raise FractureEdgeError(
                f"{self._output} has records of another model, threshold or uncertain band, or without "
                "--any-image; name another file, or give --force to start again"
            )
        if (HEATMAP in record) != self._with_heatmap:
            raise FractureEdgeError(
                f"{self._output} was started {'without' if self._with_heatmap else 'with'} --heatmap; resume it "
                "in the same way, or give --force to start again"
            )
        self.note(record["path"], record["frame"], record["frames"], ok=record["status"] == "ok")

    def note(self, path: str, frame: int, frames: int, *, ok: bool) -> None:
        """Register a record.

        Args:
            path: Path of the image.
            frame: Number of the frame, from 1.
            frames: Number of frames in the file.
            ok: Whether the frame was classified.
        """
        self.total += 1
        files = self._files.setdefault(path, [])
        file = next((file for file in files if frame in file.missing), None)
        if file is None:
            file = _FileRecords(set(range(1, frames + 1)))
            files.append(file)
        file.missing.discard(frame)
        file.ok &= ok

    def missing(self, files: Iterable[Path | str]) -> list[Wanted]:
        """Return the files and frames without a record."""
        wanted = []
        for file, records in self._by_file(files):
            if records is None:
                wanted.append(Wanted(file))
            elif records.missing:
                wanted.append(Wanted(file, sorted(records.missing)))
        return wanted

    def classified(self, files: Iterable[Path | str]) -> int:
        """Count the files whose frames were all classified; a record of a failure does not count."""
        return sum(found is not None and found.ok and not found.missing for _, found in self._by_file(files))

    def _by_file(self, files: Iterable[Path | str]) -> Iterator[tuple[Path | str, _FileRecords | None]]:
        times: Counter[str] = Counter()
        for file in files:
            path = str(file)
            records = self._files.get(path, [])
            yield file, records[times[path]] if times[path] < len(records) else None
            times[path] += 1


def _agrees_with_policy(like: FractureClassifier, record: Mapping[str, Any]) -> bool:
    """Return whether a classifier would give the decision of a record.

    A record of a failure agrees with any classifier. A record whose image failed the image checks agrees with any
    policy, but not with a classifier that checks no images.
    """
    if not record["decision"]:
        return True
    decision, _ = like.policy.decide(float(record["probability"]))
    if code := record.get(REASON_CODE):
        by_image_check = ReasonCode(code).is_about_picture
    else:
        # JSON lines of version 0.1 have no code: an "uncertain" outside of the band comes from the image checks.
        by_image_check = record["decision"] == Decision.UNCERTAIN != decision
    agrees = like.checks_images if by_image_check else record["decision"] == decision
    return agrees and float(record["threshold"]) == like.policy.threshold


def partial_path(output: Path) -> Path:
    """Return the path of the file that holds the records until they are complete."""
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
    """Append records as they come to a partial file, which is renamed to `output` at the end.

    Args:
        output: Path of the complete file.
        style: Format of the records, ``jsonl`` or ``csv``.
        files: Files to classify; each gets a record, or one for each of its frames.
        predict: Function that classifies the files and frames without a record.
        like: Classifier with whose model and policy existing records must agree.
        resume: Whether to keep the records of the partial file, or else of `output`.
        force: Whether to discard existing records and start again.
        overlays: Function for overlays, as for `fracture_edge.batch.records.render`; the existing records must
            have overlays too.

    Returns:
        Number of files whose frames were all classified.

    Raises:
        FractureEdgeError: A file may not be replaced, or the existing records do not belong to this run.
    """
    partial = partial_path(output)
    _prepare(partial, output, resume=resume, force=force)
    records = OutputRecords(partial, like, with_heatmap=overlays is not None)
    with Journal(partial, style, records.add, further=like.attributes.columns, fresh=force) as journal:
        predictions = predict(records.missing(files))
        try:
            if style == "csv" and journal.empty:
                journal.append(csv_line(columns(like.attributes.columns, with_heatmap=overlays is not None)))
            for prediction in predictions:
                (text,) = render([prediction], style, header=False, overlays=overlays)
                journal.append(text)
                records.note(prediction.path, prediction.frame, prediction.frames, ok=prediction.ok)
            journal.flush()
        except BaseException:
            journal.close()
            if records.total:
                done = len(files) - len(records.missing(files))
                kept = f"{partial} has the records of {done} of {len(files)} files"
                say(f"fracture-edge: {kept}; continue with --resume")
            else:
                partial.unlink()
            raise
    if not (force or resume):
        refuse_overwrite(output)
    partial.replace(output)
    return records.classified(files)


def _prepare(partial: Path, output: Path, *, resume: bool, force: bool) -> None:
    if not (resume or force) and partial.exists():
        raise FractureEdgeError(
            f"{partial} is from an interrupted run; give --resume to continue it, or --force to start again"
        )
    if resume and not partial.exists() and output.exists():
        # A copy, so that the complete file remains until the new one is complete.
        with atomic_path(partial, force=False) as temporary:
            temporary.write_bytes(output.read_bytes())
