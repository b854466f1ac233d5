"""Which int8 ONNX file is kept: of two calibrations, a third, or with layers in float32; one may fail."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from export.attempts import Attempts, attempt_int8_onnx
from export.jobs import StepError
from export.recipes import METHODS
from train.export_record import CalibrationImages, ExportEntry, PeakMemory

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
    make_export_entry: Callable[..., ExportEntry],
    capsys: pytest.CaptureFixture[str],
) -> None:
    pretended = Pretended(tmp_path / "edge-int8.onnx", differences, make_export_entry)
    entry = pretended.best()
    assert pretended.tried == tried
    assert pretended.path.read_text() == kept
    difference = differences[kept]
    assert difference is not None
    assert entry.gate.mean_difference == difference
    assert entry.broken == ([] if difference < BOUND else ["too far"])
    told = capsys.readouterr().err.splitlines()
    first = differences["minmax"]
    assert told[0] == "edge-int8.onnx: calibration minmax"
    if first is None:
        assert told[1] == "edge-int8.onnx: no minmax"
        return
    assert told[1] == f"edge-int8.onnx: mean difference {first:.4f}, same decision 0.980" + "; too far" * (
        first > BOUND
    )
    assert entry.peak_memory_mb.conversion == 899


def test_where_none_can_be_made_the_first_error_is_told(
    tmp_path: Path, make_export_entry: Callable[..., ExportEntry]
) -> None:
    pretended = Pretended(
        tmp_path / "edge-int8.onnx", {"minmax": None, "percentile": None, "entropy": None}, make_export_entry
    )
    with pytest.raises(StepError, match="no minmax"):
        pretended.best()
    # Without a file there are no layers to keep in float32.
    assert pretended.tried == ["minmax", "percentile", "entropy"]


class Pretended:
    """Attempts that make files of given differences from Keras, or fail for ``None``.

    Attributes:
        tried: What was tried, in order.
    """

    def __init__(
        self, path: Path, differences: dict[str, float | None], make_entry: Callable[..., ExportEntry]
    ) -> None:
        self.tried: list[str] = []
        self.path, self._differences, self._make_entry = path, differences, make_entry

    def best(self) -> ExportEntry:
        attempts = Attempts(self.path, self._make)
        attempt_int8_onnx(attempts, METHODS, lambda file: list("abcde"))
        return attempts.finish()

    def _make(self, method: str, float_layers: Sequence[str]) -> ExportEntry:
        what = f"{method} {len(float_layers)}" if float_layers else method
        self.tried.append(what)
        difference = self._differences[what]
        if difference is None:
            raise StepError(f"no {what}")
        self.path.write_text(what)
        entry = self._make_entry()
        return replace(
            entry,
            gate=replace(entry.gate, mean_difference=difference, same_decision=0.98),
            calibration=CalibrationImages(256, 0, "", method),
            # The first goes through the images.
            peak_memory_mb=PeakMemory(900 - len(self.tried), 0),
            broken=["too far"] if difference > BOUND else [],
        )
