"""A run as Markdown."""

from typing import Any

from benchmarks.report import prose, tables
from benchmarks.report.recommend import best, recommend
from benchmarks.report.rows import check_schema
from train.evaluation.formatting import markdown_cell, name_of


def summary_table(result: dict[str, Any]) -> str:
    """The main figures of every row, without intervals: short enough for a README.

    Columns: model, format, MB, AUROC, accuracy, precision, recall, F1, and the median of one inference on one
    thread in ms.
    """
    check_schema(result)
    return tables.short(result).markdown()


def markdown(result: dict[str, Any]) -> str:
    """The whole report.

    Args:
        result: What ``RUN.json`` holds.

    Returns:
        Markdown, GitHub's dialect.

    Raises:
        FractureEdgeError: `result` is of another schema.
    """
    check_schema(result)
    parts = [
        "# Which model, in which format",
        f"{prose.NOT_A_DEVICE} {prose.POSITIVE}",
        f"{prose.on_what(result)} {prose.how_many(result)}",
        f"Measured {result['created']} on {markdown_cell(prose.machine(result))}.",
        "## Recommendation",
        _recommendation(result),
        "## All models and formats",
        tables.summary(result).markdown(),
        f"{prose.INTERVALS} {prose.how_timed(result)}",
        _caution(result),
        *_failures(result),
        "## Against the source",
        prose.PAIRED,
        tables.against_source(result).markdown(),
        markdown_cell(prose.beyond_chance(result)),
        "## Which runtime is fastest with int8",
        tables.runtimes(result).markdown(),
        *_subgroups(result),
        "## Further figures",
        tables.further(result).markdown(),
        "## Speed in detail",
        tables.speed(result).markdown(),
        "## Models",
        tables.models(result).markdown(),
        f"Versions: {markdown_cell(prose.versions(result))}.",
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts if part) + "\n"


def _recommendation(result: dict[str, Any]) -> str:
    advice = [f"- {markdown_cell(each)}" for each in recommend(result)]
    return "\n".join([*advice, "", prose.elsewhere(result)])


def _caution(result: dict[str, Any]) -> str:
    text = prose.unfamiliar(result)
    return f"**{markdown_cell(text)}**" if text else ""


def _failures(result: dict[str, Any]) -> list[str]:
    failed = tables.failures(result["rows"])
    if not failed:
        return []
    lines = [f"- {markdown_cell(name)}: {markdown_cell(error)}" for name, error in failed]
    return ["## What failed", "\n".join(lines)]


def _subgroups(result: dict[str, Any]) -> list[str]:
    row = best(result)
    if row is None or not row["quality"]["subgroups"]:
        return []
    return [
        "## Subgroups",
        f"{markdown_cell(name_of(row))}, the file to take where nothing is limited. {prose.SUBGROUPS}",
        tables.subgroups(row).markdown(),
    ]
