"""Report of a run as a self-contained HTML page: no network access, no fonts, light and dark mode."""

from dataclasses import dataclass

from markupsafe import Markup

from benchmarks.records.measured_row import MeasuredRow
from benchmarks.records.result import BenchmarkResult
from benchmarks.report import cells, curves, figures, prose, tables
from benchmarks.report.pareto import front_rows
from benchmarks.report.predictions import Predictions
from benchmarks.report.recommend import best, recommend, representative
from benchmarks.report.rows import auroc, measured, name_of, of_model, p50, quality_of
from fracture_edge.errors import FractureEdgeError
from train.evaluation.formatting import interval, megabytes, milliseconds


@dataclass(frozen=True, slots=True)
class Plot:
    """Inline SVG with a caption."""

    svg: Markup
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plots:
    """Plots of a page.

    Attributes:
        tradeoff: AUROC against latency and size, without a caption.
        rocs: ROC curves.
        reliabilities: Reliability diagrams.
        trainings: Training curves.
        subgroups: AUROC of subgroups.
    """

    tradeoff: Markup
    rocs: tuple[Plot, ...]
    reliabilities: tuple[Plot, ...]
    trainings: tuple[Plot, ...]
    subgroups: tuple[Plot, ...]


def html(result: BenchmarkResult, predictions: Predictions) -> str:
    """Render the complete report as an HTML page.

    Args:
        result: Contents of ``RUN.json``.
        predictions: Contents of ``RUN.csv``.

    Returns:
        HTML; equal input gives equal text.

    Raises:
        FractureEdgeError: `predictions` belong to another run.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    _check_columns(result, predictions)
    environment = Environment(
        loader=PackageLoader("benchmarks.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    choice = best(result)
    return environment.get_template("template.html.jinja").render(
        result=result,
        prose=prose,
        tables=tables,
        advice=recommend(result),
        front=[(row, interval(auroc(row))) for row in front_rows(result)],
        choice=choice,
        name_of=name_of,
        p50=p50,
        megabytes=megabytes,
        milliseconds=milliseconds,
        confusions=_confusions(result),
        plots=_plots(result, predictions),
    )


def _check_columns(result: BenchmarkResult, predictions: Predictions) -> None:
    missing = [row.id for row in measured(result) if row.id not in predictions.columns]
    if missing:
        raise FractureEdgeError(
            f"no probabilities of {', '.join(missing)} in the CSV; use the one that was written with this JSON"
        )


def _plots(result: BenchmarkResult, predictions: Predictions) -> Plots:
    colours = figures.colours(result)
    chosen = [row for model in result.models if (row := representative(result, model))]
    return Plots(
        tradeoff=Markup(figures.plot_tradeoff("tradeoff", result)),  # noqa: S704
        rocs=(
            *_roc_of_models(chosen, predictions, colours),
            *(
                _plot(
                    curves.plot_roc_of_formats(f"roc-{number}", rows, predictions, model.threshold),
                    f"{name}: {len(rows)} formats.",
                )
                for number, (name, model) in enumerate(result.models.items())
                if len(rows := of_model(measured(result), name)) > 1
            ),
        ),
        reliabilities=tuple(
            _plot(
                curves.plot_reliability(f"reliability-{number}", row, predictions, colours[row.model]),
                f"{name_of(row)}: expected calibration error {cells.estimate(quality_of(row).metrics['ece'])}.",
            )
            for number, row in enumerate(chosen)
        ),
        trainings=tuple(
            _plot(figures.plot_training(f"training-{number}", name, model), f"{name}.")
            for number, (name, model) in enumerate(result.models.items())
            if model.history
        ),
        subgroups=tuple(
            _plot(figures.plot_subgroups(f"subgroups-{number}", row, colours[row.model]), f"{name_of(row)}.")
            for number, row in enumerate(chosen)
            if any(group.auroc.defined for group in quality_of(row).subgroups)
        ),
    )


def _roc_of_models(chosen: list[MeasuredRow], predictions: Predictions, colours: dict[str, str]) -> list[Plot]:
    if not chosen:
        return []
    svg = curves.plot_roc_of_models("roc-models", chosen, predictions, colours)
    return [_plot(svg, "Each model in the format to take.")]


def _plot(svg: str, caption: str) -> Plot:
    # The SVG comes from `svg.inline`, which escapes every text.
    return Plot(Markup(svg), caption)  # noqa: S704


def _confusions(result: BenchmarkResult) -> list[tuple[str, list[MeasuredRow]]]:
    return [(name, rows) for name in result.models if (rows := of_model(measured(result), name))]
