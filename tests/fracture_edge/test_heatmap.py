import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from fracture_edge import FractureClassifier
from fracture_edge.heatmap import LONGEST_SIDE, over_image, overlay
from fracture_edge.images.image_file import ImageFile
from fracture_edge.modelfile import ModelInfo, embed_info
from fracture_edge.preprocess import Preprocessing

Run = Callable[..., tuple[int, str, str]]
YELLOW = np.array((254, 232, 56))


@pytest.fixture(scope="module")
def looking_model(tmp_path_factory: pytest.TempPathFactory, tiny_info: ModelInfo) -> Path:
    """Model whose heat map is the mean brightness of 4 x 4 cells, and whose P is the sigmoid of their mean."""
    nodes = [
        helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["grey"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["cells"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Div", ["cells", "white"], ["shares"]),
        helper.make_node("Squeeze", ["shares", "channel"], ["heatmap"]),
        helper.make_node("GlobalAveragePool", ["shares"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Sigmoid", ["flat"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "looking",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 64, 64, 1])],
        [
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", 1]),
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, ["N", 4, 4]),
        ],
        [
            numpy_helper.from_array(np.array(255, np.float32), "white"),
            numpy_helper.from_array(np.array([1], np.int64), "channel"),
        ],
    )
    path = tmp_path_factory.mktemp("looking") / "looking.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    embed_info(path, tiny_info, path)
    return path


@pytest.fixture
def bright_corner(tmp_path: Path) -> Path:
    grey = np.zeros((64, 64), np.uint8)
    grey[:16, 48:] = 255
    path = tmp_path / "corner.png"
    Image.fromarray(grey).save(path)
    return path


def test_prediction_carries_the_map(looking_model: Path, tiny_model: Path, bright_corner: Path) -> None:
    classifier = FractureClassifier(looking_model, threads=1)
    assert classifier.has_heatmap
    prediction = classifier.predict(bright_corner)
    assert prediction.heatmap is not None
    expected = np.zeros((4, 4), np.float32)
    expected[0, 3] = 1
    np.testing.assert_array_equal(prediction.heatmap, expected)
    assert prediction.probability == pytest.approx(1 / (1 + np.exp(-1 / 16)), abs=1e-6)
    assert "heatmap" not in prediction.record()
    assert prediction == replace(prediction, heatmap=None)
    assert classifier.predict(b"none").heatmap is None
    without = FractureClassifier(tiny_model, threads=1)
    assert (without.has_heatmap, without.predict(bright_corner).heatmap) == (False, None)


def test_overlay_colours_the_map_and_keeps_the_aspect_ratio() -> None:
    grey = np.full((50, 100), 100, np.uint8)
    heatmap = np.tile(np.array([0, 0, 1, 1], np.float32), (4, 1))
    picture = overlay(grey, heatmap, Preprocessing(64, 64))
    values = np.asarray(picture)
    assert picture.width == 100
    # Away from the step in the middle there is no interpolation.
    assert values[25, 10].tolist() == [100, 100, 100]
    assert values[25, 90].tolist() == np.rint(0.4 * 100 + 0.6 * YELLOW).astype(int).tolist()
    # Below the image: a scale from dark blue to yellow, and labels.
    scale = values[50 + 8 + 7]
    # The second of 84 pixels, and the last but one: a step is 4 levels at most.
    assert np.abs(scale[9].astype(int) - (0, 34, 78)).max() <= 5
    assert np.abs(scale[90].astype(int) - YELLOW).max() <= 5
    assert (values[50 + 8 + 14 :] > 200).any()


def test_letterbox_bars_are_cut_off() -> None:
    # 64 x 32 in 64 x 64: the first and the last of four rows of the map are bars.
    grey = np.full((32, 64), 80, np.uint8)
    heatmap = np.zeros((4, 4), np.float32)
    heatmap[[0, 3]] = 1
    image = np.asarray(overlay(grey, heatmap, Preprocessing(64, 64)))[:32]
    # With bilinear interpolation the map fades over half a cell; the middle is not affected.
    assert (image[12:20] == 80).all()
    stretched = np.asarray(overlay(grey, heatmap, Preprocessing(64, 64, framing="stretch")))[:32]
    assert stretched[0, 30].tolist() == np.rint(0.4 * 80 + 0.6 * YELLOW).astype(int).tolist()


def test_the_map_of_a_rotated_image_is_rotated_back() -> None:
    # 32 rows, 64 columns, rotated by 90 degrees anticlockwise for the model: the upper left cell of four rows
    # and two columns is the image's upper right one.
    heatmap = np.zeros((4, 2), np.float32)
    heatmap[0, 0] = 1
    portrait = Preprocessing(64, 32, orientation="portrait")
    spread = over_image(heatmap, portrait, (64, 32))
    assert spread.shape == (32, 64)
    # Cells of 16 pixels; at the centre of the outermost the map has its value.
    assert spread[8, 56] == pytest.approx(1, abs=0.05)
    assert spread[24, 8] == spread[8, 8] == spread[24, 24] == 0
    assert spread[:16, 48:].min() > spread[:16, :32].max() == 0


def test_large_images_are_reduced() -> None:
    picture = overlay(np.zeros((1500, 3000), np.uint8), np.zeros((4, 4), np.float32), Preprocessing(64, 64))
    assert picture.width == LONGEST_SIDE
    assert 512 < picture.height < 600


def test_command_writes_overlays_and_names_them(
    looking_model: Path, bright_corner: Path, tmp_path: Path, cli: Run
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"none")
    folder = tmp_path / "looked"
    files = [bright_corner, broken, bright_corner]
    code, out, _ = cli("classify", *files, "--model", looking_model, "--heatmap", folder, "--json")
    assert code == 3
    written = [record["heatmap"] for record in json.loads(out)]
    assert written == [str(folder / "corner.png.png"), None, str(folder / "corner.png-2.png")]
    with Image.open(written[0]) as picture:
        assert picture.width == 64
        # The white corner is under the yellow of the map, the rest stays black.
        assert picture.getpixel((60, 3)) == tuple(np.rint(0.4 * 255 + 0.6 * YELLOW).astype(int))
        assert picture.getpixel((10, 50)) == (0, 0, 0)
    code, out, _ = cli("classify", *files, "--model", looking_model, "--heatmap", folder, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["heatmap"] for row in rows] == [
        str(folder / "corner.png-3.png"), "", str(folder / "corner.png-4.png"),
    ]  # fmt: skip


def test_each_frame_has_its_overlay(
    looking_model: Path, write_cine: Callable[..., Path], tmp_path: Path, cli: Run
) -> None:
    # The upper rows of each frame are white, and so are those of its map.
    cine, folder = write_cine(tmp_path / "cine.dcm", [16, 48, *[0] * 8]), tmp_path / "looked"
    code, out, _ = cli("classify", cine, "--model", looking_model, "--heatmap", folder, "--json")
    assert code == 0
    assert [record["heatmap"] for record in json.loads(out)] == [
        str(folder / f"cine.dcm-frame{number:02}.png") for number in range(1, 11)
    ]
    marked = tuple(np.rint(0.4 * 255 + 0.6 * YELLOW).astype(int))
    for number, rows in ((1, [marked, (0, 0, 0)]), (2, [marked, marked]), (3, [(0, 0, 0), (0, 0, 0)])):
        with Image.open(folder / f"cine.dcm-frame{number:02}.png") as picture:
            assert [picture.getpixel((30, row)) for row in (3, 30)] == rows


def test_a_file_is_read_once_for_all_frames_with_the_given_limit(
    looking_model: Path,
    bright_corner: Path,
    write_cine: Callable[..., Path],
    tmp_path: Path,
    cli: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = []

    def spy(source: str, **options: Any) -> ImageFile:
        opened.append((Path(source).name, options["max_pixels"]))
        return ImageFile(source, **options)

    monkeypatch.setattr("fracture_edge.heatmap.ImageFile", spy)
    cine, folder = write_cine(tmp_path / "cine.dcm", [16, 48, 0]), tmp_path / "looked"
    limit = ("--max-pixels", 200_000_000)
    files = (cine, bright_corner, cine)
    code, *_ = cli("classify", *files, "--model", looking_model, "--heatmap", folder, *limit, "--json")
    assert (code, len(list(folder.iterdir()))) == (0, 7)
    assert opened == [(path.name, 200_000_000) for path in files]


def test_overlays_and_resumption(looking_model: Path, bright_corner: Path, tmp_path: Path, cli: Run) -> None:
    target = tmp_path / "answers.csv"
    options = ("--model", looking_model, "--csv", "-o", target)
    assert cli("classify", bright_corner, *options, "--heatmap", tmp_path / "looked")[0] == 0
    code, _, err = cli("classify", bright_corner, *options, "--resume")
    assert code == 1
    assert "was started with --heatmap; resume it in the same way" in err
    again = cli("classify", bright_corner, *options, "--resume", "--heatmap", tmp_path / "looked")
    assert again[0] == 0
    assert len(list((tmp_path / "looked").iterdir())) == 1


def test_model_without_a_map_is_refused(tiny_model: Path, bright_corner: Path, tmp_path: Path, cli: Run) -> None:
    code, out, err = cli("classify", bright_corner, "--model", tiny_model, "--heatmap", tmp_path / "looked")
    assert (code, out) == (1, "")
    assert "has no heat map; export the model with `fracture-edge export MODEL --heatmap`" in err
    assert not (tmp_path / "looked").exists()
