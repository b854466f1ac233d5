"""A run as one self-contained page: no network, no fonts, light and dark."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from benchmarks.report import cells, curves, figures, prose, tables
from benchmarks.report.pareto import front_rows
from benchmarks.report.predictions import Predictions
from benchmarks.report.recommend import best, recommend, representative
from benchmarks.report.rows import Row, auroc, check_schema, measured, of_model, p50
from fracture_edge.errors import FractureEdgeError
from train.evaluation.formatting import interval, megabytes, milliseconds, name_of


@dataclass(frozen=True, slots=True)
class Picture:
    """An inline SVG with what stands under it."""

    svg: Markup
    caption: str


def html(result: dict[str, Any], predictions: Predictions) -> str:
    """The whole report as a page.

    Args:
        result: What ``RUN.json`` holds.
        predictions: What ``RUN.csv`` holds.

    Returns:
        HTML; equal input gives equal text.

    Raises:
        FractureEdgeError: `result` is of another schema, or `predictions` are of another run.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    check_schema(result)
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
        **_pictures(result, predictions),
    )


def _check_columns(result: dict[str, Any], predictions: Predictions) -> None:
    missing = [row["id"] for row in measured(result) if row["id"] not in predictions.columns]
    if missing:
        raise FractureEdgeError(
            f"no probabilities of {', '.join(missing)} in the CSV; give the one that was written with this JSON"
        )


def _pictures(result: dict[str, Any], predictions: Predictions) -> dict[str, Any]:
    colours = figures.colours(result)
    chosen = [row for model in result["models"] if (row := representative(result, model))]
    return {
        "tradeoff": Markup(figures.tradeoff("tradeoff", result)),  # noqa: S704
        "rocs": [
            *_roc_of_models(chosen, predictions, colours),
            *(
                _picture(
                    curves.roc_of_formats(f"roc-{number}", rows, predictions, model["threshold"]),
                    f"{name}: {len(rows)} formats.",
                )
                for number, (name, model) in enumerate(result["models"].items())
                if len(rows := of_model(measured(result), name)) > 1
            ),
        ],
        "reliabilities": [
            _picture(
                curves.reliability_of(f"reliability-{number}", row, predictions, colours[row["model"]]),
                f"{name_of(row)}: expected calibration error {cells.estimate(row['quality']['metrics']['ece'])}.",
            )
            for number, row in enumerate(chosen)
        ],
        "trainings": [
            _picture(figures.training(f"training-{number}", name, model), f"{name}.")
            for number, (name, model) in enumerate(result["models"].items())
            if model["history"]
        ],
        "subgroup_bars": [
            _picture(figures.subgroups(f"subgroups-{number}", row, colours[row["model"]]), f"{name_of(row)}.")
            for number, row in enumerate(chosen)
            if any(group["auroc"] for group in row["quality"]["subgroups"])
        ],
    }


def _roc_of_models(chosen: list[Row], predictions: Predictions, colours: dict[str, str]) -> list[Picture]:
    if not chosen:
        return []
    svg = curves.roc_of_models("roc-models", chosen, predictions, colours)
    return [_picture(svg, "Each model in the format to take.")]


def _picture(svg: str, caption: str) -> Picture:
    # Made by `svg.inline`, which escapes every text.
    return Picture(Markup(svg), caption)  # noqa: S704


def _confusions(result: dict[str, Any]) -> list[tuple[str, list[Row]]]:
    return [(name, rows) for name in result["models"] if (rows := of_model(measured(result), name))]
