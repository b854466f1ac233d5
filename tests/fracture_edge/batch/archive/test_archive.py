"""Archives without a cluster: the folder of an archive, tasks done twice or never, resuming, object names.

Ray is replaced by what calls the worker in this process; `benchmarks.studies archive` runs a real cluster.
"""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fracture_edge.batch.archive.worker import WorkerOptions

Run = Callable[..., tuple[int, str, str]]
Cine = Callable[..., Path]


@pytest.fixture
def films(tmp_path: Path, write_cine: Cine) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(10):
        Image.fromarray(np.full((64, 64), 20 * number, np.uint8)).save(folder / f"{number}.png")
    write_cine(folder / "cine.dcm", (48, 16, 40))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.fromarray(np.full((64, 64), 99, np.uint8)).save(folder / "\udcff.png")
    return folder


def without_times(path: Path) -> str:
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    if path.suffix == ".csv":
        return re.sub(r",\d+\.\d+,(\w*)$", r",T,\1", text, flags=re.MULTILINE)
    return re.sub(r'"elapsed_ms": [\d.]+', '"elapsed_ms": T', text)


@pytest.mark.parametrize("style", ["jsonl", "csv"])
@pytest.mark.parametrize("twice", [False, True])
def test_records_are_those_of_classify(
    style: str, twice: bool, fake_ray: Any, films: Path, cli: Run, tiny_model: Path, tmp_path: Path
) -> None:
    fake_ray.twice = twice
    options = ("--model", tiny_model, *(["--csv"] if style == "csv" else []))
    code, out, err = cli("archive", films, "-o", tmp_path / "out", *options, "--block", 5)
    answers = tmp_path / "out" / f"answers.{style}"
    assert (code, out) == (3, "")
    # 13 files in blocks of 5, 5 and 3 are 3 + 3 + 2 tasks of at most 2.
    assert fake_ray.done == 8
    nodes = json.loads((tmp_path / "out" / "nodes.json").read_text())
    assert (set(nodes), sum(nodes.values())) == ({"node-0", "node-1"}, 13)
    assert err.splitlines()[0] == f"{answers}: 15 records of 13 files, from 3 parts"
    whole = tmp_path / f"whole.{style}"
    assert cli("classify", films, "--model", tiny_model, f"--{style}", "-o", whole)[0] == 3
    assert without_times(answers) == without_times(whole)


@pytest.mark.parametrize("style", ["jsonl", "csv"])
def test_interrupted_after_any_task(
    style: str, fake_ray: Any, films: Path, cli: Run, tiny_model: Path, tmp_path: Path
) -> None:
    options = ("--model", tiny_model, "--block", 5, *(["--csv"] if style == "csv" else []))
    whole = tmp_path / f"whole.{style}"
    cli("classify", films, "--model", tiny_model, f"--{style}", "-o", whole)
    for most in range(8):
        folder = tmp_path / str(most)
        fake_ray.done, fake_ray.most = 0, most
        assert cli("archive", films, "-o", folder, *options)[0] == 130
        assert fake_ray.done == most
        assert not (folder / f"answers.{style}").exists()
        if most:
            code, _, err = cli("archive", films, "-o", folder, *options)
            assert (code, err) == (
                1,
                f"fracture-edge: {folder} has an archive in work; give --resume, or another folder\n",
            )
        # A record that was cut off, as by SIGKILL within a write, is done again.
        for partial in (folder / "parts").glob("*.partial"):
            os.truncate(partial, partial.stat().st_size - 5)
        fake_ray.done, fake_ray.most = 0, 100
        assert cli("archive", films, "-o", folder, *options, "--resume")[0] == 3
        assert fake_ray.done <= 8 - most + 2
        assert without_times(folder / f"answers.{style}") == without_times(whole)
        # Once more: nothing is left to do, and no cluster is needed.
        fake_ray.done = 0
        assert cli("archive", films, "-o", folder, *options, "--resume")[0] == 3
        assert fake_ray.done == 0


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (("--threshold", "0.4"), "policy"),
        (("--any-image",), "check_images"),
        (("--block", "4"), "block_files"),
        (("--csv",), "style"),
        (("--max-pixels", "5000"), "max_pixels"),
    ],
)
def test_resumed_in_another_way(
    changed: tuple[str, ...],
    named: str,
    fake_ray: Any,
    films: Path,
    cli: Run,
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    fake_ray.most = 1
    assert cli("archive", films, "-o", tmp_path / "out", "--model", tiny_model)[0] == 130
    code, _, err = cli("archive", films, "-o", tmp_path / "out", "--model", tiny_model, "--resume", *changed)
    assert code == 1
    assert f"was begun with another {named}; resume it in the same way" in err
    (films / "new.png").write_bytes(b"")
    code, _, err = cli("archive", films, "-o", tmp_path / "out", "--model", tiny_model, "--resume")
    assert "was begun with another files, list_sha256;" in err


def test_file_that_does_not_exist(fake_ray: Any, cli: Run, tiny_model: Path, tmp_path: Path) -> None:
    code, _, _ = cli("archive", tmp_path / "nothing.png", "-o", tmp_path / "out", "--model", tiny_model)
    # A name that is given has a record.
    assert (code, json.loads((tmp_path / "out" / "answers.jsonl").read_text())["status"]) == (1, "not_found")


def test_without_ray_nothing_is_written(
    cli: Run, films: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = cli("archive", films, "-o", tmp_path / "out", "--model", tiny_model)
    assert (code, err) == (1, "fracture-edge: 'archive' needs ray: pip install 'fracture-edge[ray]'\n")
    assert not (tmp_path / "out").exists()


def test_another_version_on_a_node(fake_ray: Any, tiny_model: Path) -> None:
    from fracture_edge.errors import FractureEdgeError

    options = WorkerOptions("0.0.0", "x", {}, "jsonl")
    with pytest.raises(FractureEdgeError, match=r"is installed on node here, and 0\.0\.0 where the archive"):
        fake_ray.worker("here", tiny_model.read_bytes(), options)
    from fracture_edge._version import __version__

    with pytest.raises(FractureEdgeError, match="the model that node here received is damaged"):
        fake_ray.worker("here", tiny_model.read_bytes(), options._replace(version=__version__))
