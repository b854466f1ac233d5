"""The formats and the budgets as data: ``recipes.toml``, and which of them a command line asks for."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from fracture_edge.errors import FractureEdgeError
from train.export_record import GateMetrics

Runtime = Literal["onnx", "tflite"]
Precision = Literal["float32", "float16", "dynamic", "int8"]
#: Where int8 ONNX takes the ranges of activations from, in the order in which they are tried.
METHODS = ("minmax", "percentile", "entropy")


@dataclass(frozen=True, slots=True)
class Format:
    """One format. The keys are explained in ``recipes.toml``.

    Attributes:
        name: Such as ``onnx_int8_static_x86``.
        runtime: What runs it.
        precision: Of weights and activations.
        ending: Of the file's name.
        usual: Made when nothing is selected.
        target: int8 ONNX: the kind of processor.
        activations: int8 ONNX: ``uint8`` or ``int8``.
        weights: int8 ONNX: how they are stored, ``int8`` or ``uint8``; the same values.
        interface: int8 TFLite: ``float`` or ``integer``.
        retrained: Whether the network is trained further for it; made only when named.
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
        """Whether it needs training images for the ranges of the activations."""
        return self.precision == "int8" and not self.retrained

    def file_name(self, model: str) -> str:
        """Name of the file made of `model`, such as ``edge-int8.onnx``."""
        return f"{model}-{self.ending}"


@dataclass(frozen=True, slots=True)
class Budget:
    """Bounds of the figures of `export.gate`; ``None`` where there is none.

    Attributes:
        largest_difference: Of the probabilities, at most.
        mean_difference: Likewise.
        same_decision: Share of equal decisions, at least.
        auroc_change: Exported less Keras, at least.
        sensitivity_change: Likewise.
    """

    largest_difference: float | None = None
    mean_difference: float | None = None
    same_decision: float | None = None
    auroc_change: float | None = None
    sensitivity_change: float | None = None

    def broken(self, metrics: GateMetrics) -> list[str]:
        """Name the bounds that `metrics` break, in words."""
        broken = []
        for entry in fields(self):
            bound, value = getattr(self, entry.name), getattr(metrics, entry.name)
            # Written so that NaN breaks a bound.
            if bound is not None and not (
                value <= bound if entry.name.endswith("_difference") else value >= bound
            ):
                broken.append(f"{entry.name} {value:.4g}, bound {bound:g}")
        return broken


def _read() -> dict[str, Any]:
    return tomllib.loads(resources.files("export").joinpath("recipes.toml").read_text(encoding="utf-8"))


def _recipes() -> dict[str, Format]:
    return {name: Format(name, **values) for name, values in _read().items() if name != "budgets"}


FORMATS: MappingProxyType[str, Format] = MappingProxyType(_recipes())
TARGETS = tuple(recipe.target for recipe in FORMATS.values() if recipe.target)


def load_budgets(path: Path | None = None) -> dict[str, Budget]:
    """The budgets by precision, and ``compressed``.

    Args:
        path: A TOML file whose tables replace the shipped ones of the same name.

    Raises:
        FractureEdgeError: It cannot be read, or names a precision or a figure that does not exist.
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
            raise FractureEdgeError(f"{path}: no budget '{name}'; there are {', '.join(budgets)}")
        known = [entry.name for entry in fields(Budget)]
        for key, bound in bounds.items():
            if key not in known:
                raise FractureEdgeError(f"{path}: {name}.{key} is no figure; there are {', '.join(known)}")
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
    """The recipes that a command line asks for, in the order of ``recipes.toml``.

    Args:
        names: Of recipes, in full; nothing else is made then.
        runtimes: ``onnx``, ``tflite``; both when empty.
        precisions: Of the files; all when empty but for `runtimes`, the usual ones when both are empty.
        target: Kind of processor of int8 ONNX files.
        everything: All recipes, for all targets, but those that need further training.

    Raises:
        FractureEdgeError: An unknown name or target.
    """
    if unknown := sorted(set(names) - set(FORMATS)):
        raise FractureEdgeError(f"no recipe '{unknown[0]}'; there are {', '.join(FORMATS)}")
    if target not in TARGETS:
        raise FractureEdgeError(f"no target '{target}'; there are {', '.join(TARGETS)}")
    if names:
        return [recipe for recipe in FORMATS.values() if recipe.name in names]
    ready = [recipe for recipe in FORMATS.values() if not recipe.retrained]
    if everything:
        return ready
    usual_only = not runtimes and not precisions
    return [
        recipe
        for recipe in ready
        if (not runtimes or recipe.runtime in runtimes)
        and (not precisions or recipe.precision in precisions)
        and (recipe.target == target if recipe.target else recipe.usual or not usual_only)
    ]
