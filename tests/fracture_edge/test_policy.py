import math

import pytest

from fracture_edge.errors import FractureEdgeError, ModelError
from fracture_edge.policy import Decision, Policy, ReasonCode

ABOVE, BELOW = "probability at or above the threshold", "probability below the threshold"
BAND = "probability within the uncertain band 0.400 to 0.600"


@pytest.mark.parametrize(
    ("probability", "decision", "code", "reason"),
    [
        (0.0, "not_fractured", "below_threshold", BELOW),
        (0.3999, "not_fractured", "below_threshold", BELOW),
        (0.4, "uncertain", "within_band", BAND),
        (0.5, "uncertain", "within_band", BAND),
        (0.5999, "uncertain", "within_band", BAND),
        (0.6, "fractured", "above_threshold", ABOVE),
        (1.0, "fractured", "above_threshold", ABOVE),
    ],
)
def test_band(probability: float, decision: str, code: str, reason: str) -> None:
    assert Policy(0.5, 0.4, 0.6).decide(probability) == (decision, (code, reason))


def test_codes_of_image_checks() -> None:
    assert {code for code in ReasonCode if not code.is_about_picture} == {
        "below_threshold",
        "above_threshold",
        "within_band",
    }


@pytest.mark.parametrize(
    ("threshold", "probability", "decision"),
    [
        (0.3, 0.2999, "not_fractured"),
        (0.3, 0.3, "fractured"),
        (0.0, 0.0, "fractured"),
        (1.0, 0.9999, "not_fractured"),
        (1.0, 1.0, "fractured"),
    ],
)
def test_given_threshold_is_never_uncertain(threshold: float, probability: float, decision: str) -> None:
    assert Policy.at(threshold) == Policy(threshold, threshold, threshold)
    assert Policy.at(threshold).decide(probability)[0] == decision


def test_band_may_lie_on_one_side() -> None:
    policy = Policy(0.5, 0.2, 0.5)
    assert [policy.decide(p)[0] for p in (0.19, 0.2, 0.49, 0.5)] == [
        Decision.NOT_FRACTURED,
        Decision.UNCERTAIN,
        Decision.UNCERTAIN,
        Decision.FRACTURED,
    ]


@pytest.mark.parametrize("threshold", [-0.01, 1.01, math.nan, math.inf])
def test_threshold_outside_of_0_to_1(threshold: float) -> None:
    with pytest.raises(FractureEdgeError, match=f"^threshold {threshold} is not between 0 and 1$"):
        Policy.at(threshold)


@pytest.mark.parametrize(
    "values",
    [(0.5, 0.6, 0.7), (0.5, 0.3, 0.4), (0.5, -0.1, 0.6), (0.5, 0.4, 1.1), (math.nan, 0, 1), (0.5, math.nan, 1)],
)
def test_values_out_of_order(values: tuple[float, float, float]) -> None:
    with pytest.raises(ModelError, match=r"^policy: need 0 <= uncertain_low <= threshold"):
        Policy(*values)


def test_from_dict() -> None:
    values = {"threshold": 0.5, "uncertain_low": 0.4, "uncertain_high": 0.6}
    assert Policy.from_dict(values) == Policy(0.5, 0.4, 0.6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"threshold": None}, "NoneType"), ({"extra": 1}, "'extra'"), ({"threshold": "0.5"}, "'str'")],
)
def test_from_dict_with_bad_values(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=r"^policy: ") as caught:
        Policy.from_dict({"threshold": 0.5, "uncertain_low": 0.4, "uncertain_high": 0.6} | changes)
    assert message in str(caught.value)
