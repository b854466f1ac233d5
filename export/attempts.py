"""Attempts at one exported file: which ones are made, and which one is kept."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from export.jobs import StepError
from fracture_edge.console import say
from train.export_record import ExportEntry

#: How many of the most sensitive layers stay in float, try after try, when an int8 ONNX file fails the gate.
FLOAT_LAYER_COUNTS = (1, 2, 4, 8, 16)
#: Calibrations of int8 ONNX that are made in any case, to keep the one nearest to the Keras model.
MIN_CALIBRATIONS = 2


class Attempts:
    """Attempts at one file. Makes them one by one and keeps the best so far beside the final path.

    Attributes:
        path: Path that each attempt is written to.
        entries: Entries of the attempts that made a file, in order.
        failures: Errors of the others, in order.
    """

    def __init__(self, path: Path, make: Callable[[str, Sequence[str]], ExportEntry]) -> None:
        """Begin without an attempt.

        Args:
            path: Path of the file.
            make: Writes `path` by a method of calibration, with the named layers in float32, and describes it;
                raises StepError where it cannot.
        """
        self.path, self._make = path, make
        self._kept = path.with_suffix(".best")
        self.entries: list[ExportEntry] = []
        self.failures: list[StepError] = []

    @property
    def best(self) -> ExportEntry:
        """Entry of the best attempt: one that the gate accepts, and of these the nearest to the Keras model."""
        return max(self.entries, key=_rank)

    @property
    def passed(self) -> bool:
        """Whether the gate accepts any attempt."""
        return any(not entry.broken for entry in self.entries)

    @property
    def best_file(self) -> Path:
        """Path of the best attempt's file, until `finish`."""
        return self._kept

    def make(self, method: str, float_layers: Sequence[str] = ()) -> None:
        """Make one more attempt; an error counts as a failure and stops nothing."""
        count = len(float_layers)
        what = f"{count} layer{'s' * (count > 1)} in float32" if count else f"calibration {method}"
        say(f"{self.path.name}: {what}")
        try:
            entry = self._make(method, float_layers)
        except StepError as error:
            # The histograms of a calibration cannot be made of every network: activations may be constant.
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
            Entry of the best attempt, with the peak memory of all of them: only the first attempt with a
            calibration goes through the images, the next ones know the ranges.

        Raises:
            StepError: There is no file; the first error.
        """
        if not self.entries:
            raise self.failures[0]
        self._kept.replace(self.path)
        peak = max(entry.peak_memory_mb.conversion for entry in self.entries)
        return replace(self.best, peak_memory_mb=replace(self.best.peak_memory_mb, conversion=peak))


def attempt_int8_onnx(
    attempts: Attempts, methods: Sequence[str], sensitive: Callable[[Path], Sequence[str]]
) -> None:
    """Try calibrations, and layers in float32 if the gate refuses all of them.

    Which calibration suits a network cannot be told beforehand: at least `MIN_CALIBRATIONS` are made, further ones
    only while none passes.

    Args:
        attempts: Attempts to add to.
        methods: Methods of calibration, in this order.
        sensitive: Names the layers of an int8 file, the one that quantisation disturbs most first.
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
