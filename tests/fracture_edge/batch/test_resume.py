"""`classify --output --resume` after every kind of interruption that a test can cause in one process."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fracture_edge.batch.resume import _agrees_with_policy, partial_path
from fracture_edge.policy import Policy

Run = Callable[..., tuple[int, str, str]]


def rows(path: Path) -> list[dict[str, str]]:
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    if ".csv" in path.name:
        return list(csv.DictReader(io.StringIO(text, newline="")))
    return [json.loads(line) for line in text.splitlines()]


def names(path: Path) -> list[str]:
    return [Path(row["path"]).name for row in rows(path)]


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for name, grey in (("a.png", 64), ("b,\n2.png", 128), ("c.png", 192)):
        Image.fromarray(np.full((64, 64), grey, np.uint8)).save(folder / name)
    return folder


@pytest.fixture(params=["csv", "jsonl"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"answers.{request.param}"


@pytest.fixture
def classify(cli: Run, tiny_model: Path, target: Path) -> Run:
    """Classify into `target`, one image at a time; without the summary of many images on stderr."""

    def run(*arguments: object, model: Path = tiny_model) -> tuple[int, str, str]:
        style = f"--{target.suffix[1:]}"
        code, out, err = cli("classify", *arguments, "--model", model, style, "-o", target, "--jobs", "1")
        return code, out, re.sub(r"\d+ images: .*; \d+\.\d s\n$", "", err)

    return run


def stop_at(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from fracture_edge import preprocess

    load = preprocess.ImageFile

    def stop(source: object, **options: object) -> object:
        if Path(str(source)).name == name:
            raise RuntimeError("stop")
        return load(source, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(preprocess, "ImageFile", stop)


def test_resumed_run_equals_an_uninterrupted_run(
    classify: Run, films: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    partial = partial_path(target)
    with monkeypatch.context() as patch:
        stop_at("c.png", patch)
        with pytest.raises(RuntimeError, match="stop"):
            classify(films)
    note = f"fracture-edge: {partial} has the records of 2 of 3 files; continue with --resume\n"
    assert capsys.readouterr().err == note
    assert (target.exists(), names(partial)) == (False, ["a.png", "b,\n2.png"])
    before = partial.read_bytes()
    # A kill while a record is written leaves an incomplete one.
    partial.write_bytes(before + before[-30:-5].replace(b"\n", b" "))
    assert classify(films, "--resume") == (0, "", "")
    assert target.read_bytes().startswith(before)
    assert (names(target), partial.exists()) == (["a.png", "b,\n2.png", "c.png"], False)
    assert [row["decision"] for row in rows(target)] == ["not_fractured", "uncertain", "fractured"]


def test_partial_file_is_not_overwritten(classify: Run, films: Path, target: Path) -> None:
    partial = partial_path(target)
    partial.write_bytes(b"")
    message = (
        f"fracture-edge: {partial} is from an interrupted run; give --resume to continue it, or --force to "
        "start again\n"
    )
    assert classify(films) == (1, "", message)
    assert classify(films, "--force") == (0, "", "")
    assert (len(rows(target)), partial.exists()) == (3, False)


def test_interruption_before_the_first_record_leaves_no_file(
    classify: Run, films: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at("a.png", monkeypatch)
    with pytest.raises(RuntimeError, match="stop"):
        classify(films)
    assert [entry.name for entry in target.parent.iterdir()] == ["films"]


def test_complete_file_is_extended_with_new_images(
    classify: Run, films: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert classify(films / "a.png", "--resume") == (0, "", "")
    finished = target.read_bytes()
    with monkeypatch.context() as patch:
        stop_at("c.png", patch)
        with pytest.raises(RuntimeError, match="stop"):
            classify(films, "--resume")
    # The complete file is unchanged until the longer one is complete.
    assert target.read_bytes() == finished
    capsys.readouterr()
    assert classify(films, "--resume") == (0, "", "")
    assert target.read_bytes().startswith(finished)
    assert names(target) == ["a.png", "b,\n2.png", "c.png"]
    assert classify(films, "--resume") == (0, "", "")
    assert names(target) == ["a.png", "b,\n2.png", "c.png"]


def test_exit_status_covers_earlier_records(classify: Run, films: Path, target: Path) -> None:
    (films / "a.png").write_bytes(b"")
    assert classify(films / "a.png")[0] == 1
    assert classify(films / "a.png", films / "c.png", "--resume")[0] == 3
    assert classify(films / "a.png", films / "c.png", "--resume")[0] == 3
    assert classify(films / "c.png", "--resume")[0] == 0
    assert classify(films / "a.png", "--resume")[0] == 1
    # Images whose record is a failure are not tried again.
    assert [row["status"] for row in rows(target)] == ["empty", "ok"]


def test_path_that_is_given_twice_has_two_records(classify: Run, films: Path, target: Path) -> None:
    classify(films / "a.png")
    classify(films / "a.png", films / "c.png", films / "a.png", "--resume")
    assert names(target) == ["a.png", "c.png", "a.png"]


def test_records_of_another_model_or_threshold_are_refused(
    classify: Run,
    films: Path,
    target: Path,
    write_graph: Callable[..., Path],
    tiny_info: object,
    tmp_path: Path,
) -> None:
    from fracture_edge.modelfile import embed_info

    assert classify(films / "a.png") == (0, "", "")
    before = target.read_bytes()
    other = write_graph(tmp_path / "other.onnx", bias=-3.0)
    embed_info(other, tiny_info, other)  # type: ignore[arg-type]
    message = (
        f"fracture-edge: {partial_path(target)} has records of another model, threshold or uncertain "
        "band, or without --any-image; name another file, or give --force to start again\n"
    )
    assert classify(films, "--resume", model=other) == (1, "", message)
    assert classify(films, "--resume", "--threshold", "0.3") == (1, "", message)
    assert target.read_bytes() == before
    assert classify(films, "--force", model=other)[0] == 0
    assert len({row["model_sha256"] for row in rows(target)}) == 1


@pytest.mark.parametrize(
    ("decision", "probability", "code", "agrees"),
    [
        ("fractured", 0.7, "above_threshold", True),
        ("uncertain", 0.55, "within_band", True),
        # The decision of an image check, not of the probability.
        ("uncertain", 0.7, "mostly_bright", True),
        # The decision of another band.
        ("uncertain", 0.7, "within_band", False),
        ("fractured", 0.55, "above_threshold", False),
        ("not_fractured", 0.7, "below_threshold", False),
        ("", "", "", True),
    ],
)
@pytest.mark.parametrize("kind", [str, lambda value: value])
def test_records_agree_with_the_policy_or_not(
    kind: Callable[..., object], decision: str, probability: object, code: str, agrees: bool
) -> None:
    record = {"decision": decision, "probability": kind(probability), "threshold": kind(0.5), "reason_code": code}
    policy = Policy(0.5, 0.4, 0.6)
    assert _agrees_with_policy(SimpleNamespace(policy=policy, checks_images=True), record) is agrees  # type: ignore[arg-type]
    # With --any-image no image is checked.
    any_image = SimpleNamespace(policy=policy, checks_images=False)
    agrees &= code != "mostly_bright"
    assert _agrees_with_policy(any_image, record) is agrees  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["csv"], indirect=True)
def test_csv_of_schema_1_is_refused_with_the_reason(classify: Run, films: Path, target: Path) -> None:
    older = "path,frame,frames,status,decision,probability,threshold,reason,model,model_sha256,elapsed_ms\n"
    target.write_text(older)
    code, _, err = classify(films, "--resume")
    assert code == 1
    assert err.endswith(
        "was written by an earlier version, whose CSV has no column 'reason_code'; name another file, or give "
        "--force to start again\n"
    )
    assert target.read_text() == older


@pytest.mark.parametrize("target", ["jsonl"], indirect=True)
def test_json_lines_of_schema_1_are_resumed(classify: Run, films: Path, target: Path) -> None:
    assert classify(films)[0] == 0
    lines = target.read_text().splitlines()
    older = [json.dumps({k: v for k, v in json.loads(line).items() if k != "reason_code"}) for line in lines]
    target.write_text(f"{older[0]}\n")
    assert classify(films, "--resume")[0] == 0
    found = target.read_text().splitlines()
    assert (found[0], len(found)) == (older[0], len(lines))
    assert all(json.loads(line)["reason_code"] for line in found[1:])


@pytest.mark.parametrize("decision", ["fractured", "uncertain", "not_fractured"])
def test_uncertain_outside_the_band_without_a_code_is_an_image_check(decision: str) -> None:
    record = {"decision": decision, "probability": 0.7, "threshold": 0.5}
    policy = Policy(0.5, 0.4, 0.6)
    for checks in (True, False):
        found = _agrees_with_policy(SimpleNamespace(policy=policy, checks_images=checks), record)  # type: ignore[arg-type]
        assert found is (decision == "fractured" or (decision == "uncertain" and checks))


def test_other_file_is_refused(classify: Run, films: Path, target: Path) -> None:
    target.write_text("my notes\n")
    code, _, err = classify(films, "--resume")
    assert (code, err.endswith("; name another file\n"), err.count("\n")) == (1, True, 1)
    assert target.read_text() == "my notes\n"
