"""The table of times for many images follows its formula."""

import pytest

from benchmarks.records.environment import Environment
from benchmarks.studies.scale import tables
from benchmarks.studies.scale.shards import MergeCost, ShardsResult
from benchmarks.studies.scale.throughput import ONE_CORE, ONE_IMAGE, TWO_CORES, Contender, Throughput


def contender(name: str, images: int, *seconds: float) -> Contender:
    return Contender(name=name, images=images, seconds=seconds, cpu_seconds=seconds, memory_mb=100)


def test_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    speed = Throughput(
        data="x",
        megabytes=0.5,
        # A start of 1 s; 100 ms an image on one core, 50 ms on two.
        contenders=(
            contender(ONE_IMAGE, 1, 1, 1, 9),
            contender(ONE_CORE, 101, 11),
            contender(TWO_CORES, 101, 6),
        ),
        other_cores=0,
        environment=Environment.here(),
    )
    merging = (
        MergeCost(records=10, seconds=5, cpu_seconds=5, memory_mb=1),
        MergeCost(records=1000, seconds=1, cpu_seconds=1, memory_mb=1),
    )
    shards = ShardsResult(
        files=4,
        broken=0,
        shard_files=(1, 1, 1, 1),
        kept=0,
        classified_again=1,
        equal=True,
        merge_exit=0,
        merging=merging,
        environment=Environment.here(),
    )
    monkeypatch.setattr(tables, "read_stored", lambda kind, name: speed if kind is Throughput else shards)
    first, _, last = (line for line in tables.cost().splitlines() if line.startswith("| 1"))
    # 1 + 1,000 s; 1 + 500 s; with 4 machines 1 + 125 s and 10 s of merging; 1 ms a record; 2 cores x 500 s.
    assert [cell.strip() for cell in first.strip("|").split("|")] == [
        "10,000",
        "16.7 min",
        "8.3 min",
        "2.3 min",
        "42 s",
        "19 s",
        "10 s",
        "0.3",
    ]
    assert [cell.strip() for cell in last.strip("|").split("|")][:2] == ["100,000,000", "115.7 d"]
    text = tables.cost()
    assert "Merging is the larger part from 50 machines on. Two cores read 10.0 MB a second." in text
