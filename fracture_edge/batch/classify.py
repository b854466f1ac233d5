"""Images to answers, printed or written: what `fracture-edge classify` does.

Imports no typer: `classify` without options is called without it, see `fracture_edge.cli`.
"""

import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from fracture_edge.batch.inputs import expand
from fracture_edge.batch.records import Format, render
from fracture_edge.classifier import FractureClassifier
from fracture_edge.console import say
from fracture_edge.decoding import Wanted
from fracture_edge.errors import EXIT_FAILED, EXIT_SOME_FAILED, FractureEdgeError, ImageError
from fracture_edge.images.limits import MAX_PIXELS
from fracture_edge.prediction import Prediction


def classify(
    paths: Sequence[Path],
    *,
    recursive: bool = False,
    model: Path | None = None,
    policy: str | None = None,
    check_images: bool = True,
    threshold: float | None = None,
    threads: int | None = None,
    max_pixels: int = MAX_PIXELS,
    jobs: int | None = None,
    style: Format = "text",
    heatmap: Path | None = None,
    output: Path | None = None,
    resume: bool = False,
    force: bool = False,
) -> int:
    """Answer images and print or write the records.

    Args:
        paths: See `fracture_edge.batch.inputs.expand`; so `recursive`.
        recursive: Whether to look into sub-folders.
        model: Like `policy`, `check_images`, `threshold`, `threads` and `max_pixels` of `FractureClassifier`.
        policy: See there.
        check_images: See there.
        threshold: See there.
        threads: See there.
        max_pixels: See there.
        jobs: Images that are decoded at a time; see `fracture_edge.threads.default_jobs` if ``None``.
        style: Of the records.
        heatmap: Folder for overlays.
        output: A file, in place of stdout.
        resume: Go on with what `output` holds; for ``jsonl`` and ``csv``.
        force: Whether `output` may be replaced.

    Returns:
        The exit status: 0 where every image has an answer, `EXIT_FAILED` where none has, `EXIT_SOME_FAILED`.

    Raises:
        FractureEdgeError: The model, an option or the output is not as it should be.
    """
    if output is not None and not (force or resume):
        from fracture_edge.files import refuse_overwrite

        refuse_overwrite(output)
    files, notes = expand(paths, recursive=recursive)
    for note in notes:
        say(f"fracture-edge: {note}")
    classifier = FractureClassifier(
        model, threads, threshold=threshold, policy=policy, max_pixels=max_pixels, check_images=check_images
    )

    overlays = None if heatmap is None else _overlays(classifier, heatmap, max_pixels)
    bar = sys.stderr.isatty() and (output is not None or not sys.stdout.isatty())
    answered = 0

    def predictions(wanted: Sequence[Wanted]) -> Iterator[Prediction]:
        nonlocal answered
        for frames in _predict(classifier, wanted, jobs, bar=bar):
            whole = True
            for prediction in frames:
                whole &= prediction.ok
                yield prediction
            answered += whole

    if output is not None and style in ("jsonl", "csv"):
        from fracture_edge.batch.resume import write_resumable

        answered = write_resumable(
            output, style, files, predictions, like=classifier, resume=resume, force=force, overlays=overlays
        )
    elif output is not None:
        _write(predictions(list(map(Wanted, files))), style, output, overlays, force=force)
    else:
        _print(predictions(list(map(Wanted, files))), style, overlays)
    if answered == len(files):
        return 0
    return EXIT_SOME_FAILED if answered else EXIT_FAILED


def _predict(
    classifier: FractureClassifier, files: Sequence[Wanted], jobs: int | None, *, bar: bool
) -> Iterator[Iterator[Prediction]]:
    """The answers to the frames of each file."""
    if len(files) <= 1:
        return classifier.predict_files(files)
    from fracture_edge.batch.progress import with_progress
    from fracture_edge.threads import default_jobs

    answers = classifier.predict_files(files, jobs=jobs or default_jobs())
    return with_progress(answers, len(files)) if bar else answers


def _overlays(classifier: FractureClassifier, folder: Path, max_pixels: int) -> Callable[[Prediction], str | None]:
    """What writes the overlay of a prediction and names it.

    Raises:
        FractureEdgeError: The model has no heat map.
    """
    from fracture_edge.heatmap import OverlayWriter

    if not classifier.has_heatmap:
        raise FractureEdgeError(
            f"{classifier.info.name} has no heat map; `fracture-edge export MODEL --heatmap` makes one that has"
        )

    writer = OverlayWriter(classifier.info.preprocessing, folder, max_pixels=max_pixels)

    def write(prediction: Prediction) -> str | None:
        try:
            path = writer.write(prediction)
        except ImageError as error:
            # Gone since it was classified: the answer stands.
            say(f"fracture-edge: no heat map, {error}")
            return None
        return None if path is None else str(path)

    return write


def _print(
    predictions: Iterable[Prediction], style: Format, overlays: Callable[[Prediction], str | None] | None
) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name need not be text; it goes out as it came in.
        sys.stdout.reconfigure(errors="surrogateescape")
    for piece in render(predictions, style, overlays=overlays):
        sys.stdout.write(piece)
        sys.stdout.flush()


def _write(
    predictions: Iterable[Prediction],
    style: Format,
    output: Path,
    overlays: Callable[[Prediction], str | None] | None,
    *,
    force: bool,
) -> None:
    from fracture_edge.files import atomic_path

    with (
        atomic_path(output, force=force) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        stream.writelines(render(predictions, style, overlays=overlays))
