"""Where it points: the command on cross-validated networks that were kept."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from fracture_edge.errors import EXIT_FAILED
from train.data.batches import load_pixels
from train.data.splits import cross_validation_table
from train.evaluation.predict import predict
from train.recipes.recipe import load_recipe
from train.runs.cross_validation import cross_validate
from train.runs.options import RunOptions

#: Five tiny networks are trained.
pytestmark = pytest.mark.slow


def test_localisers_of_the_folds_are_compared_with_cells(
    tmp_path: Path,
    write_marked_bones: Callable[[Path], Path],
    study: Callable[..., tuple[int, str, str]],
) -> None:
    data, splits = write_marked_bones(tmp_path), tmp_path / "splits.csv"
    recipe = load_recipe("edge", str(tmp_path / "edge.toml"))
    options = RunOptions(
        data=data, splits=splits, out=tmp_path, weights="none", precision="float32", keep_models=True
    )
    folder = cross_validate(recipe, options, folds=5)
    # What is kept is the network that was tested.
    kept = keras.saving.load_model(folder / "fold-2/model.keras", compile=False)
    with (folder / "predictions.csv").open(newline="") as stream:
        told = {row["path"]: float(row["probability"]) for row in csv.DictReader(stream) if row["fold"] == "2"}
    table = cross_validation_table(data, splits)
    found = predict(kept, load_pixels(table, recipe.preprocessing))
    answers = {item.path: value for item, value in zip(table, found, strict=True)}
    assert len(told) == 8
    # Written with six digits.
    assert all(answers[path] == pytest.approx(value, abs=1e-6) for path, value in told.items())

    output = tmp_path / "points.json"
    arguments = (folder, "--data", data, "--splits", splits, "-o", output)
    code, out, error = study("where-it-points", *arguments)
    assert code == 0, error
    result = json.loads(output.read_text())
    assert (result["images"], result["fractured"], result["marked"], result["folds"]) == (40, 20, 20, 5)
    shares = [result[name]["value"] for name in ("cells", "localiser", "change")]
    assert shares[1] - shares[0] == pytest.approx(shares[2])
    # All boxes lie at the same place, which a localiser of a network without training need not find, but counts.
    assert all(np.isclose(share * 20 % 1, 0) for share in shares[:2])
    assert "| localiser minus cells |" in out
    (folder / "fold-3/model.keras").unlink()
    output.unlink()
    code, _, error = study("where-it-points", *arguments)
    assert code == EXIT_FAILED
    assert "cross-validate with --keep-models" in error
    assert not output.exists()
