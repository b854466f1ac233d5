"""The command in this process: exit codes, stdout, stderr, and every output format."""

import csv
import hashlib
import io
import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fracture_edge import preprocess
from fracture_edge.commands import registry as command
from fracture_edge.modelfile import ModelInfo, embed_info

Run = Callable[..., tuple[int, str, str]]

FIELDS = [
    "path",
    "frame",
    "frames",
    "status",
    "decision",
    "probability",
    "threshold",
    "reason",
    "model",
    "model_sha256",
    "elapsed_ms",
    "reason_code",
]


def rest(err: str) -> str:
    """Stderr before the summary of many images, which must be its last line."""
    *before, last = err.splitlines(keepends=True)
    assert re.fullmatch(r"\d+ images: \d+ fractured, \d+ not fractured, \d+ uncertain(, .*)?; \d+\.\d s\n", last)
    return "".join(before)


# sigmoid(-2), sigmoid(0), sigmoid(2): see `write_graph`.
DARK, MIDDLE, BRIGHT = 0.119203, 0.5, 0.880797


def save(path: Path, grey: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((64, 64), grey, np.uint8)).save(path)
    return path


@pytest.fixture
def two(tmp_path: Path) -> Path:
    for name, grey in (("dark.png", 64), ("middle.jpg", 128)):
        save(tmp_path / "films" / name, grey)
    return tmp_path / "films"


def test_text(cli: Run, two: Path, tiny_model: Path) -> None:
    save(two / "sub" / "bright.bmp", 192)
    code, out, err = cli("classify", "-r", two, "--model", tiny_model)
    lines = [line.rpartition(";") for line in out.splitlines()]
    assert [line[0] for line in lines] == [
        f"{two}/dark.png: not_fractured, P(fractured) = 0.119 (threshold 0.500; probability below the threshold",
        f"{two}/middle.jpg: uncertain, P(fractured) = 0.500 (threshold 0.500; "
        "probability within the uncertain band 0.400 to 0.600",
        f"{two}/sub/bright.bmp: fractured, P(fractured) = 0.881 (threshold 0.500; "
        "probability at or above the threshold",
    ]
    assert all(line[2].endswith(" ms)") for line in lines)
    assert (code, rest(err)) == (0, "")


def records(style: str, text: str) -> list[dict[str, object]]:
    if style == "--json":
        return list(json.loads(text))
    if style == "--jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("style", ["--json", "--jsonl", "--csv"])
def test_records(style: str, cli: Run, two: Path, tiny_model: Path) -> None:
    code, out, err = cli("classify", two, two / "none.png", "--model", tiny_model, style)
    rows = records(style, out)
    assert [list(row) for row in rows] == [FIELDS] * 3
    empty = "" if style == "--csv" else None
    assert [row["path"] for row in rows] == [f"{two}/dark.png", f"{two}/middle.jpg", f"{two}/none.png"]
    assert [row["status"] for row in rows] == ["ok", "ok", "not_found"]
    assert [row["decision"] for row in rows] == ["not_fractured", "uncertain", empty]
    assert [row["threshold"] for row in rows[:2]] == (["0.5"] * 2 if style == "--csv" else [0.5] * 2)
    # The graph computes in float32.
    assert [float(str(row["probability"])) for row in rows[:2]] == pytest.approx([DARK, MIDDLE], abs=1e-6)
    assert (rows[2]["probability"], rows[2]["threshold"], rows[2]["reason"]) == (empty, empty, "no such file")
    digest = hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    assert {(row["model"], row["model_sha256"]) for row in rows} == {("tiny", digest)}
    assert all(float(str(row["elapsed_ms"])) > 0 for row in rows)
    assert (code, rest(err)) == (3, "")


