"""Which int8 file is kept: of two calibrations, a third, or with layers in float32; one may fail."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from export.attempts import Attempts, climb
from export.jobs import StepError
from export.recipes import LADDER, Rung
from train.export_record import CalibrationImages, ExportEntry, Fidelity, PeakMemory

BOUND = 0.015
ONNX = [rung for rung in LADDER if rung.runtime == "onnx"]
#: Layers of the pretended file, the most sensitive first, each with the layer before it.
LAYERS = [["a", "z"], ["b", "a"], ["c"], ["d"], ["e"]]


@pytest.mark.parametrize(
    ("differences", "tried", "kept"),
    [
        # Both pass: the nearer one.
        ({"minmax": 0.012, "percentile": 0.010}, ["minmax", "percentile"], "percentile"),
        ({"minmax": 0.010, "percentile": 0.012}, ["minmax", "percentile"], "minmax"),
        # One that passes is enough.
        ({"minmax": 0.020, "percentile": 0.010}, ["minmax", "percentile"], "percentile"),
        ({"minmax": 0.010, "percentile": 0.020}, ["minmax", "percentile"], "minmax"),
        # A dynamic Dense layer, with the nearer calibration.
        (
            {"minmax": 0.020, "percentile": 0.030, "dynamic minmax": 0.014},
            ["minmax", "percentile", "dynamic minmax"],
            "dynamic minmax",
        ),
        # The third calibration, where there is no large Dense layer.
        (
            {"minmax": 0.020, "percentile": 0.030, "dynamic minmax": None, "entropy": 0.014},
            ["minmax", "percentile", "dynamic minmax", "entropy"],
            "entropy",
        ),
        # Layers in float32, with what was nearest, until it passes.
        (
            {
                **{"minmax": 0.030, "percentile": 0.020, "dynamic percentile": None, "entropy": 0.030},
                **{"percentile az": 0.018, "percentile azb": 0.014},
            },
            ["minmax", "percentile", "dynamic percentile", "entropy", "percentile az", "percentile azb"],
            "percentile azb",
        ),
        (
            {
                **{"minmax": 0.030, "percentile": 0.020, "dynamic percentile": 0.018, "entropy": 0.030},
                "dynamic percentile az": 0.010,
            },
            ["minmax", "percentile", "dynamic percentile", "entropy", "dynamic percentile az"],
            "dynamic percentile az",
        ),
        # Nothing passes: the nearest of all.
        (
            {
                **{"minmax": 0.019, "percentile": 0.020, "dynamic minmax": None, "entropy": 0.030},
                **{"minmax az": 0.017, "minmax azb": 0.018, "minmax azbcd": 0.020},
            },
            [
                *("minmax", "percentile", "dynamic minmax", "entropy"),
                *("minmax az", "minmax azb", "minmax azbcd"),
            ],
            "minmax az",
        ),
        # A calibration that cannot be made counts for nothing.
        ({"minmax": 0.010, "percentile": None}, ["minmax", "percentile"], "minmax"),
        ({"minmax": None, "percentile": 0.010}, ["minmax", "percentile"], "percentile"),
        ({"minmax": None, "percentile": None, "entropy": 0.010}, ["minmax", "percentile", "entropy"], "entropy"),
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
    assert told[0] == "edge-int8.onnx: minmax"
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


def test_layers_that_cannot_be_told_leave_the_attempts_before(
    tmp_path: Path, make_export_entry: Callable[..., ExportEntry], capsys: pytest.CaptureFixture[str]
) -> None:
    def sensitive(rung: Rung) -> Sequence[Sequence[str]]:
        raise StepError("sensitive was killed by SIGKILL: out of memory?")

    refused = {"minmax": 0.030, "percentile": 0.020, "dynamic percentile": None, "entropy": 0.030}
    pretended = Pretended(tmp_path / "edge-int8.onnx", refused, make_export_entry, sensitive=sensitive)
    entry = pretended.best()
    assert pretended.path.read_text() == "percentile"
    assert (entry.gate.mean_difference, entry.broken) == (0.020, ["too far"])
    told = [line for line in capsys.readouterr().err.splitlines() if "sensitive" in line]
    # Asked once, not for each of the rungs with layers in float32.
    assert told == ["edge-int8.onnx: sensitive was killed by SIGKILL: out of memory?"]


def test_the_nearest_is_told_by_many_images(tmp_path: Path, make_export_entry: Callable[..., ExportEntry]) -> None:
    path = tmp_path / "edge-int8.onnx"
    # On the validation images the second one seems nearer.
    few, many = {"minmax": 0.010, "percentile": 0.005}, {"minmax": 0.004, "percentile": 0.006}

    def make(rung: Rung, _: Sequence[str]) -> ExportEntry:
        path.write_text(rung.name)
        entry = make_export_entry()
        followed = Fidelity(
            images=1342,
            fractured=439,
            mean_difference=many[rung.name],
            same_decision=0.99,
            far_flips=0.0,
            net_flips=0.0,
            noise=0.05,
            auroc_change=0.0,
            sensitivity_change=0.0,
        )
        return replace(entry, gate=replace(entry.gate, mean_difference=few[rung.name]), fidelity=followed)

    attempts = Attempts(path, make)
    climb(attempts, ONNX, lambda rung: LAYERS)
    attempts.finish()
    assert path.read_text() == "minmax"


class Pretended:
    """Attempts that make files of given differences from Keras, or fail for ``None``.

    Attributes:
        tried: What was tried, in order.
    """

    def __init__(
        self,
        path: Path,
        differences: dict[str, float | None],
        make_entry: Callable[..., ExportEntry],
        *,
        sensitive: Callable[[Rung], Sequence[Sequence[str]]] = lambda rung: LAYERS,
    ) -> None:
        self.tried: list[str] = []
        self.path, self._differences, self._make_entry = path, differences, make_entry
        self._sensitive = sensitive

    def best(self) -> ExportEntry:
        attempts = Attempts(self.path, self._make)
        climb(attempts, ONNX, self._sensitive)
        return attempts.finish()

    def _make(self, rung: Rung, float_layers: Sequence[str]) -> ExportEntry:
        what = " ".join(filter(None, ["dynamic" * rung.dynamic_dense, rung.calibration, "".join(float_layers)]))
        self.tried.append(what)
        difference = self._differences[what]
        if difference is None:
            raise StepError(f"no {what}")
        self.path.write_text(what)
        entry = self._make_entry()
        return replace(
            entry,
            gate=replace(entry.gate, mean_difference=difference, same_decision=0.98),
            calibration=CalibrationImages(256, 0, "", rung.calibration),
            # The first goes through the images.
            peak_memory_mb=PeakMemory(900 - len(self.tried), 0),
            broken=["too far"] if difference > BOUND else [],
        )
