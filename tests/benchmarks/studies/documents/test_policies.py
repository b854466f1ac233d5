"""Table of operating points."""

import pytest

from benchmarks.studies.documents.policies import table_of
from fracture_edge.policy import Policy
from train.evaluation.metrics import wilson

ANSWERS = [(1, 0.9), (1, 0.6), (1, 0.35), (1, 0.1), (0, 0.05), (0, 0.2), (0, 0.3), (0, 0.7)]


@pytest.mark.parametrize(
    ("policy", "share", "fractured", "sensitivity", "specificity"),
    [
        # Without a band every image is decided.
        (Policy(0.5, 0.5, 0.5), "0.0%", "2, 2, 0", (2, 4), (3, 4)),
        # The band ends before its upper end: 0.6 is decided, 0.3 and 0.35 are not.
        (Policy(0.5, 0.3, 0.6), "25.0%", "2, 1, 1", (2, 3), (2, 3)),
    ],
)
def test_counts(
    policy: Policy, share: str, fractured: str, sensitivity: tuple[int, int], specificity: tuple[int, int]
) -> None:
    (line,) = table_of({"balanced": policy}, iter(ANSWERS)).splitlines()[2:]
    name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
    assert name == "`balanced`"
    assert cells[:2] == [share, fractured]
    for cell, counts in zip(cells[2:], (sensitivity, specificity), strict=True):
        expected = wilson(*counts)
        assert cell == f"{expected.value:.3f} [{expected.low:.3f}, {expected.high:.3f}]"


def test_a_class_without_decided_images() -> None:
    (line,) = table_of({"p": Policy(0.5, 0.0, 1.0)}, ANSWERS).splitlines()[2:]
    assert line == "| `p` | 100.0% | 0, 0, 4 | – | – |"
