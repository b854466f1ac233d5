"""Contenders of the throughput study classify the same images on the cores that their names say."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.studies.scale import throughput
from benchmarks.studies.scale.workers import plain_loop, predict_many

linux = pytest.mark.skipif(sys.platform != "linux", reason="pins processes to cores")


def test_every_contender_classifies_all_images_on_its_cores(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(5)]
    found = throughput.groups(files, tmp_path, (3, 7))
    cores = {name: [sorted(member.cores) for member in group] for name, group in found.items()}
    one, two, halves = [[3]], [[3, 7]], [[3], [7]]
    assert cores == {
        throughput.ONE_IMAGE: two,
        throughput.ONE_CORE: one,
        throughput.TWO_CORES: two,
        throughput.ONE_THREAD: two,
        throughput.HALVES: halves,
        throughput.MANY_ONE: one,
        throughput.MANY_TWO: two,
        throughput.PLAIN: one,
        throughput.PLAIN_HALVES: halves,
    }
    for name, group in found.items():
        listed = sorted(file for member in group for file in member.files)
        assert listed == (files[:1] if name == throughput.ONE_IMAGE else files)
        # Records of processes that run at the same time go to different files.
        outputs = [argument for member in group for argument in member.arguments if argument.endswith(".jsonl")]
        assert len(outputs) == len(set(outputs))


def test_workers_answer_for_the_same_files(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(4)]
    for number, file in enumerate(files[:3]):
        Image.fromarray(np.full((64, 64), 60 * number, np.uint8)).save(file)
    files[3].write_bytes(b"no image")
    assert predict_many(files) == plain_loop(files) == 3


def test_speedup() -> None:
    def contender(name: str, *seconds: float) -> throughput.Contender:
        return throughput.Contender(name=name, images=10, seconds=seconds, cpu_seconds=seconds, memory_mb=1)

    result = throughput.Throughput(
        data="x",
        megabytes=1,
        contenders=(contender("slow", 4, 6, 8), contender("fast", 2, 2, 2)),
        other_cores=0,
        environment=throughput.Environment.here(),
    )
    assert result.speedup("slow", "fast").value == 3
    assert result.contender("fast").images_per_second == 5


@linux
@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2 if sys.platform == "linux" else True, reason="two cores")
def test_study(study: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(6):
        Image.fromarray(np.full((64, 64), 40 * number, np.uint8)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, _, err = study("throughput", folder, "--rounds", 1, "-o", tmp_path / "x.json")
    assert code == 0, err
    found: Mapping[str, object] = json.loads((tmp_path / "x.json").read_text())
    contenders = found["contenders"]
    assert isinstance(contenders, list)
    # The broken file is left out.
    assert [each["images"] for each in contenders] == [1, *[6] * 8]
    assert all(each["memory_mb"] > 30 and each["cpu_seconds"][0] > 0 for each in contenders)
