"""Another data set: X-rays with many copies count once."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from benchmarks.studies.robustness.elsewhere import Elsewhere, XRay, measure, read_xrays, table_of, xrays_of
from fracture_edge.errors import FractureEdgeError
from train.data.dataset import ImageTable, Item
from train.evaluation.metrics import Estimate


def _answer(probability: float | None, decision: str = "uncertain") -> Any:
    return SimpleNamespace(probability=probability, decision=decision)


def _table(rows: list[tuple[int, str]]) -> ImageTable:
    return ImageTable(
        Path(), "class_folders", tuple(Item(f"{k}.png", y, group=g) for k, (y, g) in enumerate(rows))
    )


def test_the_copies_of_an_xray_are_averaged() -> None:
    table = _table([(1, "a"), (1, "a"), (0, "b"), (0, "b"), (0, "b"), (1, "c")])
    answers = [
        _answer(0.9, "fractured"),
        _answer(0.5),
        _answer(0.1, "not_fractured"),
        _answer(0.4),
        _answer(None),
        _answer(None),
    ]
    # Of X-ray c no image could be read.
    assert xrays_of(table, answers) == {"a": XRay(1, 0.7, 0.5), "b": XRay(0, 0.25, 0.5)}


def test_copies_with_both_labels_are_refused() -> None:
    with pytest.raises(FractureEdgeError, match="group a: copies of one X-ray have both labels"):
        xrays_of(_table([(1, "a"), (0, "a")]), [_answer(0.5), _answer(0.5)])


class Known:
    """Classifier with known answers to files by their name."""

    info, sha256 = SimpleNamespace(name="known"), "0" * 64

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers

    def predict_many(self, files: list[Path]) -> Any:
        return (self._answers[file.name] for file in files)


def test_every_xray_counts_once(tmp_path: Path) -> None:
    # One fractured X-ray with nine copies is ahead of both others, one with one copy behind both: by images the
    # AUROC would be 0.9.
    rows = [(1, "many")] * 9 + [(1, "one"), (0, "x"), (0, "y")]
    table = ImageTable(tmp_path, "class_folders", _table(rows).items)
    for item in table:
        (tmp_path / item.path).write_bytes(b"")
    values = [0.9] * 9 + [0.1, 0.2, 0.3]
    answers = {item.path: _answer(value, "fractured") for item, value in zip(table, values, strict=True)}
    answers["11.png"] = _answer(0.3)
    found = measure(Known(answers), table, "set")  # type: ignore[arg-type]
    assert (found.images, found.refused, found.xrays, found.fractured_xrays) == (12, 0, 4, 2)
    assert found.auroc.value == 0.5
    assert found.uncertain.value == 0.25
    with pytest.raises(FractureEdgeError, match="must have readable images of both classes"):
        measure(Known(dict.fromkeys(answers, _answer(None))), table, "set")  # type: ignore[arg-type]


def test_views_of_one_patient_are_not_copies(tmp_path: Path, bone: Callable[..., Any]) -> None:
    # FracAtlas: neighbouring numbers of one body part, of both labels; and a copy of the first.
    rows = ["image_id,hand,leg,hip,shoulder,fractured,fracture_count"]
    for number, label, seed in ((1, 1, 1), (2, 0, 2), (9, 1, 1)):
        folder = tmp_path / "images" / ("Fractured" if label else "Non_fractured")
        folder.mkdir(parents=True, exist_ok=True)
        picture = bone(seed, fractured=bool(label), height=64, width=64)
        Image.fromarray(picture).save(folder / f"IMG{number:07}.png")
        rows.append(f"IMG{number:07}.png,1,0,0,0,{label},{label}")
    (tmp_path / "dataset.csv").write_text("\n".join(rows) + "\n")
    groups = {Path(item.path).stem: item.group for item in read_xrays(tmp_path)}
    assert groups["IMG0000001"] == groups["IMG0000009"] != groups["IMG0000002"]


def test_the_command_writes_and_prints(
    tmp_path: Path, write_bones: Callable[..., Path], tiny_model: Path, study: Callable[..., tuple[int, str, str]]
) -> None:
    data = write_bones(tmp_path / "bones", 6, splits=("train",), height=64, width=64)
    output = tmp_path / "elsewhere.json"
    code, out, error = study("elsewhere", tiny_model, "--data", data, "-o", output)
    assert code == 0, error
    found = json.loads(output.read_text())
    assert (found["data"], found["images"], found["fractured_xrays"] * 2) == ("bones", 12, found["xrays"])
    assert f"| bones | 12 | {found['xrays']}, {found['fractured_xrays']} |" in out
    assert str(tmp_path) not in output.read_text()


def test_table() -> None:
    about: dict[str, Any] = {
        "model": "edge-int8",
        "model_sha256": "ab" * 32,
        "data": "set",
        "data_fingerprint": "f",
    }
    about |= {"images": 50, "refused": 0, "xrays": 9, "fractured_xrays": 4, "environment": None}
    row = Elsewhere(**about, auroc=Estimate(0.7, 0.6, 0.8), uncertain=Estimate(0.5, 0.25, 0.75))
    assert table_of([row]).splitlines()[2] == (
        "| edge-int8 (SHA-256 abababababab) | set | 50 | 9, 4 | 0.700 [0.600, 0.800] | 50.0% [25.0%, 75.0%] |"
    )
