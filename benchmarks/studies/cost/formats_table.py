"""Tables of all exported files of the models, from ``benchmarks/results/formats``."""

from pathlib import Path

from benchmarks.studies.cost.formats import RESULTS, ExportedFile, ModelFormats
from train.evaluation.formatting import interval, markdown_table
from train.export_record import Fidelity
from train.json_records import from_plain, read_json

#: Bounds of version 1 of the gate for int8 and dynamic files, all on the validation images.
_GATE_1 = {"same_decision": 0.97, "auroc_change": -0.01, "sensitivity_change": -0.02}


def table() -> str:
    """Render all models in ``benchmarks/results/formats`` as Markdown."""
    results = (from_plain(ModelFormats, read_json(path), str(path)) for path in sorted(RESULTS.glob("*.json")))
    return "\n".join(map(_one, results))


def _one(result: ModelFormats) -> str:
    files, trained, machine = result.files, result.training, result.environment
    first = next(iter(files.values()))
    float32_bytes = {
        file.rsplit(".", 1)[1]: entry.bytes
        for file, entry in files.items()
        if entry.precision == "float32" and entry.compression is None
    }
    in_order = sorted(files.items(), key=lambda pair: (pair[0].rsplit(".", 1)[1], -pair[1].bytes))
    table = markdown_table(
        (
            "file",
            "MB (of float32)",
            "gzip MB",
            "mean / largest difference of P",
            "same decision",
            "AUROC, change",
            "sensitivity, change",
            "on many images: same decision, net flips, noise",
            "ms, 1 thread",
            "in OpenVINO",
            "verdict",
            "gate before",
        ),
        (_cells(file, entry, float32_bytes.get(file.rsplit(".", 1)[1])) for file, entry in in_order),
    )
    return (
        f"### {result.model}\n\n"
        f"Recipe `{trained.recipe}` with at most {trained.epochs_of_recipe} epochs, {trained.epochs} "
        f"trained (kept: {trained.best_epoch}), started from: {trained.initial_weights}; "
        f"{trained.device}, {trained.precision}. Judged on {first.gate.images} validation images, "
        f"{first.gate.fractured} fractured; AUROC in Keras {first.gate.auroc_keras:.4f}.\n\n"
        f"{table}\n"
        f"Latency: median of {first.inference_ms.runs} runs, files taking turns, on {machine.cpu} "
        f"({machine.cores} cores; {', '.join(machine.cpu_flags)}).\n"
    )


def _cells(file: str, entry: ExportedFile, float32_bytes: int | None) -> tuple[str, ...]:
    gate = entry.gate
    share = f" ({entry.bytes / float32_bytes:.2f})" if float32_bytes else ""
    images = "" if gate.images_compared is None else f" ({gate.images_compared} images)"
    return (
        f"`{Path(file).name}`",
        f"{entry.bytes / 1e6:.2f}{share}",
        f"{entry.gzip_bytes / 1e6:.2f}",
        f"{gate.mean_difference:.1e} / {gate.largest_difference:.1e}{images}",
        f"{gate.same_decision:.3f}",
        interval(gate.change("auroc_change")),
        interval(gate.change("sensitivity_change")),
        _followed(entry.fidelity),
        f"{entry.inference_ms.p50:.1f}",
        "" if entry.openvino_ms is None else f"{entry.openvino_ms.p50:.1f}",
        _verdict(entry),
        _before(entry),
    )


def _followed(fidelity: Fidelity | None) -> str:
    if fidelity is None:
        return ""
    figures = f"{fidelity.same_decision:.3f}, {fidelity.net_flips:+.3f}, {fidelity.noise:.3f}"
    return f"{figures} ({fidelity.images} images)"


def _before(entry: ExportedFile) -> str:
    """Return the verdict of version 1 of the gate on an int8, dynamic or compressed file.

    It asked of the validation images alone. Of compressed networks it did not ask for equal decisions.
    """
    compressed = entry.budget == "compressed"
    if entry.gate_version == 1 or (entry.fidelity is None and not compressed):
        return ""
    bounds = {name: least for name, least in _GATE_1.items() if not (compressed and name == "same_decision")}
    broken = [name for name, least in bounds.items() if not getattr(entry.gate, name) >= least]
    return f"rejected ({', '.join(broken)})" if broken else "accepted"


def _verdict(entry: ExportedFile) -> str:
    words = [f"rejected: {'; '.join(entry.broken)}" if entry.broken else "accepted"]
    words += [f"by `{entry.rung}`"] if entry.rung else []
    words += [f"calibration {entry.calibration.method}"] if entry.calibration else []
    if entry.float_layers:
        words.append(f"{len(entry.float_layers)} layers in float32")
    if entry.heatmap:
        words.append("with heat map")
    return ", ".join(words)