def test_bad_files_among_good_ones(
    cli: Run, public_folder: Path, tiny_model: Path, as_nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    model = shutil.copy(tiny_model, public_folder / "tiny.onnx")
    films = public_folder / "films"
    save(films / "a-good.png", 64)
    save(films / "z-good.jpg", 192)
    # Late imports must be done before the permission to read their files is dropped.
    assert cli("classify", films, "--model", model, "--jsonl")[0] == 0
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    noise.save(films / "truncated.jpg")
    (films / "truncated.jpg").write_bytes((films / "truncated.jpg").read_bytes()[:2000])
    (films / "empty.png").touch()
    (films / "text.png").write_text("not an image\n")
    Image.new("L", (1, 1)).save(films / "dot.png")
    save(films / "locked.png", 64).chmod(0)
    (films / "x.png").mkdir()
    with as_nobody():
        code, out, err = cli("classify", films, "--model", model, "--jsonl")
    (films / "locked.png").chmod(0o600)
    answers = {
        Path(row["path"]).name: (row["status"], row["decision"], row["reason"]) for row in records("--jsonl", out)
    }
    assert answers == {
        "a-good.png": ("ok", "not_fractured", "probability below the threshold"),
        "dot.png": ("too_small", None, "1x1 pixels, under 32 on a side"),
        "empty.png": ("empty", None, "the file is empty"),
        "locked.png": ("permission_denied", None, "no permission to read it"),
        "text.png": ("unsupported_format", None, "not a PNG, JPEG, TIFF, BMP, WebP, HEIC or DICOM image"),
        "truncated.jpg": ("truncated", None, "the JPEG file is truncated"),
        "x.png": ("is_directory", None, "is a folder, not an image"),
        "z-good.jpg": ("ok", "fractured", "probability at or above the threshold"),
    }
    assert (code, rest(err)) == (3, "")


def test_no_image_can_be_classified(cli: Run, two: Path, tiny_model: Path) -> None:
    code, out, err = cli("classify", two / "none.png", "--model", tiny_model)
    assert (code, out, err) == (1, f"{two}/none.png: no answer, not_found (no such file)\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify"], "Missing argument 'paths'"),
        (["classify", "x.png", "--json", "--csv"], "give one of --json, --jsonl and --csv"),
        (["classify", "x.png", "--jsonl", "--resume"], "--resume needs --output, and --jsonl or --csv"),
        (["classify", "x.png", "--json", "-o", "x", "--resume"], "--resume needs --output, and --jsonl or --csv"),
        (["classify", "x.png", "--csv", "-o", "x", "--resume", "--force"], "give one of --resume and --force"),
        (["classify", "x.png", "--jobs", "0"], "0 is not in the range x>=1"),
        (["watch", "inbox"], "Missing option '--out'"),
        (["classify", "x.png", "--fast"], "No such option: --fast"),
        (["classify", "x.png", "--threads", "0"], "0 is not in the range x>=1"),
        (["classify", "x.png", "--threshold", "high"], "'high' is not a valid float"),
        (["diagnose"], "No such command 'diagnose'"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, cli: Run) -> None:
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "none.onnx"], "none.onnx: No such file or directory"),
        (["--model", "FILMS/dark.png"], "FILMS/dark.png: onnxruntime cannot load it (*)"),
    ],
)
def test_failure_is_one_line(arguments: list[str], message: str, cli: Run, two: Path, tiny_model: Path) -> None:
    arguments = [argument.replace("FILMS", str(two)) for argument in arguments]
    code, out, err = cli("classify", two, "--model", tiny_model, *arguments)
    start, _, end = f"fracture-edge: {message}\n".replace("FILMS", str(two)).partition("*")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert (err.startswith(start), err.endswith(end)) == (True, True)


def test_folder_without_images(cli: Run, tmp_path: Path, tiny_model: Path) -> None:
    code, out, err = cli("classify", tmp_path, "--model", tiny_model)
    message = f"fracture-edge: {tmp_path}: no images in this folder; -r searches its sub-folders too\n"
    record = f"{tmp_path}: no answer, is_directory (is a folder, not an image)\n"
    assert (code, out, err) == (1, record, message)


@pytest.mark.parametrize(("threshold", "decision"), [("0.4", "fractured"), ("0.6", "not_fractured")])
def test_threshold_option_replaces_the_models_threshold(
    threshold: str, decision: str, cli: Run, two: Path, tiny_model: Path
) -> None:
    code, out, _ = cli("classify", two / "middle.jpg", "--model", tiny_model, "--json", "--threshold", threshold)
    (row,) = json.loads(out)
    assert (code, row["decision"], row["threshold"]) == (0, decision, float(threshold))


def test_what_is_left_out_is_said(cli: Run, two: Path, tiny_model: Path) -> None:
    save(two / "sub" / "bright.bmp", 192)
    (two / "notes.txt").write_text("text")
    code, out, err = cli("classify", two, "--model", tiny_model)
    assert (code, out.count("\n")) == (0, 2)
    assert rest(err) == (
        f"fracture-edge: {two}: left out: 1 files that are not images (.txt)\n"
        f"fracture-edge: {two}: left out: 1 sub-folders; -r searches them too\n"
    )


