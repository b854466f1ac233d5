"""Body part and view of a model whose outputs depend on the mean grey level.

Grey 192 is a frontal hand, 64 a lateral leg, and at 128 no label reaches the threshold.
"""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fracture_edge import Decision, FractureClassifier, ModelError
from fracture_edge.attributes import Attribute, Attributes, BodyPartCode, header_parts
from fracture_edge.batch.records import COLUMNS
from fracture_edge.modelfile import ModelInfo, embed_info
from fracture_edge.policy import ReasonCode

PARTS, VIEWS = ("hand", "leg", "hip", "shoulder"), ("frontal", "lateral", "oblique")
METADATA = {
    "body_part": {"labels": list(PARTS), "threshold": 0.6},
    "view": {"labels": list(VIEWS), "threshold": 0.6},
}
FURTHER = ("body_part", "body_part_probability", "body_part_code", "view", "view_probability")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(
    write_graph: Callable[..., Path], tiny_info: ModelInfo, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """P(hand) = sigmoid((mean - 128) / 8) and P(leg) = 1 - P(hand), the same for frontal and lateral."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    path = write_graph(tmp_path_factory.mktemp("attributes") / "tiny.onnx")
    graph = onnx.load(path)
    for name, labels in (("body_part", PARTS), ("view", VIEWS)):
        slopes = np.array([[1, -1, 0, 0][: len(labels)]], np.float32) / 8
        biases = np.array([-16, 16, -9, -9][: len(labels)], np.float32)
        graph.graph.initializer.append(numpy_helper.from_array(slopes, f"{name}_slopes"))
        graph.graph.initializer.append(numpy_helper.from_array(biases, f"{name}_biases"))
        graph.graph.node.append(
            helper.make_node("Gemm", ["mean", f"{name}_slopes", f"{name}_biases"], [f"{name}_odds"])
        )
        graph.graph.node.append(helper.make_node("Sigmoid", [f"{name}_odds"], [name]))
        graph.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", len(labels)]))
    onnx.save(graph, path)
    embed_info(path, replace(tiny_info, attributes=METADATA), path)
    return path


def plain(grey: int) -> npt.NDArray[np.uint8]:
    return np.full((64, 64), grey, np.uint8)


def dicom(path: Path, grey: int, **elements: str) -> Path:
    """Write white rows above black ones, with this mean: a constant image would be read as black."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3"
    dataset.Rows = dataset.Columns = 64
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    pixels = np.zeros((64, 64), np.uint8)
    pixels[: round(grey / 4)] = 255
    dataset.PixelData = pixels.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("HAND", {"hand"}), ("FINGER", {"hand"}), ("WRIST", {"hand"}), ("FOREARM", {"hand"}),
        ("ANKLE", {"leg"}), ("FOOT", {"leg"}), ("TIBFIB", {"leg"}), ("KNEE", {"leg"}), ("LEG", {"leg"}),
        ("FEMUR", {"hip", "leg"}), ("HIP", {"hip"}), ("PELVIS", {"hip"}),
        ("SHOULDER", {"shoulder"}), ("CLAVICLE", {"shoulder"}), ("HUMERUS", {"hand", "shoulder"}),
        ("LEFT HAND", {"hand"}), ("FOOT_RIGHT", {"leg"}), ("HAND/FOOT", {"hand", "leg"}),
        ("", set()), ("EXTREMITY", set()), ("CHEST", set()), ("HANDLE", set()), ("1", set()),
    ],
)  # fmt: skip
def test_header(text: str, parts: set[str]) -> None:
    assert header_parts(text) == parts


def test_labels_are_named_from_the_threshold_on() -> None:
    attribute = Attribute.from_dict({"labels": ["a", "b", "c"], "threshold": 0.5})
    assert attribute.named(np.array([0.5, 0.49, 0.9])) == ("a", "c")
    assert attribute.named(np.array([0.1, 0.2, 0.3])) == ()


@pytest.mark.parametrize(
    "values", [{}, {"labels": ["a"]}, {"labels": ["a"], "threshold": "high"}, {"threshold": 1}]
)
def test_metadata_that_is_incomplete(values: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"^attributes: "):
        Attribute.from_dict(values)


