"""Images that a model flags as unusable: counts and test images."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.studies.robustness import unlike
from benchmarks.studies.robustness.non_radiographs import GENERATED, SPOILT, generate
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import ModelInfo, embed_info
from fracture_edge.suitability import Limits, measure
from train.json_records import from_plain

Grey = npt.NDArray[np.uint8]


def test_only_flagged_images_are_counted(
    bone: Callable[..., Grey], tmp_path: Path, tiny_model: Path, tiny_info: ModelInfo
) -> None:
    # Default limits without feature distance: generated bones would be far from any radiograph.
    model = tmp_path / "usual.onnx"
    embed_info(tiny_model, replace(tiny_info, suitability={}), model)
    good = [bone(seed, fractured=False) for seed in range(6)]
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    with FractureClassifier(model) as classifier:
        found = unlike.count_flagged(
            classifier, [*good, np.invert(good[0]), good[1] // 8, np.invert(good[2]), broken]
        )
    assert (found.images, found.flagged) == (9, 3)
    assert found.share.value == pytest.approx(1 / 3)
    # Wilson interval of 3 in 9 according to SciPy and Newcombe's formula.
    assert (found.share.low, found.share.high) == pytest.approx((0.1206, 0.6458), abs=1e-4)
    assert found.reasons == {"mostly_bright": 2, "too_dark": 1}


@pytest.mark.parametrize("name", ["noise", "blank", "ramp", "page of text"])
def test_generated_images_are_flagged(name: str) -> None:
    reasons = [
        Limits().find_problem(measure(picture, side=min(picture.shape), colour=0))
        for picture in generate(name, 20)
    ]
    assert None not in reasons


def test_generated_images_are_reproducible() -> None:
    for name in GENERATED:
        one, other = list(generate(name, 2)), list(generate(name, 2))
        assert all(map(np.array_equal, one, other))
        assert not np.array_equal(one[0], one[1])


@pytest.mark.parametrize("name", list(SPOILT))
def test_degraded_bones_are_flagged(name: str, bone: Callable[..., Grey]) -> None:
    spoilt = SPOILT[name](bone(1, fractured=True, height=454, width=373))
    assert spoilt.dtype == np.uint8
    found = measure(spoilt, side=min(spoilt.shape), colour=0)
    assert Limits().find_problem(found) is not None


def test_command(
    write_bones: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    study: Callable[..., tuple[int, str, str]],
) -> None:
    root = write_bones(tmp_path / "bones", 3, splits=("train", "val"))
    splits = tmp_path / "splits.csv"
    rows = [
        f"{path.relative_to(root).as_posix()},{int(path.parent.name == 'fractured')},{path.parts[-3]},{path.stem}"
        for path in sorted(root.rglob("bone*.*"))
    ]
    splits.write_text("path,label,split,group\n" + "\n".join(rows) + "\n")
    monkeypatch.setattr(unlike, "GENERATED_EACH", 2)
    output = tmp_path / "unlike.json"
    arguments = ["--data", root, "--splits", splits, "--photographs", root / "val" / "fractured"]
    code, out, _ = study("unlike", *arguments, "-o", output)
    assert code == 0
    result = json.loads(output.read_text())
    assert result["rows"]["radiographs (val)"]["images"] == 6
    assert result["rows"]["photographs"]["images"] == 3
    assert result["rows"]["drawn: noise"]["share"]["value"] == 1
    assert str(tmp_path) not in output.read_text()
    assert out.strip() == unlike.table_of(from_plain(unlike.Unlike, result, "")).strip()
    # There is no test image here.
    code, out, error = study("unlike", *arguments, "--split", "test")
    assert (code, out) == (1, "")
    assert f"{root}: has no test images" in error


def test_photographs_of_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unlike, "find_spec", lambda name: None)
    with pytest.raises(FractureEdgeError, match="pip install scikit-image"):
        unlike.photographs(None)
