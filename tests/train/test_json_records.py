"""JSON records: defaults that are written, and NaN as null."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fracture_edge.errors import FractureEdgeError
from train.evaluation.metrics import UNDEFINED, Estimate
from train.json_records import WRITTEN_ALWAYS, from_plain, read_json, to_plain, write_record


@dataclass(frozen=True, slots=True, kw_only=True)
class Small:
    left_out: int = 0
    always: str | None = field(default=None, metadata=WRITTEN_ALWAYS)
    figure: Estimate
    others: tuple[Estimate | None, ...] = ()


def test_a_default_is_left_out_unless_it_is_to_be_written() -> None:
    small = Small(figure=Estimate(0.5, 0.25, 0.75))
    assert to_plain(small) == {"always": None, "figure": {"value": 0.5, "low": 0.25, "high": 0.75}}
    # Files that lack either are read all the same.
    assert from_plain(Small, {"figure": to_plain(small.figure)}, "a file") == small


def test_nan_is_null_at_every_level(tmp_path: Path) -> None:
    small = Small(figure=UNDEFINED, others=(UNDEFINED, None, Estimate(0.5, 0.5, 0.5)))
    write_record(tmp_path / "small.json", small)
    plain = read_json(tmp_path / "small.json")
    assert plain == {
        "always": None,
        "figure": None,
        "others": [None, None, {"value": 0.5, "low": 0.5, "high": 0.5}],
    }
    read = from_plain(Small, plain, "a file")
    assert not read.figure.defined
    assert read.others == (None, None, small.others[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    text: str = ""
    count: int = 0
    share: float = 0.0
    known: bool = False
    names: list[str] = field(default_factory=list)
    inner: Small | None = None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"text": None}, "must be a string, not null @ Typed.text"),
        ({"text": ["x"]}, 'must be a string, not ["x"] @ Typed.text'),
        ({"count": 1.7}, "must be an integer, not 1.7 @ Typed.count"),
        ({"count": True}, "must be an integer, not true @ Typed.count"),
        ({"share": "0.5"}, 'must be a number, not "0.5" @ Typed.share'),
        ({"known": 1}, "must be true or false, not 1 @ Typed.known"),
        ({"names": "ab"}, 'must be a list, not "ab" @ Typed.names'),
        ({"names": ["a", 2]}, "must be a string, not 2 @ Typed.names[1]"),
    ],
)
def test_a_value_of_another_type_is_refused_and_not_converted(values: object, message: str) -> None:
    with pytest.raises(FractureEdgeError) as caught:
        from_plain(Typed, values, "a file")
    assert str(caught.value) == f"a file: {message}"


def test_an_integer_is_read_as_a_number() -> None:
    share = from_plain(Typed, {"share": 2}, "a file").share
    assert (share, type(share)) == (2.0, float)


@pytest.mark.parametrize("values", [None, 3, "text", [1]])
def test_a_file_that_is_no_object_is_refused_with_its_name(values: object) -> None:
    with pytest.raises(FractureEdgeError, match="a file: must contain a JSON object"):
        from_plain(Typed, values, "a file")


@pytest.mark.parametrize("values", [None, 3, "text", {}])
def test_a_file_that_is_no_list_is_refused_with_its_name(values: object) -> None:
    with pytest.raises(FractureEdgeError, match="a file: must contain a JSON list"):
        from_plain(list[Typed], values, "a file")
