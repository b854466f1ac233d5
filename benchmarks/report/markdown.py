"""Report of a run as Markdown."""

from benchmarks.records.result import BenchmarkResult
from benchmarks.report import prose, tables
from benchmarks.report.recommend import best, recommend
from benchmarks.report.rows import name_of, quality_of
from train.evaluation.formatting import markdown_cell


def summary_table(result: BenchmarkResult) -> str:
    """Tabulate the main metrics of every row without intervals, short enough for a README.

    Columns: model, format, MB, AUROC, accuracy, precision, recall, F1, and the median latency of one inference on
    one thread in ms.
    """
    return tables.short_summary(result).markdown()


def markdown(result: BenchmarkResult) -> str:
    """Render the complete report as GitHub-flavoured Markdown."""
    parts = [
        "# Which model, in which format",
        f"{prose.NOT_A_DEVICE} {prose.POSITIVE}",
        f"{prose.describe_data(result)} {prose.describe_rows(result)}",
        f"Measured {result.created} on {markdown_cell(prose.describe_machine(result.environment))}.",
        "## Recommendation",
        _recommendation(result),
        "## All models and formats",
        tables.summary(result).markdown(),
        f"{prose.INTERVALS} {prose.describe_timing(result)}",
        _caution(result),
        *_failures(result),
        "## Against the source",
        prose.PAIRED,
        tables.against_source(result).markdown(),
        markdown_cell(prose.describe_significance(result)),
        "## Which runtime is fastest with int8",
        tables.runtimes(result).markdown(),
        *_subgroups(result),
        "## Further figures",
        tables.further_metrics(result).markdown(),
        "## Speed in detail",
        tables.speed(result).markdown(),
        "## Models",
        tables.models(result).markdown(),
        f"Versions: {markdown_cell(prose.list_versions(result.environment))}.",
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts if part) + "\n"


def _recommendation(result: BenchmarkResult) -> str:
    advice = [f"- {markdown_cell(each)}" for each in recommend(result)]
    return "\n".join([*advice, "", prose.describe_validity(result)])


def _caution(result: BenchmarkResult) -> str:
    text = prose.warn_of_other_data(result)
    return f"**{markdown_cell(text)}**" if text else ""


def _failures(result: BenchmarkResult) -> list[str]:
    failed = tables.failures(result.rows)
    if not failed:
        return []
    lines = [f"- {markdown_cell(name)}: {markdown_cell(error)}" for name, error in failed]
    return ["## What failed", "\n".join(lines)]


def _subgroups(result: BenchmarkResult) -> list[str]:
    row = best(result)
    if row is None or not quality_of(row).subgroups:
        return []
    return [
        "## Subgroups",
        f"{markdown_cell(name_of(row))}, the file to take where nothing is limited. "
        f"{prose.describe_subgroups(result)}",
        tables.subgroups(row).markdown(),
    ]
