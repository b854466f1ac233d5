"""Merging of shards: the same file as one run, or a message that says what does not fit."""

import csv
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., tuple[int, str, str]]
Cine = Callable[..., Path]
STYLES = ("jsonl", "csv", "json")


def without_time(path: Path) -> str:
    """Return a record file with its times replaced; everything else must stay byte by byte."""
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    if text.startswith("path,"):
        return re.sub(r",(\d+\.\d+),([a-z_]*)$", r",T,\2", text, flags=re.MULTILINE)
    return re.sub(r'"elapsed_ms": [\d.]+', '"elapsed_ms": T', text)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, write_cine: Cine) -> Path:
    """Folder of images whose names test quoting, order and encoding; of several frames; and broken ones."""
    folder = tmp_path_factory.mktemp("films")
    (folder / "a-b").mkdir()
    (folder / "a").mkdir()
    for number, name in enumerate(
        ["a-b/1.png", "a/2.png", "a/=3.png", 'b "q", c.png', "b\nline.png", "Röntgen.png", "\udcff.png"]
    ):
        Image.fromarray(np.full((64, 64), 30 * number, np.uint8)).save(folder / name)
    write_cine(folder / "cine.dcm", (48, 16, 40))
    write_cine(folder / "short.dcm", (48, 16), frames=3)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


@pytest.fixture
def classified(cli: Run, films: Path, tiny_model: Path, tmp_path: Path) -> Callable[..., Path]:
    """Classify images into a file of this name, and return its path."""

    def run(name: str, *options: object, of: Sequence[Path] | Path = films, model: Path = tiny_model) -> Path:
        path = tmp_path / name
        style = name.partition(".")[2].partition(".")[0]
        files = [of] if isinstance(of, Path) else of
        arguments = ("classify", "-r", *files, "--model", model, f"--{style}", "-o", path, *options)
        assert cli(*arguments)[0] in (0, 1, 3)
        return path

    return run


@pytest.mark.parametrize("style", STYLES)
def test_shards_merged_equal_one_run(
    style: str, classified: Callable[..., Path], cli: Run, tmp_path: Path
) -> None:
    whole = classified(f"whole.{style}")
    parts = [classified(f"part-{number}.{style}", "--shard", f"{number}/4") for number in (1, 2, 3, 4)]
    merged = tmp_path / f"all.{style}"
    # In any order of the parts.
    code, out, err = cli("merge", *parts[::-1], "-o", merged)
    assert (code, out, err) == (0, "", f"{merged}: 14 records of 10 files, from 4 parts\n")
    assert without_time(merged) == without_time(whole)
    # The texts come from the parts, times included.
    times = [line for part in parts for line in part.read_bytes().splitlines() if b"model" in line]
    strip = (lambda line: line.strip().rstrip(b",")) if style == "json" else (lambda line: line)
    assert sorted({*map(strip, times)}) == sorted(
        {*map(strip, (line for line in merged.read_bytes().splitlines() if b"model" in line))}
    )
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_order_of_the_list(classified: Callable[..., Path], cli: Run, films: Path, tmp_path: Path) -> None:
    listed = [films / "cine.dcm", films / "a/2.png", films / "Röntgen.png", films / "a/2.png"]
    whole = classified("whole.jsonl", of=listed)
    parts = [classified(f"{number}.jsonl", "--shard", f"{number}/2", of=listed) for number in (1, 2)]
    names = tmp_path / "names"
    names.write_text("".join(f"{path}\n" for path in listed))
    merged = tmp_path / "all.jsonl"
    code, _, err = cli("merge", *parts, "-o", merged, "--expect", names)
    # A path that the list names twice has its records twice.
    assert (code, err) == (0, f"{merged}: 6 records of 4 files, from 2 parts\n")
    assert without_time(merged) == without_time(whole)


