"""The line that `classify` of many images ends with."""

import re

import pytest

from fracture_edge.batch.summary import Summary
from fracture_edge.errors import Status
from fracture_edge.policy import Decision
from fracture_edge.prediction import Prediction


def _prediction(outcome: Decision | Status) -> Prediction:
    decision, status = (outcome, Status.OK) if isinstance(outcome, Decision) else (None, outcome)
    return Prediction("x.png", 1, 1, status, decision, None, None, "", "tiny", "ab12", 1.0)


@pytest.mark.parametrize(
    ("outcomes", "text"),
    [
        (
            [Decision.FRACTURED, *[Decision.UNCERTAIN] * 3],
            "4 images: 1 fractured, 0 not fractured, 3 uncertain; ",
        ),
        (
            [Decision.NOT_FRACTURED, Status.NOT_FOUND, Status.TRUNCATED, Status.NOT_FOUND],
            "4 images: 0 fractured, 1 not fractured, 0 uncertain, 3 without an answer "
            "(2 not_found, 1 truncated); ",
        ),
    ],
)
def test_summary(outcomes: list[Decision | Status], text: str) -> None:
    summary = Summary()
    for outcome in outcomes:
        summary.add(_prediction(outcome))
    assert re.sub(r"\d+\.\d s$", "", summary.text()) == text
    assert summary.images == len(outcomes)
