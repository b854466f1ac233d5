"""`fracture-edge tune`: trials, their results, and interrupted searches."""

import csv
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import optuna
import pytest

from fracture_edge.errors import FractureEdgeError
from train.recipes.recipe import Recipe, load_recipe
from train.recipes.search_space import apply, load_space
from train.runs import tune as module
from train.runs.options import RunOptions
from train.runs.tune import tune

#: Whole runs of several models: a minute.
pytestmark = pytest.mark.slow

Cli = Callable[..., tuple[int, str, str]]

RECIPE = """
architecture = "custom_cnn"
batch_size = 8
options = { filters = [4, 6, 8], units = 10 }
preprocessing = { height = 32, width = 32 }
phases = [{ epochs = 2, learning_rate = 1e-3 }]
"""
SPACE = """
"phases.0.learning_rate" = { low = 1e-5, high = 1e-1, log = true }
"augmentation.rotation" = { low = 0.0, high = 20.0 }
class_balance = { choices = ["weights", "none"] }
"""
KEYS = ["phases.0.learning_rate", "augmentation.rotation", "class_balance"]
FILES = {"study.db", "trials.csv", "trials.png", "best.toml"}


class Trainer:
    """Fake `train_once`: three epochs, and an AUROC computed from the recipe by `score`."""

    def __init__(self) -> None:
        self.recipes: list[Recipe] = []
        self.score: Callable[[Recipe], float] = lambda recipe: 1 / (1 + abs(math.log10(_rate(recipe)) + 2))

    def __call__(
        self,
        recipe: Recipe,
        store: Any,
        train_part: Any,
        val_part: Any,
        *,
        folder: Path,
        weights: str,
        seed: int,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> Any:
        self.recipes.append(recipe)
        assert list(folder.iterdir()) == []
        assert (len(train_part), len(val_part), seed) == (24, 12, 3)
        assert store.preprocessing == recipe.preprocessing
        assert store.of(val_part).shape[1:3] == (recipe.preprocessing.height, recipe.preprocessing.width)
        rows = []
        for epoch, share in enumerate((0.8, 1.0, 0.9)):
            auroc = share * self.score(recipe)
            rows.append({"epoch": epoch + 1, "val_auroc": auroc, "val_loss": 1 - auroc})
            for callback in callbacks:
                callback.on_epoch_end(epoch, rows[-1])
        return SimpleNamespace(history=SimpleNamespace(rows=rows))


def _rate(recipe: Recipe) -> float:
    return recipe.phases[0].learning_rate


@pytest.fixture(scope="module")
def project(train_data: Path) -> Path:
    """As `train_data`, with tiny.toml and space.toml."""
    (train_data / "tiny.toml").write_text(RECIPE)
    (train_data / "space.toml").write_text(SPACE)
    return train_data


@pytest.fixture(scope="module")
def recipe(project: Path) -> Recipe:
    return load_recipe("custom_cnn", str(project / "tiny.toml"))


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """Replace training by a fake, so that no network is trained."""
    trainer = Trainer()
    monkeypatch.setattr(module, "train_once", trainer)
    return trainer


@pytest.fixture
def search(project: Path, tmp_path: Path, cli: Cli) -> Callable[..., tuple[int, str, str]]:
    """`search(*arguments)`: run the command with artefacts in `tmp_path`; of repeated options the last counts."""

    def run(*arguments: object) -> tuple[int, str, str]:
        places = ("--data", project / "data", "--splits", project / "splits.csv", "--artifacts", tmp_path)
        rest = ("--recipe", project / "tiny.toml", "--space", project / "space.toml", "--seed", 3)
        return cli("tune", "custom_cnn", *places, *rest, *arguments)

    return run


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _study(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'study.db'}")


@dataclass(frozen=True)
class Searched:
    """Search of three trials in which networks are trained, not faked."""

    folder: Path
    recipes: list[Recipe]
    aurocs: list[list[float]]


@pytest.fixture(scope="module")
def searched(project: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    recipes, aurocs = [], []
    train_once = module.train_once

    def spy(chosen: Recipe, *arguments: Any, **options: Any) -> Any:
        outcome = train_once(chosen, *arguments, **options)
        recipes.append(chosen)
        aurocs.append([row["val_auroc"] for row in outcome.history.rows])
        return outcome

    options = RunOptions(
        data=project / "data",
        splits=project / "splits.csv",
        out=tmp_path_factory.mktemp("artifacts"),
        seed=3,
        precision="float32",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "train_once", spy)
        folder = tune(recipe, options, load_space(project / "space.toml"), trials=3)
    return Searched(folder, recipes, aurocs)


def test_files(searched: Searched) -> None:
    assert searched.folder.name == "custom_cnn-tune"
    assert {path.name for path in searched.folder.iterdir()} == FILES
    assert [path.name for path in searched.folder.parent.iterdir()] == ["custom_cnn-tune"]
    picture = (searched.folder / "trials.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert picture.endswith(b"IEND\xaeB`\x82")


def test_the_first_trial_is_the_recipe_as_it_is(searched: Searched, recipe: Recipe) -> None:
    assert searched.recipes[0] == recipe
    trials = _study(searched.folder).trials
    assert trials[0].params == {}
    # The others have the values that Optuna sampled, and differ in nothing else.
    for trial, found in zip(trials[1:], searched.recipes[1:], strict=True):
        assert list(trial.params) == KEYS
        assert found == apply(trial.params, recipe)
        assert 1e-5 <= _rate(found) <= 1e-1
        assert 0 <= found.augmentation.rotation <= 20
    assert searched.recipes[1] != searched.recipes[2]


def test_the_table_is_that_of_the_study(searched: Searched) -> None:
    rows, trials = _rows(searched.folder), _study(searched.folder).trials
    assert list(rows[0]) == ["trial", "state", "val_auroc", "epochs", "seconds", *KEYS]
    assert [row["trial"] for row in rows] == ["1", "2", "3"]
    for row, trial, aurocs in zip(rows, trials, searched.aurocs, strict=True):
        assert row["state"] == trial.state.name.lower() == "complete"
        assert trial.value == max(aurocs)
        assert float(row["val_auroc"]) == pytest.approx(trial.value, abs=1e-6)
        assert int(row["epochs"]) == len(aurocs) == 2
        assert list(trial.intermediate_values.values()) == pytest.approx(aurocs, abs=1e-6)
        assert int(row["seconds"]) == round(trial.duration.total_seconds())
        assert [row[key] for key in KEYS] == [str(trial.params.get(key, "")) for key in KEYS]


def test_the_best_recipe(searched: Searched) -> None:
    best = max(range(3), key=lambda n: max(searched.aurocs[n]))
    assert load_recipe("custom_cnn", str(searched.folder / "best.toml")) == searched.recipes[best]
    first = (searched.folder / "best.toml").read_text().splitlines()[0]
    assert first == (
        f"# Trial {best + 1} of 3: validation AUROC {max(searched.aurocs[best]):.4f}, the best of the search."
    )


def test_the_command_prints_the_table(
    search: Callable[..., tuple[int, str, str]], trainer: Trainer, recipe: Recipe, tmp_path: Path
) -> None:
    code, out, err = search("--trials", 4, "--epochs", 5, "--set", "patience=2")
    assert code == 0, err
    folder = tmp_path / "custom_cnn-tune"
    assert out == (folder / "trials.csv").read_text()
    assert err.splitlines()[-1] == f"wrote {folder}"
    first = next(line for line in err.splitlines() if line.startswith("trial "))
    assert first == "trial 1 of 4: the recipe as it is"
    changed = replace(recipe, patience=2, phases=(replace(recipe.phases[0], epochs=5),))
    assert trainer.recipes[0] == changed
    best = max(trainer.recipes, key=trainer.score)
    assert load_recipe("custom_cnn", str(folder / "best.toml")) == best
    assert best.patience == 2
    values = [float(row["val_auroc"]) for row in _rows(folder)]
    assert values == pytest.approx([trainer.score(found) for found in trainer.recipes], abs=1e-6)


def test_one_trial(
    search: Callable[..., tuple[int, str, str]], trainer: Trainer, recipe: Recipe, tmp_path: Path
) -> None:
    code, _, err = search("--trials", 1)
    assert code == 0, err
    assert trainer.recipes == [recipe]
    folder = tmp_path / "custom_cnn-tune"
    assert load_recipe("custom_cnn", str(folder / "best.toml")) == recipe
    assert {path.name for path in folder.iterdir()} == FILES


def test_the_default_space(
    project: Path, search: Callable[..., tuple[int, str, str]], trainer: Trainer, tmp_path: Path, cli: Cli
) -> None:
    places = ("--data", project / "data", "--splits", project / "splits.csv", "--artifacts", tmp_path)
    code, _, err = cli(
        "tune", "custom_cnn", *places, "--recipe", project / "tiny.toml", "--seed", 3, "--trials", 2
    )
    assert code == 0, err
    row = _rows(tmp_path / "custom_cnn-tune")[1]
    assert list(row)[5:] == [entry.key for entry in load_space(None)]
    assert all(row.values())
    assert trainer.recipes[1].augmentation.contrast == float(row["augmentation.contrast"])


def test_another_image_size_reads_the_images_anew(
    project: Path, search: Callable[..., tuple[int, str, str]], trainer: Trainer, tmp_path: Path
) -> None:
    (tmp_path / "sizes.toml").write_text('"preprocessing.height" = { choices = [40, 48] }')
    # `Trainer` compares what it is given with the recipe.
    code, _, err = search("--trials", 4, "--space", tmp_path / "sizes.toml")
    assert code == 0, err
    heights = [found.preprocessing.height for found in trainer.recipes]
    assert heights[0] == 32
    assert set(heights[1:]) <= {40, 48}


def test_resuming_adds_trials_up_to_the_total(
    search: Callable[..., tuple[int, str, str]], trainer: Trainer, recipe: Recipe, tmp_path: Path
) -> None:
    assert search("--trials", 3)[0] == 0
    folder = tmp_path / "custom_cnn-tune"
    before = _rows(folder)
    for total, ran in ((5, 5), (6, 6), (6, 6), (2, 6), (9, 9)):
        code, out, err = search("--trials", total, "--resume")
        assert code == 0, err
        assert len(trainer.recipes) == ran
        assert out.count("\n") == 1 + ran
    rows = _rows(folder)
    assert rows[:3] == before
    assert [row["trial"] for row in rows] == [str(n + 1) for n in range(9)]
    # The recipe as it is comes once, and no values are sampled twice.
    assert trainer.recipes[0] == recipe
    assert recipe not in trainer.recipes[1:]
    assert len({_rate(found) for found in trainer.recipes}) == 9
    assert len({found.augmentation.rotation for found in trainer.recipes}) == 9
    best = max(trainer.recipes, key=trainer.score)
    assert load_recipe("custom_cnn", str(folder / "best.toml")) == best


# Optuna leaves a trial RUNNING when the process is killed, as with SystemExit, and marks it failed itself on
# Ctrl-C.
@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("number", [1, 3])
def test_an_interrupted_trial_is_repeated(
    project: Path,
    recipe: Recipe,
    trainer: Trainer,
    tmp_path: Path,
    search: Callable[..., tuple[int, str, str]],
    end: type[BaseException],
    number: int,
) -> None:
    score = trainer.score

    def die(chosen: Recipe) -> float:
        if len(trainer.recipes) == number:
            raise end
        return score(chosen)

    trainer.score = die
    options = RunOptions(data=project / "data", splits=project / "splits.csv", out=tmp_path, seed=3)
    with pytest.raises(end):
        tune(recipe, options, load_space(project / "space.toml"), trials=4)
    folder = tmp_path / "custom_cnn-tune"
    assert not (folder / "trial").exists()
    cut = trainer.recipes[-1]
    assert len(trainer.recipes) == number
    assert (cut == recipe) is (number == 1)

    trainer.score = score
    code, _, err = search("--trials", 4, "--resume")
    assert code == 0, err
    assert trainer.recipes[number] == cut
    assert (f"trial {number + 1} of 4: the recipe as it is\n" in err) is (number == 1)
    states = [row["state"] for row in _rows(folder)]
    assert states == ["complete"] * (number - 1) + ["fail"] + ["complete"] * (5 - number)
    # Interrupted trials do not count: four trials completed.
    assert len(trainer.recipes) == 5


def test_a_trial_that_fails_does_not_end_the_search(
    search: Callable[..., tuple[int, str, str]], trainer: Trainer, tmp_path: Path
) -> None:
    score = trainer.score

    def fail(chosen: Recipe) -> float:
        if len(trainer.recipes) == 2:
            raise FractureEdgeError("training diverged")
        # NaN is not a result either.
        return math.nan if len(trainer.recipes) == 3 else score(chosen)

    trainer.score = fail
    code, _, err = search("--trials", 5)
    assert code == 0, err
    assert "training diverged" in err
    assert "Traceback" not in err
    folder = tmp_path / "custom_cnn-tune"
    assert [row["state"] for row in _rows(folder)] == ["complete", "fail", "fail", "complete", "complete"]
    assert [row["val_auroc"] for row in _rows(folder)][1:3] == ["", ""]
    best = max((trainer.recipes[n] for n in (0, 3, 4)), key=score)
    assert load_recipe("custom_cnn", str(folder / "best.toml")) == best


def test_no_trial_completes(project: Path, search: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, _, err = search("--trials", 2, "--weights", tmp_path / "gone.npz")
    assert code == 1
    assert err.splitlines()[-1].startswith("fracture-edge: ")
    assert "gone.npz: no such weights file" in err
    assert "Traceback" not in err
    assert not (tmp_path / "custom_cnn-tune/best.toml").exists()


def test_trials_that_fall_behind_are_stopped(
    search: Callable[..., tuple[int, str, str]], trainer: Trainer, tmp_path: Path
) -> None:
    trainer.score = lambda _: 0.9 if len(trainer.recipes) <= 4 else 0.6
    code, _, err = search("--trials", 6)
    assert code == 0, err
    rows = _rows(tmp_path / "custom_cnn-tune")
    # Four complete trials first; then trials are pruned after two epochs, not after one. Pruned trials count.
    assert [row["state"] for row in rows] == ["complete"] * 4 + ["pruned"] * 2
    assert [row["epochs"] for row in rows] == ["3"] * 4 + ["2"] * 2
    assert [float(row["val_auroc"]) for row in rows[:4]] == [0.9] * 4
    assert load_recipe("custom_cnn", str(tmp_path / "custom_cnn-tune/best.toml")) == trainer.recipes[0]


@pytest.fixture
def begun(searched: Searched, tmp_path: Path) -> Path:
    """Copy of the folder of a search with three finished trials."""
    return shutil.copytree(searched.folder, tmp_path / "custom_cnn-tune")


@pytest.mark.parametrize(
    "change",
    [
        ("--seed", 4),
        ("--set", "patience=9"),
        ("--epochs", 3),
        ("--weights", "imagenet"),
        ("--space", "other.toml"),
        ("--splits", "other.csv"),
    ],
)
def test_a_search_that_was_started_with_other_settings(
    begun: Path,
    project: Path,
    search: Callable[..., tuple[int, str, str]],
    trainer: Trainer,
    change: tuple[str, object],
) -> None:
    before = (begun / "trials.csv").read_bytes()
    (begun.parent / "other.toml").write_text(SPACE.replace("20.0", "30.0"))
    splits = (project / "splits.csv").read_text().replace(",train,g1", ",val,g1")
    (begun.parent / "other.csv").write_text(splits)
    option, value = change
    code, out, err = search(
        "--trials", 3, "--resume", option, begun.parent / value if "." in str(value) else value
    )
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == (
        f"fracture-edge: {begun}: the search was started with another recipe, space, seed, weights or data"
    )
    assert trainer.recipes == []
    assert (begun / "trials.csv").read_bytes() == before
    # The refusal itself changes nothing.
    assert search("--trials", 3, "--resume")[1].encode() == before


def test_a_search_that_is_there_already(
    begun: Path, search: Callable[..., tuple[int, str, str]], trainer: Trainer, recipe: Recipe
) -> None:
    before = (begun / "trials.csv").read_bytes()
    code, out, err = search("--trials", 4)
    assert (code, out) == (1, "")
    assert err == f"fracture-edge: {begun} holds a search: --resume continues it, --force starts over\n"
    assert (trainer.recipes, (begun / "trials.csv").read_bytes()) == ([], before)
    code, _, err = search("--trials", 1, "--force")
    assert code == 0, err
    assert trainer.recipes == [recipe]
    assert [row["trial"] for row in _rows(begun)] == ["1"]


def test_no_search_to_resume(
    search: Callable[..., tuple[int, str, str]], trainer: Trainer, tmp_path: Path
) -> None:
    code, out, err = search("--resume")
    folder = tmp_path / "custom_cnn-tune"
    assert (code, out) == (1, "")
    assert err == f"fracture-edge: {folder}: no search to resume; leave --resume out to start one\n"
    assert not folder.exists()


@pytest.mark.parametrize(
    ("space", "word"),
    [
        ("patients = { low = 1, high = 3 }", "patients"),
        ('"phases.1.learning_rate" = { low = 1e-4, high = 1e-3 }', "phases.1.learning_rate"),
        ('"augmentation.mix" = { low = 0.0, high = 0.3 }', "mix"),
        ("patience = { low = 3 }", "patience"),
    ],
)
def test_a_space_that_does_not_fit(
    search: Callable[..., tuple[int, str, str]], trainer: Trainer, tmp_path: Path, space: str, word: str
) -> None:
    (tmp_path / "wrong.toml").write_text(SPACE + space)
    code, out, err = search("--space", tmp_path / "wrong.toml")
    assert (code, out) == (1, "")
    assert err.startswith("fracture-edge: ")
    assert (err.count("\n"), f"'{word}'" in err) == (1, True)
    assert trainer.recipes == []
    assert not (tmp_path / "custom_cnn-tune").exists()


def test_a_data_folder_that_is_not_there(
    search: Callable[..., tuple[int, str, str]], trainer: Trainer, tmp_path: Path
) -> None:
    code, out, err = search("--data", tmp_path / "nowhere")
    assert (code, out, err) == (1, "", f"fracture-edge: {tmp_path / 'nowhere'}: no such folder\n")
    assert trainer.recipes == []


def test_edge_starts_from_the_recipe_of_the_embedded_model(
    project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def stop(recipe: Recipe, options: RunOptions, *_: object, **__: object) -> Path:
        started.append((recipe, options.recipe_name))
        raise FractureEdgeError("no search here")

    monkeypatch.setattr(module, "tune", stop)
    assert cli("tune", "edge", "--data", project / "data") == (1, "", "fracture-edge: no search here\n")
    assert started == [(load_recipe("edge", "deep"), "deep")]
