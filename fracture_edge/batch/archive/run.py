"""Implementation of `fracture-edge archive`."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fracture_edge._version import __version__
from fracture_edge.batch.archive.blocks import Blocks, Plan
from fracture_edge.batch.archive.cluster import LOCAL, joined, results
from fracture_edge.batch.archive.sources import find_sources
from fracture_edge.batch.archive.worker import WorkerOptions, from_row
from fracture_edge.batch.classify import ClassifyOptions
from fracture_edge.batch.merging.merge import merge
from fracture_edge.batch.merging.parts import Part
from fracture_edge.console import say
from fracture_edge.errors import EXIT_FAILED, EXIT_SOME_FAILED, FractureEdgeError
from fracture_edge.files import write_json
from fracture_edge.modelfile import read_model


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveOptions:
    """Options of `archive`.

    Attributes:
        classify: Options that it shares with `classify`: model, operating point, images, format of the records.
        folder: Folder for the records.
        address: Address of the Ray cluster, see `fracture_edge.batch.archive.cluster.joined`.
        workers: Number of workers; one for each core of the cluster if ``None``.
        block_files: Number of files of a block.
        resume: Whether to go on with the archive in `folder`.
    """

    classify: ClassifyOptions
    folder: Path
    address: str = LOCAL
    workers: int | None = None
    block_files: int = 1000
    resume: bool = False


def archive(names: Sequence[str], options: ArchiveOptions) -> int:
    """Classify an archive on a cluster, and merge the records.

    Args:
        names: Files, folders, patterns, objects and prefixes; see `archive.sources.find_sources`.
        options: Options of the command.

    Returns:
        Exit status as that of `classify`: 0 if every file was classified, `EXIT_FAILED` if none was, otherwise
        `EXIT_SOME_FAILED`.

    Raises:
        FractureEdgeError: The model, an option, the folder or the cluster cannot be used.
    """
    # The extra is missing on most machines: say so before anything is written.
    import ray  # noqa: F401

    shared = options.classify
    files, notes = find_sources(names, recursive=shared.recursive)
    for note in notes:
        say(f"fracture-edge: {note}")
    if not files:
        raise FractureEdgeError("no images; name files, folders, or - for a list on stdin")
    _, model, sha256 = read_model(shared.model)
    classifier = shared.classifier()
    plan = Plan.of(
        files,
        classifier,
        max_pixels=shared.max_pixels,
        style=shared.style,
        block_files=options.block_files,
    )
    worker = WorkerOptions(
        __version__,
        sha256,
        {
            "threshold": shared.threshold,
            "policy": shared.policy,
            "max_pixels": shared.max_pixels,
            "check_images": shared.check_images,
        },
        shared.style,
    )
    output = options.folder / f"answers.{shared.style}"
    with Blocks(options.folder, plan, files, classifier, resume=options.resume) as blocks:
        tasks = list(blocks.rows())
        by_node: Counter[str] = Counter()
        if tasks:
            sizes = {(task["block"], task["task"]): len(from_row(task)) for task in tasks}
            with joined(options.address) as cores:
                for row in _progress(results(tasks, model, worker, options.workers or cores), len(tasks)):
                    if blocks.add(row):
                        by_node[row["node"]] += sizes[row["block"], row["task"]]
        if code := merge(
            [blocks.part(number) for number in range(len(blocks))], output, expect=blocks.list_path, force=True
        ):
            return code
    write_json(options.folder / "nodes.json", by_node)
    for node, count in by_node.most_common():
        say(f"fracture-edge: node {node} classified {count} files")
    return _exit_status(output, len(files))


def _progress(rows: Iterable[Mapping[str, Any]], total: int) -> Iterator[Mapping[str, Any]]:
    if not sys.stderr.isatty():
        return iter(rows)
    from fracture_edge.batch.progress import with_progress

    return with_progress(rows, total)


def _exit_status(output: Path, files: int) -> int:
    failed = {record.fields["path"] for record in Part(output).records() if record.fields["status"] != "ok"}
    if not failed:
        return 0
    return EXIT_SOME_FAILED if len(failed) < files else EXIT_FAILED
