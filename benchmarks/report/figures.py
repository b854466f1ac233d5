"""Plots of a run made from its JSON: trade-off of AUROC and latency, training curves, subgroups."""

import itertools
from collections.abc import Sequence
from typing import Any

from benchmarks.records.measured_row import MeasuredRow, Subgroup
from benchmarks.records.result import BenchmarkResult, ModelDescription
from benchmarks.report.labels import place_labels
from benchmarks.report.pareto import front_rows
from benchmarks.report.rows import auroc, measured, name_of, p50, quality_of
from benchmarks.report.runtimes import NAMES
from benchmarks.report.svg import GRID, INK, MUTED, SERIES, SURFACE, inline
from train.evaluation.formatting import interval, megabytes, milliseconds

MARKERS = {"onnxruntime": "o", "litert": "s", "openvino": "^", "keras": "D"}
_SMALLEST, _PER_MEGABYTE = 36, 2.5


def colours(result: BenchmarkResult) -> dict[str, str]:
    """Assign a colour to each model; from the seventh model on colours repeat."""
    return dict(zip(result.models, itertools.cycle(SERIES), strict=False))


def plot_tradeoff(name: str, result: BenchmarkResult) -> str:
    """Plot AUROC against latency on one thread.

    The area of a marker grows with the size of the file; markers on the Pareto front are filled and numbered.

    Args:
        name: Prefix of the ids, see `benchmarks.report.svg.inline`.
        result: Result of the benchmark.
    """
    rows = [row for row in measured(result) if auroc(row).defined and p50(row) is not None]
    numbers = {row.id: number for number, row in enumerate(front_rows(result), start=1)}
    colour = colours(result)

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        axes.set_xscale("log", subs=[2, 5])
        # The largest first, so that small markers stay visible.
        for number, row in sorted(enumerate(rows), key=lambda pair: -pair[1].bytes):
            _plot_row(axes, row, colour[row.model], f"mark-{number}", on_front=row.id in numbers)
        if result.trivial_baseline.defined:
            axes.axhline(
                result.trivial_baseline.value, color=MUTED, linestyle=":", label="size and brightness alone"
            )
        axes.set(xlabel="ms for one inference, one thread (median, logarithmic)", ylabel="AUROC")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.tick_params(which="both", length=3)
        axes.margins(0.12)
        _add_legend(figure, axes, rows, colour)
        chosen = [row for row in rows if row.id in numbers]
        place_labels(
            figure,
            axes,
            [(p50(row), auroc(row).value) for row in chosen],
            [str(numbers[row.id]) for row in chosen],
            [_area(row.bytes) for row in rows if row.id in numbers],
        )

    title = "AUROC against latency and size of every file; the numbered ones are on the Pareto front"
    return inline(name, title, (5.4, 5.2), plot, {f"mark-{number}": _tip(row) for number, row in enumerate(rows)})


def plot_training(name: str, model: str, details: ModelDescription) -> str:
    """Plot loss and AUROC (or accuracy) of training and, if there were any, validation images over the epochs.

    Args:
        name: Prefix of the ids, see `benchmarks.report.svg.inline`.
        model: Name of the model.
        details: Description of the model with its history, which must not be empty.
    """
    history = details.history
    epochs = [row["epoch"] for row in history]
    validated = "val_loss" in history[0]
    known = [each for each in history[0] if not validated or f"val_{each}" in history[0]]
    names = [each for each in ("loss", "auroc", "accuracy") if each in known][:2]
    curves = [("", SERIES[0], "training"), ("val_", SERIES[1], "validation")][: 2 if validated else 1]

    def plot(figure: Any) -> None:
        panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for axes, each in zip(panels, names, strict=True):
            for prefix, colour, label in curves:
                axes.plot(epochs, [row[prefix + each] for row in history], ".-", color=colour, label=label)
            if details.training:
                kept = details.training.best_epoch
                axes.axvline(kept, color=MUTED, linestyle=":", label=f"kept: epoch {kept}")
            axes.set_ylabel("AUROC" if each == "auroc" else each)
        panels[-1].set_xlabel("epoch")
        panels[-1].xaxis.get_major_locator().set_params(integer=True)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)

    return inline(name, f"Training of {model}: loss and AUROC by epoch", (4.2, 4.2), plot)


def plot_subgroups(name: str, row: MeasuredRow, colour: str) -> str:
    """Plot the AUROC of every subgroup of one row as bars with 95 % intervals.

    Args:
        name: Prefix of the ids, see `benchmarks.report.svg.inline`.
        row: Row with metrics.
        colour: Colour of the bars.
    """
    groups = [group for group in quality_of(row).subgroups if group.auroc.defined]
    named = [_group_name(group) for group in groups]

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        values = [group.auroc.value for group in groups]
        errors = [
            [max(0.0, group.auroc.value - group.auroc.low) for group in groups],
            [max(0.0, group.auroc.high - group.auroc.value) for group in groups],
        ]
        axes.barh(range(len(groups)), values, 0.62, color=colour, alpha=0.55)
        axes.errorbar(values, range(len(groups)), xerr=errors, fmt="none", color=INK, capsize=3, elinewidth=1)
        axes.axvline(auroc(row).value, color=INK, linestyle=":", linewidth=1)
        axes.set(xlim=(0, 1.02), yticks=range(len(groups)), yticklabels=named, xlabel="AUROC (dotted: all images)")
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.invert_yaxis()

    return inline(name, f"AUROC by subgroup of {name_of(row)}", (4.6, 1 + 0.34 * len(groups)), plot)


def _group_name(group: Subgroup) -> str:
    value = f"hardware: {group.value}" if group.by == "hardware" else group.value
    return f"{value or group.by.replace('_', ' ') + ' not known'} ({group.fractured} of {group.images})"


def _plot_row(axes: Any, row: MeasuredRow, colour: str, gid: str, *, on_front: bool) -> None:
    estimate = auroc(row)
    if on_front:
        axes.vlines(p50(row), estimate.low, estimate.high, color=colour, linewidth=1, alpha=0.6)
    mark = axes.scatter(
        [p50(row)],
        [estimate.value],
        s=_area(row.bytes),
        marker=MARKERS[row.runtime],
        facecolor=colour if on_front else SURFACE,
        edgecolor=INK if on_front else colour,
        linewidth=1,
        alpha=0.85 if on_front else 0.6,
        zorder=3 if on_front else 2,
    )
    mark.set_gid(gid)


def _add_legend(figure: Any, axes: Any, rows: Sequence[MeasuredRow], colour: dict[str, str]) -> None:
    for model in dict.fromkeys(row.model for row in rows):
        axes.scatter([], [], s=50, color=colour[model], label=model)
    for runtime in dict.fromkeys(row.runtime for row in rows):
        axes.scatter(
            [], [], s=40, marker=MARKERS[runtime], facecolor=SURFACE, edgecolor=MUTED, label=NAMES[runtime]
        )
    for size in (10, 100):
        axes.scatter([], [], s=_area(size * 1e6), facecolor=SURFACE, edgecolor=GRID, label=f"{size} MB")
    figure.legend(loc="outside lower center", ncols=3, labelspacing=0.9)


def _area(size: float) -> float:
    return _SMALLEST + _PER_MEGABYTE * size / 1e6


def _tip(row: MeasuredRow) -> str:
    return f"{name_of(row)}: AUROC {interval(auroc(row))}, {milliseconds(p50(row))} ms, {megabytes(row.bytes)} MB"
