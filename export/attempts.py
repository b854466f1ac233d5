"""Make several attempts at one int8 file, along the ladder of ``recipes.toml``, and keep the best."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from export.jobs import StepError
from export.recipes import Rung
from fracture_edge.console import say
from train.export_record import ExportEntry


class Attempts:
    """Attempts at one file, made one by one; the best file so far is kept beside the final path.

    Attributes:
        path: Path that each attempt is written to.
        made: Rung and entry of each attempt that produced a file, in order.
        failures: Errors of the failed attempts, in order.
    """

    def __init__(self, path: Path, make: Callable[[Rung, Sequence[str]], ExportEntry]) -> None:
        """Start without attempts.

        Args:
            path: Path of the file.
            make: Function that takes a rung with its calibration and the names of the layers to keep in float32,
                writes `path` and returns its entry; raises StepError if it fails.
        """
        self.path, self._make = path, make
        self._kept = path.with_suffix(".best")
        self.made: list[tuple[Rung, ExportEntry]] = []
        self.failures: list[StepError] = []

    @property
    def best(self) -> tuple[Rung, ExportEntry]:
        """Best attempt: one that the gate accepts, if any, with the least mean difference."""
        return max(self.made, key=lambda attempt: _rank(attempt[1]))

    @property
    def passed(self) -> bool:
        """Whether the gate accepts at least one attempt."""
        return any(not entry.broken for _, entry in self.made)

    def make(self, rung: Rung, float_layers: Sequence[str] = ()) -> None:
        """Make one more attempt; a StepError is recorded as a failure and not raised.

        Args:
            rung: Rung with its calibration.
            float_layers: Names of the layers to keep in float32.
        """
        say(f"{self.path.name}: {rung.name}")
        try:
            entry = self._make(rung, float_layers)
        except StepError as error:
            # Histogram calibration does not work for every network: activations may be constant.
            say(f"{self.path.name}: {error}")
            self.failures.append(error)
            return
        difference, decisions = _closeness(entry)
        say(
            f"{self.path.name}: mean difference {difference:.4f}, same decision {decisions:.3f}"
            f"{''.join(f'; {bound}' for bound in entry.broken)}"
        )
        self.made.append((rung, entry))
        if self.best[1] is entry:
            self.path.replace(self._kept)

    def ask(self, sensitive: Callable[[Rung], Sequence[Sequence[str]]], rung: Rung) -> Sequence[Sequence[str]]:
        """Ask for the sensitive layers of the file of a rung; a StepError is recorded, and there are none."""
        try:
            return sensitive(rung)
        except StepError as error:
            say(f"{self.path.name}: {error}")
            self.failures.append(error)
            return ()

    def finish(self) -> ExportEntry:
        """Move the best attempt's file to its path.

        Returns:
            Entry of the best attempt, with the highest peak memory of all attempts: only the first attempt with a
            calibration method runs the images, the next ones reuse the ranges.

        Raises:
            StepError: No attempt produced a file; the error of the first attempt is raised.
        """
        if not self.made:
            raise self.failures[0]
        self._kept.replace(self.path)
        peak = max(entry.peak_memory_mb.conversion for _, entry in self.made)
        best = self.best[1]
        return replace(best, peak_memory_mb=replace(best.peak_memory_mb, conversion=peak))


def climb(
    attempts: Attempts, ladder: Sequence[Rung], sensitive: Callable[[Rung], Sequence[Sequence[str]]]
) -> None:
    """Try the rungs in order until the gate accepts a file; those that are always tried even then.

    Which way suits a network is not known in advance. A rung without a calibration of its own goes on from the
    best attempt so far.

    Args:
        attempts: Attempts to add to.
        ladder: Rungs for the runtime of the file.
        sensitive: Function that returns the layers of the file of a rung, most sensitive first, each as the names
            of the nodes that must stay float32 with it.
    """
    layers: Sequence[Sequence[str]] | None = None
    for rung in ladder:
        if attempts.passed and not rung.always:
            continue
        if not attempts.made and (rung.float_layers or not rung.calibration):
            continue
        best = attempts.best[0] if attempts.made else rung
        kept: list[str] = []
        if rung.float_layers:
            if layers is None:
                layers = attempts.ask(sensitive, best)
            if rung.float_layers > len(layers):
                continue
            kept = list(dict.fromkeys(name for names in layers[: rung.float_layers] for name in names))
        # Layers stay float32 in the best file so far.
        dynamic = best.dynamic_dense if rung.float_layers else rung.dynamic_dense
        calibration = rung.calibration or best.calibration
        attempts.make(replace(rung, calibration=calibration, dynamic_dense=dynamic), kept)


def _closeness(entry: ExportEntry) -> tuple[float, float]:
    """Return mean difference and share of equal decisions, on as many images as the gate has seen."""
    found = entry.fidelity or entry.gate
    return found.mean_difference, found.same_decision


def _rank(entry: ExportEntry) -> tuple[bool, float]:
    return not entry.broken, -_closeness(entry)[0]
