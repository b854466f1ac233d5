from pathlib import Path

import numpy as np
import pytest
from keras import ops

from fracture_edge.errors import FractureEdgeError
from train.data.dataset import ImageTable, Item
from train.evaluation.classes import class_truth, fractured_classes, require_classes, sides
from train.recipes.recipe import recipe_of
from train.trainer.train_once import _classes_in_place


def test_the_class_of_an_image_is_its_innermost_folder() -> None:
    paths = (
        "train/fractured/spiral/a.png",
        "train/fractured/b.png",
        "train/sound/spiral/sound/c.png",
        "spiral.png",
    )
    table = ImageTable(Path(), "split_folders", tuple(Item(path, 1) for path in paths))
    found = class_truth(table, ("sound", "spiral"))
    assert found.tolist() == [[False, True], [False, False], [True, False], [False, False]]


def test_a_class_without_images_is_refused() -> None:
    table = ImageTable(Path(), "class_folders", (Item("fractured/spiral/a.png", 1), Item("normal/b.png", 0)))
    require_classes(table, table, ("normal", "spiral"))
    require_classes(table, table, ())
    lacking = ImageTable(Path(), "class_folders", table.items[:1])
    with pytest.raises(FractureEdgeError, match="classes: no validation images in a folder named 'normal'"):
        require_classes(table, lacking, ("normal", "spiral"))


def _table(*paths: str) -> ImageTable:
    """Images whose label is that of the first folder."""
    items = tuple(Item(path, int(path.startswith("fractured"))) for path in paths)
    return ImageTable(Path(), "class_folders", items)


def test_folders_tell_which_classes_are_fractured() -> None:
    table = _table("normal/a.png", "fractured/spiral/b.png", "normal/cast/c.png", "fractured/d.png")
    assert fractured_classes(table, ("spiral", "cast", "normal")) == (True, False, False)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("spiral", "oblique"), "none of spiral, oblique is not fractured"),
        (("normal", "cast"), "none of normal, cast is fractured"),
        (("normal", "bowed"), "no images in a folder named 'bowed'"),
        (("normal", "wrist", "spiral"), "'wrist' has both fractured and not fractured images"),
    ],
)
def test_classes_that_cannot_take_the_place_of_the_answer(classes: tuple[str, ...], message: str) -> None:
    paths = ("normal/a.png", "normal/wrist/b.png", "normal/cast/c.png")
    table = _table(*paths, "fractured/wrist/d.png", "fractured/spiral/e.png", "fractured/oblique/f.png")
    with pytest.raises(FractureEdgeError, match=f"recipe.classes: {message}"):
        fractured_classes(table, classes)


def test_a_part_without_a_rare_class_takes_what_all_images_tell() -> None:
    everything = _table("normal/a.png", "fractured/spiral/b.png", "fractured/oblique/c.png")
    part = _table("normal/a.png", "fractured/spiral/b.png")
    classes = ("spiral", "oblique", "normal")
    values = {"architecture": "custom_cnn", "preprocessing": {"height": 8, "width": 8}, "softmax": "in_place"}
    recipe = recipe_of(values | {"classes": list(classes), "phases": [{"epochs": 1, "learning_rate": 1e-3}]})
    known = fractured_classes(everything, classes)
    assert known == (True, True, False)
    assert _classes_in_place(recipe, part, None, known) == (classes, known)
    # The images of both parts, where nothing is given.
    assert _classes_in_place(recipe, part, everything, ()) == (classes, known)
    with pytest.raises(FractureEdgeError, match="no images in a folder named 'oblique'"):
        _classes_in_place(recipe, part, None, ())
    # A validation image on the other side is seen too.
    with pytest.raises(FractureEdgeError, match="'spiral' has both fractured and not fractured images"):
        _classes_in_place(recipe, everything, _table("normal/spiral/d.png"), ())


def test_sides_by_hand() -> None:
    log_odds = np.log([[1.0, 2.0, 6.0, 1.0]], dtype=np.float32)
    broken, whole = sides(ops.convert_to_tensor(log_odds), (True, False, True, True))
    np.testing.assert_allclose(broken, [[1 / 8, 0, 6 / 8, 1 / 8]], rtol=1e-6)
    np.testing.assert_array_equal(whole, [[0, 1, 0, 0]])
