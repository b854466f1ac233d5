"""`fracture-edge train-all` and `fracture-edge evaluate`: several models, judged alike and put side by side."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from fracture_edge.errors import FractureEdgeError
from fracture_edge.preprocess import Preprocessing
from train import weights
from train.architectures import build, edge
from train.data.dataset import read_table
from train.evaluation.compare import METRICS, Comparison, compare_models, table
from train.json_records import from_plain, to_plain
from train.recipes import recipe as recipes
from train.recipes.recipe import Recipe, recipe_of
from train.runs import train_all as every
from train.runs.options import RunOptions
from train.runs.run_folder import unfinished
from train.runs.train_all import Outcomes, train_all, weights_of
from train.trainer.callbacks import State

#: Whole runs of several models: a minute.
pytestmark = pytest.mark.slow

Cli = Callable[..., tuple[int, str, str]]

MODELS = ("custom_cnn", "edge")


def _tiny(model: str, name: str = "corrected") -> Recipe:
    """Stands for `train.recipes.recipe.load_recipe`."""
    options = {
        "custom_cnn": {"filters": [4, 6, 8], "units": 10},
        "edge": {"filters": 0.25, "depth": 0.5, "drop_path": 0.0},
    }
    return recipe_of(
        {
            "architecture": model,
            "preprocessing": {"height": 32, "width": 32},
            "phases": [{"epochs": 1, "learning_rate": 5e-3}],
            "batch_size": 8,
            "monitor": "val_loss",
            "options": options[model],
        }
    )


@dataclass(frozen=True)
class Trained:
    """Data of eight images a class and split, and artefacts of both models."""

    data: Path
    out: Path
    outcomes: Outcomes


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
    write_bones: Callable[..., Path],
    liven: Callable[..., keras.Model],
) -> Trained:
    root = tmp_path_factory.mktemp("every")
    data = write_bones(root / "data", 8, splits=("train", "val", "test"), height=48, width=32)
    options = RunOptions(data=data, out=root / "artifacts", precision="float32", seed=1)
    # They start from weights that tell images apart.
    part = read_table(data).where("train")
    pixels = np.stack([Preprocessing(32, 32).load(part.file(item)) for item in part])
    start = {model: str(root / f"{model}.keras") for model in MODELS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge, "STAGES", edge.STAGES[:2])
        for model, path in start.items():
            keras.utils.set_random_seed(0)
            liven(build(model, 32, 32, **_tiny(model).options), pixels).save(path)
        recipes = {model: _tiny(model) for model in MODELS}
        outcomes = train_all(recipes, options, recipe_names=dict.fromkeys(MODELS, "tiny"), weights=start)
    return Trained(data, options.out, outcomes)


@pytest.fixture
def artifacts(trained: Trained, tmp_path: Path) -> Path:
    """A copy of the artefacts."""
    return shutil.copytree(trained.out, tmp_path / "artifacts")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command finds tiny recipes."""
    monkeypatch.setattr(recipes, "load_recipe", _tiny)
    monkeypatch.setattr(edge, "STAGES", edge.STAGES[:2])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, trained: Trained) -> list[tuple[str, RunOptions]]:
    """`train_model` only notes what it is asked for, and puts a finished model there."""
    calls: list[tuple[str, RunOptions]] = []

    def train_model(recipe: Recipe, options: RunOptions) -> Path:
        calls.append((recipe.architecture, options))
        return shutil.copytree(trained.out / recipe.architecture, options.out / recipe.architecture)

    monkeypatch.setattr(every, "train_model", train_model)
    return calls


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _cells(text: str) -> list[list[str]]:
    """The rows of a Markdown table, without the line under its header."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def _interval(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def _check_comparison(out: Path, split: str) -> None:
    """The comparison says what the evaluations say."""
    evaluations = {model: _json(out / model / f"evaluation-{split}.json") for model in MODELS}
    result = _json(out / f"comparison-{split}.json")
    assert (result["positive_class"], result["split"]) == ("fractured", split)
    assert [row["model"] for row in result["models"]] == list(MODELS)
    for row in result["models"]:
        evaluation = evaluations[row["model"]]
        assert row["metrics"] == evaluation["metrics"]
        record = _json(out / row["model"] / "training.json")
        assert row["threshold"] == evaluation["threshold"] == record["threshold"]
        training = {name: row[name] for name in ("parameters", "epochs", "seconds")}
        assert training == {name: evaluation["training"][name] for name in training}
        assert result["data"] == evaluation["data"]
        assert result["trivial_baseline"] == evaluation["trivial_baseline"]
    text = (out / f"comparison-{split}.md").read_text(encoding="utf-8")
    assert text == table(from_plain(Comparison, result, "comparison"))
    assert text.splitlines()[0] == (
        f"{split} split: 16 images of 16 groups, 8 fractured (the positive class); thresholds frozen on validation"
    )
    assert ("the metrics are optimistic" in text) is (split == "val")
    header, *rows, baseline = _cells(text)
    assert header == ["model", "parameters", "epochs", "threshold", *METRICS]
    for cells, (model, evaluation) in zip(rows, evaluations.items(), strict=True):
        assert cells[0] == model
        assert cells[1:3] == [f"{evaluation['training']['parameters']:,}", "1"]
        assert cells[3] == f"{evaluation['threshold']:.3f}"
        assert cells[4:] == [_interval(evaluation["metrics"][name]) for name in METRICS]
    interval = _interval(result["trivial_baseline"])
    assert baseline == ["size and brightness alone", "", "", "", interval, *[""] * (len(METRICS) - 1)]
    assert (out / f"comparison-{split}.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_both_models_and_their_comparison(trained: Trained) -> None:
    assert trained.outcomes.trained == MODELS
    assert trained.outcomes.failed == {}
    assert {path.name for path in trained.out.iterdir()} == {
        *MODELS, "comparison-val.json", "comparison-val.md", "comparison-val.png"
    }  # fmt: skip
    assert trained.outcomes.comparison is not None
    assert to_plain(trained.outcomes.comparison) == _json(trained.out / "comparison-val.json")
    _check_comparison(trained.out, "val")
    # Each by its own weights.
    initial = [_json(trained.out / model / "training.json")["initial_weights"] for model in MODELS]
    assert initial == ["custom_cnn.keras", "edge.keras"]
    rows = trained.outcomes.comparison.models
    assert rows[0].metrics != rows[1].metrics


def test_one_that_fails_does_not_stop_the_others(
    trained: Trained, tmp_path: Path, cli: Cli, tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(model: keras.Model) -> str:
        raise weights.WeightsError(f"{model.name}: no network")

    monkeypatch.setattr(weights, "_imagenet", offline)
    code, out, err = cli(
        "train-all", "--data", trained.data, "--artifacts", tmp_path, "--models", "edge, custom_cnn", "--seed", 1,
        "--weights", "edge=imagenet", "--set", "phases.0.learning_rate=1e-2", "--precision", "float32",
    )  # fmt: skip
    assert code == 3, err
    lines = err.splitlines()
    assert lines.index("--- edge (1 of 2)") < lines.index("fracture-edge: edge: edge: no network")
    assert lines.index("fracture-edge: edge: edge: no network") < lines.index("--- custom_cnn (2 of 2)")
    assert lines[-1] == "fracture-edge: not trained: edge (see above)"
    assert "Traceback" not in err
    assert out == (tmp_path / "comparison-val.md").read_text()
    assert [cells[0] for cells in _cells(out)] == ["model", "custom_cnn", "size and brightness alone"]
    # Nothing is left of the one that failed.
    assert not [path for path in tmp_path.iterdir() if "edge" in path.name]
    record = _json(tmp_path / "custom_cnn/training.json")
    assert record["recipe"]["phases"][0]["learning_rate"] == 1e-2
    assert (record["recipe_name"], record["seed"], record["initial_weights"]) == ("corrected", 1, "random")


def test_all_fail(trained: Trained, tmp_path: Path, cli: Cli, tiny: None) -> None:
    # Nothing is known for this one, network or not.
    code, out, err = cli(
        "train-all", "--data", trained.data, "--artifacts", tmp_path, "--models", "custom_cnn",
        "--weights", "custom_cnn=imagenet",
    )  # fmt: skip
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == "fracture-edge: not trained: custom_cnn (see above)"
    assert "no ImageNet weights are known for 'custom_cnn'" in err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("comparison")]


def test_finished_models_are_left_alone(
    trained: Trained, artifacts: Path, cli: Cli, tiny: None, calls: list[tuple[str, RunOptions]]
) -> None:
    before = {path: path.read_bytes() for path in artifacts.rglob("*") if path.suffix in (".keras", ".json")}
    arguments = ("train-all", "--data", trained.data, "--artifacts", artifacts, "--models", ",".join(MODELS))
    code, out, err = cli(*arguments, "--resume")
    assert code == 0, err
    assert calls == []
    assert out == (artifacts / "comparison-val.md").read_text()
    assert [line for line in err.splitlines() if "finished" in line] == [
        f"{artifacts / model} is finished" for model in MODELS
    ]
    assert {path: path.read_bytes() for path in before} == before

    # One that is missing is begun, one that was cut off goes on.
    shutil.rmtree(artifacts / "edge")
    shutil.rmtree(artifacts / "custom_cnn")
    unfinished(artifacts / "edge").mkdir()
    State(0, [], 0).write(unfinished(artifacts / "edge"))
    code, _, err = cli(*arguments, "--resume", "--weights", "edge=none")
    assert code == 0, err
    assert [(model, options.resume, options.weights, options.recipe_name) for model, options in calls] == [
        ("custom_cnn", False, None, "corrected"),
        ("edge", True, "none", "corrected"),
    ]
    _check_comparison(artifacts, "val")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [((), ("corrected", "deep")), (("--recipe", "corrected"), ("corrected", "corrected"))],
)
def test_each_model_has_a_recipe_of_its_own(
    trained: Trained,
    tmp_path: Path,
    cli: Cli,
    tiny: None,
    calls: list[tuple[str, RunOptions]],
    arguments: tuple[str, ...],
    names: tuple[str, ...],
) -> None:
    places = ("--data", trained.data, "--artifacts", tmp_path, "--models", ",".join(MODELS))
    code, _, err = cli("train-all", *places, *arguments)
    assert code == 0, err
    assert [(model, options.recipe_name) for model, options in calls] == list(zip(MODELS, names, strict=True))


def test_comparing_on_test(
    trained: Trained, artifacts: Path, cli: Cli, tiny: None, calls: list[tuple[str, RunOptions]]
) -> None:
    arguments = ("train-all", "--data", trained.data, "--artifacts", artifacts, "--models", ",".join(MODELS))
    code, out, err = cli(*arguments, "--resume", "--split", "test")
    assert (code, calls) == (0, []), err
    assert out == (artifacts / "comparison-test.md").read_text()
    _check_comparison(artifacts, "test")


def test_evaluate(trained: Trained, artifacts: Path, cli: Cli) -> None:
    code, out, err = cli("evaluate", *MODELS, "--artifacts", artifacts)
    assert code == 0, err
    _check_comparison(artifacts, "test")
    reports = [(artifacts / model / "test-report.txt").read_text() for model in MODELS]
    assert out == "".join(f"{report}\n" for report in reports) + (artifacts / "comparison-test.md").read_text()

    # The figures are those of what the saved models say of the test images.
    part = read_table(trained.data).where("test")
    pixels = np.stack([Preprocessing(32, 32).load(part.file(item)) for item in part])
    labels = np.array(part.labels)
    for model, report in zip(MODELS, reports, strict=True):
        assert report.startswith(f"{model} on test: 16 images, 8 fractured (the positive class)\n")
        network = keras.saving.load_model(artifacts / model / "model.keras", compile=False)
        scores = np.asarray(network(pixels), np.float64)[:, 0]
        with (artifacts / model / "predictions-test.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert [(row["path"], int(row["label"])) for row in rows] == [(item.path, item.label) for item in part]
        # Six decimals are written.
        np.testing.assert_allclose([float(row["probability"]) for row in rows], scores, atol=1e-5)
        evaluation = _json(artifacts / model / "evaluation-test.json")
        called = scores >= evaluation["threshold"]
        found = {name: estimate["value"] for name, estimate in evaluation["metrics"].items()}
        assert found["auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
        assert found["accuracy"] == np.mean(called == labels)
        assert found["recall"] == called[labels == 1].mean()
        assert found["specificity"] == (~called)[labels == 0].mean()
        assert found["f1"] == pytest.approx(f1_score(labels, called))


def test_evaluating_on_validation_again(artifacts: Path, cli: Cli) -> None:
    before = _json(artifacts / "edge/evaluation-val.json")
    code, out, err = cli("evaluate", "edge", "--split", "val", "--artifacts", artifacts)
    assert code == 0, err
    again = _json(artifacts / "edge/evaluation-val.json")
    for name in METRICS:
        assert again["metrics"][name] == pytest.approx(before["metrics"][name], abs=1e-9), name
    assert [cells[0] for cells in _cells(out)] == ["model", "edge", "size and brightness alone"]


def test_data_that_has_moved(trained: Trained, artifacts: Path, tmp_path: Path, cli: Cli) -> None:
    path = artifacts / "custom_cnn/training.json"
    record = _json(path)
    record["data"]["root"] = str(tmp_path / "gone")
    path.write_text(json.dumps(record))
    arguments = ("evaluate", "custom_cnn", "--artifacts", artifacts)
    assert cli(*arguments) == (1, "", f"fracture-edge: {tmp_path / 'gone'}: no such folder\n")
    code, _, err = cli(*arguments, "--data", trained.data)
    assert code == 0, err
    assert _json(artifacts / "comparison-test.json")["data"]["images"] == 16


def _exchange(splits: Path, first: str, second: str) -> None:
    """Two fractured images, one of each split, change places."""
    rows = [line.split(",") for line in splits.read_text().splitlines()]
    one = next(row for row in rows if row[1:3] == ["1", first])
    other = next(row for row in rows if row[1:3] == ["1", second])
    one[2], other[2] = second, first
    splits.write_text("\n".join(",".join(row) for row in rows) + "\n")


def test_models_of_other_splits_are_not_compared(artifacts: Path, cli: Cli) -> None:
    # The test images are the same, but one of the models has learnt from another's validation image.
    _exchange(artifacts / "edge/splits.csv", "train", "val")
    code, _, err = cli("evaluate", *MODELS, "--artifacts", artifacts)
    assert code == 1
    assert err.splitlines()[-1] == (
        "fracture-edge: edge and custom_cnn were trained on different data or splits; they cannot be compared"
    )
    assert not list(artifacts.glob("comparison-test.*"))


def test_what_cannot_be_compared(artifacts: Path) -> None:
    with pytest.raises(FractureEdgeError) as caught:
        compare_models(MODELS, artifacts, "test")
    assert str(caught.value) == (
        f"{artifacts / 'custom_cnn/evaluation-test.json'} is missing: "
        "fracture-edge evaluate custom_cnn --split test"
    )
    with pytest.raises(FractureEdgeError) as caught:
        compare_models(("edge", "vgg16"), artifacts, "val")
    assert str(caught.value) == (
        f"{artifacts / 'vgg16'}: no trained model here; `fracture-edge train vgg16` makes one"
    )


def test_a_model_that_is_not_there(artifacts: Path, cli: Cli) -> None:
    assert cli("evaluate", "vgg16", "--artifacts", artifacts) == (
        1,
        "",
        f"fracture-edge: {artifacts / 'vgg16'}: no trained model here; `fracture-edge train vgg16` makes one\n",
    )


def test_a_split_without_images(artifacts: Path, cli: Cli) -> None:
    splits = artifacts / "edge/splits.csv"
    splits.write_text("".join(line for line in splits.open() if ",test," not in line))
    code, out, err = cli("evaluate", "edge", "--artifacts", artifacts)
    assert (code, out, err) == (1, "", f"fracture-edge: {splits}: the test split lacks a class\n")


@pytest.mark.parametrize("split", ["train", "both", ""])
def test_a_split_that_there_is_not(trained: Trained, tmp_path: Path, cli: Cli, split: str) -> None:
    for command in (("evaluate", "edge"), ("train-all", "--data", trained.data)):
        code, out, err = cli(*command, "--artifacts", tmp_path, "--split", split)
        assert (code, out) == (2, "")
        assert "give --split val or --split test" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("edge", "--weights edge: expected MODEL=WEIGHTS with one of custom_cnn, edge"),
        ("vgg16=none", "--weights vgg16=none: expected MODEL=WEIGHTS with one of custom_cnn, edge"),
        ("=none", "--weights =none: expected MODEL=WEIGHTS with one of custom_cnn, edge"),
        ("edge=", "--weights edge=: no such file"),
        ("edge=gone.npz", "--weights edge=gone.npz: no such file"),
    ],
)
def test_wrong_weights(
    trained: Trained,
    tmp_path: Path,
    cli: Cli,
    tiny: None,
    calls: list[tuple[str, RunOptions]],
    setting: str,
    message: str,
) -> None:
    arguments = ("train-all", "--data", trained.data, "--artifacts", tmp_path, "--models", ",".join(MODELS))
    assert cli(*arguments, "--weights", setting) == (1, "", f"fracture-edge: {message}\n")
    assert calls == []


def test_weights_of_each_model(tmp_path: Path) -> None:
    path = tmp_path / "a=b.npz"
    path.write_bytes(b"")
    found = weights_of(["edge=imagenet", "vgg16=none", f"custom_cnn={path}"], ["vgg16", "edge", "custom_cnn"])
    # The file's name may hold what separates it from the model's.
    assert found == {"edge": "imagenet", "vgg16": "none", "custom_cnn": str(path)}
    assert weights_of([], MODELS) == {}


def test_wrong_data(trained: Trained, tmp_path: Path, cli: Cli, calls: list[tuple[str, RunOptions]]) -> None:
    arguments = ("train-all", "--artifacts", tmp_path / "artifacts")
    gone = tmp_path / "nowhere"
    assert cli(*arguments, "--data", gone) == (1, "", f"fracture-edge: {gone}: no such folder\n")
    assert cli(*arguments, "--data", trained.data, "--splits", gone) == (
        1,
        "",
        f"fracture-edge: {gone}: No such file or directory\n",
    )
    assert calls == []
    assert not (tmp_path / "artifacts").exists()


def test_wrong_models(trained: Trained, tmp_path: Path, cli: Cli, calls: list[tuple[str, RunOptions]]) -> None:
    arguments = ("train-all", "--data", trained.data, "--artifacts", tmp_path / "artifacts")
    code, out, err = cli(*arguments, "--models", "edge,alexnet")
    assert (code, out) == (1, "")
    assert err.startswith("fracture-edge: no recipe 'corrected' for 'alexnet'; must be one of: ")
    # Nothing was asked for: nothing was done, and that is no success.
    code, out, err = cli(*arguments, "--models", " , ")
    assert code != 0
    assert out == ""
    assert calls == []
