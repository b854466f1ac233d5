"""Plots of a training run and of an evaluation, by the contents of their matplotlib figures."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from fracture_edge.preprocess import Preprocessing
from train import figure
from train.data.augment import Augmentation
from train.data.dataset import ImageTable, read_table
from train.data.pixel_store import PixelStore
from train.evaluation import plots as evaluation_plots
from train.evaluation.predictions import Predictions
from train.figure import COLOURS
from train.recipes.recipe import Phase, Recipe
from train.runs import plots as training_plots
from train.trainer.callbacks import History, State

Row = dict[str, Any]
LABELS = [0, 0, 0, 1, 0, 1, 1, 1]
SCORES = np.array([0.1, 0.2, 0.3, 0.35, 0.6, 0.7, 0.8, 0.9])


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """All figures that are plotted."""
    drawn: list[Any] = []

    @contextmanager
    def keep(path: Path, **options: Any) -> Iterator[Any]:
        with figure.saved_figure(path, **options) as one:
            drawn.append(one)
            yield one

    for module in (training_plots, evaluation_plots):
        monkeypatch.setattr(module, "saved_figure", keep)
    return drawn


def _check(path: Path, width: float, height: float) -> None:
    """Assert that the file is a PNG of this size in inches at 130 dpi, and not blank."""
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (round(130 * width), round(130 * height)))
        colours = image.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    assert len(colours) > 20


def _rows(*phases: int) -> list[Row]:
    names = ("loss", "accuracy", "auroc", "val_loss", "val_accuracy", "val_auroc")
    return [
        {"epoch": n, "phase": phase} | {name: 0.01 * n + 0.1 * k for k, name in enumerate(names)}
        for n, phase in enumerate(phases, start=1)
    ]


def test_curves_show_all_phases(tmp_path: Path, figures: list[Any]) -> None:
    rows = _rows(1, 1, 2, 2, 2)
    training_plots.plot_history(rows, tmp_path / "curves.png", title="resnet50: training")
    _check(tmp_path / "curves.png", 12, 3.8)
    (drawn,) = figures
    assert drawn.get_suptitle() == "resnet50: training"
    assert [axes.get_ylabel() for axes in drawn.axes] == ["loss", "accuracy", "AUROC"]
    for axes, name in zip(drawn.axes, ("loss", "accuracy", "auroc"), strict=True):
        training, validation, begin = axes.get_lines()
        assert list(training.get_xdata()) == list(validation.get_xdata()) == [1, 2, 3, 4, 5]
        assert list(training.get_ydata()) == [row[name] for row in rows]
        assert list(validation.get_ydata()) == [row[f"val_{name}"] for row in rows]
        # Phase 2 begins with epoch 3.
        assert (list(begin.get_xdata()), begin.get_label()) == ([2.5, 2.5], "phase 2 begins")
        assert (training.get_color(), validation.get_color()) == COLOURS


@pytest.mark.parametrize("rows", [_rows(1), _rows(1, 1)])
def test_curves_of_one_phase(rows: list[Row], tmp_path: Path, figures: list[Any]) -> None:
    training_plots.plot_history(rows, tmp_path / "curves.png", title="")
    assert [len(axes.get_lines()) for axes in figures[0].axes] == [2, 2, 2]


def test_curves_without_validation_are_of_training_alone(tmp_path: Path, figures: list[Any]) -> None:
    rows = [{name: value for name, value in row.items() if not name.startswith("val_")} for row in _rows(1, 1, 1)]
    training_plots.plot_history(rows, tmp_path / "curves.png", title="")
    assert [[line.get_label() for line in axes.get_lines()] for axes in figures[0].axes] == [["training"]] * 3


@pytest.fixture
def data(tmp_path: Path, write_bones: Callable[..., Path]) -> ImageTable:
    return read_table(write_bones(tmp_path / "data", 5, splits=("train", "val"), height=48, width=40))


def test_classes(data: ImageTable, tmp_path: Path, figures: list[Any]) -> None:
    for path in (data.root / "val/fractured").glob("*.png"):
        path.unlink()
    training_plots.plot_classes(read_table(data.root), tmp_path / "classes.png")
    _check(tmp_path / "classes.png", 5.5, 3.8)
    (axes,) = figures[0].axes
    assert [[bar.get_height() for bar in bars] for bars in axes.containers] == [[5, 5, 0], [5, 2, 0]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["not fractured", "fractured"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["train", "val", "test"]


def _recipe(augmentation: Augmentation) -> Recipe:
    return Recipe("custom_cnn", Preprocessing(40, 32), (Phase(1, 1e-3),), augmentation=augmentation)


def _samples(
    data: ImageTable, path: Path, augmentation: Augmentation, figures: list[Any]
) -> list[list[np.ndarray]]:
    part, recipe = data.where("train"), _recipe(augmentation)
    training_plots.plot_samples(part, PixelStore(part, recipe.preprocessing), recipe, path, seed=3)
    shown = [np.asarray(axes.images[0].get_array()) for axes in figures[-1].axes]
    assert len(shown) == 8 * 6
    return [shown[6 * row : 6 * row + 6] for row in range(8)]


def test_samples(data: ImageTable, tmp_path: Path, figures: list[Any]) -> None:
    rows = _samples(data, tmp_path / "samples.png", Augmentation(rotation=15.0, contrast=0.2), figures)
    _check(tmp_path / "samples.png", 1.5 * 6 + 1, 1.5 * 8 + 0.6)
    grid = figures[0].axes
    assert [grid[6 * row].get_ylabel() for row in range(8)] == ["fractured"] * 4 + ["not fractured"] * 4
    # On the left preprocessed training images of the class, all different.
    pixels = {
        label: [Preprocessing(40, 32).load(data.file(i))[..., 0] for i in data.where("train") if i.label == label]
        for label in (0, 1)
    }
    found = [
        next(n for n, image in enumerate(pixels[int(row < 4)]) if np.array_equal(image, images[0]))
        for row, images in enumerate(rows)
    ]
    assert len(set(found[:4])) == len(set(found[4:])) == 4
    # To the right five augmented copies, all different.
    for images in rows:
        assert all(np.abs(a - b).max() > 1 for n, a in enumerate(images) for b in images[n + 1 :])
    # The same images for the same seed.
    again = _samples(data, tmp_path / "again.png", Augmentation(rotation=15.0, contrast=0.2), figures)
    np.testing.assert_array_equal(np.array(again), np.array(rows))


def test_samples_without_augmentation(data: ImageTable, tmp_path: Path, figures: list[Any]) -> None:
    for images in _samples(data, tmp_path / "samples.png", Augmentation(), figures):
        # Interpolation at the pixels themselves.
        np.testing.assert_allclose(images[1:], [images[0]] * 5, atol=0.01)


def test_training_plots(data: ImageTable, tmp_path: Path) -> None:
    recipe = _recipe(Augmentation())
    history = History(tmp_path / "history.csv", State(1, _rows(1, 2), 1))
    store = PixelStore(data, recipe.preprocessing)
    training_plots.plot_training(tmp_path, data, store, history, recipe, seed=0)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["classes.png", "curves.png", "samples.png"]


def test_confusion(tmp_path: Path, figures: list[Any]) -> None:
    predicted = np.array([0, 1, 0, 1, 0, 1, 1, 1])
    evaluation_plots.plot_confusion([0, 0, 0, 0, 1, 1, 1, 1], predicted, tmp_path / "c.png", title="t")
    _check(tmp_path / "c.png", 5.4, 4.4)
    (axes,) = figures[0].axes
    # Of four without a fracture two are predicted fractured, of four with one three.
    assert [text.get_text() for text in axes.texts] == ["2\n50.0%", "2\n50.0%", "1\n25.0%", "3\n75.0%"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.5, 0.5], [0.25, 0.75]])


def test_roc_and_precision_recall(tmp_path: Path, figures: list[Any]) -> None:
    evaluation_plots.plot_roc_pr(LABELS, SCORES, 0.5, tmp_path / "r.png", title="t")
    _check(tmp_path / "r.png", 9, 4.4)
    roc, pr = figures[0].axes
    # 15 of 16 pairs in order; predicted at 0.5: three of four fractured, one of four others.
    assert roc.get_title() == "ROC, area 0.938"
    curve, chance, point = roc.get_lines()
    assert (list(curve.get_xdata())[-1], list(curve.get_ydata())[-1]) == (1.0, 1.0)
    assert (list(chance.get_xdata()), list(chance.get_ydata())) == ([0, 1], [0, 1])
    assert (list(point.get_xdata()), list(point.get_ydata())) == ([0.25], [0.75])
    # Precision at each fractured image: 1, 1, 1, 4/5.
    assert pr.get_title() == "average precision 0.950"
    *_, chance, point = pr.get_lines()
    assert list(chance.get_ydata()) == [0.5, 0.5]
    assert (list(point.get_xdata()), list(point.get_ydata())) == ([0.75], [0.75])


def test_a_threshold_above_all_scores(tmp_path: Path, figures: list[Any]) -> None:
    evaluation_plots.plot_roc_pr(LABELS, SCORES, 0.95, tmp_path / "r.png", title="t")
    roc, pr = figures[0].axes
    # Precision is undefined there.
    assert list(roc.get_lines()[-1].get_ydata()) == [0.0]
    assert len(pr.get_lines()) == 2


def test_reliability_before_and_after(tmp_path: Path, figures: list[Any]) -> None:
    path = tmp_path / "reliability.png"
    evaluation_plots.plot_reliability(LABELS, Predictions(SCORES, SCORES**2), path, title="t")
    _check(path, 9, 4.6)
    before, after = figures[0].axes
    assert (before.get_title(), after.get_title()) == ("before calibration", "after calibration")
    for axes, scores in ((before, SCORES), (after, SCORES**2)):
        # Eight images are eight bins.
        np.testing.assert_allclose(axes.get_lines()[1].get_xdata(), scores)
        np.testing.assert_array_equal(axes.get_lines()[1].get_ydata(), LABELS)


def test_reliability_without_calibration(tmp_path: Path, figures: list[Any]) -> None:
    path = tmp_path / "reliability.png"
    evaluation_plots.plot_reliability(LABELS, Predictions(SCORES, SCORES.copy()), path, title="t")
    _check(path, 4.5, 4.6)
    assert [axes.get_title() for axes in figures[0].axes] == ["not calibrated"]


def test_no_file_is_left_when_plotting_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with figure.saved_figure(tmp_path / "p.png", width=1, height=1, title="t"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []
    # No display and no global state are touched.
    assert mpl.get_backend().lower() in ("agg", "module://matplotlib_inline.backend_inline")
