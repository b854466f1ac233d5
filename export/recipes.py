"""Export formats and budgets, read from ``recipes.toml``, and the selection of formats."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from fracture_edge.errors import FractureEdgeError
from train.export_record import Fidelity, GateMetrics

Runtime = Literal["onnx", "tflite"]
Precision = Literal["float32", "float16", "dynamic", "int8"]
#: Version of the conversion: in 1 the first convolution read single pixels, and fine-tuning went towards labels;
#: in 2 files after quantisation-aware training were not recentred. `--resume` makes older files again.
CONVERSION_VERSION = 3
#: Calibration methods of int8 ONNX for the ranges of the activations.
METHODS = ("minmax", "percentile", "entropy")
#: Calibration methods of int8 TFLite.
TFLITE_METHODS = ("minmax", "mse")


@dataclass(frozen=True, slots=True)
class Format:
    """Export format, a table of ``recipes.toml``.

    Attributes:
        name: Name of the format, such as ``onnx_int8_static_x86``.
        runtime: Runtime that runs the file.
        precision: Precision of weights and activations.
        ending: Ending of the file name.
        usual: Whether the format is exported by default.
        target: Kind of processor, for int8 ONNX.
        activations: Type of the activations, ``uint8`` or ``int8``, for int8 ONNX.
        weights: Type of the stored weights, ``int8`` or ``uint8``, with the same values, for int8 ONNX.
        interface: Types of input and output, ``float`` or ``integer``, for int8 TFLite.
        retrained: Whether the network is trained further for this format; exported only when selected by name.
    """

    name: str
    runtime: Runtime
    precision: Precision
    ending: str
    usual: bool = False
    target: str = ""
    activations: str = ""
    weights: str = ""
    interface: str = ""
    retrained: bool = False

    @property
    def calibrated(self) -> bool:
        """Whether the format needs training images for the ranges of the activations."""
        return self.precision == "int8" and not self.retrained

    @property
    def has_further_outputs(self) -> bool:
        """Whether the file may have outputs beside the probability: int8 TFLite has none."""
        return not (self.runtime == "tflite" and self.precision == "int8")

    def file_name(self, model: str) -> str:
        """Return the name of the file exported from `model`, such as ``edge-int8.onnx``."""
        return f"{model}-{self.ending}"


@dataclass(frozen=True, slots=True)
class Budget:
    """Bounds of the gate; ``None`` for a metric without a bound.

    Those named ``pooled_`` bound a metric of `train.export_record.Fidelity`, on validation and training images
    together; the others one of `train.export_record.GateMetrics`, on the validation images.

    Attributes:
        largest_difference: Upper bound of the largest absolute difference of probability.
        mean_difference: Upper bound of the mean absolute difference of probability.
        same_decision: Lower bound of the share of equal decisions, 0 to 1.
        auroc_change: Lower bound of the change of AUROC, exported minus Keras.
        sensitivity_change: Lower bound of the change of sensitivity, exported minus Keras.
        sensitivity_change_high: Lower bound of the upper end of its 95 % interval: with 0, a loss must be
            significant to be refused.
        pooled_same_decision: Lower bound of the share of equal decisions.
        pooled_far_flips: Upper bound of the share of other decisions far from the threshold.
        pooled_net_flips: Upper bound of the net share of decisions changed, in either direction.
        pooled_noise: Upper bound of the relative noise of the log-odds.
        pooled_auroc_change: Lower bound of the change of AUROC.
        pooled_sensitivity_change: Lower bound of the change of sensitivity.
    """

    largest_difference: float | None = None
    mean_difference: float | None = None
    same_decision: float | None = None
    auroc_change: float | None = None
    sensitivity_change: float | None = None
    sensitivity_change_high: float | None = None
    pooled_same_decision: float | None = None
    pooled_far_flips: float | None = None
    pooled_net_flips: float | None = None
    pooled_noise: float | None = None
    pooled_auroc_change: float | None = None
    pooled_sensitivity_change: float | None = None

    @property
    def pooled(self) -> bool:
        """Whether it bounds a metric of `train.export_record.Fidelity`."""
        pooled = [entry.name for entry in fields(self) if entry.name.startswith(_POOLED)]
        return any(getattr(self, name) is not None for name in pooled)

    def broken(self, metrics: GateMetrics, fidelity: Fidelity | None = None) -> list[str]:
        """Return a description of each bound that a file violates.

        Args:
            metrics: Metrics on the validation images.
            fidelity: Metrics on many images; ``None`` for a file of the gate before, of which they are unknown.
        """
        broken = []
        for entry in fields(self):
            bound = getattr(self, entry.name)
            if bound is None:
                continue
            if entry.name.startswith(_POOLED):
                if fidelity is None:
                    continue
                value = getattr(fidelity, entry.name.removeprefix(_POOLED))
            elif entry.name.endswith(_HIGH):
                value = metrics.intervals[entry.name.removesuffix(_HIGH)][1]
            else:
                value = getattr(metrics, entry.name)
            # Written so that NaN violates the bound.
            if not (abs(value) <= bound if entry.name.endswith(_SMALL) else value >= bound):
                broken.append(f"{entry.name} {value:.4g}, bound {bound:g}")
        return broken


#: Beginning and ends of the names of bounds: of pooled images, of an interval's upper end, and of upper bounds.
_POOLED, _HIGH, _SMALL = "pooled_", "_high", ("_difference", "_flips", "_noise")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One way of making an int8 file, a table of the ladder in ``recipes.toml``; tried from the first to the last.

    Attributes:
        name: Name of the rung.
        runtime: Runtime of the files that it is for.
        why: Reason for it, a sentence for the documents.
        always: Whether it is tried even if an earlier one has been accepted; the file nearest to Keras is kept.
        calibration: How the ranges follow from the activations; empty for that of the best file so far.
        dynamic_dense: Whether a Dense layer with most of the weights gets the ranges of its input from each image.
        float_tail: Whether the last layers stay float32, as far back as `export.sensitivity.FLOAT_SHARE` allows.
        float_front: Number of the first layers with weights that stay float32.
        float_layers: Number of the most sensitive layers that stay float32, each with the layer before it.
    """

    name: str
    runtime: Runtime
    why: str
    always: bool = False
    calibration: str = ""
    dynamic_dense: bool = False
    float_tail: bool = False
    float_front: int = 0
    float_layers: int = 0


