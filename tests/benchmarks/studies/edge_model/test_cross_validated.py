"""Comparison of cross-validations on the same images."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.studies.edge_model.cross_validated import add_networks, read_networks, table_of
from fracture_edge.errors import FractureEdgeError
from train.evaluation.formatting import NONE
from train.evaluation.metrics import Estimate
from train.recipes.recipe import load_recipe, override

HEADER = "path,label,group,fold,threshold,raw,probability"
LABELS = np.arange(40) % 2
GOOD = np.where(LABELS == 1, 0.9, 0.1) + np.linspace(0, 0.05, 40)


def _recipe(model: str, name: str, settings: Sequence[str]) -> dict[str, Any]:
    if name.endswith(".toml"):
        return {"preprocessing": {"height": 64, "width": 48}}
    return override(load_recipe(model, name), settings=settings).to_dict()


def _folder(
    root: Path,
    model: str,
    probabilities: Any,
    auroc: float,
    *,
    names: str = "image",
    recipe: str = "corrected",
    settings: Sequence[str] = (),
) -> Path:
    root.mkdir()
    estimate = {"value": auroc, "low": auroc - 0.1, "high": 1.0}
    of_a_split = {
        "metrics": dict.fromkeys(("auroc", "sensitivity_at_specificity_90", "ece"), estimate),
        "confusion": {},
        "auroc_without_hardware": None,
        "calibration": {},
    }
    result = {
        "schema_version": 1,
        "model": model,
        "positive_class": "fractured",
        "recipe_name": recipe,
        "recipe": _recipe(model, recipe, settings),
        "initial_weights": "random",
        "seed": 3,
        "device": "CPU",
        "precision": "float32",
        "data_fingerprint": "f",
        "folds": [
            {
                "fold": fold + 1,
                "images": 20,
                "fractured": 10,
                "threshold": 0.5,
                "epochs": 2 + fold,
                "seconds": 60.0,
                **of_a_split,
            }
            for fold in (0, 1)
        ],
        "pooled": {"images": 40, "fractured": 20, **of_a_split},
    }
    (root / "folds.json").write_text(json.dumps(result))
    rows = [
        f"{names}{row}.png,{LABELS[row]},g{row // 2},{1 + row // 20},0.5,{value},{value}"
        for row, value in enumerate(probabilities)
    ]
    (root / "predictions.csv").write_text("\n".join([HEADER, *rows]))
    return root


def test_networks_are_compared_with_the_first_one(tmp_path: Path) -> None:
    # With the scores reversed no pair is in order any more.
    folders = [
        _folder(tmp_path / "a", "edge", GOOD, 1.0),
        _folder(tmp_path / "b", "vgg16", 1 - GOOD, 0.1),
    ]
    first, second = add_networks(folders, tmp_path / "out.json", resamples=50)
    assert first.auroc_change is None
    assert second.auroc_change == Estimate(-1.0, -1.0, -1.0)
    assert (first.epochs, first.seconds, first.input) == ((2, 3), (60.0, 60.0), "288x288")
    lines = table_of([first, second]).splitlines()
    assert lines[2] == (
        "| edge | 288x288, float32 | random | CPU | 2-3 | 2 | 1.000 [0.900, 1.000] | 1.000 to 1.000 | – | "
        "1.000 [0.900, 1.000] | 1.000 [0.900, 1.000] |"
    )
    assert "| -1.000 [-1.000, -1.000] |" in lines[3]
    assert lines[-1].startswith("2 folds of 40 images, 20 of them fractured, seed 3. ")


def test_other_images_are_refused(tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    add_networks([_folder(tmp_path / "a", "edge", GOOD, 1.0)], output)
    before = output.read_bytes()
    with pytest.raises(FractureEdgeError, match=r"b: has other images or folds than .*out\.json$"):
        add_networks([_folder(tmp_path / "b", "vgg16", GOOD, 1.0, names="x")], output)
    assert output.read_bytes() == before


def test_adding_one_at_a_time_gives_the_same_as_all_at_once(tmp_path: Path) -> None:
    folders = [
        _folder(tmp_path / name, name, GOOD + shift, 1.0)
        for name, shift in (("edge", 0), ("resnet50", np.sin(np.arange(40))), ("vgg16", np.cos(np.arange(40))))
    ]
    at_once, apart = tmp_path / "once.json", tmp_path / "apart.json"
    add_networks(folders, at_once, resamples=50)
    # Adding a network again replaces it.
    for folder in (folders[0], folders[2], folders[1], folders[2]):
        entries = add_networks([folder], apart, resamples=50)
    assert [entry.model for entry in entries] == ["edge", "vgg16", "resnet50"]
    assert sorted(json.loads(apart.read_text()), key=lambda entry: entry["model"]) == json.loads(
        at_once.read_text()
    )
    assert apart.with_suffix(".csv").read_text().splitlines()[:2] == [
        "path,fold,label,group,edge,vgg16,resnet50",
        "image0.png,1,0,g0,0.100000,1.100000,0.100000",
    ]


def test_networks_without_predictions_are_not_compared(tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    add_networks([_folder(tmp_path / "a", "edge", GOOD, 1.0)], output)
    output.with_suffix(".csv").unlink()
    first, second = add_networks([_folder(tmp_path / "b", "vgg16", 1 - GOOD, 0.1)], output)
    assert (first.model, first.auroc_change, second.auroc_change) == ("edge", None, None)
    assert f"| {NONE} |" in table_of([first, second]).splitlines()[3]
    # The next one is compared with the first one that has predictions.
    entries = add_networks([_folder(tmp_path / "c", "custom_cnn", GOOD, 1.0)], output, resamples=50)
    assert [entry.compared_with for entry in entries] == [None, None, "vgg16"]
    assert entries[2].auroc_change == Estimate(1.0, 1.0, 1.0)
    assert "| less that of vgg16 |" in table_of(entries)


def test_another_reference_than_the_first_can_be_chosen(tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    folders = [
        _folder(tmp_path / "a", "edge", GOOD, 1.0),
        _folder(tmp_path / "b", "vgg16", 1 - GOOD, 0.1),
        _folder(tmp_path / "c", "resnet50", GOOD, 1.0),
    ]
    add_networks(folders[:2], output, resamples=50)
    for given, against in (([], "vgg16"), (folders[2:], None)):
        # The choice is kept for later additions.
        entries = add_networks(given, output, against=against, resamples=50)
        assert [entry.compared_with for entry in entries] == ["vgg16", None, "vgg16"][: len(entries)]
        assert entries[0].auroc_change is not None
        assert entries[0].auroc_change.value == 1.0
    before = output.read_bytes()
    message = "no predictions of 'lenet'; must be one of: 'edge', 'vgg16', 'resnet50'"
    with pytest.raises(FractureEdgeError, match=message):
        add_networks([], output, against="lenet")
    assert output.read_bytes() == before


def test_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(FractureEdgeError, match=r"out\.json: does not exist yet; give folders"):
        add_networks([], tmp_path / "out.json")


def test_another_recipe_is_an_entry_of_its_own(tmp_path: Path) -> None:
    folders = [
        _folder(tmp_path / "a", "edge", GOOD, 1.0),
        _folder(tmp_path / "b", "edge", 1 - GOOD, 0.1, recipe="probed"),
        _folder(tmp_path / "c", "edge", GOOD, 1.0, recipe="/home/someone/mine.toml"),
    ]
    entries = add_networks(folders, tmp_path / "out.json", resamples=50)
    rows = table_of(entries).splitlines()[2:5]
    assert [row.split(" | ")[0] for row in rows] == ["| edge", "| edge (probed)", "| edge (mine)"]
    assert [entry.auroc_change and entry.auroc_change.value for entry in entries] == [None, -1.0, 0.0]
    header = (tmp_path / "out.csv").read_text().splitlines()[0]
    assert header == "path,fold,label,group,edge,edge (probed),edge (mine)"


def test_an_ablation_is_named_by_what_was_changed(tmp_path: Path) -> None:
    changed = [
        "localisation=0",
        "phases.0.epochs=3",
        "preprocessing.height=224",
        "augmentation.flip_horizontal=false",
    ]
    folders = [
        _folder(tmp_path / "a", "edge", GOOD, 1.0, recipe="probed"),
        # Epochs have a separate column.
        _folder(tmp_path / "b", "edge", 1 - GOOD, 0.1, recipe="probed", settings=changed),
        _folder(tmp_path / "c", "edge", GOOD, 1.0, settings=["batch_size=16"]),
        # This option is missing from the recipe.
        _folder(tmp_path / "d", "edge", GOOD, 1.0, settings=["options.deep_evidence=true"]),
    ]
    entries = add_networks(folders, tmp_path / "out.json", resamples=50)
    assert [row.split(" | ")[0] for row in table_of(entries).splitlines()[2:6]] == [
        "| edge (probed)",
        "| edge (probed, preprocessing.height=224, localisation=0.0, augmentation.flip_horizontal=false)",
        "| edge (batch_size=16)",
        "| edge (options.deep_evidence=true)",
    ]
    assert entries[1].compared_with == "edge (probed)"


def test_a_folder_of_before_distillation_left_keeps_its_name(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "a", "edge", GOOD, 1.0, recipe="robust")
    held = json.loads((folder / "folds.json").read_text())
    held["recipe"]["distillation"] = {"share": 0.0, "folds": 3, "phases": []}
    (folder / "folds.json").write_text(json.dumps(held))
    (entry,) = add_networks([folder], tmp_path / "out.json", resamples=50)
    assert entry.name == "edge (robust)"


def test_the_command_writes_what_it_prints(study: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    folder, output = _folder(tmp_path / "a", "edge", GOOD, 1.0), tmp_path / "folds.json"
    code, out, _ = study("cross-validated", folder, "-o", output)
    assert code == 0
    assert out == table_of(read_networks(output))
    code, _, err = study("cross-validated", tmp_path / "none", "-o", tmp_path / "no.json")
    assert code == 1
    assert re.match(r"error: .*none: no cross-validation", err)
    assert not (tmp_path / "no.json").exists()
