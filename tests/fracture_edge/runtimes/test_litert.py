"""TFLite files in LiteRT: the same pictures, policy and records as in onnxruntime."""

import csv
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fracture_edge import FractureClassifier
from fracture_edge.errors import FractureEdgeError, ModelError
from fracture_edge.modelfile import ModelInfo, embed_info
from fracture_edge.suitability import NOT_COMPARED
from fracture_edge.web.assemble import assemble

Run = Callable[..., subprocess.CompletedProcess[bytes]]
GREYS = (64, 128, 192)
EXPECTED = [1 / (1 + math.exp(-logit)) for logit in (-2, 0, 2)]
#: The output has steps of 1/256, and the log-odds, -4 to 4, have steps of 1/32, which move P by up to 1/128.
INT8_ERROR = 1 / 256 + 1 / 128


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    for grey in GREYS:
        Image.fromarray(np.full((100, 100), grey, np.uint8)).save(tmp_path / f"{grey}.png")
    return [tmp_path / f"{grey}.png" for grey in GREYS]


def pixels(*greys: int) -> npt.NDArray[np.uint8]:
    return np.stack([np.full((64, 64, 1), grey, np.uint8) for grey in greys])


def write_with(info: ModelInfo, like: Path, target: Path) -> Path:
    """Write a TFLite file with other metadata."""
    target.write_bytes(without_metadata(like))
    embed_info(target, info, target)
    return target


def without_metadata(path: Path) -> bytes:
    content = path.read_bytes()
    return content[: content.index(b"PK\x03\x04")]


def test_records_are_those_of_onnxruntime(tiny_tflite: Any, tiny_model: Path, pictures: list[Path]) -> None:
    lite, onnx = FractureClassifier(tiny_tflite.plain), FractureClassifier(tiny_model)
    for found, wanted in zip(lite.predict_many(pictures), onnx.predict_many(pictures), strict=True):
        # float32: seven digits.
        assert found.probability == pytest.approx(wanted.probability, abs=1e-6)
        same = {"probability": 0, "elapsed_ms": 0, "model_sha256": ""}
        assert found.record() | same == wanted.record() | same | {"reason": wanted.reason + NOT_COMPARED}
        assert found.model_sha256 == lite.sha256 != onnx.sha256


def test_batches(tiny_tflite: Any) -> None:
    for count in (1, 3, 2):
        found = FractureClassifier(tiny_tflite.plain).probabilities(pixels(*GREYS[:count]))
        assert found.dtype == np.float32
        assert found == pytest.approx(EXPECTED[:count], abs=1e-6)


def test_integer_inputs_and_outputs(tiny_tflite: Any) -> None:
    found = FractureClassifier(tiny_tflite.integer).probabilities(pixels(*GREYS))
    assert found == pytest.approx(EXPECTED, abs=INT8_ERROR)
    assert (found * 256 == np.rint(found * 256)).all()


def test_further_outputs_are_found_by_their_names(tiny_tflite: Any) -> None:
    picture = np.repeat(np.array([64, 192], np.uint8), 32)[None].repeat(64, axis=0)
    prediction = FractureClassifier(tiny_tflite.further).predict(picture)
    assert prediction.probability == pytest.approx(0.5, abs=1e-6)
    assert prediction.heatmap is not None
    assert prediction.heatmap == pytest.approx(np.repeat([-2.0, 2.0], 8)[None].repeat(16, axis=0), abs=1e-6)
    bright = FractureClassifier(tiny_tflite.further).predict(pixels(192)[0])
    assert (bright.view, bright.view_probability) == ("one", pytest.approx(EXPECTED[2], abs=1e-6))


def test_without_image_checks_nothing_is_said_about_them(tiny_tflite: Any) -> None:
    checked, unchecked = (
        FractureClassifier(tiny_tflite.plain, check_images=asked).predict(pixels(64)[0]) for asked in (True, False)
    )
    assert checked.reason == unchecked.reason + NOT_COMPARED


def test_suitability_is_checked(tiny_tflite: Any, tiny_info: ModelInfo, tmp_path: Path) -> None:
    path = write_with(replace(tiny_info, suitability={}), tiny_tflite.plain, tmp_path / "strict.tflite")
    prediction = FractureClassifier(path).predict(pixels(64)[0])
    assert (prediction.decision, prediction.reason_code) == ("uncertain", "nearly_constant")


def test_command_line(tiny_tflite: Any, pictures: list[Path], run_python: Run) -> None:
    done = run_python("-m", "fracture_edge", "classify", *pictures, "--csv", "--model", tiny_tflite.plain)
    # LiteRT's own line on stderr is not there; the summary is.
    assert done.returncode == 0
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"3 images: ")
    rows = list(csv.DictReader(done.stdout.decode().splitlines()))
    assert [row["decision"] for row in rows] == ["not_fractured", "uncertain", "fractured"]
    assert [float(row["probability"]) for row in rows] == pytest.approx(EXPECTED, abs=1e-6)


