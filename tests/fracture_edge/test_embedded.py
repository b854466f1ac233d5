"""The embedded model of the package."""

import hashlib
import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from fracture_edge import FractureClassifier

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def classifier() -> FractureClassifier:
    return FractureClassifier()


def test_checksum_is_that_of_its_record(classifier: FractureClassifier) -> None:
    folder = resources.files("fracture_edge.models")
    digest = hashlib.sha256((folder / "edge-int8.onnx").read_bytes()).hexdigest()
    assert json.loads((folder / "edge-int8.json").read_text())["sha256"] == digest == classifier.sha256


def test_metadata(classifier: FractureClassifier) -> None:
    info = classifier.info
    assert (info.name, info.architecture, info.precision) == ("edge-int8", "edge", "int8")
    assert (info.positive_class, info.schema_version) == ("fractured", 1)
    assert info.policy.uncertain_low <= info.policy.threshold <= info.policy.uncertain_high
    assert "FracAtlas" in info.licence
    assert {"metrics", "training", "versions"} <= {
        name for name in ("metrics", "training", "versions") if getattr(info, name)
    }


def test_probability_is_between_0_and_1(
    classifier: FractureClassifier, bone: Callable[..., npt.NDArray[np.uint8]]
) -> None:
    bones = [bone(seed, seed % 2 == 0, height=400, width=300) for seed in range(4)]
    # Synthetic bones are unlike the training images, so the image checks are off.
    answers = list(FractureClassifier(check_images=False).predict_many(bones))
    assert [answer.status for answer in answers] == ["ok"] * 4
    assert all(0 <= answer.probability <= 1 for answer in answers if answer.probability is not None)
    assert [(answer.decision, (answer.reason_code, answer.reason)) for answer in answers] == [
        classifier.policy.decide(answer.probability or 0) for answer in answers
    ]


def test_a_batch_gives_what_single_images_give(
    classifier: FractureClassifier, bone: Callable[..., npt.NDArray[np.uint8]]
) -> None:
    pixels = np.stack([classifier.info.preprocessing.load(bone(seed, True)) for seed in range(3)])
    one_by_one = np.concatenate([classifier.probabilities(pixels[k : k + 1]) for k in range(3)])
    # The layers use integer arithmetic; the float32 sums at the end may be in another order in a batch.
    np.testing.assert_allclose(classifier.probabilities(pixels), one_by_one, atol=1e-5)


def test_commands_use_it_by_default(
    cli: Run, tmp_path: Path, bone: Callable[..., npt.NDArray[np.uint8]], classifier: FractureClassifier
) -> None:
    from PIL import Image

    Image.fromarray(bone(1, True)).save(tmp_path / "x.png")
    code, out, err = cli("classify", tmp_path / "x.png", "--json")
    (row,) = json.loads(out)
    assert (code, err) == (0, "")
    assert (row["model"], row["model_sha256"]) == (classifier.info.full_name, classifier.sha256)
    assert classifier.info.full_name.split()[0] == "edge-int8"
    assert row["probability"] == classifier.predict(tmp_path / "x.png").probability
    code, out, err = cli("info")
    assert (code, err, json.loads(out)["sha256"]) == (0, "", classifier.sha256)
