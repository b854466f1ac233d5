"""Which int8 ONNX file is kept: of two calibrations, a third, or with layers in float32; one may fail."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from export import run
from export.attempts import _Export
from export.jobs import StepError
from export.options import ExportOptions
from export.recipes import RECIPES

BOUND = 0.015


@pytest.mark.parametrize(
    ("differences", "tried", "kept"),
    [
        # Both pass: the nearer one.
        ({"minmax": 0.012, "percentile": 0.010}, ["minmax", "percentile"], "percentile"),
        ({"minmax": 0.010, "percentile": 0.012}, ["minmax", "percentile"], "minmax"),
        # One that passes is enough.
        ({"minmax": 0.020, "percentile": 0.010}, ["minmax", "percentile"], "percentile"),
        ({"minmax": 0.010, "percentile": 0.020}, ["minmax", "percentile"], "minmax"),
        # The third.
        (
            {"minmax": 0.020, "percentile": 0.030, "entropy": 0.014},
            ["minmax", "percentile", "entropy"],
            "entropy",
        ),
        # Layers in float32, with the nearest calibration, until it passes.
        (
            {"minmax": 0.030, "percentile": 0.020, "entropy": 0.030, "percentile 1": 0.018, "percentile 2": 0.014},
            ["minmax", "percentile", "entropy", "percentile 1", "percentile 2"],
            "percentile 2",
        ),
        # Nothing passes: the nearest of all.
        (
            {
                **{"minmax": 0.019, "percentile": 0.020, "entropy": 0.030},
                **{"minmax 1": 0.017, "minmax 2": 0.018, "minmax 4": 0.020},
            },
            ["minmax", "percentile", "entropy", "minmax 1", "minmax 2", "minmax 4"],
            "minmax 1",
        ),
        # A calibration that cannot be made counts for nothing.
        ({"minmax": 0.010, "percentile": None}, ["minmax", "percentile"], "minmax"),
        ({"minmax": None, "percentile": 0.010}, ["minmax", "percentile"], "percentile"),
        ({"minmax": None, "percentile": None, "entropy": 0.010}, ["minmax", "percentile", "entropy"], "entropy"),
        (
            {"minmax": 0.020, "percentile": None, "entropy": None, "minmax 1": None, "minmax 2": 0.010},
            ["minmax", "percentile", "entropy", "minmax 1", "minmax 2"],
            "minmax 2",
        ),
    ],
)
def test_which_is_kept(
    differences: dict[str, float | None],
    tried: list[str],
    kept: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    attempts = _pretend(differences, monkeypatch)
    export, path = _export(tmp_path)
    entry, broken = export._best(RECIPES["onnx_int8_static_x86"], path)
    assert attempts == tried
    assert path.read_text() == kept
    difference = differences[kept]
    assert difference is not None
    assert entry["gate"]["mean_difference"] == difference
    assert broken == ([] if difference < BOUND else ["too far"])
    told = capsys.readouterr().err.splitlines()
    first = differences["minmax"]
    assert told[0] == "edge-int8.onnx: calibration minmax"
    if first is None:
        assert told[1] == "edge-int8.onnx: no minmax"
        return
    assert told[1] == f"edge-int8.onnx: mean difference {first:.4f}, same decision 0.980" + "; too far" * (
        first > BOUND
    )
    assert entry["peak_memory_mb"]["conversion"] == 899


def test_where_none_can_be_made_the_first_error_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = _pretend({"minmax": None, "percentile": None, "entropy": None}, monkeypatch)
    export, path = _export(tmp_path)
    with pytest.raises(StepError, match="no minmax"):
        export._best(RECIPES["onnx_int8_static_x86"], path)
    # Without a file there are no layers to keep in float32.
    assert attempts == ["minmax", "percentile", "entropy"]


def _pretend(differences: dict[str, float | None], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Attempts make files of these differences from Keras, or fail for ``None``; lists what was tried."""
    attempts: list[str] = []

    def attempt(
        _: Any, __: Any, path: Path, method: str, keep_float: Sequence[str] = ()
    ) -> tuple[dict[str, Any], list[str]]:
        what = f"{method} {len(keep_float)}" if keep_float else method
        attempts.append(what)
        difference = differences[what]
        if difference is None:
            raise StepError(f"no {what}")
        path.write_text(what)
        entry = {
            "gate": {"mean_difference": difference, "same_decision": 0.98},
            "calibration": {"method": method},
            # The first goes through the images.
            "peak_memory_mb": {"conversion": 900 - len(attempts)},
        }
        return entry, ["too far"] if difference > BOUND else []

    monkeypatch.setattr(_Export, "_attempt", attempt)
    monkeypatch.setattr(run, "run_step", lambda *_: {"nodes": list("abcde")})
    return attempts


def _export(folder: Path) -> tuple[_Export, Path]:
    export = object.__new__(_Export)
    export.work, export.options = folder, ExportOptions(budgets={})
    return export, folder / "edge-int8.onnx"
