"""Implementation of `fracture-edge classify`: classify images, and print or write the records.

It does not import typer, because `classify` without options runs without it; see `fracture_edge.quick_start`.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fracture_edge.batch.inputs import expand
from fracture_edge.batch.records import Format, render
from fracture_edge.classifier import FractureClassifier
from fracture_edge.console import require_stream, say
from fracture_edge.decoding import Wanted
from fracture_edge.errors import EXIT_FAILED, EXIT_SOME_FAILED, FractureEdgeError, ImageError
from fracture_edge.images.limits import MAX_PIXELS
from fracture_edge.prediction import Prediction

if TYPE_CHECKING:
    from fracture_edge.batch.shard import Shard
    from fracture_edge.pacs.results.folder import ResultFolder


#: Number of images from which on a session of one thread is opened in place of the one that has been opened ahead.
#: Opening takes tens of milliseconds, and one thread saves about one for each image (the study `throughput`).
_MANY_IMAGES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyOptions:
    """Options of `classify`.

    Attributes:
        recursive: Whether to search sub-folders too.
        shard: Shard of the images to classify; all if ``None``.
        model: Path of a model file; the embedded model if ``None``.
        policy: Name of an operating point of the model; its default if ``None``.
        check_images: Whether images that are unlike the training images or of low quality are "uncertain".
        threshold: Threshold in place of the model's own, 0 to 1, without an uncertain band.
        threads: Number of threads of one inference; the default of `FractureClassifier` if ``None``.
        max_pixels: Maximum number of pixels; larger images are refused.
        jobs: Number of images that are classified at a time; `runtimes.threads.default_jobs` if ``None``.
        style: Format of the records: ``text``, ``json``, ``jsonl`` or ``csv``.
        heatmap: Folder for overlays; none are written if ``None``.
        dicom_results: Folder for the results of DICOM images as DICOM objects; none are written if ``None``.
        output: Path of the file for the records; stdout if ``None``.
        resume: Whether to keep the records in `output` and classify the missing images; for ``jsonl`` and ``csv``.
        force: Whether `output` may be replaced.
    """

    recursive: bool = False
    shard: "Shard | None" = None
    model: Path | None = None
    policy: str | None = None
    check_images: bool = True
    threshold: float | None = None
    threads: int | None = None
    max_pixels: int = MAX_PIXELS
    jobs: int | None = None
    style: Format = "text"
    heatmap: Path | None = None
    dicom_results: Path | None = None
    output: Path | None = None
    resume: bool = False
    force: bool = False

    def classifier(self, images: int = 1) -> FractureClassifier:
        """Make a classifier with these options.

        Args:
            images: Number of images. Many are classified side by side, each inference on one thread if `threads`
                is ``None``: further threads of one inference would take the cores from the other images.

        Raises:
            FractureEdgeError: The model or an option is invalid.
        """
        one_thread = self.threads is None and images >= _MANY_IMAGES and self.jobs != 1
        return FractureClassifier(
            self.model,
            1 if one_thread else self.threads,
            threshold=self.threshold,
            policy=self.policy,
            max_pixels=self.max_pixels,
            check_images=self.check_images,
        )


def classify(paths: Sequence[Path], options: ClassifyOptions) -> int:
    """Classify images and print or write the records.

    Args:
        paths: Files, folders and patterns; see `fracture_edge.batch.inputs.expand`.
        options: Options of the command.

    Returns:
        Exit status: 0 if every file was classified, `EXIT_FAILED` if none was, otherwise `EXIT_SOME_FAILED`.

    Raises:
        FractureEdgeError: The model, an option or the output is invalid.
    """
    style, output = options.style, options.output
    if output is None:
        require_stream("stdout", "give --output for the records")
    if output is not None and not (options.force or options.resume):
        from fracture_edge.files import refuse_overwrite

        refuse_overwrite(output)
    files, notes = expand(paths, recursive=options.recursive)
    for note in notes:
        say(f"fracture-edge: {note}")
    if options.shard is not None:
        found = len(files)
        files = options.shard.of(files)
        say(f"fracture-edge: shard {options.shard} has {len(files)} of {found} images")
    classifier = options.classifier(len(files))
    further = classifier.attributes.columns
    overlays, missing = None, list[str]()
    if options.heatmap is not None:
        overlays, missing = _overlays(classifier, options.heatmap, options.max_pixels)
    results = None
    if options.dicom_results is not None:
        from fracture_edge.pacs.results.folder import ResultFolder

        results = ResultFolder(classifier, options.dicom_results, max_pixels=options.max_pixels, note=_note)
    bar = sys.stderr.isatty() and (output is not None or not sys.stdout.isatty())
    classified = 0
    summary = None
    if len(files) > 1:
        from fracture_edge.batch.summary import Summary

        summary = Summary()

    def predictions(wanted: Sequence[Wanted]) -> Iterator[Prediction]:
        nonlocal classified
        for frames in _predict(classifier, wanted, options.jobs, bar=bar):
            complete = True
            for prediction in frames:
                complete &= prediction.ok
                if summary is not None:
                    summary.add(prediction)
                if results is not None:
                    # Before the record, so that whatever has one has its results.
                    results.add(prediction)
                yield prediction
            classified += complete

    if output is not None and style in ("jsonl", "csv"):
        from fracture_edge.batch.resume import write_resumable

        classified = write_resumable(
            output,
            style,
            files,
            predictions,
            like=classifier,
            resume=options.resume,
            force=options.force,
            overlays=overlays,
        )
    elif output is not None:
        _write(
            predictions(list(map(Wanted, files))), style, output, overlays, further=further, force=options.force
        )
    else:
        _print(predictions(list(map(Wanted, files))), style, overlays, further=further)
    _say_what_was_written(options, missing, results)
    if summary is not None and summary.images:
        say(summary.text())
    if classified == len(files):
        return 0
    return EXIT_SOME_FAILED if classified else EXIT_FAILED


def _say_what_was_written(
    options: ClassifyOptions, missing: Sequence[str], results: "ResultFolder | None"
) -> None:
    if missing:
        say(f"fracture-edge: {len(missing)} heat maps are missing in {options.heatmap}, first: {missing[0]}")
    if results is not None:
        say(f"fracture-edge: {results.summary()}")


def _note(text: str) -> None:
    say(f"fracture-edge: {text}")


def _predict(
    classifier: FractureClassifier, files: Sequence[Wanted], jobs: int | None, *, bar: bool
) -> Iterator[Iterator[Prediction]]:
    """Classify the frames of each file, several at a time and with a progress bar if there are several files."""
    if len(files) <= 1:
        return classifier.predict_files(files)
    from fracture_edge.batch.progress import with_progress
    from fracture_edge.runtimes.threads import default_jobs

    predictions = classifier.predict_files(files, jobs=jobs or default_jobs())
    return with_progress(predictions, len(files)) if bar else predictions


def _overlays(
    classifier: FractureClassifier, folder: Path, max_pixels: int
) -> tuple[Callable[[Prediction], str | None], list[str]]:
    """Make a function that writes the overlay of a prediction and returns its path.

    The list names the images without an overlay because it could not be written, with the reason.

    Raises:
        FractureEdgeError: The model has no heat map.
    """
    from fracture_edge.heatmap import OverlayWriter

    if not classifier.has_heatmap:
        raise FractureEdgeError(
            f"{classifier.info.name} has no heat map; export the model with `fracture-edge export MODEL --heatmap`"
            " (not to int8 TFLite, which cannot have one)"
        )

    missing: list[str] = []
    writer = OverlayWriter(classifier.info.preprocessing, folder, max_pixels=max_pixels)

    def write(prediction: Prediction) -> str | None:
        try:
            path = writer.write(prediction)
        except ImageError as error:
            # The file has disappeared since it was classified; the prediction remains valid.
            say(f"fracture-edge: no heat map, {error}")
            return None
        except OSError as error:
            # The disk is full, say. The prediction remains valid, and the next overlay may fit.
            missing.append(f"{prediction.path} ({error.strerror or error})")
            return None
        return None if path is None else str(path)

    return write, missing


def _print(
    predictions: Iterable[Prediction],
    style: Format,
    overlays: Callable[[Prediction], str | None] | None,
    *,
    further: Sequence[str],
) -> None:
    for piece in render(predictions, style, further=further, overlays=overlays):
        sys.stdout.write(piece)
        sys.stdout.flush()


def _write(
    predictions: Iterable[Prediction],
    style: Format,
    output: Path,
    overlays: Callable[[Prediction], str | None] | None,
    *,
    further: Sequence[str],
    force: bool,
) -> None:
    from fracture_edge.files import atomic_path

    with (
        atomic_path(output, force=force) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        stream.writelines(render(predictions, style, further=further, overlays=overlays))
