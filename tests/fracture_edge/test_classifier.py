"""The tiny model gives sigmoid(mean grey / 32 - 4): 64 gives logit -2, 128 gives 0, 192 gives 2."""

import hashlib
import io
import math
import os
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fracture_edge import Decision, FractureClassifier, FractureEdgeError, ModelError, Prediction, Status
from fracture_edge.images.image_file import Picture
from fracture_edge.modelfile import ModelInfo, embed_info
from fracture_edge.policy import Policy, ReasonCode
from fracture_edge.preprocess import Preprocessing
from fracture_edge.runtimes.session import session_options
from fracture_edge.runtimes.threads import MOST_THREADS

# The graph computes in float32, the tests in float64.
EXACT = 1e-6


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def plain(grey: int) -> npt.NDArray[np.uint8]:
    return np.full((64, 64), grey, np.uint8)


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def classifier(tiny_model: Path) -> FractureClassifier:
    return FractureClassifier(tiny_model)


@pytest.mark.parametrize(
    ("grey", "logit", "decision", "code", "reason"),
    [
        (0, -4, "not_fractured", "below_threshold", "probability below the threshold"),
        (64, -2, "not_fractured", "below_threshold", "probability below the threshold"),
        (128, 0, "uncertain", "within_band", "probability within the uncertain band 0.400 to 0.600"),
        (192, 2, "fractured", "above_threshold", "probability at or above the threshold"),
        (255, 3.96875, "fractured", "above_threshold", "probability at or above the threshold"),
    ],
)
def test_prediction(
    grey: int,
    logit: float,
    decision: str,
    code: str,
    reason: str,
    classifier: FractureClassifier,
    tiny_model: Path,
) -> None:
    prediction = classifier.predict(png(plain(grey)))
    assert prediction.probability == pytest.approx(sigmoid(logit), abs=EXACT)
    digest = hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    assert prediction.elapsed_ms > 0
    assert replace(prediction, probability=None, elapsed_ms=0) == Prediction(
        path="<bytes>",
        frame=1,
        frames=1,
        status=Status.OK,
        decision=Decision(decision),
        probability=None,
        threshold=0.5,
        reason=reason,
        model="tiny",
        model_sha256=digest,
        elapsed_ms=0,
        reason_code=ReasonCode(code),
    )
    assert prediction.ok
    assert isinstance(prediction.probability, float)


def test_letterbox_bars_are_part_of_the_input(classifier: FractureClassifier) -> None:
    # 128x64 fills half of the input, the rest is black: the mean is 96.
    assert classifier.predict(np.full((128, 64), 192, np.uint8)).probability == pytest.approx(
        sigmoid(-1), abs=EXACT
    )


def test_sources_agree(
    classifier: FractureClassifier, bone: Callable[..., npt.NDArray[np.uint8]], tmp_path: Path
) -> None:
    pixels = bone(5, True)
    path = tmp_path / "bone.png"
    path.write_bytes(png(pixels))
    with path.open("rb") as stream:
        answers = [classifier.predict(source) for source in (path, str(path), path.read_bytes(), stream, pixels)]
    assert [answer.path for answer in answers] == [str(path), str(path), "<bytes>", str(path), "<array>"]
    assert len({answer.probability for answer in answers}) == 1
    mean = Preprocessing(64, 64)(pixels).mean()
    assert answers[0].probability == pytest.approx(sigmoid(mean / 32 - 4), abs=EXACT)


def test_bad_images_give_a_status_and_others_are_classified(
    classifier: FractureClassifier, tmp_path: Path
) -> None:
    good = png(plain(192))
    sources = [good, good[:60], b"", b"text", plain(1)[:5], tmp_path, tmp_path / "x.png", good]
    answers = list(classifier.predict_many(sources))
    assert [answer.status for answer in answers] == [
        "ok",
        "truncated",
        "empty",
        "unsupported_format",
        "too_small",
        "is_directory",
        "not_found",
        "ok",
    ]
    missing = answers[6]
    assert (missing.path, missing.reason) == (str(tmp_path / "x.png"), "no such file")
    assert (missing.ok, missing.decision, missing.probability, missing.threshold) == (False, None, None, None)
    assert (missing.model, missing.model_sha256) == ("tiny", classifier.sha256)
    assert answers[0].probability == answers[7].probability == pytest.approx(sigmoid(2), abs=EXACT)


