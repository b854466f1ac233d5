import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fracture_edge.cli import main
from train.data.batches import fingerprint
from train.data.dataset import read_splits

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`data_cli(*arguments)`: exit status, stdout, stderr of `fracture-edge data ...`."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fracture-edge", "data", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code or 0, *capsys.readouterr()

    return call


@pytest.fixture
def leaking(tmp_path: Path, make_dataset: Callable[..., Path]) -> Path:
    train = {f"{name}/{n}.png": n + 50 * k for k, name in enumerate(("normal", "fractured")) for n in (1, 2)}
    # Test images 2 are copies of training images 2; images 1 are not.
    test = train | {"normal/1.png": 90, "fractured/1.png": 91}
    files = {
        f"{split}/{name}": seed
        for split, part in (("train", train), ("test", test))
        for name, seed in part.items()
    }
    return make_dataset(tmp_path / "leaking", files)


@pytest.fixture
def unsplit(tmp_path: Path, make_dataset: Callable[..., Path], make_picture: Callable[..., np.ndarray]) -> Path:
    """8 fractured, 8 normal with a rotation each, one image in both classes, one broken file."""
    files = {f"fractured/{n}.png": n for n in range(8)} | {f"normal/{n}.png": 50 + n for n in range(8)}
    files |= {f"normal/{n}-rotated1.png": np.ascontiguousarray(np.rot90(make_picture(50 + n))) for n in range(8)}
    root = make_dataset(tmp_path / "unsplit", files | {"fractured/x.png": 99, "normal/x.png": 99})
    (root / "normal/z.jpg").write_bytes(b"")
    return root


def test_audit_prints_a_summary(data_cli: Cli, leaking: Path) -> None:
    code, out, _ = data_cli("audit", leaking)
    assert code == 0
    assert out.startswith(f"{leaking} (split_folders)\n  8 images: 4 fractured (50.0%), 4 not fractured\n")
    assert "  test: 2 of 4 images have their group in train\n" in out
    assert "    pixel-identical to a training image: 1 of 2 fractured, 1 of 2 not\n" in out


@pytest.mark.parametrize(("options", "expected"), [([], 0), (["--strict"], 1), (["--strict", "--json"], 1)])
def test_strict_exits_with_1_on_a_leak(data_cli: Cli, leaking: Path, options: list[str], expected: int) -> None:
    code, out, _ = data_cli("audit", leaking, *options)
    assert code == expected
    assert ("LEAKING" in out) != ("--json" in options)


def test_strict_exits_with_0_without_a_leak(data_cli: Cli, leaking: Path) -> None:
    for name in ("normal", "fractured"):
        (leaking / f"test/{name}/2.png").unlink()
    assert data_cli("audit", leaking, "--strict")[0] == 0


def test_audit_as_json(data_cli: Cli, leaking: Path, tmp_path: Path) -> None:
    code, out, _ = data_cli("audit", leaking, "--json", "-o", tmp_path / "sub/report.json")
    report = json.loads(out)
    assert code == 0
    assert (report["schema_version"], report["root"], report["leaking"]) == (1, str(leaking), True)
    assert report["leaks"]["test"]["images_with_group_in_train"] == 2
    assert report["shortcuts"] == {"metadata": []}
    assert json.loads((tmp_path / "sub/report.json").read_text()) == report


