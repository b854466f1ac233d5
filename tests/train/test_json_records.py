"""JSON records: defaults that are written, and NaN as null."""

from dataclasses import dataclass, field
from pathlib import Path

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
