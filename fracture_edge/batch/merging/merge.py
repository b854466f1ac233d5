"""Implementation of `fracture-edge merge`: put the records of several runs together, and say what does not fit."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from fracture_edge.batch.inputs import as_recorded, read_names
from fracture_edge.batch.merging.agreement import Agreement
from fracture_edge.batch.merging.index import Index
from fracture_edge.batch.merging.parts import Part, PartRecord
from fracture_edge.console import say
from fracture_edge.errors import EXIT_SOME_FAILED, FractureEdgeError
from fracture_edge.files import atomic_path, refuse_overwrite

#: Number of parts that are open at a time: systems limit the number of open files.
_MOST_OPEN = 64


def merge(parts: Sequence[Path], output: Path, *, expect: Path | None = None, force: bool = False) -> int:
    """Merge record files into one, whose records are those of the parts, byte by byte.

    Args:
        parts: Paths of the record files, all of one format: JSON lines, CSV or JSON.
        output: Path of the merged file.
        expect: Path of the list of all images, as for `fracture_edge.batch.inputs.read_list`. The records come in
            its order; without it in the order of a folder, by path.
        force: Whether `output` may be replaced.

    Returns:
        Exit status: 0 if the parts fit together, `EXIT_SOME_FAILED` if records are missing, repeated or of images
        that the list does not name; the merged file is written all the same, with each record once.

    Raises:
        FractureEdgeError: A part is damaged; parts are of different formats, models, thresholds or uncertain
            bands; or one image has two answers. Nothing is written.
    """
    if not force:
        refuse_overwrite(output)
    if any(part.exists() and output.exists() and part.samefile(output) for part in parts):
        raise FractureEdgeError(f"{output} is one of the parts; give another name for the merged file")
    opened = [Part(part) for part in parts]
    _check_formats(opened)
    output.parent.mkdir(parents=True, exist_ok=True)
    # Beside the merged file, where there is room for it: the folder for temporary files may be in memory.
    with (
        TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder,
        Index(Path(folder) / "index") as index,
    ):
        agreement = Agreement()
        for number, part in enumerate(opened):
            index.add(number, _checked(part, agreement))
        agreement.finish()
        if expect is not None:
            with expect.open("rb") as stream:
                index.expect(map(as_recorded, read_names(stream)))
        index.finish()
        if (other := index.contradictions()).number:
            raise FractureEdgeError(
                f"{other.number} records contradict others of the same image, first: {other.first}; classify it "
                "anew, the file may have changed between the runs"
            )
        with atomic_path(output, force=force) as temporary, temporary.open("wb") as stream:
            stream.writelines(_texts(opened, index))
        problems = _problems(parts, index, expect)
        for problem in problems:
            say(f"fracture-edge: {problem}")
        say(f"{output}: {len(index)} records of {index.files()} files, from {len(parts)} parts")
    return EXIT_SOME_FAILED if problems else 0


def _check_formats(parts: Sequence[Part]) -> None:
    first = next((part for part in parts if part.style is not None), None)
    for part in parts:
        if first is not None and part.style not in (None, first.style):
            raise FractureEdgeError(
                f"{first.path} is {first.style} and {part.path} is {part.style}; give one format"
            )
        if first is not None and part.header not in (b"", first.header):
            raise FractureEdgeError(
                f"{first.path} and {part.path} have different columns; they do not belong together"
            )


def _checked(part: Part, agreement: Agreement) -> Iterator[PartRecord]:
    for record in part.records():
        agreement.add(record.fields, part.path)
        yield record


def _texts(parts: Sequence[Part], index: Index) -> Iterator[bytes]:
    """Yield the merged file: the records as they were written, and what its format has around them."""
    style = next((part.style for part in parts if part.style is not None), None)
    streams: dict[int, BinaryIO] = {}
    try:
        yield next((part.header for part in parts if part.header), b"")
        separator = b"[\n  "
        for place in index.in_order():
            stream = streams.pop(place.part, None)
            if stream is None:
                if len(streams) == _MOST_OPEN:
                    streams.pop(next(iter(streams))).close()
                stream = parts[place.part].path.open("rb")
            # At the end, so that the first one has not been used for the longest time.
            streams[place.part] = stream
            stream.seek(place.start)
            text = stream.read(place.length)
            yield separator + text if style == "json" else text
            separator = b",\n  "
        if style == "json":
            yield b"[]\n" if separator.startswith(b"[") else b"\n]\n"
    finally:
        for stream in streams.values():
            stream.close()


def _problems(parts: Sequence[Path], index: Index, expect: Path | None) -> list[str]:
    found = [
        f"{part} is of a run that has not ended; continue it with --resume, and merge again"
        for part in parts
        if part.suffix == ".partial"
    ]
    if (copies := index.copies()).number:
        found.append(f"{copies.number} records are there more than once, and kept once, first: {copies.first}")
    if (incomplete := index.incomplete()).number:
        found.append(f"{incomplete.number} files lack the records of some frames, first: {incomplete.first}")
    if expect is None:
        return found
    if (missing := index.missing()).number:
        found.append(
            f"{missing.number} files of {expect} have no record, first: {missing.first}; "
            f"classify - --resume -o with the merged file and this list adds them"
        )
    if (unexpected := index.unexpected()).number:
        found.append(f"{unexpected.number} files have records but are not in {expect}, first: {unexpected.first}")
    return found
