import io
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.speed import device_cost, startup
from fracture_edge.errors import FractureEdgeError


class Installed:
    def __init__(self, origin: str | None) -> None:
        self.origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.origin


@pytest.mark.parametrize("origin", [None, '{"url": "file:///x.whl", "archive_info": {}}', '{"dir_info": {}}'])
def test_a_wheel_is_accepted(origin: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "distribution", lambda name: Installed(origin))
    startup.refuse_editable()


def test_an_editable_installation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "distribution", lambda name: Installed('{"dir_info": {"editable": true}}'))
    with pytest.raises(FractureEdgeError, match="measure where a wheel is installed"):
        startup.refuse_editable()


def test_processes_start_without_our_python_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.fspath(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    ours = "sum(name in os.environ for name in ('PYTHONPATH', 'PYTHONDONTWRITEBYTECODE'))"
    startup.run_once([sys.executable, "-c", f"import os, sys; sys.exit({ours})"])
    with pytest.raises(subprocess.CalledProcessError):
        startup.run_once([sys.executable, "-c", "raise SystemExit(3)"])


def test_startup_times_the_complete_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[Any] = []

    def rounds(functions: dict[str, Any], inputs: list[Any], runs: int) -> dict[str, list[float]]:
        for call in functions.values():
            call(inputs[0])
        return {"yardstick": [0.1] * runs, "classify": [0.12] * runs}

    monkeypatch.setattr(startup, "run_once", lambda command: commands.append(tuple(command)))
    monkeypatch.setattr(startup, "rounds", rounds)
    found = startup.measure(tmp_path / "one.png", 4)
    yardstick, classify = commands
    assert yardstick[1:] == ("-c", "import numpy, PIL.Image, onnxruntime")
    assert (Path(classify[0]).name, classify[1:]) == ("fracture-edge", ("classify", str(tmp_path / "one.png")))
    assert asdict(found.classify) == pytest.approx({"p50": 120, "p90": 120, "p99": 120, "runs": 4})
    assert found.ratio.value == pytest.approx(1.2)


def test_generated_radiograph_is_the_same_every_time_and_compresses_like_one() -> None:
    picture = startup.radiograph(512, 400)
    assert (picture.shape, picture.dtype) == ((512, 400), np.uint8)
    assert np.array_equal(picture, startup.radiograph(512, 400))
    # Walls of the shaft, marrow, soft tissue.
    walls, marrow, tissue = picture[:, 245:255].mean(), picture[:, 190:210].mean(), picture[:, 20:60].mean()
    assert walls > marrow > tissue > 10
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=90)
    # Radiographs of quality 90 take 0.5 to 2 bits a pixel; a flat picture 0.1, white noise 5.
    assert 0.5 < 8 * len(buffer.getvalue()) / picture.size < 2


def test_large_jpeg_is_decoded_at_the_scale_that_the_classifier_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rounds(functions: dict[str, Any], inputs: list[Any], runs: int) -> dict[str, list[float]]:
        assert functions["file_to_decision"](inputs[0]).ok
        # Raises when libjpeg's scale is another one.
        functions["decode"](inputs[0])
        return {"decode": [0.02] * runs, "file_to_decision": [0.03] * runs}

    monkeypatch.setattr(device_cost, "rounds", rounds)
    path = tmp_path / "large.jpg"
    Image.fromarray(startup.radiograph(2880, 2304)).save(path, quality=90)
    found = device_cost.large_jpeg(path, 3.0, 5)
    assert found.ratio.value == pytest.approx(1.5)
    assert (found.stored, found.bytes) == ("2304x2880", path.stat().st_size)
    width, height = map(int, found.decoded.split("x"))
    assert (2304 / width, 2880 / height) in {(2, 2), (4, 4), (8, 8)}


def test_memory_of_one_and_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    peaks = iter([80.0, 82.0, 81.0])

    def fresh_process(*arguments: str) -> tuple[float, float | None]:
        asked.append(arguments)
        return 100.0, next(peaks)

    monkeypatch.setattr(device_cost, "PROCESSES", 3)
    monkeypatch.setattr(device_cost, "fresh_process", fresh_process)
    assert device_cost.peak_memory_mb(tmp_path / "a.png", tmp_path / "b.png") == 82.0
    assert set(asked) == {("classify", "--jsonl", "--jobs", "1", str(tmp_path / "a.png"), str(tmp_path / "b.png"))}


def _names(value: Any) -> Any:
    """Return the keys of JSON in order, without those below versions."""
    if isinstance(value, dict):
        return [(name, None if name == "versions" else _names(each)) for name, each in value.items()]
    return [_names(each) for each in value if isinstance(each, dict)] if isinstance(value, list) else None


def test_the_result_contains_no_path_of_this_machine(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "run_once", lambda command: None)
    monkeypatch.setattr("benchmarks.speed.latency.WARM_UP", 1)
    monkeypatch.setattr(device_cost, "PROCESSES", 1)
    monkeypatch.setattr(device_cost, "MANY", 3)
    result = device_cost.device_cost(tmp_path, starts=2, runs=2)
    plain = asdict(result)
    assert str(tmp_path) not in json.dumps(plain)
    committed = json.loads((repository / "benchmarks" / "results" / "device-cost.json").read_text())
    assert _names(json.loads(json.dumps(plain))) == _names(committed)
    assert result.startup.classify.runs == result.large_jpegs[0].decode.runs == 2
    # numpy, Pillow and onnxruntime alone need 50 MB; what a small device may have for it is 120 MB.
    assert all(50 < plain["peak_memory_mb"][name] < 120 for name in ("one", "large_jpeg", "many"))
    grainy, smooth = result.large_jpegs
    assert (grainy.grain, smooth.grain) == (3.0, 1.0)
    assert grainy.bytes > 1.5 * smooth.bytes
    assert min(grainy.ratio.value, smooth.ratio.value) > 0
