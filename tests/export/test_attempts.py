"""Which int8 ONNX file is kept: of two calibrations, a third, or with layers in float32."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from export import run
from export.recipes import RECIPES
from export.run import ExportOptions, _Export

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
    ],
)
def test_which_is_kept(
    differences: dict[str, float],
    tried: list[str],
    kept: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    attempts: list[str] = []

    def attempt(
        _: Any, __: Any, path: Path, method: str, keep_float: Sequence[str] = ()
    ) -> tuple[dict[str, Any], list[str]]:
        what = f"{method} {len(keep_float)}" if keep_float else method
        attempts.append(what)
        path.write_text(what)
        entry = {
            "gate": {"mean_difference": differences[what], "same_decision": 0.98},
            "calibration": {"method": method},
            # The first goes through the images.
            "peak_memory_mb": {"conversion": 900 - len(attempts)},
        }
        return entry, ["too far"] if differences[what] > BOUND else []

    monkeypatch.setattr(_Export, "_attempt", attempt)
    monkeypatch.setattr(run, "run_step", lambda *_: {"nodes": list("abcde")})
    export = object.__new__(_Export)
    export.work, export.options = tmp_path, ExportOptions(budgets={})
    path = tmp_path / "edge-int8.onnx"
    entry, broken = export._best(RECIPES["onnx_int8_static_x86"], path)
    assert attempts == tried
    assert path.read_text() == kept
    assert entry["gate"]["mean_difference"] == differences[kept]
    assert broken == ([] if differences[kept] < BOUND else ["too far"])
    assert entry["peak_memory_mb"]["conversion"] == 899
    told = capsys.readouterr().err.splitlines()
    assert told[:2] == [
        "edge-int8.onnx: calibration minmax",
        f"edge-int8.onnx: mean difference {differences['minmax']:.4f}, same decision 0.980"
        + "; too far" * (differences["minmax"] > BOUND),
    ]
