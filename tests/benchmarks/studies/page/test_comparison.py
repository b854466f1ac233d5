"""The comparison of the page with the program notices what differs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies.page.comparison import about_text, compare_records, largest_difference, read_records
from benchmarks.studies.page.pictures import KINDS, draw, spoilt
from benchmarks.studies.page.reference_model import change_weight
from fracture_edge.attributes import BodyPartCode
from fracture_edge.batch.records import render
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import Status
from fracture_edge.models import EMBEDDED_FILE
from fracture_edge.policy import Decision, ReasonCode
from fracture_edge.prediction import Prediction
from fracture_edge.suitability import UNLIKE_FEATURES

FOUND = Prediction(
    path="a.png",
    frame=1,
    frames=1,
    status=Status.OK,
    decision=Decision.FRACTURED,
    probability=0.75,
    threshold=0.5,
    reason="probability at or above the threshold",
    model="m 1",
    model_sha256="0",
    elapsed_ms=3.0,
    reason_code=ReasonCode.ABOVE_THRESHOLD,
)
BAD = replace(FOUND, path="b.png", status=Status.CORRUPT, decision=None, probability=None, threshold=None)


SEEN = replace(
    FOUND,
    body_part="hand",
    body_part_probability=0.98,
    view="frontal",
    view_probability=0.91,
    classes={"simple": 0.7, "displaced": 0.3},
    further=(
        "body_part",
        "body_part_probability",
        "body_part_code",
        "view",
        "view_probability",
        "classes",
    ),
)


def differences(page: Prediction, program: Prediction = FOUND) -> list[str]:
    return list(compare_records("".join(render([page], "csv", further=page.further)), [program]))


def test_equal_records_have_no_differences() -> None:
    assert differences(FOUND) == []
    assert differences(BAD, BAD) == []
    assert differences(replace(FOUND, probability=0.75 + 9e-7, elapsed_ms=9.0)) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (replace(FOUND, probability=0.75 + 2e-6), "a.png: probability differs by 2e-06"),
        (replace(FOUND, decision=Decision.UNCERTAIN), "a.png: decision is 'uncertain', not 'fractured'"),
        (replace(FOUND, reason_code=ReasonCode.NOISE), "a.png: reason_code is 'noise', not 'above_threshold'"),
        (replace(FOUND, reason="else"), "a.png: reason is 'else', not 'probability at or above the threshold'"),
        (replace(BAD, path="a.png"), "a.png: status is 'corrupt', not 'ok'"),
        (BAD, "other files, or in another order"),
    ],
)
def test_what_differs_is_told(changed: Prediction, told: str) -> None:
    assert told in differences(replace(changed, probability=changed.probability or 0.0))


def test_the_last_digit_of_the_distance_may_be_rounded_either_way() -> None:
    far = [replace(FOUND, reason=UNLIKE_FEATURES.format(distance=d, limit=75.6)) for d in (129.499, 129.501, 132)]
    assert differences(far[0], far[1]) == []
    assert len(differences(far[0], far[2])) == 1
    assert len(differences(replace(far[0], reason=far[0].reason.replace("75.6", "75.7")), far[1])) == 1


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (replace(SEEN, body_part=None), ["a.png: body_part is '', not 'hand'"]),
        (replace(SEEN, body_part_probability=0.97), ["a.png: body_part_probability differs by 0.01"]),
        (replace(SEEN, body_part_probability=None), ["a.png: body_part_probability is '', not '0.98'"]),
        (
            replace(SEEN, body_part_code=BodyPartCode.UNKNOWN),
            ["a.png: body_part_code is 'unknown_body_part', not ''"],
        ),
        (replace(SEEN, view_probability=0.91 + 2e-5), ["a.png: view_probability differs by 2e-05"]),
        (replace(SEEN, view="oblique"), ["a.png: view is 'oblique', not 'frontal'"]),
        (replace(SEEN, threshold=0.5 + 1e-9), ["a.png: threshold is '0.500000001', not '0.5'"]),
        (
            replace(SEEN, classes={"simple": 0.7, "displaced": 0.2}),
            ["a.png: classes displaced differs by 0.1"],
        ),
        (
            replace(SEEN, classes={"displaced": 0.3, "simple": 0.7}),
            ["a.png: classes is '{\"displaced\": 0.3, \"simple\": 0.7}', not {'simple': 0.7, 'displaced': 0.3}"],
        ),
        (replace(SEEN, view_probability=0.91 + 9e-6, classes={"simple": 0.7 + 9e-6, "displaced": 0.3}), []),
    ],
)
def test_further_fields_are_compared(changed: Prediction, told: list[str]) -> None:
    assert differences(SEEN, SEEN) == []
    assert differences(changed, SEEN) == told


def test_columns_have_to_be_the_same() -> None:
    columns = ",".join(FOUND.record())
    assert differences(FOUND, SEEN) == [f"other columns: {columns}"]
    assert differences(SEEN, FOUND) == [f"other columns: {columns},{','.join(SEEN.further)}"]


def test_a_kind_that_the_page_refuses_has_to_be_refused() -> None:
    tiff = replace(FOUND, path="picture.tif")
    refused = replace(BAD, path="picture.tif", status=Status.DECODER_NOT_INSTALLED)
    assert differences(refused, tiff) == []
    assert differences(tiff, tiff) == ["picture.tif: status ok"]


def test_largest_difference() -> None:
    records = read_records("".join(render([FOUND, BAD, replace(FOUND, probability=0.5)], "csv")))
    assert largest_difference(records, [FOUND, BAD, FOUND]) == 0.25
    assert largest_difference([], []) == 0.0
    pages = read_records("".join(render([SEEN], "csv", further=SEEN.further)))
    assert largest_difference(pages, [replace(SEEN, view_probability=0.66)], "view_probability") == 0.25
    assert largest_difference(records, [FOUND, BAD, FOUND], "view_probability") == 0.0


def test_words_on_body_part_and_view() -> None:
    text = "".join(render([SEEN, replace(SEEN, body_part=None)], "csv", further=SEEN.further))
    seen, unknown = read_records(text)
    assert about_text(seen) == "Body part: hand (0.98), view: frontal (0.91)"
    assert about_text(unknown) == "Body part: not recognised, view: frontal (0.91)"
    assert about_text({**seen, "probability": ""}) == ""
    assert [about_text(record) for record in read_records("".join(render([FOUND], "csv")))] == [""]


def test_one_changed_byte_changes_the_answer(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    file, copy = draw("png-8", 3, 300), tmp_path / "changed.onnx"
    change_weight(EMBEDDED_FILE, copy, file)
    before, after = EMBEDDED_FILE.read_bytes(), copy.read_bytes()
    assert len(before) == len(after)
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1
    answers = [FractureClassifier(path).predict(file.data).probability for path in (EMBEDDED_FILE, copy)]
    assert abs(answers[0] - answers[1]) > 0.01  # type: ignore[operator]


def _usable() -> Iterator[tuple[str, Status]]:
    with FractureClassifier(threads=1) as classifier:
        for kind in KINDS:
            yield kind, classifier.predict(draw(kind, 1, 120).data).status


def test_drawn_pictures_are_answered_and_spoilt_ones_are_not() -> None:
    assert {kind: status for kind, status in _usable() if status != Status.OK} == {}
    with FractureClassifier(threads=1) as classifier:
        refused = [classifier.predict(file.data).status for file in spoilt(1, 120) if file.name != "picture.tif"]
    assert Status.OK not in refused
    assert {Status.TRUNCATED, Status.CORRUPT, Status.EMPTY, Status.TOO_LARGE, Status.TOO_SMALL} <= set(refused)
    assert np.unique(refused).size >= 6