def test_gaps_and_images_that_nobody_expects(
    classified: Callable[..., Path], cli: Run, films: Path, tmp_path: Path
) -> None:
    first = classified("1.csv", of=[films / "a/2.png"])
    second = classified("2.csv", of=[films / "Röntgen.png", films / "cine.dcm"])
    names = tmp_path / "names"
    names.write_bytes(b"\0".join(bytes(films / name) for name in ("none.png", "cine.dcm", "a/2.png", "no.png")))
    merged = tmp_path / "all.csv"
    code, _, err = cli("merge", first, second, "-o", merged, "--expect", names)
    assert code == 3
    assert err.splitlines() == [
        f"fracture-edge: 2 files of {names} have no record, first: {films / 'none.png'}; classify - --resume -o "
        "with the merged file and this list adds them",
        f"fracture-edge: 1 files have records but are not in {names}, first: {films / 'Röntgen.png'}",
        f"{merged}: 5 records of 3 files, from 2 parts",
    ]
    with merged.open(newline="", encoding="utf-8") as stream:
        rows = [(Path(row["path"]).name, row["frame"]) for row in csv.DictReader(stream)]
    assert rows == [("cine.dcm", "1"), ("cine.dcm", "2"), ("cine.dcm", "3"), ("2.png", "1"), ("Röntgen.png", "1")]


def test_the_same_records_twice_are_kept_once(
    classified: Callable[..., Path], cli: Run, films: Path, tmp_path: Path
) -> None:
    whole = classified("whole.json")
    again = classified("again.json", of=[films / "cine.dcm", films / "broken.png"])
    merged = tmp_path / "all.json"
    code, _, err = cli("merge", whole, again, "-o", merged)
    assert (code, err.splitlines()) == (
        3,
        [
            f"fracture-edge: 4 records are there more than once, and kept once, first: {films / 'cine.dcm'}",
            f"{merged}: 14 records of 10 files, from 2 parts",
        ],
    )
    # The first part has the say.
    assert merged.read_bytes() == whole.read_bytes()


def test_killed_shard(classified: Callable[..., Path], cli: Run, films: Path, tmp_path: Path) -> None:
    lines = classified("whole.jsonl").read_bytes().splitlines(keepends=True)
    partial = tmp_path / "part.jsonl.partial"
    merged = tmp_path / "all.jsonl"
    # Within the second of three frames of the cine loop.
    at = next(number for number, line in enumerate(lines) if b"cine.dcm" in line)
    partial.write_bytes(b"".join(lines[: at + 2]))
    code, _, err = cli("merge", partial, "-o", merged)
    assert code == 3
    assert err.splitlines()[:2] == [
        f"fracture-edge: {partial} is of a run that has not ended; continue it with --resume, and merge again",
        f"fracture-edge: 1 files lack the records of some frames, first: {films / 'cine.dcm'}",
    ]
    partial.write_bytes(b"".join(lines[:at]) + lines[at][:20])
    code, _, err = cli("merge", partial, "-o", merged, "--force")
    assert (code, err) == (
        1,
        f"fracture-edge: {partial} ends within record {at + 1}; continue the run that wrote it with --resume\n",
    )
    code, _, err = cli("merge", tmp_path / "part.jsonl", "-o", tmp_path / "other.jsonl")
    assert (code, err) == (
        1,
        f"fracture-edge: {tmp_path / 'part.jsonl'}: no such file; {partial} is there: continue that run with "
        "--resume\n",
    )


def refusal(cli: Run, target: Path, *parts: Path) -> str:
    before = sorted(target.parent.iterdir())
    code, out, err = cli("merge", *parts, "-o", target)
    assert (code, out) == (1, "")
    # Nothing is written.
    assert sorted(target.parent.iterdir()) == before
    return err


