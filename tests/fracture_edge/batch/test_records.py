import csv
import io
import json
import math

import pytest

from fracture_edge.batch.records import COLUMNS, FORMULA_STARTS, Format, OlderRecordsError, csv_line, parse, render
from fracture_edge.errors import Status
from fracture_edge.policy import Decision, ReasonCode
from fracture_edge.prediction import Prediction

GOOD = Prediction(
    "a.png",
    2,
    12,
    Status.OK,
    Decision.FRACTURED,
    0.8756,
    0.5,
    "probability at or above the threshold",
    "tiny",
    "ab12",
    3.6,
    ReasonCode.ABOVE_THRESHOLD,
)
BAD = Prediction('b, "c".png', 1, 1, Status.EMPTY, None, None, None, "the file is empty", "tiny", "ab12", 0.125)

HEADER = (
    "path,frame,frames,status,decision,probability,threshold,reason,model,model_sha256,elapsed_ms,reason_code\n"
)
GOOD_JSON = (
    '{"path": "a.png", "frame": 2, "frames": 12, "status": "ok", "decision": "fractured", '
    '"probability": 0.8756, "threshold": 0.5, "reason": "probability at or above the threshold", '
    '"model": "tiny", "model_sha256": "ab12", "elapsed_ms": 3.6, "reason_code": "above_threshold"}'
)
BAD_JSON = (
    '{"path": "b, \\"c\\".png", "frame": 1, "frames": 1, "status": "empty", "decision": null, '
    '"probability": null, "threshold": null, "reason": "the file is empty", '
    '"model": "tiny", "model_sha256": "ab12", "elapsed_ms": 0.125, "reason_code": null}'
)
EXPECTED: dict[Format, str] = {
    "text": (
        "a.png, frame 2 of 12: fractured, P(fractured) = 0.876 "
        "(threshold 0.500; probability at or above the threshold; 4 ms)\n"
        'b, "c".png: no answer, empty (the file is empty)\n'
    ),
    "json": f"[\n  {GOOD_JSON},\n  {BAD_JSON}\n]\n",
    "jsonl": f"{GOOD_JSON}\n{BAD_JSON}\n",
    "csv": (
        HEADER + "a.png,2,12,ok,fractured,0.8756,0.5,probability at or above the threshold,tiny,ab12,3.6,"
        "above_threshold\n"
        '"b, ""c"".png",1,1,empty,,,,the file is empty,tiny,ab12,0.125,\n'
    ),
}
NOTHING: dict[Format, str] = {"text": "", "json": "[]\n", "jsonl": "", "csv": HEADER}


@pytest.mark.parametrize("style", EXPECTED)
def test_exact_text(style: Format) -> None:
    assert "".join(render([GOOD, BAD], style)) == EXPECTED[style]


@pytest.mark.parametrize("style", NOTHING)
def test_no_records(style: Format) -> None:
    assert "".join(render([], style)) == NOTHING[style]


def test_one_record_as_json() -> None:
    assert "".join(render([GOOD], "json")) == f"[\n  {GOOD_JSON}\n]\n"


@pytest.mark.parametrize("style", ["text", "json", "jsonl", "csv"])
def test_each_record_is_rendered_immediately(style: Format) -> None:
    taken = []

    def predictions() -> object:
        for prediction in (GOOD, BAD):
            taken.append(prediction)
            yield prediction

    for piece in render(predictions(), style):  # type: ignore[arg-type]
        if "a.png" in piece:
            break
    assert taken == [GOOD]


def test_odd_names_survive_a_round_trip() -> None:
    name = 'line\nbreak, "quoted" ü \udcff.png'
    odd = Prediction(name, 1, 1, Status.EMPTY, None, None, None, "x", "tiny", "ab12", 1.0)
    assert json.loads("".join(render([odd], "json")))[0]["path"] == name
    assert json.loads("".join(render([odd], "jsonl")))["path"] == name
    rows = list(csv.DictReader(io.StringIO("".join(render([odd], "csv")), newline="")))
    assert rows[0]["path"] == name


def test_columns_are_the_documented_ones() -> None:
    assert ",".join(COLUMNS) + "\n" == HEADER


@pytest.mark.parametrize("start", FORMULA_STARTS)
def test_no_cell_begins_like_a_formula(start: str) -> None:
    name = f'{start}HYPERLINK(1;2),"x".png'
    odd = Prediction(name, 1, 1, Status.EMPTY, None, None, None, start, "tiny", "ab12", 1.0)
    text = "".join(render([odd], "csv", header=False))
    # The cells that a spreadsheet sees, separated at commas, or at semicolons or tabs instead.
    (row,) = csv.reader(io.StringIO(text, newline=""))
    assert (row[0], row[7]) == ("'" + name, "'" + start)
    for separator in ";\t":
        cells = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
        assert not cells[0].startswith(FORMULA_STARTS)
    assert parse(text, "csv") is not None
    assert parse(text, "csv")["path"] == name  # type: ignore[index]


@pytest.mark.parametrize("name", ["a.png", "'a.png", "''=a", "'=a", "a'b", "", "-1", "\ufeffa"])
def test_removing_the_apostrophe_restores_the_text(name: str) -> None:
    odd = Prediction(name, 1, 1, Status.EMPTY, None, None, None, "x", "tiny", "ab12", 1.0)
    assert parse("".join(render([odd], "csv", header=False)), "csv")["path"] == name  # type: ignore[index]


def test_numbers_stay_numbers() -> None:
    assert csv_line([-1.5, 1e-07, 0, None, "-1.5"]) == "-1.5,1e-07,0,,'-1.5\n"
    assert math.isclose(float(csv_line([0.1 + 0.2])), 0.1 + 0.2, rel_tol=0)


def test_parse_reads_what_render_writes() -> None:
    for prediction in (GOOD, BAD):
        row = parse("".join(render([prediction], "csv", header=False)), "csv")
        record = parse("".join(render([prediction], "jsonl")), "jsonl")
        assert row is not None
        assert record is not None
        assert list(row) == list(record) == list(COLUMNS)
        assert [row[name] for name in COLUMNS[:4]] == [record[name] for name in COLUMNS[:4]]
        assert row["probability"] == ("" if record["probability"] is None else str(record["probability"]))
    assert parse(HEADER, "csv") is None


def test_json_lines_of_schema_1_are_read() -> None:
    text = GOOD_JSON.replace(', "reason_code": "above_threshold"', "")
    assert parse(text, "jsonl") == {name: GOOD.record()[name] for name in COLUMNS[:-1]}


@pytest.mark.parametrize("heatmap", ["", ",heatmap"])
def test_csv_of_schema_1_is_distinguished_from_other_files(heatmap: str) -> None:
    with pytest.raises(OlderRecordsError):
        parse(HEADER.replace(",reason_code\n", heatmap + "\n"), "csv")


@pytest.mark.parametrize(
    ("text", "style"),
    [
        ("a,b,c\n", "csv"),
        ('"a\n', "csv"),
        ("{}\n", "jsonl"),
        ("[1]\n", "jsonl"),
        ("x\n", "jsonl"),
        (GOOD_JSON.replace('"frame": 2', '"frame": 13'), "jsonl"),
        (GOOD_JSON.replace('"frames": 12', '"frames": "many"'), "jsonl"),
        (csv_line(GOOD.record().values()).replace("a.png,2", "a.png,0"), "csv"),
    ],
)
def test_parse_refuses_other_text(text: str, style: Format) -> None:
    with pytest.raises((ValueError, csv.Error)):
        parse(text, style)