def test_predict_many_equals_predict(
    classifier: FractureClassifier, bone: Callable[..., npt.NDArray[np.uint8]]
) -> None:
    images = [bone(seed, seed % 2 == 0) for seed in range(4)]
    asked = []

    def ask() -> object:
        for image in images:
            asked.append(1)
            yield image

    answers = classifier.predict_many(ask())  # type: ignore[arg-type]
    first = next(answers)
    assert len(asked) == 1
    together = [replace(answer, elapsed_ms=0) for answer in (first, *answers)]
    assert together == [replace(classifier.predict(image), elapsed_ms=0) for image in images]


def test_probabilities_of_a_batch(classifier: FractureClassifier) -> None:
    batch = np.stack([plain(grey)[..., np.newaxis] for grey in (64, 128, 192)])
    result = classifier.probabilities(batch)
    assert (result.dtype, result.shape) == (np.float32, (3,))
    np.testing.assert_allclose(result, [sigmoid(-2), 0.5, sigmoid(2)], atol=EXACT)


@pytest.mark.parametrize(
    ("threshold", "grey", "decision"),
    [(0.5, 128, "fractured"), (0.51, 128, "not_fractured"), (0.9, 192, "not_fractured"), (0.1, 64, "fractured")],
)
def test_given_threshold_disables_the_uncertain_band(
    threshold: float, grey: int, decision: str, tiny_model: Path
) -> None:
    classifier = FractureClassifier(tiny_model, threshold=threshold)
    prediction = classifier.predict(plain(grey))
    assert (prediction.decision, prediction.threshold) == (decision, threshold)
    assert classifier.info.policy == Policy(0.5, 0.4, 0.6)


def test_threshold_out_of_range(tiny_model: Path) -> None:
    with pytest.raises(FractureEdgeError, match=r"^threshold 1.5 is not between 0 and 1$"):
        FractureClassifier(tiny_model, threshold=1.5)


def test_info_is_the_metadata_in_the_file(classifier: FractureClassifier, tiny_info: ModelInfo) -> None:
    assert classifier.info == tiny_info


