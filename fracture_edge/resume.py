"""Answers to many images, written so that an interruption loses none and can be gone on from."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path, refuse_overwrite
from fracture_edge.journal import Journal
from fracture_edge.prediction import Prediction
from fracture_edge.records import HEATMAP, Format, columns, csv_line, render


class _Held:
    """The records that an output holds already, by path."""

    def __init__(self, output: Path, like: FractureClassifier, *, with_heatmap: bool) -> None:
        self.total = 0
        self._with_heatmap = with_heatmap
        self._output = output
        self._like = like
        self._paths: Counter[str] = Counter()
        self._answered: set[str] = set()

    def add(self, record: Mapping[str, Any]) -> None:
        """Take note of a record.

        Raises:
            FractureEdgeError: It is of another model, of another threshold, or with overlays and now without.
        """
        threshold = record["threshold"]
        if record["model_sha256"] != self._like.sha256 or (
            threshold not in (None, "") and float(threshold) != self._like.policy.threshold
        ):
            raise FractureEdgeError(
                f"{self._output} holds answers of another model or threshold; name another file, or give --force "
                "to begin again"
            )
        if (HEATMAP in record) != self._with_heatmap:
            raise FractureEdgeError(
                f"{self._output} was begun {'without' if self._with_heatmap else 'with'} --heatmap; go on as it "
                "was begun, or give --force to begin again"
            )
        self.total += 1
        self._paths[record["path"]] += 1
        if record["status"] == "ok":
            self._answered.add(record["path"])

    def missing(self, files: Sequence[Path]) -> list[Path]:
        """Those of `files` that have no record; a path that is given twice has two."""
        left = self._paths.copy()
        wanted = []
        for file in files:
            if left[str(file)]:
                left[str(file)] -= 1
            else:
                wanted.append(file)
        return wanted

    def answered(self, files: Sequence[Path]) -> int:
        """How many of `files` have an answer, not just a record."""
        return sum(str(file) in self._answered for file in files)


def partial_path(output: Path) -> Path:
    """Where the records are until all of them are there."""
    return output.with_name(f"{output.name}.partial")


def write_resumable(
    output: Path,
    style: Format,
    files: Sequence[Path],
    predict: Callable[[Sequence[Path]], Iterator[Prediction]],
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
        files: All that shall have a record.
        predict: Answers those that have none yet.
        like: The classifier, whose model and threshold all records must share.
        resume: Keep the records that the partial file, or else `output`, holds.
        force: Begin again, whatever is there.
        overlays: See `fracture_edge.records.render`; a file to go on with must have been made with them too.

    Returns:
        How many of `files` had an answer already.

    Raises:
        FractureEdgeError: There is a file that may not be replaced, or one to go on with that is not of this run.
    """
    partial = partial_path(output)
    _prepare(partial, output, resume=resume, force=force)
    held = _Held(partial, like, with_heatmap=overlays is not None)
    with Journal(partial, style, held.add, fresh=force) as journal:
        wanted = held.missing(files)
        try:
            if style == "csv" and journal.empty:
                journal.append(csv_line(columns(with_heatmap=overlays is not None)))
            for piece in render(predict(wanted), style, header=False, overlays=overlays):
                journal.append(piece)
                held.total += 1
            journal.flush()
        except BaseException:
            journal.close()
            if held.total:
                kept = f"{partial} holds {held.total} of {len(files)} answers; --resume goes on from there"
                print(f"fracture-edge: {kept}", file=sys.stderr)
            else:
                partial.unlink()
            raise
    if not (force or resume):
        refuse_overwrite(output)
    partial.replace(output)
    done = set(map(str, wanted))
    return held.answered([file for file in files if str(file) not in done])


def _prepare(partial: Path, output: Path, *, resume: bool, force: bool) -> None:
    if not (resume or force) and partial.exists():
        raise FractureEdgeError(
            f"{partial} is left of an interrupted run; give --resume to go on with it, or --force to begin again"
        )
    if resume and not partial.exists() and output.exists():
        # A copy, so that the finished file stays as it is until the new one is finished too.
        with atomic_path(partial, force=False) as temporary:
            temporary.write_bytes(output.read_bytes())