def test_runs_that_differ(
    classified: Callable[..., Path],
    cli: Run,
    films: Path,
    tmp_path: Path,
    write_graph: Callable[..., Path],
    tiny_info: object,
) -> None:
    from fracture_edge.modelfile import embed_info

    target = tmp_path / "all.jsonl"
    one, two = films / "a/2.png", films / "Röntgen.png"
    first = classified("1.jsonl", of=[one])
    other = write_graph(tmp_path / "other.onnx", bias=-3.0)
    embed_info(other, tiny_info, other)  # type: ignore[arg-type]
    assert re.search(
        r"1\.jsonl and \S+2\.jsonl differ in model: tiny [0-9a-f]{64} and tiny [0-9a-f]{64}; they do not belong",
        refusal(cli, target, first, classified("2.jsonl", of=[two], model=other)),
    )
    assert "3.jsonl differ in threshold: 0.5 and 0.4; they" in refusal(
        cli, target, first, classified("3.jsonl", "--threshold", "0.4", of=[two])
    )
    # The same threshold, without the band from 0.4 to 0.6: a picture of P 0.46 has two decisions then.
    grey = tmp_path / "grey.png"
    Image.fromarray(np.full((64, 64), 123, np.uint8)).save(grey)
    band = classified("4.jsonl", of=[grey])
    dark = tmp_path / "dark.png"
    Image.fromarray(np.full((64, 64), 126, np.uint8)).save(dark)
    assert "different uncertain bands: P(fractured) 0.46" in refusal(
        cli, target, band, classified("5.jsonl", "--threshold", "0.5", of=[dark])
    )
    text = classified("6.jsonl", of=[one]).read_text()
    changed = tmp_path / "7.jsonl"
    changed.write_text(json.dumps({**json.loads(text), "probability": 0.125, "decision": "not_fractured"}) + "\n")
    assert f"1 records contradict others of the same image, first: {one}; classify it anew" in refusal(
        cli, target, first, changed
    )


def test_files_that_are_no_parts(classified: Callable[..., Path], cli: Run, films: Path, tmp_path: Path) -> None:
    target = tmp_path / "all.jsonl"
    first, table = classified("1.jsonl", of=[films / "a/2.png"]), classified("1.csv", of=[films / "a/2.png"])
    assert "1.jsonl is jsonl and " in refusal(cli, target, first, table)
    text = tmp_path / "text"
    text.write_text("x.png: fractured\n")
    assert "text has no records; merge takes what `classify` writes with --jsonl, --csv or --json" in refusal(
        cli, target, text
    )
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_bytes(first.read_bytes() + b'{"path": 3}\n')
    assert "damaged.jsonl: record 2 is not a record of fracture-edge" in refusal(cli, target, damaged)
    older = tmp_path / "older.csv"
    older.write_text(
        "path,frame,frames,status,decision,probability,threshold,reason,model,model_sha256,elapsed_ms\n"
    )
    assert "older.csv was written by an earlier version; classify anew" in refusal(cli, target, older)
    assert f"{first} exists already; give --force" in refusal(cli, first, table)
    code, _, err = cli("merge", first, "-o", first, "--force")
    assert (code, err) == (
        1,
        f"fracture-edge: {first} is one of the parts; give another name for the merged file\n",
    )


@pytest.mark.parametrize(("style", "expected"), [("jsonl", ""), ("json", "[]\n"), ("csv", "path,frame,")])
def test_parts_without_records(
    style: str, expected: str, classified: Callable[..., Path], cli: Run, films: Path, tmp_path: Path
) -> None:
    from fracture_edge.batch.shard import Shard

    path = films / "a/2.png"
    empty = [number for number in (1, 2, 3) if not Shard(number, 3).has(path)]
    parts = [classified(f"{number}.{style}", "--shard", f"{number}/3", of=[path]) for number in empty]
    merged = tmp_path / f"all.{style}"
    assert cli("merge", *parts, "-o", merged)[0] == 0
    assert merged.read_text().startswith(expected)
    assert len(merged.read_text().splitlines()) == (style != "jsonl")
