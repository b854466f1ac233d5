"""Shards of a list of images: each belongs to exactly one, whatever the machine and the other images."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fracture_edge.batch.shard import Shard
from fracture_edge.errors import FractureEdgeError

Run = Callable[..., tuple[int, str, str]]
#: Shards of 16 that these paths have had from the first version on.
HASHES = [10, 3, 3, 10, 4, 9, 14, 5, 3, 5]


def test_hash_of_a_path_never_changes() -> None:
    """Shards that ran last year with another version of Python must fit those of today."""
    names = [f"xrays/{number}.png" for number in range(8)] + ["Röntgen.png", "\udcff.png"]
    assert [next(number for number in range(1, 17) if Shard(number, 16).has(name)) for name in names] == HASHES
    assert Shard(3, 16).has(Path("xrays/1.png")) == Shard(3, 16).has("xrays/1.png")


def test_each_image_is_in_one_shard_and_shards_are_even() -> None:
    files = [Path(f"archive/{number:05}.dcm") for number in range(10_000)]
    shards = [Shard(number, 16).of(files) for number in range(1, 17)]
    assert sorted(file for shard in shards for file in shard) == files
    assert all(shard == sorted(shard) for shard in shards)
    # Binomial(10,000, 1/16): 625, standard deviation 24. The paths are fixed, so is the outcome.
    assert all(abs(len(shard) - 625) < 4 * 24 for shard in shards)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "'3' is not NUMBER/COUNT, such as 3/16"),
        ("a/b", "'a/b' is not NUMBER/COUNT"),
        ("-1/4", "'-1/4' is not"),
        ("0/4", "shard 0/4: the number must be between 1 and 4"),
        ("5/4", "shard 5/4: the number must be between 1 and 4"),
        ("0/0", "shard 0/0"),
        ("1/9999999999", "is not NUMBER/COUNT"),
    ],
)
def test_invalid(text: str, message: str, cli: Run) -> None:
    with pytest.raises(FractureEdgeError, match=message):
        Shard.parse(text)
    code, out, err = cli("classify", "x.png", f"--shard={text}")
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


@pytest.mark.parametrize("style", ["--jsonl", "--csv", "--json"])
def test_shards_classify_every_image_once(style: str, cli: Run, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(np.full((64, 64), 10 * number, np.uint8)).save(folder / f"{number:02}.png")
    counts = []
    for number in (1, 2, 3):
        target = tmp_path / f"{number}.out"
        code, out, err = cli(
            "classify", folder, "--model", tiny_model, style, "-o", target, "--shard", f"{number}/3"
        )
        assert (code, out) == (0, "")
        counts.append(sum(str(folder) in line for line in target.read_text().splitlines()))
        assert f"fracture-edge: shard {number}/3 has {counts[-1]} of 12 images\n" in err
    assert sum(counts) == 12
    assert 12 not in counts


def test_empty_shard(cli: Run, tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(np.full((64, 64), 192, np.uint8)).save(path)
    number = next(number for number in range(1, 4) if not Shard(number, 3).has(path))
    code, out, err = cli("classify", path, "--model", tiny_model, "--json", "--shard", f"{number}/3")
    assert (code, json.loads(out), err) == (0, [], f"fracture-edge: shard {number}/3 has 0 of 1 images\n")
