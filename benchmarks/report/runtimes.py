"""Comparison of the runtimes by the latency of int8 models on one thread."""

from dataclasses import dataclass

from benchmarks.records.measured_row import MeasuredRow
from benchmarks.records.result import BenchmarkResult
from benchmarks.report.rows import p50

#: Ratio to the latency of the fastest runtime up to which ONNX int8 counts as close; the project's own goal.
CLOSE = 1.15
NAMES = {"onnxruntime": "ONNX Runtime", "litert": "LiteRT", "openvino": "OpenVINO", "keras": "Keras"}
_FORMATS = {"onnxruntime": "onnx", "litert": "tflite", "openvino": "openvino"}


@dataclass(frozen=True, slots=True)
class RuntimeComparison:
    """Latency of an int8 variant of a model in all runtimes.

    Attributes:
        model: Name of the model.
        variant: Description of the variant, such as ``int8`` or ``int8 factorised64``.
        medians: Median latency in milliseconds by runtime; ``None`` if there is no such row or no latency.
        rejected: Runtimes whose file the gate rejected.
        verdict: Fastest runtime and ratio, in words.
    """

    model: str
    variant: str
    medians: dict[str, float | None]
    rejected: tuple[str, ...]
    verdict: str


def compare_runtimes(result: BenchmarkResult) -> list[RuntimeComparison]:
    """Compare ONNX int8 in onnxruntime with the same variant in LiteRT and OpenVINO.

    A variant that no other runtime has is omitted, except plain ``int8``.
    """
    rows = {row.id: row for row in result.rows}
    found = []
    for row in result.rows:
        variant = row.format.removeprefix("onnx ")
        if row.runtime != "onnxruntime" or not variant.startswith("int8"):
            continue
        same = {runtime: rows.get(f"{row.model}/{kind} {variant}") for runtime, kind in _FORMATS.items()}
        if variant != "int8" and sum(other is not None for other in same.values()) < 2:
            continue
        medians = {runtime: _median(other) for runtime, other in same.items()}
        rejected = tuple(runtime for runtime, other in same.items() if other and other.gate == "rejected")
        found.append(RuntimeComparison(row.model, variant, medians, rejected, verdict(medians)))
    return found


def verdict(medians: dict[str, float | None]) -> str:
    """Compare ONNX Runtime with the fastest other runtime, in words.

    Args:
        medians: Median latency in milliseconds by runtime, ``None`` if not measured.
    """
    ours = medians["onnxruntime"]
    if ours is None:
        return "ONNX Runtime was not measured"
    others = {
        runtime: value for runtime, value in medians.items() if runtime != "onnxruntime" and value is not None
    }
    if not others:
        return "no other runtime was measured"
    rival = min(others, key=lambda runtime: others[runtime])
    ratio = ours / others[rival]
    if ratio <= 1:
        return f"ONNX Runtime is the fastest; {NAMES[rival]} takes {1 / ratio:.2f} times as long"
    if ratio <= CLOSE:
        return f"within {CLOSE} of the fastest: {ratio:.2f} times {NAMES[rival]}"
    return f"{NAMES[rival]} wins: ONNX Runtime takes {ratio:.2f} times as long"


def _median(row: MeasuredRow | None) -> float | None:
    return p50(row) if row and row.error is None else None