def test_audit_output_is_not_overwritten(data_cli: Cli, leaking: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text("mine")
    code, out, err = data_cli("audit", leaking, "-o", report)
    assert (code, out, report.read_text()) == (1, "", "mine")
    assert err == f"fracture-edge: {report} exists already; give --force to replace it\n"
    code, out, _ = data_cli("audit", leaking, "-o", report, "--force")
    assert (code, json.loads(report.read_text())["images"]) == (0, 8)
    assert out.startswith(str(leaking))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_split(data_cli: Cli, unsplit: Path, tmp_path: Path) -> None:
    out = tmp_path / "splits.csv"
    code, printed, err = data_cli("split", unsplit, "--out", out, "--fractions", 0.5, 0.25, 0.25)
    assert code == 0
    assert printed.splitlines() == [
        f"{out}: 24 images, 3 left out",
        "  train     12 images     4 fractured     8 groups",
        "  val        6 images     2 fractured     4 groups",
        "  test       6 images     2 fractured     4 groups",
    ]
    assert err.splitlines()[-3:] == [
        "left out, cannot be read: normal/z.jpg (the file is empty)",
        "left out, its copies have another label: fractured/x.png",
        "left out, its copies have another label: normal/x.png",
    ]
    rows = _rows(out)
    assert list(rows[0]) == ["path", "label", "split", "group"]
    assert sorted(row["path"] for row in rows) == sorted(
        [f"fractured/{n}.png" for n in range(8)]
        + [f"normal/{n}{mark}.png" for n in range(8) for mark in ("", "-rotated1")]
    )
    assert all(row["label"] == str(int(row["path"].startswith("fractured"))) for row in rows)
    assert Counter(row["split"] for row in rows) == {"train": 12, "val": 6, "test": 6}
    split_of = {row["path"]: (row["split"], row["group"]) for row in rows}
    for n in range(8):
        assert split_of[f"normal/{n}.png"] == split_of[f"normal/{n}-rotated1.png"]
        assert split_of[f"normal/{n}.png"][1] == f"normal/{n}-rotated1"


def test_own_splits_pass_the_strict_audit(data_cli: Cli, unsplit: Path, tmp_path: Path) -> None:
    splits = tmp_path / "splits.csv"
    data_cli("split", unsplit, "--out", splits, "--fractions", 0.5, 0.25, 0.25)
    code, out, _ = data_cli("audit", unsplit, "--splits", splits, "--strict", "--json")
    report = json.loads(out)
    assert (code, report["leaking"], report["images"]) == (0, False, 24)
    assert {name: part["images"] for name, part in report["leaks"].items()} == {"val": 6, "test": 6}


def test_what_is_left_out_is_said(data_cli: Cli, unsplit: Path, tmp_path: Path) -> None:
    (unsplit / "hairline").mkdir()
    (unsplit / "fractured/1.png").rename(unsplit / "hairline/1.png")
    (unsplit / "normal/notes.txt").write_text("text")
    lines = [
        "left out: 1 images in 'hairline', which is not the name of a class",
        "left out: 1 files that are not images (.txt)",
    ]
    code, out, _ = data_cli("audit", unsplit)
    assert (code, out.splitlines()[2:4]) == (0, [f"  {line}" for line in lines])
    assert json.loads(data_cli("audit", unsplit, "--json")[1])["left_out"] == [line[10:] for line in lines]
    code, _, err = data_cli("split", unsplit, "--out", tmp_path / "s.csv", "--fractions", 0.5, 0.25, 0.25)
    assert (code, err.splitlines()[:2]) == (0, lines)


def test_split_seed(data_cli: Cli, unsplit: Path, tmp_path: Path) -> None:
    texts = []
    for k, seed in enumerate((3, 3, 4)):
        file = tmp_path / f"{k}.csv"
        data_cli("split", unsplit, "--out", file, "--fractions", 0.5, 0.25, 0.25, "--seed", seed)
        texts.append(file.read_text())
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are not text")
def test_names_that_are_not_utf8(data_cli: Cli, unsplit: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff\xe9.png")
    (unsplit / "fractured/1.png").rename(unsplit / "fractured" / odd)
    (unsplit / "normal/z.jpg").rename(unsplit / "normal" / os.fsdecode(b"\xfe.jpg"))
    splits = tmp_path / "splits.csv"
    code, _, _ = data_cli("split", unsplit, "--out", splits, "--fractions", 0.5, 0.25, 0.25)
    assert code == 0
    assert b"\nfractured/\xff\xe9.png,1," in splits.read_bytes()
    table = read_splits(unsplit, splits)
    assert f"fractured/{odd}" in {item.path for item in table}
    assert len(fingerprint(table)) == 64
    report = tmp_path / "report.json"
    code, _, _ = data_cli("audit", unsplit, "--splits", splits, "-o", report)
    assert (code, json.loads(report.read_text())["images"]) == (0, 24)


def test_split_does_not_overwrite(data_cli: Cli, unsplit: Path, tmp_path: Path) -> None:
    out = tmp_path / "splits.csv"
    out.write_text("mine")
    arguments = ("split", unsplit, "--out", out, "--fractions", 0.5, 0.25, 0.25)
    assert data_cli(*arguments)[0] == 1
    assert out.read_text() == "mine"
    assert data_cli(*arguments, "--force")[0] == 0
    assert len(_rows(out)) == 24


@pytest.mark.parametrize("command", [["audit"], ["split", "--out", "OUT"], ["audit", "-o", "OUT"]])
def test_missing_folder(data_cli: Cli, tmp_path: Path, command: list[str]) -> None:
    arguments = [str(tmp_path / "out.csv") if word == "OUT" else word for word in command]
    code, out, err = data_cli(*arguments, tmp_path / "gone")
    assert (code, out) == (1, "")
    assert err == f"fracture-edge: {tmp_path / 'gone'}: no such folder\n"
    assert list(tmp_path.iterdir()) == []


def test_too_few_groups_write_nothing(data_cli: Cli, unsplit: Path, tmp_path: Path) -> None:
    # Ten folds for 8 + 16 images.
    code, out, err = data_cli("split", unsplit, "--out", tmp_path / "splits.csv")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith(f"fracture-edge: {unsplit}: ")
    assert "too few" in err
    assert not (tmp_path / "splits.csv").exists()


@pytest.mark.parametrize(
    "arguments", [["audit"], ["split", "."], ["split", ".", "--out", "x", "--fractions", "1"]]
)
def test_wrong_usage(data_cli: Cli, arguments: list[str]) -> None:
    code, out, _ = data_cli(*arguments)
    assert (code, out) == (2, "")