@pytest.mark.parametrize("option", ["--output", "-o"])
def test_output_goes_to_a_file(option: str, cli: Run, two: Path, tiny_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "answers.csv"
    arguments = ("classify", two, "--model", tiny_model, "--csv", option, target)
    code, out, err = cli(*arguments)
    assert (code, out, rest(err)) == (0, "", "")
    assert [row["decision"] for row in records("--csv", target.read_text())] == ["not_fractured", "uncertain"]
    target.write_text("old")
    assert cli(*arguments) == (
        1,
        "",
        f"fracture-edge: {target} exists already; give --force to replace it\n",
    )
    assert target.read_text() == "old"
    code, out, err = cli(*arguments, "--force")
    assert (code, out, rest(err)) == (0, "", "")
    assert target.read_text().startswith("path,frame,frames,status,")
    assert [entry.name for entry in target.parent.iterdir()] == ["answers.csv"]


def test_failure_keeps_the_old_output(cli: Run, two: Path, tmp_path: Path) -> None:
    target = tmp_path / "answers.txt"
    target.write_text("old")
    code, _, _ = cli("classify", two, "--model", "none.onnx", "-o", target, "--force")
    assert (code, target.read_text()) == (1, "old")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["answers.txt", "films"]


def test_existing_output_is_refused_before_any_work(cli: Run, tmp_path: Path) -> None:
    target = tmp_path / "answers.txt"
    target.write_text("old")
    code, out, err = cli("classify", tmp_path / "none", "--model", "none.onnx", "-o", target)
    assert (code, out, err) == (1, "", f"fracture-edge: {target} exists already; give --force to replace it\n")


def test_output_that_appears_meanwhile_is_kept(
    cli: Run, two: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "answers.txt"

    def render(*arguments: object, **options: object) -> list[str]:
        target.write_text("theirs")
        return ["ours"]

    monkeypatch.setattr("fracture_edge.batch.classify.render", render)
    code, _, err = cli("classify", two, "--model", tiny_model, "-o", target)
    assert (code, err) == (1, f"fracture-edge: {target} exists already; give --force to replace it\n")
    assert target.read_text() == "theirs"


def test_output_in_an_unwritable_place(cli: Run, two: Path, tiny_model: Path) -> None:
    code, out, err = cli("classify", two, "--model", tiny_model, "-o", two / "dark.png" / "x.txt")
    assert (code, out, err) == (1, "", f"fracture-edge: {two / 'dark.png'}: File exists\n")


def test_info(cli: Run, tiny_model: Path, tiny_info: ModelInfo) -> None:
    code, out, err = cli("info", tiny_model)
    digest = hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    assert json.loads(out) == {"sha256": digest, **json.loads(tiny_info.to_json())}
    assert (code, err) == (0, "")


def test_info_of_a_tflite_file(cli: Run, tiny_info: ModelInfo, tmp_path: Path) -> None:
    plain, path = tmp_path / "plain.tflite", tmp_path / "model.tflite"
    plain.write_bytes(b"TFL3, or what stands for it")
    embed_info(plain, tiny_info, path)
    code, out, err = cli("info", path)
    assert (code, err) == (0, "")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads(out) == {"sha256": sha256, **json.loads(tiny_info.to_json())}
    for bad, reason in ((plain, "no fracture-edge metadata inside"), (tmp_path / "no.tflite", "No such file")):
        code, out, err = cli("info", bad)
        assert (code, out) == (1, "")
        assert err.startswith(f"fracture-edge: {bad}: {reason}")


def test_info_of_a_file_that_is_not_a_model(cli: Run, two: Path) -> None:
    code, out, err = cli("info", two / "dark.png")
    assert (code, out) == (1, "")
    assert err.startswith(f"fracture-edge: {two / 'dark.png'}: onnxruntime cannot load it (")


@pytest.mark.parametrize("arguments", [[], ["classify"], ["watch"], ["doctor"]])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_says_not_a_medical_device(option: str, arguments: list[str], cli: Run) -> None:
    code, out, err = cli(*arguments, option)
    assert (code, err) == (0, "")
    assert "Not a medical device" in out


def test_help_lists_every_command(cli: Run) -> None:
    _, out, _ = cli("--help")
    lines = out.partition("Commands:")[2].splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("  ") and line[2:3].strip()]
    assert listed == [
        "classify", "merge", "archive", "watch", "gateway", "serve", "page", "hub", "info", "doctor",
        "data", "train", "train-all", "tune", "evaluate", "export", "benchmark",
    ]  # fmt: skip


def test_help_explains_the_exit_status(cli: Run) -> None:
    _, out, _ = cli("classify", "--help")
    assert "Exit status: 0 every image was classified" in " ".join(out.split())


@pytest.mark.parametrize("command_name", ["classify", "watch"])
def test_help_shows_one_command_per_line(command_name: str, cli: Run) -> None:
    _, out, _ = cli(command_name, "--help")
    assert sum(f"fracture-edge {command_name}" in line for line in out.splitlines()) >= 3
    # Plain text: no frames, and brackets are not markup.
    assert "\u2500" not in out
    assert ("[dicom]" in out) == (command_name == "classify")


@pytest.mark.parametrize("jobs", [1, 4])
def test_output_is_in_the_order_of_the_images(
    jobs: int, cli: Run, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = preprocess.ImageFile

    def slower_at_the_start(source: object, **options: object) -> object:
        time.sleep(0.002 * (20 - int(Path(str(source)).stem)))
        return load(source, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(preprocess, "ImageFile", slower_at_the_start)
    files = [save(tmp_path / f"{number}.png", 64 + 6 * number) for number in range(20)]
    code, out, err = cli("classify", *files, "--model", tiny_model, "--jsonl", "--jobs", jobs)
    rows = records("--jsonl", out)
    assert (code, rest(err)) == (0, "")
    assert [row["path"] for row in rows] == [str(path) for path in files]
    expected = [1 / (1 + np.exp(4 - (64 + 6 * number) / 32)) for number in range(20)]
    # The graph computes in float32.
    assert [row["probability"] for row in rows] == pytest.approx(expected, abs=1e-6)


def test_list_on_stdin(cli: Run, two: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(two / "sub" / "bright.bmp", 192)
    names = f"{two}/middle.jpg\r\n\n{two}/dark.png\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(names)))
    code, out, err = cli("classify", "-", two / "sub", "--model", tiny_model, "--jsonl")
    assert [Path(str(row["path"])).name for row in records("--jsonl", out)] == [
        "middle.jpg",
        "dark.png",
        "bright.bmp",
    ]
    assert (code, rest(err)) == (0, "")


def test_pattern_that_the_shell_has_not_expanded(cli: Run, two: Path, tiny_model: Path) -> None:
    save(two / "sub" / "bright.bmp", 192)
    code, out, err = cli("classify", f"{two}/**/*.[bp]*", f"{two}/*.gif", "--model", tiny_model, "--jsonl")
    assert [(row["path"], row["status"]) for row in records("--jsonl", out)] == [
        (f"{two}/dark.png", "ok"),
        (f"{two}/sub/bright.bmp", "ok"),
        (f"{two}/*.gif", "not_found"),
    ]
    assert (code, rest(err)) == (3, f"fracture-edge: {two}/*.gif: no file matches\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("to_file", [True, False])
def test_progress_bar_is_shown_only_on_a_terminal(
    to_file: bool, cli: Run, two: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    if not to_file:
        monkeypatch.setattr(sys, "stdout", Terminal())
    arguments = ["-o", tmp_path / "answers.csv"] if to_file else []
    assert cli("classify", two, "--model", tiny_model, "--csv", *arguments)[0] == 0
    # On the same terminal the bar would be mixed with the text.
    assert ("1/2" in sys.stderr.getvalue()) == to_file  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "module", "extra"),
    [
        (["train", "edge"], "keras", "train"),
        (["data", "audit"], "sklearn.metrics", "train"),
        (["export", "edge"], "keras", "export"),
        (["benchmark", "edge"], "tensorflow", "benchmark"),
        (["archive", "x.png", "-o", "out"], "ray", "ray"),
    ],
)
def test_missing_extra(
    arguments: list[str], module: str, extra: str, cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{module}'", name=module)

    monkeypatch.setattr(command, "import_module", fail)
    code, out, err = cli(*arguments)
    assert (code, out) == (1, "")
    line = f"'{arguments[0]}' needs {module.partition('.')[0]}: pip install 'fracture-edge[{extra}]'"
    assert err == f"fracture-edge: {line}\n"


def test_missing_module_of_no_extra_is_raised(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ModuleNotFoundError("No module named 'colorsys'", name="colorsys")

    monkeypatch.setattr(command, "import_module", fail)
    with pytest.raises(ModuleNotFoundError, match="colorsys"):
        cli("train", "edge")


def test_shadowing_file_is_named(cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit('the wrong one ran')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "train", raising=False)
    code, out, err = cli("train", "edge")
    assert (code, out) == (1, "")
    assert err == (
        f"fracture-edge: {tmp_path / 'train.py'} hides fracture-edge's own package 'train'; "
        "rename it or run from elsewhere\n"
    )