def test_heat_map_of_a_file_without_one_is_refused(
    tiny_tflite: Any, pictures: list[Path], run_python: Run, tmp_path: Path
) -> None:
    command = ("-m", "fracture_edge", "classify", pictures[0], "--heatmap", tmp_path / "maps", "--model")
    done = run_python(*command, tiny_tflite.integer)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"has no heat map" in done.stderr
    assert b"not to int8 TFLite, which cannot have one" in done.stderr
    done = run_python(*command, tiny_tflite.further, "--jsonl")
    assert Path(json.loads(done.stdout)["heatmap"]).is_file()


def test_watch(tiny_tflite: Any, pictures: list[Path], run_python: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    done = run_python(
        "-m", "fracture_edge", "watch", tmp_path, "-o", out, "--once", "--interval", "0.1", "--model",
        tiny_tflite.integer,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(record["decision"] for record in records) == ["fractured", "not_fractured", "uncertain"]


def test_onnxruntime_is_not_imported_and_litert_only_for_its_files(
    tiny_tflite: Any, tiny_model: Path, pictures: list[Path], run_python: Run
) -> None:
    script = (
        "import sys\nfrom fracture_edge.cli import main\n"
        "try: main(own_process=True)\nexcept SystemExit as stop: assert stop.code == 0\n"
        "print(sorted({'onnxruntime', 'ai_edge_litert'} & set(sys.modules)))"
    )
    for model, wanted in ((tiny_tflite.plain, "['ai_edge_litert']"), (tiny_model, "['onnxruntime']")):
        done = run_python("-c", script, "classify", pictures[0], "--model", model)
        assert done.stdout.decode().splitlines()[-1] == wanted, done.stderr


def test_missing_extra(tiny_tflite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(FractureEdgeError) as caught:
        FractureClassifier(tiny_tflite.plain)
    assert str(caught.value) == (
        f"{tiny_tflite.plain}: TFLite files need LiteRT: pip install 'fracture-edge[litert]'"
    )


def test_damaged_and_foreign_files(tiny_tflite: Any, tiny_info: ModelInfo, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    for damaged in (without_metadata(tiny_tflite.plain), b"", b"TFL3, or what stands for it"):
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match=r"model\.tflite: no fracture-edge metadata inside"):
            FractureClassifier(path)
    path.write_bytes(b"\x1c\0\0\0TFL3 and nothing else")
    embed_info(path, tiny_info, path)
    with pytest.raises(ModelError, match=r"model\.tflite: LiteRT cannot load it \("):
        FractureClassifier(path)
    narrow = replace(tiny_info, preprocessing=replace(tiny_info.preprocessing, width=32))
    write_with(narrow, tiny_tflite.plain, path)
    with pytest.raises(ModelError, match=r"model\.tflite: the graph is not 'image' \[1, 64, 32, 1\]"):
        FractureClassifier(path)


def test_the_content_decides_where_the_ending_does_not(tiny_tflite: Any, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(tiny_tflite.plain.read_bytes())
    assert FractureClassifier(tmp_path / "model").info.name == "tiny"


def test_the_page_runs_onnx_only(tiny_tflite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fracture_edge.web.assemble._built", lambda name: b"")
    with pytest.raises(ModelError, match=r"do not run in the page; give the \.onnx file"):
        assemble(tiny_tflite.plain)


def test_threads_share_a_classifier(tiny_tflite: Any) -> None:
    classifier = FractureClassifier(tiny_tflite.further, threads=2)
    images = [np.random.default_rng(seed).integers(0, 256, (64, 64), np.uint8) for seed in range(8)]

    def outcome(number: int) -> tuple[float | None, bytes]:
        prediction = classifier.predict(images[number % 8])
        assert prediction.heatmap is not None
        return prediction.probability, prediction.heatmap.tobytes()

    alone = [outcome(number) for number in range(8)]
    assert len(set(alone)) == 8
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, range(400))) == alone * 50


FORK = """
import os, pickle, sys
import numpy as np
from fracture_edge import FractureClassifier
picture = np.full((64, 64), 192, np.uint8)
classifier = FractureClassifier(sys.argv[1], threads=2)
here = classifier.predict(picture).probability
child = os.fork()
if child == 0:
    os._exit(0 if classifier.predict(picture).probability == here else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_after_a_fork(tiny_tflite: Any, run_python: Run) -> None:
    done = run_python("-c", FORK, tiny_tflite.plain)
    assert (done.returncode, done.stderr) == (0, b"")


def test_pickle(tiny_tflite: Any) -> None:
    classifier = FractureClassifier(tiny_tflite.plain)
    again = pickle.loads(pickle.dumps(classifier))
    assert again.predict(pixels(64)[0]).probability == classifier.predict(pixels(64)[0]).probability


def test_stderr_of_others_is_not_lost(tiny_tflite: Any, run_python: Run) -> None:
    script = (
        "import os, sys\nfrom fracture_edge.runtimes.litert import _quiet_stderr\n"
        "with _quiet_stderr():\n    os.write(2, b'INFO: opened\\nanother line\\n')\nos.write(2, b'after\\n')"
    )
    assert run_python("-c", script).stderr == b"another line\nafter\n"
