"""A killed shard, resumed and merged with the others, gives the file of one run."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory from /proc")
Study = Callable[..., tuple[int, str, str]]


def shards(study: Study, path: Path, *arguments: object) -> dict[str, Any]:
    code, _, err = study("shards", *arguments, "-o", path)
    assert code == 0, err
    found: dict[str, Any] = json.loads(path.read_text())
    assert (found["equal"], found["merge_exit"]) == (True, 0)
    assert sum(found["shard_files"]) == found["files"]
    # It was killed about half way, and did not begin again.
    killed = found["shard_files"][1]
    assert killed // 2 <= found["kept"] < killed
    assert found["kept"] + found["classified_again"] == killed
    return found


@pytest.mark.slow
def test_few_files(study: Study, tmp_path: Path) -> None:
    found = shards(study, tmp_path / "x.json", "--count", 400, "--records", 1000)
    assert (found["files"], found["broken"], len(found["merging"])) == (400, 8, 1)


@pytest.mark.endurance
def test_ten_thousand_files(study: Study, tmp_path: Path) -> None:
    found = shards(study, tmp_path / "x.json", "--records", 100_000)
    assert (found["files"], found["broken"]) == (10_000, 200)
