"""The attempts at one file, and the one that is kept."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from export.jobs import StepError, run_step
from export.manifest import REJECTED, drop_entry, gzip_bytes, put, stale, summary
from export.metadata import model_info
from export.options import ExportOptions, Outcome
from export.recipes import Recipe
from fracture_edge._version import __version__, installed
from fracture_edge.console import say
from train.artifacts import read_manifest, sha256

#: How many of the most sensitive layers stay in float, try after try, when an int8 ONNX file fails the gate.
FLOAT_LAYERS = (1, 2, 4, 8, 16)
#: Calibrations of int8 ONNX that are made in any case, to keep the one nearest to the Keras model.
ALWAYS_TRIED = 2
_TOOLS = ("onnx", "onnxruntime", "tf2onnx", "ai-edge-litert", "keras", "tensorflow", "numpy", "pillow")


class _Export:
    """One run over the formats of one model."""

    def __init__(
        self,
        folder: Path,
        work: Path,
        stem: str,
        record: dict[str, Any],
        prepared: dict[str, Any],
        options: ExportOptions,
    ) -> None:
        self.folder, self.work, self.stem = folder, work, stem
        self.record, self.prepared, self.options = record, prepared, options
        self.versions = {"fracture-edge": __version__, **installed(*_TOOLS)}
        self._onnx_failure: str | None = None
        self._has_onnx = False
        self._typicality: dict[str, float] = {}

    def produce(self, recipe: Recipe) -> Outcome:
        """Make one file, judge it, and put it where it belongs."""
        started = time.monotonic()
        target = self.folder / recipe.file_name(self.stem)
        temporary = self.work / target.name
        say(f"{target.name}: converting")
        try:
            entry, broken = self._best(recipe, temporary)
        except StepError as error:
            say(f"{target.name}: FAILED, {error}")
            return Outcome(target.name, None, str(error))
        entry["seconds"] = round(time.monotonic() - started, 1)
        entry["created"] = datetime.now(UTC).isoformat(timespec="seconds")
        if broken:
            self._drop_stale(target.name)
            target = self.folder / REJECTED / target.name
        put(self.folder, target.relative_to(self.folder).as_posix(), temporary, entry)
        if not broken:
            drop_entry(self.folder, f"{REJECTED}/{target.name}")
        say(summary(target.name, entry))
        if broken:
            say(f"{target.name}: REJECTED, {'; '.join(broken)}; it lies in {target.parent}")
        return Outcome(target.name, target, "; ".join(broken))

    def _drop_stale(self, file: str) -> None:
        """Remove a file of an earlier training, or of unknown origin: it would pass for the one just refused."""
        before = read_manifest(self.folder)["files"].get(file)
        if before and not stale(self.folder, file, before):
            return
        if before or (self.folder / file).exists():
            drop_entry(self.folder, file)
            say(f"{file}: the file that lay there is removed, it is not one of this training")

    def _best(self, recipe: Recipe, path: Path) -> tuple[dict[str, Any], list[str]]:
        """Convert and judge; int8 ONNX by two calibrations at least, and with layers in float if none passes."""
        if recipe.runtime != "onnx" or not recipe.calibrated:
            return self._attempt(recipe, path, "minmax")
        tried: list[tuple[dict[str, Any], list[str]]] = []
        failures: list[StepError] = []
        kept = path.with_suffix(".best")

        def attempt(method: str, keep_float: Sequence[str] = ()) -> None:
            layers_kept = "1 layer" if len(keep_float) == 1 else f"{len(keep_float)} layers"
            how = f"{layers_kept} in float32" if keep_float else f"calibration {method}"
            say(f"{path.name}: {how}")
            try:
                entry, broken = self._attempt(recipe, path, method, keep_float)
            except StepError as error:
                # The histograms of a calibration cannot be made of every network: activations may be constant.
                say(f"{path.name}: {error}")
                failures.append(error)
                return
            figures = entry["gate"]
            say(
                f"{path.name}: mean difference {figures['mean_difference']:.4f}, same decision "
                f"{figures['same_decision']:.3f}{''.join(f'; {bound}' for bound in broken)}"
            )
            tried.append((entry, broken))
            if max(tried, key=_rank)[0] is entry:
                path.replace(kept)

        def passed() -> bool:
            return any(not broken for _, broken in tried)

        # Which calibration suits a network cannot be told beforehand: the nearest of the first two is kept, and
        # a further one is only made when neither passes.
        for count, method in enumerate(self.options.methods):
            if count < ALWAYS_TRIED or not passed():
                attempt(method)
        if not tried:
            raise failures[0]
        if not passed():
            best = max(tried, key=_rank)[0]["calibration"]["method"]
            nodes = run_step("sensitive", {"work": str(self.work), "file": str(kept)})["nodes"]
            for layers in (count for count in FLOAT_LAYERS if count <= len(nodes)):
                if not passed():
                    attempt(best, nodes[:layers])
        kept.replace(path)
        entry, broken = max(tried, key=_rank)
        # Only the first attempt with a calibration goes through the images; the next ones know the ranges.
        memory = entry["peak_memory_mb"]
        memory["conversion"] = max(other["peak_memory_mb"]["conversion"] for other, _ in tried)
        return entry, broken

    def _attempt(
        self, recipe: Recipe, path: Path, method: str, keep_float: Sequence[str] = ()
    ) -> tuple[dict[str, Any], list[str]]:
        heatmap = self.options.heatmap and not (recipe.runtime == "tflite" and recipe.precision == "int8")
        if recipe.runtime == "onnx":
            self._need_float32_onnx()
        info = model_info(
            self.record,
            name=path.stem,
            precision=recipe.precision,
            versions=self.versions,
            licence=self.options.licence,
            typicality=self._typicality if recipe.runtime == "onnx" else {},
        )
        converted = run_step(
            "convert",
            {
                "work": str(self.work),
                "recipe": recipe.name,
                "target": str(path),
                "info": info.to_json(),
                "heatmap": heatmap,
                "method": method,
                "keep_float": list(keep_float),
                "epochs": self.options.tune_epochs,
                "seed": self.options.seed,
            },
        )
        figures = run_step(
            "judge",
            {
                "work": str(self.work),
                "recipe": recipe.name,
                "file": str(path),
                "labels": self.prepared["labels"],
                "groups": self.prepared["groups"],
                "threshold": self.record["threshold"],
            },
        )
        budget = "compressed" if self.options.compression or recipe.retrained else recipe.precision
        broken = self.options.budgets[budget].broken(figures)
        judge_memory = figures.pop("peak_memory_mb")
        entry: dict[str, Any] = {
            "recipe": recipe.name,
            "precision": recipe.precision,
            "source_sha256": sha256(self.folder / "model.keras"),
            "sha256": sha256(path),
            "bytes": path.stat().st_size,
            "gzip_bytes": gzip_bytes(path),
            "heatmap": heatmap,
            **{name: converted[name] for name in ("opset", "operators") if name in converted},
            "peak_memory_mb": {"conversion": converted["peak_memory_mb"], "gate": judge_memory},
            "gate": figures,
            "budget": budget,
            "broken": broken,
            "versions": self.versions,
        }
        if self.options.compression:
            entry["compression"] = dict(self.options.compression)
        if recipe.retrained:
            entry["retrained"] = {"epochs": self.options.tune_epochs, "seed": self.options.seed}
        if recipe.calibrated:
            entry["calibration"] = self.prepared["calibration"] | {"method": method}
        if keep_float:
            entry["float_layers"] = list(keep_float)
        return entry, broken

    def _need_float32_onnx(self) -> None:
        """All ONNX files are made of the float32 one, once; its failure is that of all of them."""
        if self._onnx_failure:
            raise StepError(self._onnx_failure)
        if self._has_onnx:
            return
        try:
            made = run_step(
                "to_float32_onnx",
                {
                    "work": str(self.work),
                    "architecture": self.record["model"],
                    "heatmap": self.options.heatmap,
                },
            )
        except StepError as error:
            self._onnx_failure = str(error)
            raise
        self._typicality = made["typicality"]
        self._has_onnx = True


def _rank(attempt: tuple[dict[str, Any], list[str]]) -> tuple[bool, float]:
    """Files that pass before those that do not; among these, the nearer to the Keras model the better."""
    entry, broken = attempt
    return not broken, -entry["gate"]["mean_difference"]
