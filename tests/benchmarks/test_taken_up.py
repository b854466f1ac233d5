"""A run that is gone on with measures again what has changed, and nothing else."""

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.run import Run, _forget, _is_measured


@pytest.fixture
def run() -> Run:
    rows = [
        {"id": f"{model}/{kind}", "model": model, "sha256": f"{model} {kind} as it was"}
        for model in ("edge", "vgg16")
        for kind in ("keras float32", "onnx int8")
    ]
    line = {"path": "a.png", "label": "1"} | {row["id"]: "0.5" for row in rows}
    return Run({"models": {"edge": {}, "vgg16": {}}, "rows": rows}, [line])


def _subject(**sha256: str) -> Any:
    rows = [SimpleNamespace(id=f"edge/{kind.replace('_', ' ')}", sha256=value) for kind, value in sha256.items()]
    return SimpleNamespace(name="edge", rows=rows)


def test_files_as_they_were_are_not_measured_again(run: Run) -> None:
    both = {"keras_float32": "edge keras float32 as it was", "onnx_int8": "edge onnx int8 as it was"}
    assert _is_measured(_subject(**both), run)
    # A row that is not asked for this time, such as a rejected file, changes nothing.
    assert _is_measured(_subject(onnx_int8=both["onnx_int8"]), run)


def test_a_changed_or_a_new_file_is(run: Run) -> None:
    assert not _is_measured(_subject(onnx_int8="another"), run)
    assert not _is_measured(_subject(onnx_int8="edge onnx int8 as it was", tflite_int8="new"), run)
    assert not _is_measured(_subject(onnx_int8="x"), Run({"models": {}, "rows": []}, []))


def test_what_is_measured_again_is_forgotten_and_the_rest_stays(run: Run) -> None:
    _forget("edge", run)
    assert [row["id"] for row in run.result["rows"]] == ["vgg16/keras float32", "vgg16/onnx int8"]
    assert run.result["models"] == {"vgg16": {}}
    assert run.predictions == [
        {"path": "a.png", "label": "1", "vgg16/keras float32": "0.5", "vgg16/onnx int8": "0.5"}
    ]
    _forget("edge", run)
    assert len(run.result["rows"]) == 2
