"""Reports of a benchmark run, made from its JSON and CSV alone: Markdown, a page, and what changed between two."""

from pathlib import Path
from typing import Any

from benchmarks.report.changes import changes
from benchmarks.report.html import html
from benchmarks.report.markdown import markdown, summary_table
from benchmarks.report.predictions import read_predictions
from fracture_edge.files import atomic_write_text, refuse_overwrite

__all__ = ["changes", "markdown", "summary_table", "write_report"]


def write_report(
    result: dict[str, Any], csv_path: Path, markdown_path: Path, html_path: Path, *, force: bool = False
) -> None:
    """Write both forms of the report.

    Args:
        result: What ``RUN.json`` holds.
        csv_path: ``RUN.csv``, the probabilities of every image.
        markdown_path: Where the Markdown goes.
        html_path: Where the page goes.
        force: Whether existing files may be replaced.

    Raises:
        FractureEdgeError: The result is of another schema, the CSV of another run, or a file exists.
    """
    if not force:
        refuse_overwrite(markdown_path)
        refuse_overwrite(html_path)
    page = html(result, read_predictions(csv_path))
    atomic_write_text(markdown_path, markdown(result), force=force)
    atomic_write_text(html_path, page, force=force)
