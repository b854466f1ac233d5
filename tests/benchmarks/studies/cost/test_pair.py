from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies.cost import pair as module
from benchmarks.studies.cost.pair import pair
from fracture_edge.modelfile import ModelInfo, embed_info
from fracture_edge.preprocess import Preprocessing
from train.json_records import to_plain


def test_ratio_is_the_median_of_the_rounds(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"first": [0.010] * 100, "second": [0.010] * 40 + [0.011] * 20 + [0.020] * 40}

    def rounds(functions: dict[str, Any], inputs: list[Any], runs: int) -> dict[str, list[float]]:
        # Both files are loaded and accept the input that their metadata describes.
        assert all(call(inputs[0]).shape == (1,) for call in functions.values())
        assert runs == 100
        return seconds

    monkeypatch.setattr(module, "rounds", rounds)
    found = pair(tiny_model, tiny_model, runs=100)
    # Ranks 40 and 59 of 100 bound the median: sqrt(100) * 0.98 on either side of the middle.
    assert to_plain(found.ratio) == pytest.approx({"value": 1.1, "low": 1.1, "high": 1.1})
    assert found.first.p50 == pytest.approx(10.0)
    assert found.second.p90 == pytest.approx(20.0)
    assert (found.first.file, found.second.runs) == (tiny_model.name, 100)


def test_files_of_different_sizes(
    tiny_model: Path, tiny_info: ModelInfo, write_graph: Callable[..., Path], tmp_path: Path
) -> None:
    small = write_graph(tmp_path / "small.onnx", side=32)
    embed_info(small, replace(tiny_info, preprocessing=Preprocessing(32, 32)), small)
    found = pair(tiny_model, small, runs=3)
    assert (found.first.file, found.second.file) == (tiny_model.name, "small.onnx")
    assert (found.first.runs, found.second.runs) == (3, 3)
