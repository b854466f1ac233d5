"""Export the models of ``artifacts/<model>/`` to files, check them against Keras, and write ``export.json``."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from export.attempts import Attempts, climb
from export.gate import FIDELITY_IMAGES, GATE_VERSION
from export.jobs import StepError, run_step, working_folder
from export.manifest import REJECTED, delete_file, gzip_bytes, put, stale_reason, summary
from export.metadata import model_info
from export.options import ExportOptions, Outcome, has_heatmap, retraining, tune_rate
from export.recipes import CONVERSION_VERSION, Format, Rung, rungs_of
from export.results import Compared, Converted, Float32Onnx, Prepared, SensitiveLayers
from export.resume import finished
from fracture_edge._version import __version__, installed
from fracture_edge.console import say
from fracture_edge.files import refuse_overwrite
from train.artifacts import TrainingRecord, read_record, sha256
from train.export_record import ExportEntry, PeakMemory, read_manifest
from train.json_records import to_plain
from train.lock import exclusive_lock

#: Number of calibration images below which a warning is printed: the ranges of rare activations are missed.
FEW_IMAGES = 200
_TOOLS = ("onnx", "onnxruntime", "tf2onnx", "ai-edge-litert", "keras", "tensorflow", "numpy", "pillow")


def export_model(
    name: str, formats: Sequence[Format], *, artifacts: Path, options: ExportOptions
) -> list[Outcome]:
    """Export one model in several formats; a format that fails does not stop the others.

    Args:
        name: Name of the model, and of its folder in `artifacts`.
        formats: Formats to export.
        artifacts: Folder of all artefacts.
        options: Options of the export.

    Returns:
        The outcome of each format, in order.

    Raises:
        FractureEdgeError: There is no such trained model, its data cannot be read, or a file already exists and
            `options` do not allow replacing it.
    """
    folder = artifacts / name
    record = read_record(folder)
    compression = options.compression
    stem = "-".join([name, *(compression.words if compression else ())])
    done = finished(folder, stem, formats, options, record) if options.resume else {}
    if not options.force:
        for chosen in formats:
            if chosen.name not in done:
                refuse_overwrite(folder / chosen.file_name(stem))
    read_manifest(folder)
    left = [chosen for chosen in formats if chosen.name not in done]
    if not left:
        return list(done.values())
    with exclusive_lock(folder), working_folder(artifacts, name) as work:
        say(f"{name}: reading images, predictions of the Keras model" + (", compressing" * bool(compression)))
        prepared, _ = run_step(
            "prepare",
            {
                "folder": str(folder),
                "work": str(work),
                "data": str(options.data) if options.data else None,
                "calibration_images": options.calibration_images,
                "seed": options.seed,
                "compression": to_plain(compression) if compression else None,
                "training": any(chosen.retrained for chosen in left),
                "fidelity_images": FIDELITY_IMAGES,
                "learning_rate": tune_rate(options, record),
            },
            Prepared,
            quiet=False,
        )
        if prepared.calibration.images < FEW_IMAGES and any(chosen.calibrated for chosen in left):
            say(f"{name}: only {prepared.calibration.images} images to calibrate int8 with")
        export = ModelExport(folder, work, stem, record, prepared, options)
        return [done.get(chosen.name) or export.produce(chosen) for chosen in formats]


@dataclass
class ModelExport:
    """Export of one model, whose formats share one working folder.

    Attributes:
        folder: Folder of the model.
        work: Working folder of the steps.
        stem: First part of the file names.
        record: Training record of the model.
        prepared: Result of the step ``prepare``.
        options: Options of the export.
    """

    folder: Path
    work: Path
    stem: str
    record: TrainingRecord
    prepared: Prepared
    options: ExportOptions

    def __post_init__(self) -> None:
        self.versions = {"fracture-edge": __version__, **installed(*_TOOLS)}
        self._float32_onnx: Float32Onnx | StepError | None = None

    def produce(self, chosen: Format) -> Outcome:
        """Export one format: convert, compare with Keras, and move the file to its final or rejected path.

        Returns:
            The outcome of the format; a failed step is reported in it and not raised.
        """
        started = time.monotonic()
        target = self.folder / chosen.file_name(self.stem)
        temporary = self.work / target.name
        say(f"{target.name}: converting")
        try:
            entry = self._best(chosen, temporary)
        except StepError as error:
            say(f"{target.name}: FAILED, {error}")
            return Outcome(target.name, None, str(error))
        entry = replace(
            entry,
            seconds=round(time.monotonic() - started, 1),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        if entry.broken:
            self._delete_stale(target.name)
            target = self.folder / REJECTED / target.name
        put(self.folder, target.relative_to(self.folder).as_posix(), temporary, entry)
        if not entry.broken:
            delete_file(self.folder, f"{REJECTED}/{target.name}")
        say(summary(target.name, entry))
        if reason := "; ".join(entry.broken):
            say(f"{target.name}: REJECTED, {reason}; moved to {target.parent}")
        return Outcome(target.name, target, reason, entry)

    def _delete_stale(self, file: str) -> None:
        """Delete an older file, or one of unknown origin: it could be mistaken for the rejected one."""
        before = read_manifest(self.folder).files.get(file)
        if before and not stale_reason(self.folder, file, before):
            return
        if before or (self.folder / file).exists():
            delete_file(self.folder, file)
            say(f"{file}: removed the existing file, which was not exported from this training")

    def _best(self, chosen: Format, path: Path) -> ExportEntry:
        """Convert and compare with Keras; for int8 make several attempts and keep the best."""
        if not chosen.calibrated:
            return self._attempt(chosen, path, None, ())
        ladder = rungs_of(chosen, self.options.ladder)
        attempts = Attempts(path, lambda rung, layers: self._attempt(chosen, path, rung, layers))
        climb(attempts, ladder, lambda rung: self._sensitive_layers(chosen, rung))
        return replace(attempts.finish(), ladder=tuple(rung.name for rung in ladder))

    def _sensitive_layers(self, chosen: Format, rung: Rung) -> Sequence[Sequence[str]]:
        arguments = {"work": str(self.work), "format_name": chosen.name, "rung": to_plain(rung)}
        found, _ = run_step("sensitive", arguments, SensitiveLayers)
        return found.nodes

    def _attempt(self, chosen: Format, path: Path, rung: Rung | None, float_layers: Sequence[str]) -> ExportEntry:
        options, heatmap = self.options, has_heatmap(chosen, self.options)
        info = model_info(
            self.record,
            name=path.stem,
            precision=chosen.precision,
            versions=self.versions,
            licence=options.licence,
            version=options.version,
            typicality=self._float32().typicality if chosen.runtime == "onnx" else {},
            attributes=self.prepared.attributes if chosen.has_further_outputs else {},
            classes=self.prepared.classes if chosen.has_further_outputs else [],
        )
        converted, conversion_mb = run_step(
            "convert",
            {
                "work": str(self.work),
                "format_name": chosen.name,
                "target": str(path),
                "info": info.to_json(),
                "heatmap": heatmap,
                "rung": to_plain(rung) if rung else None,
                "keep_float": list(float_layers),
                "threshold": self.record.threshold,
                "epochs": options.tune_epochs,
                "learning_rate": tune_rate(options, self.record),
                "seed": options.seed,
            },
            Converted,
        )
        budget = "compressed" if options.compression or chosen.retrained else chosen.precision
        bounds = options.budgets[budget]
        compared, gate_mb = run_step(
            "compare_with_keras",
            {
                "work": str(self.work),
                "format_name": chosen.name,
                "file": str(path),
                "labels": self.prepared.labels,
                "groups": self.prepared.groups,
                "fidelity_labels": self.prepared.fidelity_labels if bounds.pooled else None,
                "threshold": self.record.threshold,
            },
            Compared,
        )
        return ExportEntry(
            recipe=chosen.name,
            precision=chosen.precision,
            source_sha256=sha256(self.folder / "model.keras"),
            sha256=sha256(path),
            bytes=path.stat().st_size,
            gzip_bytes=gzip_bytes(path),
            heatmap=heatmap,
            opset=converted.opset,
            operators=converted.operators,
            peak_memory_mb=PeakMemory(conversion=conversion_mb, gate=gate_mb),
            gate=compared.gate,
            fidelity=compared.fidelity,
            milliseconds=compared.milliseconds,
            gate_version=GATE_VERSION,
            conversion_version=CONVERSION_VERSION,
            budget=budget,
            broken=bounds.broken(compared.gate, compared.fidelity),
            versions=self.versions,
            compression=options.compression,
            retrained=retraining(options) if chosen.retrained else None,
            calibration=replace(self.prepared.calibration, method=rung.calibration) if rung else None,
            rung=rung.name if rung else "",
            float_layers=tuple(float_layers),
            licence=options.licence,
            version=options.version,
            # Set once the best attempt is known.
            seconds=0.0,
            created="",
        )

    def _float32(self) -> Float32Onnx:
        """Write the float32 ONNX file that all other ONNX files are derived from, once.

        Raises:
            StepError: The conversion failed, in this call or an earlier one.
        """
        if isinstance(self._float32_onnx, StepError):
            raise StepError(str(self._float32_onnx))
        if self._float32_onnx is None:
            arguments = {
                "work": str(self.work),
                "architecture": self.record.model,
                "heatmap": self.options.heatmap,
            }
            try:
                self._float32_onnx = run_step("to_float32_onnx", arguments, Float32Onnx)[0]
            except StepError as error:
                self._float32_onnx = error
                raise
        return self._float32_onnx
