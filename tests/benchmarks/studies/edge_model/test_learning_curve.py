"""Learning curves: sampling, training and resuming."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.studies.edge_model import learning_curve
from benchmarks.studies.edge_model.learning_curve import Curve, Plan, Point, measure, sample_share
from fracture_edge.errors import FractureEdgeError
from train.data.dataset import ImageTable, Item, read_splits
from train.evaluation.predictions import groups_of
from train.json_records import to_plain
from train.recipes.recipe import load_recipe

pytestmark = pytest.mark.slow


@pytest.fixture
def table() -> ImageTable:
    """Return 200 images in 50 groups of 1 to 7."""
    items = [Item(f"{k:03}.png", k % 5 == 0, group=f"g{(k * k) % 50}") for k in range(200)]
    return ImageTable(Path(), "class_folders", tuple(items))


def test_a_share_has_complete_groups_and_about_the_right_size(table: ImageTable) -> None:
    groups = groups_of(table)
    largest = max(map(groups.count, groups))
    for share in (0.1, 0.25, 0.5, 0.9):
        part = sample_share(table, share, seed=0)
        assert 0 <= len(part) - share * len(table) <= largest
        left = {item.path for item in table} - {item.path for item in part}
        assert not {item.group for item in part} & {item.group for item in table if item.path in left}


def test_shares_are_nested_and_sampled_by_the_seed(table: ImageTable) -> None:
    parts = [{item.path for item in sample_share(table, share, seed=3)} for share in (0.1, 0.25, 0.5, 1.0)]
    assert parts[0] < parts[1] < parts[2] < parts[3]
    assert len(parts[3]) == len(table)
    assert {item.path for item in sample_share(table, 0.25, seed=4)} != parts[1]
    # In the order of the table.
    paths = [item.path for item in sample_share(table, 0.5, seed=3)]
    assert paths == sorted(paths)


RECIPE = """
architecture = "custom_cnn"
batch_size = 8
monitor = "val_loss"
options = { filters = [4, 6, 8], units = 10 }
preprocessing = { height = 32, width = 32 }
phases = [{ epochs = 1, learning_rate = 1e-3, trainable = "head" }, { epochs = 2, learning_rate = 1e-3 }]
augmentation = { rotation = 5 }
"""


@pytest.fixture(scope="module")
def train_data(tmp_path_factory: pytest.TempPathFactory, write_bones: Callable[..., Path]) -> Path:
    """Write data/ (24 training and 24 validation images, each its own group), splits.csv and custom_cnn.toml."""
    root = tmp_path_factory.mktemp("run")
    data = write_bones(root / "data", 12, splits=("train", "val"), height=64, width=64)
    rows = [
        f"{path.relative_to(data).as_posix()},{int(path.parent.name == 'fractured')},{path.parts[-3]},{path.stem}"
        for path in sorted(data.rglob("bone*.*"))
    ]
    (root / "splits.csv").write_text("\n".join(["path,label,split,group", *rows]) + "\n")
    (root / "custom_cnn.toml").write_text(RECIPE)
    return root


@pytest.fixture
def plan(train_data: Path) -> Plan:
    return Plan(load_recipe("custom_cnn", str(train_data / "custom_cnn.toml")), "none", epochs=1, seed=0)


def _points(result: Curve) -> list[tuple[float, int, int]]:
    return [(point.share, point.images, point.epochs) for point in result.points]


def test_smaller_sets_are_trained_for_more_epochs(plan: Plan, train_data: Path, tmp_path: Path) -> None:
    found = read_splits(train_data / "data", train_data / "splits.csv")
    output = tmp_path / "curve.json"
    result = measure(plan, found, (1.0, 0.5), output)
    # 24 images, each its own group; two phases.
    assert _points(result) == [(0.5, 12, 4), (1.0, 24, 2)]
    assert all(0 <= point.auroc.low <= point.auroc.value <= 1 for point in result.points)
    assert json.loads(output.read_text()) == json.loads(json.dumps(to_plain(result)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.json", "curve.png"]
    assert str(train_data) not in output.read_text()


def test_the_same_command_continues(
    plan: Plan, train_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read_splits(train_data / "data", train_data / "splits.csv")
    output, trained = tmp_path / "curve.json", []
    point = learning_curve._point

    def watched(*arguments: Any) -> Point:
        trained.append(arguments[4])
        if arguments[4] == 1.0 and len(trained) == 2:
            raise KeyboardInterrupt
        return point(*arguments)

    monkeypatch.setattr(learning_curve, "_point", watched)
    with pytest.raises(KeyboardInterrupt):
        measure(plan, found, (0.5, 1.0), output)
    first = json.loads(output.read_text())["points"]
    result = measure(plan, found, (0.5, 1.0), output)
    assert trained == [0.5, 1.0, 1.0]
    assert json.loads(json.dumps(to_plain(result.points[:1]))) == first
    other = Plan(plan.recipe, plan.weights, plan.epochs, seed=1)
    with pytest.raises(FractureEdgeError, match="was measured with another recipe, seed, data set or device"):
        measure(other, found, (1.0,), output)


@pytest.mark.parametrize("shares", [(0.0,), (1.5,), (-1.0, 0.5)])
def test_shares_out_of_range_are_refused(
    plan: Plan, table: ImageTable, tmp_path: Path, shares: Sequence[float]
) -> None:
    with pytest.raises(FractureEdgeError, match="shares must be above 0 and at most 1"):
        measure(plan, table, shares, tmp_path / "curve.json")


def test_command(train_data: Path, tmp_path: Path, study: Callable[..., tuple[int, str, str]]) -> None:
    output = tmp_path / "curve.json"
    arguments = ["custom_cnn", "--data", train_data / "data", "--splits", train_data / "splits.csv", "--epochs", 1]
    arguments += ["--recipe", train_data / "custom_cnn.toml", "--shares", 1, "--shares", 0.5, "-o", output]
    code, out, _ = study("learning-curve", *arguments)
    assert code == 0
    assert [point["share"] for point in json.loads(output.read_text())["points"]] == [0.5, 1.0]
    point = json.loads(output.read_text())["points"][1]
    assert out.splitlines()[1].startswith(f"    24 images  {point['auroc']['value']:.3f} [")
    assert np.isfinite(point["auroc"]["value"])
