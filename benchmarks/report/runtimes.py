"""Which runtime is fastest with a model's int8 weights, on one thread."""

from dataclasses import dataclass

from benchmarks.records.measured_row import MeasuredRow
from benchmarks.records.result import BenchmarkResult
from benchmarks.report.rows import p50

#: ONNX int8 is held to at most this many times the latency of the fastest runtime.
CLOSE = 1.15
NAMES = {"onnxruntime": "ONNX Runtime", "litert": "LiteRT", "openvino": "OpenVINO", "keras": "Keras"}
_FORMATS = {"onnxruntime": "onnx", "litert": "tflite", "openvino": "openvino"}


@dataclass(frozen=True, slots=True)
class Duel:
    """One model's int8 variant in all runtimes.

    Attributes:
        model: Name of the model.
        variant: Words of the format: ``int8``, ``int8 factorised64`` ...
        medians: Milliseconds by runtime; ``None`` where there is no such row or no latency.
        rejected: Runtimes whose file the gate rejected.
        verdict: Words that say who wins and by how much.
    """

    model: str
    variant: str
    medians: dict[str, float | None]
    rejected: tuple[str, ...]
    verdict: str


def duels(result: BenchmarkResult) -> list[Duel]:
    """Compare ONNX int8 on onnxruntime with the same variant on LiteRT and OpenVINO.

    A variant that no other runtime has is left out, unless it is plain ``int8``.
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
        found.append(Duel(row.model, variant, medians, rejected, verdict(medians)))
    return found


def verdict(medians: dict[str, float | None]) -> str:
    """Say how ONNX Runtime does against the fastest other runtime, in words."""
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
