"""Make several attempts at one exported file and keep the best."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from export.jobs import StepError
from fracture_edge.console import say
from train.export_record import ExportEntry

#: Numbers of the most sensitive layers that stay in float32, in successive attempts, when an int8 ONNX file fails
#: the gate.
FLOAT_LAYER_COUNTS = (1, 2, 4, 8, 16)
#: Minimum number of calibration methods tried for int8 ONNX, to keep the file closest to the Keras model.
MIN_CALIBRATIONS = 2


class Attempts:
    """Attempts at one file, made one by one; the best file so far is kept beside the final path.

    Attributes:
        path: Path that each attempt is written to.
        entries: Entries of the attempts that produced a file, in order.
        failures: Errors of the failed attempts, in order.
    """

    def __init__(self, path: Path, make: Callable[[str, Sequence[str]], ExportEntry]) -> None:
        """Start without attempts.

        Args:
            path: Path of the file.
            make: Function that takes a calibration method and the names of the layers to keep in float32, writes
                `path` and returns its entry; raises StepError if it fails.
        """
        self.path, self._make = path, make
        self._kept = path.with_suffix(".best")
        self.entries: list[ExportEntry] = []
        self.failures: list[StepError] = []

    @property
    def best(self) -> ExportEntry:
        """Entry of the best attempt: one that the gate accepts, if any, with the least mean difference."""
        return max(self.entries, key=_rank)

    @property
    def passed(self) -> bool:
        """Whether the gate accepts at least one attempt."""
        return any(not entry.broken for entry in self.entries)

    @property
    def best_file(self) -> Path:
        """Path of the best attempt's file until `finish` is called."""
        return self._kept

    def make(self, method: str, float_layers: Sequence[str] = ()) -> None:
        """Make one more attempt; a StepError is recorded as a failure and not raised.

        Args:
            method: Calibration method.
            float_layers: Names of the layers to keep in float32.
        """
        count = len(float_layers)
        what = f"{count} layer{'s' * (count > 1)} in float32" if count else f"calibration {method}"
        say(f"{self.path.name}: {what}")
        try:
            entry = self._make(method, float_layers)
        except StepError as error:
            # Histogram calibration does not work for every network: activations may be constant.
            say(f"{self.path.name}: {error}")
            self.failures.append(error)
            return
        say(
            f"{self.path.name}: mean difference {entry.gate.mean_difference:.4f}, same decision "
            f"{entry.gate.same_decision:.3f}{''.join(f'; {bound}' for bound in entry.broken)}"
        )
        self.entries.append(entry)
        if self.best is entry:
            self.path.replace(self._kept)

    def finish(self) -> ExportEntry:
        """Move the best attempt's file to its path.

        Returns:
            Entry of the best attempt, with the highest peak memory of all attempts: only the first attempt with a
            calibration method runs the images, the next ones reuse the ranges.

        Raises:
            StepError: No attempt produced a file; the error of the first attempt is raised.
        """
        if not self.entries:
            raise self.failures[0]
        self._kept.replace(self.path)
        peak = max(entry.peak_memory_mb.conversion for entry in self.entries)
        return replace(self.best, peak_memory_mb=replace(self.best.peak_memory_mb, conversion=peak))


def attempt_int8_onnx(
    attempts: Attempts, methods: Sequence[str], sensitive: Callable[[Path], Sequence[str]]
) -> None:
    """Try calibration methods, then keep sensitive layers in float32 if the gate rejects all attempts.

    Which calibration method suits a network is not known in advance: at least `MIN_CALIBRATIONS` are tried,
    further ones only while no attempt passes.

    Args:
        attempts: Attempts to add to.
        methods: Calibration methods, in the order in which they are tried.
        sensitive: Function that returns the names of the layers of an int8 file, most sensitive first.
    """
    for count, method in enumerate(methods):
        if count < MIN_CALIBRATIONS or not attempts.passed:
            attempts.make(method)
    if not attempts.entries or attempts.passed:
        return
    calibration = attempts.best.calibration
    best = calibration.method if calibration else methods[0]
    layers = sensitive(attempts.best_file)
    for count in FLOAT_LAYER_COUNTS:
        if count <= len(layers) and not attempts.passed:
            attempts.make(best, layers[:count])


def _rank(entry: ExportEntry) -> tuple[bool, float]:
    return not entry.broken, -entry.gate.mean_difference
