import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.records.result import result_of
from benchmarks.report.html import html
from benchmarks.report.markdown import markdown
from benchmarks.report.predictions import Predictions
from benchmarks.run_files import write_report
from fracture_edge.errors import FractureEdgeError

Run = tuple[dict[str, Any], Predictions]
_VOID = {"meta", "br", "hr", "img", "link", "input"}


class _Page(HTMLParser):
    """Parser that checks that every element is closed, and collects ids, references and texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.elements.append((tag, values))
        self.ids += [values["id"] or ""] if "id" in values else []
        for name, value in attrs:
            self.references += re.findall(r"url\(#([^)]+)\)", value or "")
            if name in ("href", "src", "aria-labelledby"):
                self.references += [(value or "").removeprefix("#")]
        if tag not in _VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.stack[-1], data.strip()))


@pytest.fixture(scope="session")
def page(made: Run) -> str:
    return html(result_of(made[0]), made[1])


@pytest.fixture(scope="session")
def parsed(page: str) -> _Page:
    return _Page(page)


def test_the_page_loads_nothing_external(page: str, parsed: _Page) -> None:
    assert "http" not in page
    assert "//" not in re.sub(r"</?\w[^>]*>", "", page.split("<style>")[1].split("</style>", maxsplit=1)[0])
    assert "@import" not in page
    assert not {"link", "img", "iframe", "object", "base", "form"} & {tag for tag, _ in parsed.elements}
    assert [attributes for tag, attributes in parsed.elements if tag == "script"] == [{}]


def test_ids_are_unique_and_references_lead_somewhere(parsed: _Page) -> None:
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert all(" " not in name for name in parsed.ids)
    assert set(parsed.references) <= set(parsed.ids)


def test_every_row_is_in_the_summary(made: Run, page: str) -> None:
    summary = page.split('<h2 id="summary">')[1].split("</table>", maxsplit=1)[0].replace("\n", "")
    for row in made[0]["rows"]:
        assert f'<th scope="row">{row["model"]}<small>{row["format"]}</small></th>' in summary
    assert '<tr class="failed"><th scope="row">vgg16<small>tflite float16</small></th>' in summary
    assert '<tr class="rejected"><th scope="row">edge<small>tflite int8</small></th>' in summary


def test_required_sections_and_notices(page: str, parsed: _Page) -> None:
    said = " ".join(text for _, text in parsed.texts)
    assert "Not a medical device" in said
    assert "Fractured is the positive class" in said
    headings = [text for tag, text in parsed.texts if tag == "h2"]
    assert headings == [
        "Recommendation",
        "All models and formats",
        "Size, latency, AUROC",
        "ROC curves",
        "Reliability",
        "Confusion matrices",
        "Subgroups",
        "Against the source",
        "Which runtime is fastest with int8",
        "Speed in detail",
        "Training",
        "Environment",
    ]
    assert "prefers-color-scheme: dark" in page
    assert "version &#39;6&#39; | &lt;truncated&gt;" in page


def test_plots_have_a_title_and_only_css_colours(page: str, parsed: _Page) -> None:
    # Trade-off; ROC of the models and of four with several formats; reliability and subgroups of five; training.
    plots = [attributes for tag, attributes in parsed.elements if tag == "svg"]
    assert len(plots) == 1 + 5 + 5 + 5 + 4
    for attributes in plots:
        assert attributes["role"] == "img"
        assert attributes["aria-labelledby"] in parsed.ids
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        assert not re.findall(r"#[0-9a-f]{6}\b", drawing)
        assert "font-family" not in drawing
        assert "<text" in drawing
        assert "<metadata" not in drawing
    assert "edge, onnx int8: AUROC 0.959" in page
    assert all(attributes["scope"] in ("row", "col") for tag, attributes in parsed.elements if tag == "th")


def test_confusion_matrices_match_the_rows(made: Run, page: str) -> None:
    counts = next(row for row in made[0]["rows"] if row["id"] == "edge/onnx int8")["quality"]["confusion"]
    edge = page.split("<summary>edge</summary>")[1].split("</details>", maxsplit=1)[0]
    matrix = next(part for part in edge.split("</table>") if "<caption>onnx int8</caption>" in part)
    assert [int(number) for number in re.findall(r">(\d+)</td>", matrix)] == [
        counts["true_positive"],
        counts["false_negative"],
        counts["false_positive"],
        counts["true_negative"],
    ]
    assert "<caption>tflite int8 (rejected)</caption>" in edge


def test_equal_input_gives_equal_bytes(made: Run, page: str) -> None:
    assert html(result_of(made[0]), made[1]) == page


def _only(model: str, run: Run) -> Run:
    result, predictions = run
    result["models"] = {model: result["models"][model]}
    result["rows"] = [row for row in result["rows"] if row["model"] == model]
    return result, predictions


def test_hostile_names_are_escaped(run: Run) -> None:
    result, predictions = _only("edge", run)
    name = "<script>alert('1')</script>\" onload=\"x $\\frac{$ &amp;"
    result["models"] = {name: result["models"]["edge"]}
    columns = {}
    for row in result["rows"]:
        columns[f"{name}/{row['format']}"] = predictions.columns[row["id"]]
        row["model"], row["id"] = name, f"{name}/{row['format']}"
    result["environment"]["cpu"] = "<b>cpu</b>"
    page = html(
        result_of(result),
        Predictions(predictions.paths, predictions.labels, predictions.groups, columns),
    )
    parsed = _Page(page)
    assert page.count("<script") == 1
    assert "<b>cpu" not in page
    assert not any("onload" in attributes for _, attributes in parsed.elements)
    assert ("summary", name) in parsed.texts


def test_a_run_of_one_file_without_speed(run: Run) -> None:
    result, predictions = _only("embedded", run)
    result["rows"][0] |= {"speed": None, "first_answer_ms": None, "speed_error": "no worker"}
    result["rows"][0]["quality"]["subgroups"] = []
    result["trivial_baseline"] = result["harness"] = None
    page = html(result_of(result), predictions)
    _Page(page)
    assert "For a device" in page
    assert "embedded/onnx int8</strong>: speed not measured: no worker" in page


def test_a_run_in_which_everything_failed(run: Run) -> None:
    result, predictions = run
    for row in result["rows"]:
        row.update(dict.fromkeys(("quality", "against_source", "speed", "first_answer_ms", "peak_memory_mb")))
        row["error"] = "OSError: gone"
    page = html(result_of(result), Predictions(predictions.paths, predictions.labels, predictions.groups, {}))
    _Page(page)
    assert page.count("</strong>: OSError: gone") == len(result["rows"])


def test_probabilities_of_another_run_are_refused(run: Run) -> None:
    result, predictions = run
    del predictions.columns["edge/onnx int8"]
    with pytest.raises(FractureEdgeError, match="no probabilities of edge/onnx int8 in the CSV"):
        html(result_of(result), predictions)


def test_markdown_and_html_are_written(run: Run, written: Callable[[str, Run], Path]) -> None:
    result, predictions = _only("edge", run)
    path = written("run", run)
    files = path.with_suffix(".md"), path.with_suffix(".html")
    write_report(result_of(result), path.with_suffix(".csv"), *files)
    assert files[0].read_text(encoding="utf-8") == markdown(result_of(result))
    # The CSV holds the 6 decimals that the probabilities were rounded to.
    assert files[1].read_text(encoding="utf-8") == html(result_of(result), predictions)
    with pytest.raises(FractureEdgeError, match="exists already"):
        write_report(result_of(result), path.with_suffix(".csv"), *files)


def test_missing_probabilities_are_refused(run: Run, written: Callable[[str, Run], Path]) -> None:
    result, predictions = run
    predictions.columns["edge/onnx int8"][3] = np.nan
    path = written("run", run)
    text = path.with_suffix(".csv").read_text(encoding="utf-8").replace(",nan,", ",,")
    path.with_suffix(".csv").write_text(text, encoding="utf-8")
    with pytest.raises(FractureEdgeError, match="no probabilities of edge/onnx int8"):
        write_report(
            result_of(result),
            path.with_suffix(".csv"),
            path.with_suffix(".md"),
            path.with_suffix(".html"),
        )
    assert not path.with_suffix(".md").exists()