def _read() -> dict[str, Any]:
    return tomllib.loads(resources.files("export").joinpath("recipes.toml").read_text(encoding="utf-8"))


def _formats() -> dict[str, Format]:
    return {name: Format(name, **values) for name, values in _read().items() if name not in ("budgets", "ladder")}


def _ladder() -> tuple[Rung, ...]:
    return tuple(Rung(**values) for values in _read()["ladder"])


#: Formats by name.
FORMATS: MappingProxyType[str, Format] = MappingProxyType(_formats())
#: Ways of making an int8 file, from cheap to dear.
LADDER = _ladder()
#: Kinds of processors of int8 ONNX files.
TARGETS = tuple(entry.target for entry in FORMATS.values() if entry.target)


def rungs_of(chosen: Format, ladder: Sequence[Rung] = LADDER) -> list[Rung]:
    """Return the rungs of a ladder that an int8 format can be made by.

    Args:
        chosen: Format of the file.
        ladder: Ladder of attempts.
    """
    # The answer of a file with an integer interface is 8 bits, and so is the layer that it comes from.
    return [
        rung
        for rung in ladder
        if rung.runtime == chosen.runtime and not (rung.float_tail and chosen.interface == "integer")
    ]


def load_budgets(path: Path | None = None) -> dict[str, Budget]:
    """Read the budgets of all precisions, and that of compressed models.

    Args:
        path: Path of a TOML file whose tables replace the shipped ones of the same name.

    Returns:
        The budgets by precision, and by ``compressed`` for compressed and retrained models.

    Raises:
        FractureEdgeError: The file cannot be read, or contains an unknown table or metric.
    """
    budgets = {name: Budget(**bounds) for name, bounds in _read()["budgets"].items()}
    if path is None:
        return budgets
    try:
        ours = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FractureEdgeError(f"{path}: cannot be read ({error})") from error
    for name, bounds in ours.items():
        if name not in budgets or not isinstance(bounds, dict):
            raise FractureEdgeError(f"{path}: unknown budget '{name}'; must be one of: {', '.join(budgets)}")
        known = [entry.name for entry in fields(Budget)]
        for key, bound in bounds.items():
            if key not in known:
                raise FractureEdgeError(
                    f"{path}: unknown metric '{name}.{key}'; must be one of: {', '.join(known)}"
                )
            if isinstance(bound, bool) or not isinstance(bound, int | float):
                raise FractureEdgeError(f"{path}: {name}.{key} must be a number")
        budgets[name] = Budget(**bounds)
    return budgets


def select(
    *,
    names: Sequence[str] = (),
    runtimes: Sequence[str] = (),
    precisions: Sequence[str] = (),
    target: str = "x86",
    everything: bool = False,
) -> list[Format]:
    """Select formats by name or by runtime, precision and target, in the order of ``recipes.toml``.

    Args:
        names: Full names of formats; if given, exactly these are selected.
        runtimes: Runtimes, ``onnx`` and ``tflite``; both if empty.
        precisions: Precisions of the files; all if empty and `runtimes` are given. If both are empty, the usual
            formats are selected.
        target: Kind of processor of int8 ONNX files.
        everything: Select all formats for all targets, except those that need further training.

    Returns:
        The selected formats; empty if none matches.

    Raises:
        FractureEdgeError: A name or the target is unknown.
    """
    if unknown := sorted(set(names) - set(FORMATS)):
        raise FractureEdgeError(f"unknown format '{unknown[0]}'; must be one of: {', '.join(FORMATS)}")
    if target not in TARGETS:
        raise FractureEdgeError(f"unknown target '{target}'; must be one of: {', '.join(TARGETS)}")
    if names:
        return [entry for entry in FORMATS.values() if entry.name in names]
    ready = [entry for entry in FORMATS.values() if not entry.retrained]
    if everything:
        return ready
    usual_only = not runtimes and not precisions
    return [
        entry
        for entry in ready
        if (not runtimes or entry.runtime in runtimes)
        and (not precisions or entry.precision in precisions)
        and (entry.target == target if entry.target else entry.usual or not usual_only)
    ]
