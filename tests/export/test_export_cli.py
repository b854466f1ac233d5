"""What the command line makes of it: selection, exit status, stdout and stderr. Converters run in test_export."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import export.run
import export.verify
from export.options import ExportOptions, Outcome
from export.recipes import LADDER
from fracture_edge.errors import FractureEdgeError
from train.export_record import Compression, ExportEntry

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Calls of `export_model`; a model called ``broken`` has one file rejected, one called ``lost`` raises."""
    calls: list[Any] = []

    def export_model(name: str, recipes: Any, *, artifacts: Path, options: ExportOptions) -> list[Outcome]:
        calls.append((name, [recipe.name for recipe in recipes], options))
        if name == "lost":
            raise FractureEdgeError("lost: no trained model here")
        outcomes = [Outcome(f"{name}-{recipe.ending}", Path(name) / recipe.ending) for recipe in recipes]
        if name == "broken":
            outcomes[-1] = Outcome(outcomes[-1].file, None, "same_decision 0.9, bound 0.97")
        return outcomes

    monkeypatch.setattr(export.run, "export_model", export_model)
    return calls


def _model(artifacts: Path, name: str) -> None:
    (artifacts / name).mkdir(parents=True)
    (artifacts / name / "model.keras").write_bytes(b"")


def test_int8_of_all_that_are_trained(cli: Cli, asked: list[Any], tmp_path: Path) -> None:
    for name in ("vgg16", "edge", ".edge.unfinished"):
        _model(tmp_path, name)
    code, out, err = cli("export", "--int8", "--artifacts", tmp_path)
    assert code == 0
    assert [(name, recipes) for name, recipes, _ in asked] == [
        (name, ["onnx_int8_static_x86", "tflite_int8", "tflite_int8_full"]) for name in ("edge", "vgg16")
    ]
    assert out.splitlines()[0] == "edge/int8.onnx"
    assert len(out.splitlines()) == 6
    assert list(asked[0][2].ladder) == list(LADDER)
    assert err.splitlines()[-1] == "next: fracture-edge benchmark edge -o results.json"


def test_some_rejected_is_3_and_the_table_says_which(cli: Cli, asked: list[Any]) -> None:
    code, out, err = cli("export", "broken", "--onnx", "--float32", "--float16")
    assert code == 3
    assert out == "broken/float32.onnx\n"
    assert err.splitlines() == [
        "broken-float32.onnx  written",
        "broken-float16.onnx  same_decision 0.9, bound 0.97",
        "next: fracture-edge benchmark broken -o results.json",
    ]


def test_the_table_has_the_figures_of_the_files(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, make_export_entry: Callable[..., ExportEntry]
) -> None:
    entry = make_export_entry(bytes=3_640_000, milliseconds=9.4)
    gate = replace(entry.gate, same_decision=0.9912, auroc_change=-0.00123)
    outcome = Outcome("edge-int8.onnx", Path("edge/edge-int8.onnx"), "", replace(entry, gate=gate))
    monkeypatch.setattr(export.run, "export_model", lambda *_, **__: [outcome])
    code, _, err = cli("export", "edge", "--int8", "--onnx")
    assert code == 0
    assert err.splitlines()[:2] == [
        "file              MB   same    AUROC   ms",
        "edge-int8.onnx  3.64  99.1%  -0.0012  9.4  written",
    ]


def test_all_rejected_is_1(cli: Cli, asked: list[Any]) -> None:
    code, out, _ = cli("export", "broken", "--recipe", "tflite_int8")
    assert (code, out) == (1, "")


def test_a_model_that_cannot_be_exported_stops_no_other(cli: Cli, asked: list[Any]) -> None:
    code, out, err = cli("export", "lost", "edge", "--recipe", "onnx_float32")
    assert (code, out) == (3, "edge/float32.onnx\n")
    assert err.startswith("fracture-edge: lost: no trained model here\n")
    assert cli("export", "lost")[0] == 1


def test_options_reach_the_export(cli: Cli, asked: list[Any], tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("[int8]\nsame_decision = 0.5\n")
    code, *_ = cli(
        *("export", "edge", "--recipe", "onnx_int8_static_arm64", "--calibration", "percentile"),
        *("--calibration-images", 300, "--seed", 4, "--heatmap", "--force", "--budgets", mine),
        *("--factorise", 8, "--prune", 0.8, "--cluster", 16, "--tune-epochs", 2, "--tune-rate", 1e-4),
    )
    assert code == 0
    options = asked[0][2]
    assert (options.calibration_images, options.seed) == (300, 4)
    # And what has no calibration of its own.
    assert {rung.calibration for rung in options.ladder if rung.runtime == "onnx"} == {"percentile", ""}
    assert (options.heatmap, options.force) == (True, True)
    assert options.budgets["int8"].same_decision == 0.5
    assert options.compression == Compression(
        rank=8, sparsity=0.8, clusters=16, epochs=2, seed=4, learning_rate=1e-4
    )
    assert (options.tune_epochs, options.tune_rate) == (2, 1e-4)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--calibration", "guess"], 2, "must be one of: auto, minmax, percentile, entropy"),
        (["--onnx", "--dynamic"], 2, "no format matches all of these options"),
        (["--target", "z80"], 1, "unknown target 'z80'; must be one of: x86, safe, arm64"),
        (["--recipe", "onnx_int4"], 1, "unknown format 'onnx_int4'"),
        (["--prune", "1.5"], 2, "--prune"),
    ],
)
def test_what_cannot_be_asked(cli: Cli, asked: list[Any], arguments: list[str], code: int, message: str) -> None:
    found, out, err = cli("export", "edge", *arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert asked == []


def test_nothing_trained(cli: Cli, asked: list[Any], tmp_path: Path) -> None:
    code, _, err = cli("export", "--artifacts", tmp_path)
    assert code == 1
    assert "no trained model here; `fracture-edge train` makes one" in err


def test_verify_says_what_does_not_hold(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    outcomes = [Outcome("a.onnx", tmp_path / "a.onnx"), Outcome("b.onnx", tmp_path / "b.onnx", "is missing")]
    monkeypatch.setattr(export.verify, "verify", lambda folder, *, data, budgets: outcomes)
    code, out, err = cli("export", "--verify", tmp_path)
    assert (code, out) == (3, f"{tmp_path}/a.onnx\n")
    assert err == "a.onnx  verified\nb.onnx  is missing\n"