@pytest.mark.parametrize(("asked", "expected"), [(1, 1), (3, 3), (8, 8), (100_000, 8)])
def test_threads(asked: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    options = session_options(asked)
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (expected, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 2), (64, MOST_THREADS)])
def test_threads_by_default(cores: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    assert session_options(None).intra_op_num_threads == expected


def test_no_model_file(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("not a model")
    with pytest.raises(ModelError) as caught:
        FractureClassifier(tmp_path / "x.onnx")
    assert str(caught.value).startswith(f"{tmp_path / 'x.onnx'}: onnxruntime cannot load it (")
    assert "\n" not in str(caught.value)


def test_onnx_without_metadata(write_graph: Callable[..., Path], tmp_path: Path) -> None:
    path = write_graph(tmp_path / "x.onnx")
    with pytest.raises(ModelError) as caught:
        FractureClassifier(path)
    assert str(caught.value) == (
        f"{path}: no fracture-edge metadata inside; make model files with `fracture-edge export`"
    )


def test_metadata_of_a_newer_schema(
    write_graph: Callable[..., Path], tiny_info: ModelInfo, tmp_path: Path
) -> None:
    path = write_graph(tmp_path / "x.onnx")
    embed_info(path, replace(tiny_info, schema_version=2), path)
    with pytest.raises(ModelError) as caught:
        FractureClassifier(path)
    assert str(caught.value).startswith(f"{path}: the metadata has schema 2")


@pytest.mark.parametrize(
    "changes", [{"input_name": "x"}, {"output_name": "y"}, {"element": "FLOAT"}, {"side": 32}], ids=str
)
def test_wrong_graph(
    changes: dict[str, object], write_graph: Callable[..., Path], tiny_info: ModelInfo, tmp_path: Path
) -> None:
    path = write_graph(tmp_path / "x.onnx", **changes)
    embed_info(path, tiny_info, path)
    with pytest.raises(ModelError) as caught:
        FractureClassifier(path)
    assert str(caught.value) == f"{path}: the graph is not uint8 'image' [N, *[64, 64, 1]] to 'probability'"


def test_nan_raises_model_error(write_graph: Callable[..., Path], tiny_info: ModelInfo, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "x.onnx", bias=math.nan)
    embed_info(path, tiny_info, path)
    with pytest.raises(ModelError, match=r"x\.onnx"):
        FractureClassifier(path).predict(plain(128))


def test_closed(tiny_model: Path) -> None:
    with FractureClassifier(tiny_model) as classifier:
        assert classifier.predict(plain(192)).ok
    for use in (lambda: classifier.predict(plain(192)), lambda: next(classifier.predict_many([plain(192)]))):
        with pytest.raises(FractureEdgeError, match=r"^the classifier is closed; make a new one$"):
            use()
    classifier.close()


@pytest.mark.parametrize("jobs", [2, 5])
def test_predict_many_with_threads_equals_predict(
    jobs: int, classifier: FractureClassifier, bone: Callable[..., npt.NDArray[np.uint8]], tmp_path: Path
) -> None:
    images = [bone(1, True), tmp_path / "none.png", png(bone(2, False)), b"text", bone(3, True)]
    together = [replace(answer, elapsed_ms=0) for answer in classifier.predict_many(images, jobs=jobs)]
    assert together == [replace(classifier.predict(image), elapsed_ms=0) for image in images]


def test_predict_many_classifies_whole_images_at_the_same_time(
    classifier: FractureClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only decoding: an inference that begins while another one runs is what keeps the second core busy."""
    monkeypatch.setattr("fracture_edge.machine.usable_cores", lambda: 2)
    both, alone = Barrier(2), classifier.predict(plain(192)).probability
    run = classifier._run

    def meeting(*arguments: Any) -> Any:
        both.wait(timeout=30)
        return run(*arguments)

    monkeypatch.setattr(classifier, "_run", meeting)
    assert [answer.probability for answer in classifier.predict_many([plain(192)] * 4, jobs=2)] == [alone] * 4


def test_error_of_the_model_comes_in_the_place_of_its_image(
    classifier: FractureClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = classifier._run

    def damaged(pixels: npt.NDArray[np.uint8], outputs: Sequence[str]) -> Any:
        found = run(pixels, outputs)
        return {name: value * np.nan for name, value in found.items()} if pixels.max() == 1 else found

    monkeypatch.setattr(classifier, "_run", damaged)
    answers = classifier.predict_many([plain(192), plain(64), plain(1), plain(192)], jobs=2)
    assert [next(answers).ok, next(answers).ok] == [True, True]
    with pytest.raises(ModelError, match="gives NaN"):
        next(answers)


def test_jobs_less_than_one(classifier: FractureClassifier) -> None:
    with pytest.raises(ValueError, match="jobs must be 1 or more, not 0"):
        classifier.predict_many([], jobs=0)


def test_elapsed_time_excludes_waiting_in_the_queue(
    classifier: FractureClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fracture_edge.images.image_file.ImageFile.read",
        lambda *arguments: time.sleep(0.05) or Picture(plain(1)),
    )
    answers = list(classifier.predict_many([plain(1)] * 8, jobs=8))
    # All eight are decoded concurrently; none waits for the others. A busy machine may exceed the 50 ms.
    assert all(50 <= answer.elapsed_ms < 350 for answer in answers)


def test_pickled(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(tiny_model.read_bytes())
    classifier = FractureClassifier(path, threads=1, threshold=0.9)
    again, twice = (pickle.loads(pickle.dumps(classifier)) for _ in range(2))
    assert again is twice
    assert (again.sha256, again.policy) == (classifier.sha256, classifier.policy)
    assert replace(again.predict(plain(192)), elapsed_ms=0) == replace(
        classifier.predict(plain(192)), elapsed_ms=0
    )
    again.close()
    assert pickle.loads(pickle.dumps(classifier)).predict(plain(192)).ok


def test_pickled_with_a_file_that_has_changed(
    tiny_model: Path, write_graph: Callable[..., Path], tiny_info: ModelInfo, tmp_path: Path
) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(tiny_model.read_bytes())
    data = pickle.dumps(FractureClassifier(path))
    embed_info(write_graph(path, bias=-3.0), tiny_info, path)
    with pytest.raises(ModelError, match=r"x\.onnx: not the file that the classifier was made from"):
        pickle.loads(data)


def test_reason_mentions_further_pictures_in_the_file(classifier: FractureClassifier, tmp_path: Path) -> None:
    pages = [Image.fromarray(plain(level)) for level in (192, 10, 10)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    answer = classifier.predict(tmp_path / "pages.tif")
    assert answer.probability == classifier.predict(plain(192)).probability
    assert answer.reason.endswith("; the first of 3 frames in the file")


def test_images_over_max_pixels_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((100, 101), np.uint8)).save(tmp_path / "large.png")
    small = FractureClassifier(tiny_model, threads=1, max_pixels=10_000)
    answer = small.predict(tmp_path / "large.png")
    assert (answer.status, answer.reason) == (Status.TOO_LARGE, "101x100 pixels, over the limit of 10,000")
    assert pickle.loads(pickle.dumps(small)).predict(tmp_path / "large.png").status is Status.TOO_LARGE


def test_operating_points_by_name(write_graph: Callable[..., Path], tiny_info: ModelInfo, tmp_path: Path) -> None:
    point = {
        "threshold": 0.3,
        "uncertain_low": 0.2,
        "uncertain_high": 0.4,
        "sensitivity": 0.99,
        "specificity": 0.9,
    }
    info = replace(tiny_info, operating_points={"balanced": {**point, "threshold": 0.35}, "screening": point})
    path = write_graph(tmp_path / "points.onnx")
    embed_info(path, info, path)
    assert FractureClassifier(path, threads=1).policy == tiny_info.policy
    screening = FractureClassifier(path, threads=1, policy="screening")
    assert screening.policy == Policy(0.3, 0.2, 0.4)
    assert pickle.loads(pickle.dumps(screening)).policy == screening.policy
    # A file of an earlier version lacks a point of this one; other names are mistakes.
    with pytest.raises(ModelError) as caught:
        FractureClassifier(path, threads=1, policy="certain")
    assert str(caught.value) == (
        "tiny has no operating point 'certain'; it has: balanced, screening; train and export the model again to "
        "have it"
    )
    with pytest.raises(ModelError, match=r"has no operating point 'sure'; it has: balanced, screening$"):
        FractureClassifier(path, threads=1, policy="sure")
    with pytest.raises(FractureEdgeError, match=r"^give either a threshold or a policy, not both$"):
        FractureClassifier(path, threads=1, policy="screening", threshold=0.5)


@pytest.mark.parametrize("point", [{"threshold": 0.3}, dict.fromkeys(("threshold", "uncertain_low"), 0.5)])
def test_damaged_operating_point(
    point: dict[str, float], write_graph: Callable[..., Path], tiny_info: ModelInfo, tmp_path: Path
) -> None:
    path = write_graph(tmp_path / "points.onnx")
    embed_info(path, replace(tiny_info, operating_points={"screening": point}), path)
    with pytest.raises(ModelError, match="operating point 'screening'"):
        FractureClassifier(path, threads=1, policy="screening")


def test_every_kind_of_image_gets_the_same_prediction(tiny_model: Path) -> None:
    picture = np.full((64, 64), 192, np.uint8)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    data = stream.getvalue()
    classifier = FractureClassifier(tiny_model, threads=1)
    sources = (data, bytearray(data), memoryview(data), picture, Image.fromarray(picture))
    assert len({classifier.predict(source).probability for source in sources}) == 1
