"""Models that were trained on their validation images too (`train --final`)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from benchmarks.report import figures
from benchmarks.run import BenchmarkOptions, benchmark
from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import ModelInfo, embed_info

ROWS = [{"epoch": 1.0, "loss": 0.6, "auroc": 0.7, "val_loss": 0.5, "val_auroc": 0.8, "seconds": 3.0}]


@pytest.mark.parametrize(
    ("metrics", "refused"),
    [({"out_of_fold": {"folds": 5}}, True), ({"out_of_fold": {}, "validation": {}}, False), ({}, False)],
)
def test_they_are_not_judged_on_validation(
    metrics: dict[str, Any], refused: bool, write_graph: Callable[..., Path], tiny_info: ModelInfo, tmp_path: Path
) -> None:
    path = write_graph(tmp_path / "tiny.onnx")
    embed_info(path, replace(tiny_info, metrics=metrics), path)
    nowhere = BenchmarkOptions(data=tmp_path / "data", splits=tmp_path / "splits.csv", split="val")
    # What may be judged fails later, for want of data.
    message = (
        "tiny was trained on its validation images too: use --split test" if refused else "splits.csv|no such"
    )
    with pytest.raises(FractureEdgeError, match=message):
        benchmark([str(path)], nowhere)


@pytest.mark.parametrize(("validated", "labels"), [(True, ["training", "validation"]), (False, ["training"])])
def test_their_curves_are_of_training_alone(
    validated: bool, labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{name: value for name, value in row.items() if validated or "val_" not in name} for row in ROWS]
    drawn: list[Callable[[Figure], None]] = []
    monkeypatch.setattr(figures, "inline", lambda *arguments: drawn.append(arguments[3]) or "svg")
    details: Any = type("Details", (), {"history": rows, "training": None})
    assert figures.plot_training("name", "edge", details) == "svg"
    figure = Figure()
    drawn[0](figure)
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "AUROC"]
    assert [[line.get_label() for line in axes.get_lines()] for axes in figure.axes] == [labels] * 2
