"""Rows of a benchmark: each combination of a model file and a runtime."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from benchmarks.records.measured_row import Gate
from benchmarks.runtimes.runners import load_runner, runner_of
from fracture_edge.errors import FractureEdgeError
from fracture_edge.models import EMBEDDED as EMBEDDED_FILE
from train.artifacts import sha256
from train.export_record import ExportEntry, read_manifest

EMBEDDED = "embedded"
MODEL_FILES = (".onnx", ".tflite")
_RUNTIMES = {"onnx": "onnxruntime", "tflite": "litert"}
#: Export formats that OpenVINO runs as well: the float32 reference, and int8 for x86.
_FOR_OPENVINO = ("onnx_float32", "onnx_int8_static_x86")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRow:
    """A model file in one runtime.

    Attributes:
        model: Name of the trained model, ``embedded``, or the file's name without its suffix.
        format: Description, unique within a model, such as ``onnx int8-arm64`` or ``tflite float16 pruned80``.
        runtime: Runtime, one of `benchmarks.runtimes.runners.Runtime`.
        precision: ``float32``, ``float16``, ``dynamic`` or ``int8``.
        path: Path of the file; ``None`` for the embedded model.
        file: Name of the file.
        bytes: Size of the file.
        sha256: SHA-256 checksum of the file, hexadecimal.
        gate: Verdict of the export gate; ``None`` if the file did not pass through it.
    """

    model: str
    format: str
    runtime: str
    precision: str
    path: Path | None
    file: str
    bytes: int
    sha256: str
    gate: Gate | None = None

    @property
    def id(self) -> str:
        """Identifier of the row in a run, such as ``edge/onnx int8``."""
        return f"{self.model}/{self.format}"


def rows_of(
    model: str, artifacts: Path, *, openvino: bool = True, rejected: bool = False
) -> tuple[BenchmarkRow, ...]:
    """List the rows of one model.

    Args:
        model: Name of a trained model, ``embedded``, or the path of an ``.onnx`` or ``.tflite`` file.
        artifacts: Folder of all artefacts.
        openvino: Whether to include OpenVINO, if it is installed, for the ONNX files in float32 and in int8 for
            x86.
        rejected: Whether to include files that the export gate rejected.

    Returns:
        The Keras row first, if there is one, then the exported files in the order of the manifest.

    Raises:
        FractureEdgeError: The model does not exist, its manifest cannot be read, or a file differs from the
            exported one or was exported from another ``model.keras``.
    """
    with_openvino = openvino and find_spec("openvino") is not None
    if model == EMBEDDED or model.endswith(MODEL_FILES):
        return tuple(_one_file(None if model == EMBEDDED else Path(model), with_openvino))
    folder = artifacts / model
    keras = folder / "model.keras"
    if not keras.is_file():
        raise FractureEdgeError(
            f"{folder}: no trained model here; `fracture-edge train {model}` makes one, or give a file "
            f"({', '.join(MODEL_FILES)}) or '{EMBEDDED}'"
        )
    source = BenchmarkRow(
        model=model,
        format="keras float32",
        runtime="keras",
        precision="float32",
        path=keras,
        file=keras.name,
        bytes=keras.stat().st_size,
        sha256=sha256(keras),
    )
    return (source, *_exported(folder, source.sha256, with_openvino, rejected))


def _one_file(path: Path | None, openvino: bool) -> Iterator[BenchmarkRow]:
    runner = runner_of(path, threads=1) if path else load_runner("onnxruntime", None, threads=1)
    file = path.name if path else f"{EMBEDDED_FILE}.onnx"
    kind, precision = Path(file).suffix[1:], runner.info.precision
    row = BenchmarkRow(
        model=path.stem if path else EMBEDDED,
        format=f"{kind} {precision}",
        runtime=_RUNTIMES[kind],
        precision=precision,
        path=path,
        file=file,
        bytes=runner.size,
        sha256=runner.sha256,
    )
    runner.close()
    yield row
    # The embedded graph contains fused operators that only onnxruntime supports.
    if openvino and path and kind == "onnx" and precision in ("float32", "int8"):
        yield replace(row, format=f"openvino {precision}", runtime="openvino")


def _exported(folder: Path, source_sha256: str, openvino: bool, rejected: bool) -> Iterator[BenchmarkRow]:
    manifest = read_manifest(folder)
    for file, entry in manifest.files.items():
        if entry.broken and not rejected:
            continue
        path = folder / file
        _check(path, entry, source_sha256)
        kind = path.suffix[1:]
        ending = _ending(path.stem.removeprefix(f"{manifest.model}-"), entry)
        row = BenchmarkRow(
            model=folder.name,
            format=f"{kind} {ending}",
            runtime=_RUNTIMES[kind],
            precision=entry.precision,
            path=path,
            file=path.name,
            bytes=entry.bytes,
            sha256=entry.sha256,
            gate="rejected" if entry.broken else "accepted",
        )
        yield row
        if openvino and entry.recipe in _FOR_OPENVINO:
            yield replace(row, format=f"openvino {ending}", runtime="openvino")


def _check(path: Path, entry: ExportEntry, source_sha256: str) -> None:
    """Raise an error for weights of another training run; a missing file becomes a row with an error instead."""
    if entry.source_sha256 != source_sha256:
        raise FractureEdgeError(
            f"{path} was exported from another model.keras than the current one; export it again with --force"
        )
    if path.is_file() and sha256(path) != entry.sha256:
        raise FractureEdgeError(
            f"{path} is not the file that was exported (SHA-256 differs); export it again with --force"
        )


def _ending(name: str, entry: ExportEntry) -> str:
    """Put the precision first: ``factorised64-int8-full`` becomes ``int8-full factorised64``."""
    compression, precision, variant = name.partition(entry.precision)
    words = [precision + variant, compression.rstrip("-"), "rejected" if entry.broken else ""]
    return " ".join(word for word in words if word)
