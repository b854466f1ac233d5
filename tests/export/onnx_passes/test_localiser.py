"""A localiser in a file that gets it afterwards."""

import copy
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.studies.robustness.pointing import hit, peak
from export.attributes import add_localiser
from export.onnx_passes.localiser import attach, map_tensors, maps_of_file
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.images.image_file import load_image
from fracture_edge.modelfile import HEATMAP_NAME, INPUT_NAME
from fracture_edge.models import EMBEDDED_FILE
from fracture_edge.runtimes.session import open_session
from train.data.dataset import read_splits
from train.data.localisation import fracture_marks
from train.evaluation.localiser import Localiser


@pytest.fixture(scope="module")
def embedded() -> onnx.ModelProto:
    return onnx.load(EMBEDDED_FILE)


@pytest.fixture(scope="module")
def pixels() -> npt.NDArray[np.uint8]:
    grey = np.random.default_rng(0).integers(256, size=(2, 288, 224, 1), dtype=np.uint8)
    grey[:, 96:200, 80:180] //= 4
    return grey


def _run(model: onnx.ModelProto, pixels: npt.NDArray[np.uint8]) -> dict[str, np.ndarray]:
    # One thread: sums in float32 depend on the order.
    session = open_session("x", model.SerializeToString(), 1)
    names = [entry.name for entry in session.get_outputs()]
    return dict(zip(names, session.run(names, {INPUT_NAME: pixels}), strict=True))


def _drawn(seed: int) -> Localiser:
    random = np.random.default_rng(seed)
    return Localiser(random.normal(scale=0.05, size=1152), -1.0)


def test_the_heat_map_is_the_localiser_and_nothing_else_changes(
    embedded: onnx.ModelProto, pixels: npt.NDArray[np.uint8]
) -> None:
    before = _run(embedded, pixels)
    model, given = copy.deepcopy(embedded), _drawn(0)
    tensors = map_tensors(model)
    (maps,) = maps_of_file("x", model, tensors, pixels)
    assert maps.shape == (2, 18, 14, 480 + 672)
    attach(model, tensors, given)
    onnx.checker.check_model(model)
    after = _run(model, pixels)
    chances = 1 / (1 + np.exp(-given.log_odds(maps)))
    # Sums of a thousand float32 products.
    np.testing.assert_allclose(after[HEATMAP_NAME], chances / chances.max(axis=(1, 2), keepdims=True), atol=1e-5)
    for name in before.keys() - {HEATMAP_NAME}:
        np.testing.assert_array_equal(after[name], before[name])


def test_places_without_a_sign_are_told_apart(embedded: onnx.ModelProto, pixels: npt.NDArray[np.uint8]) -> None:
    model, drawn = copy.deepcopy(embedded), _drawn(3)
    # Chances of one in ten million: a sigmoid of onnxruntime would give all of them some 1e-7.
    given = Localiser(drawn.kernel, -20.0)
    tensors = map_tensors(model)
    (maps,) = maps_of_file("x", model, tensors, pixels)
    attach(model, tensors, given)
    odds = np.exp(given.log_odds(maps))
    found = _run(model, pixels)[HEATMAP_NAME]
    np.testing.assert_allclose(found, odds / odds.max(axis=(1, 2), keepdims=True), atol=1e-4)


def test_a_second_one_replaces_the_first(embedded: onnx.ModelProto, pixels: npt.NDArray[np.uint8]) -> None:
    once, twice = copy.deepcopy(embedded), copy.deepcopy(embedded)
    attach(twice, map_tensors(twice), _drawn(1))
    first, again = map_tensors(once), map_tensors(twice)
    assert again.maps == first.maps
    attach(once, first, _drawn(2))
    attach(twice, again, _drawn(2))
    assert len(twice.graph.node) == len(once.graph.node)
    assert len(twice.graph.initializer) == len(once.graph.initializer)
    np.testing.assert_array_equal(_run(twice, pixels)[HEATMAP_NAME], _run(once, pixels)[HEATMAP_NAME])


def test_a_file_is_fitted_to_the_training_images(
    tmp_path: Path, write_bones: Callable[..., Path], mark_bones: Callable[[Path], Path]
) -> None:
    data = write_bones(tmp_path / "data", 4, splits=("train", "val"), height=64, width=64)
    copied = tmp_path / "copy.onnx"
    with pytest.raises(FractureEdgeError, match="has no boxes around fractures, which a localiser is fitted to"):
        add_localiser(EMBEDDED_FILE, copied, data, None)
    assert not copied.exists()
    mark_bones(data)
    add_localiser(EMBEDDED_FILE, copied, data, tmp_path / "splits.csv", version="99")
    classifier = FractureClassifier(copied)
    assert classifier.info.version == "99"
    table = read_splits(data, tmp_path / "splits.csv").where("train")
    marks = fracture_marks(data)
    assert marks is not None
    found = []
    for item in table:
        if item.label:
            grey = load_image(table.file(item))
            heatmap = classifier.predict(grey).heatmap
            assert heatmap is not None
            where = peak(heatmap, classifier.info.preprocessing, grey.shape[::-1])
            found.append(hit(where, marks[PurePosixPath(item.path).name]))
    # All boxes lie at the same place of images that it was fitted to.
    assert found == [True] * 4


def test_a_file_without_a_heat_map_is_refused() -> None:
    image = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, [None, 32, 32, 1])
    answer = helper.make_tensor_value_info("probability", TensorProto.UINT8, [None, 32, 32, 1])
    node = helper.make_node("Identity", [INPUT_NAME], ["probability"])
    model = helper.make_model(helper.make_graph([node], "g", [image], [answer]))
    with pytest.raises(FractureEdgeError, match="no heat map of cells; export it with --heatmap"):
        map_tensors(model)