def test_an_attribute_needs_metadata_and_output() -> None:
    found = Attributes.of_model(METADATA, [], {"probability": 1, "view": 3}, remarks=True)
    assert (list(found.by_name), found.columns) == (["view"], ("view", "view_probability"))
    assert Attributes.of_model({}, ["a"], {"probability": 1, "body_part": 4}, remarks=True).columns == ()


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"body_part": 3}, "output 'body_part' has 3 values for 4 labels"),
        ({"view": 3, "classes": 1}, "output 'classes' has 1 values for 2 labels"),
    ],
)
def test_labels_that_the_output_does_not_have(outputs: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Attributes.of_model(METADATA, ["a", "b"], outputs, remarks=True)


def test_prediction(model: Path) -> None:
    hand, leg, unknown = FractureClassifier(model).predict_many([plain(192), plain(64), plain(128)])
    assert (hand.body_part, hand.body_part_code, hand.view) == ("hand", None, "frontal")
    # The logit is 8 in float32.
    assert hand.body_part_probability == hand.view_probability == pytest.approx(1 / (1 + np.exp(-8)), abs=1e-6)
    assert (hand.decision, hand.reason) == (Decision.FRACTURED, "probability at or above the threshold")
    assert (leg.body_part, leg.view, leg.reason) == ("leg", "lateral", "probability below the threshold")
    assert (unknown.body_part, unknown.body_part_code, unknown.view) == (None, BodyPartCode.UNKNOWN, None)
    assert unknown.body_part_probability == pytest.approx(0.5)
    assert unknown.reason == "probability within the uncertain band 0.400 to 0.600; body part not recognised"
    assert unknown.reason_code is ReasonCode.WITHIN_BAND


def test_the_decision_does_not_depend_on_it(
    model: Path, tiny_model: Path, tmp_path: Path, tiny_info: ModelInfo
) -> None:
    for grey in (0, 64, 100, 127, 129, 192, 255):
        with_parts, without = (FractureClassifier(path).predict(plain(grey)) for path in (model, tiny_model))
        assert (with_parts.decision, with_parts.probability) == (without.decision, without.probability)
        assert with_parts.reason_code == without.reason_code
        assert without.body_part is without.body_part_probability is without.view is without.body_part_code is None


@pytest.mark.parametrize(
    ("stated", "grey", "code", "remark"),
    [
        ("KNEE", 192, BodyPartCode.CONTRADICTION, "; the header states leg, the image looks like hand"),
        ("FEMUR", 192, BodyPartCode.CONTRADICTION, "; the header states hip or leg, the image looks like hand"),
        ("HUMERUS", 192, None, ""),
        ("HAND", 192, None, ""),
        ("CHEST", 192, None, ""),
        ("", 192, None, ""),
        (None, 192, None, ""),
        ("KNEE", 128, BodyPartCode.UNKNOWN, "; body part not recognised"),
    ],
)
def test_a_header_may_contradict(
    model: Path, tmp_path: Path, stated: str | None, grey: int, code: BodyPartCode | None, remark: str
) -> None:
    pytest.importorskip("pydicom")
    path = dicom(tmp_path / "a.dcm", grey, **({} if stated is None else {"BodyPartExamined": stated}))
    prediction = FractureClassifier(model).predict(path)
    expected = FractureClassifier(model).policy.decide(prediction.probability or 0)
    assert (prediction.decision, prediction.reason_code) == (expected[0], expected[1].code)
    assert (prediction.body_part_code, prediction.reason) == (code, expected[1].text + remark)


def test_no_remarks_without_image_checks(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    classifier = FractureClassifier(model, check_images=False)
    unknown, contradicted = classifier.predict_many(
        [plain(128), dicom(tmp_path / "a.dcm", 192, BodyPartExamined="HIP")]
    )
    assert unknown.reason == "probability within the uncertain band 0.400 to 0.600"
    assert (unknown.body_part_probability, unknown.body_part_code) == (pytest.approx(0.5), None)
    assert (contradicted.body_part, contradicted.body_part_code) == ("hand", None)
    assert contradicted.reason == "probability at or above the threshold"


@pytest.fixture(scope="module")
def with_classes(model: Path, tiny_info: ModelInfo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with a softmax of log-odds 0, x and 2 x at a mean grey of 32 x."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    path, graph = tmp_path_factory.mktemp("classes") / "tiny.onnx", onnx.load(model)
    slopes = np.array([[0, 1, 2]], np.float32) / 32
    graph.graph.initializer.append(numpy_helper.from_array(slopes, "class_slopes"))
    graph.graph.node.append(helper.make_node("MatMul", ["mean", "class_slopes"], ["class_odds"]))
    graph.graph.node.append(helper.make_node("Softmax", ["class_odds"], ["classes"], axis=1))
    graph.graph.output.append(helper.make_tensor_value_info("classes", TensorProto.FLOAT, ["N", 3]))
    onnx.save(graph, path)
    embed_info(path, replace(tiny_info, attributes=METADATA, classes=["a", "b", "c"]), path)
    return path


def test_classes(with_classes: Path, model: Path, films: Path, cli: Run) -> None:
    prediction = FractureClassifier(with_classes).predict(plain(32))
    assert prediction.classes is not None
    expected = np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum()
    assert list(prediction.classes) == ["a", "b", "c"]
    assert list(prediction.classes.values()) == pytest.approx(expected, abs=1e-6)
    without = FractureClassifier(model).predict(plain(32))
    assert without.classes is None
    assert (prediction.decision, prediction.probability) == (without.decision, without.probability)
    _, out, _ = cli("classify", films, "--model", with_classes, "--jsonl")
    good, bad = map(json.loads, out.splitlines())
    assert tuple(good) == tuple(bad) == (*COLUMNS, *FURTHER, "classes")
    assert (good["classes"].keys(), bad["classes"]) == ({"a", "b", "c"}, None)
    _, out, _ = cli("classify", films, "--model", with_classes, "--csv")
    cells, empty = (row[-1] for row in list(csv.reader(io.StringIO(out)))[1:])
    assert (json.loads(cells), empty) == (good["classes"], "")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    (tmp_path / "films").mkdir()
    Image.fromarray(plain(192)).save(tmp_path / "films" / "a.png")
    (tmp_path / "films" / "b.png").write_bytes(b"")
    return tmp_path / "films"


def test_records_have_further_fields(cli: Run, model: Path, films: Path) -> None:
    _, out, _ = cli("classify", films, "--model", model, "--jsonl")
    good, bad = map(json.loads, out.splitlines())
    assert tuple(good) == tuple(bad) == (*COLUMNS, *FURTHER)
    assert (good["body_part"], good["body_part_code"], good["view"]) == ("hand", None, "frontal")
    assert [bad[name] for name in FURTHER] == [None] * 5
    _, out, _ = cli("classify", films, "--model", model, "--csv")
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0] == [*COLUMNS, *FURTHER]
    assert [row[len(COLUMNS) :] for row in rows[1:]] == [
        ["hand", str(good["body_part_probability"]), "", "frontal", str(good["view_probability"])],
        [""] * 5,
    ]


def test_records_of_other_models_have_none(cli: Run, tiny_model: Path, films: Path) -> None:
    _, out, _ = cli("classify", films, "--model", tiny_model, "--jsonl")
    assert {tuple(json.loads(line)) for line in out.splitlines()} == {COLUMNS}
    _, out, _ = cli("classify", films, "--model", tiny_model, "--csv")
    assert out.splitlines()[0] == ",".join(COLUMNS)


@pytest.mark.parametrize("style", ["csv", "jsonl"])
def test_resuming(cli: Run, model: Path, films: Path, tmp_path: Path, style: str) -> None:
    target = tmp_path / f"answers.{style}"
    command = ("classify", films / "a.png", "--model", model, f"--{style}", "-o", target)
    assert cli(*command)[0] == 0
    before = target.read_text()
    (films / "c.png").write_bytes((films / "a.png").read_bytes())
    assert cli("classify", films, *command[2:], "--resume")[0] == 3
    after = target.read_text()
    assert after.startswith(before)
    assert after.count("hand") == 2


def test_csv_of_a_model_without_them_is_not_continued(
    cli: Run, model: Path, tiny_model: Path, films: Path, tmp_path: Path
) -> None:
    target = tmp_path / "answers.csv"
    command = ("classify", films / "a.png", "--csv", "-o", target)
    assert cli(*command, "--model", tiny_model)[0] == 0
    before = target.read_bytes()
    code, _, err = cli(*command, "--model", model, "--resume")
    assert code == 1
    assert "has the columns of another model; name another file, or give --force to start again" in err
    assert target.read_bytes() == before
