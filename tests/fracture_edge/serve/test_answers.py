"""Answers of the server: records of the command line, parameters, the page, metrics, the description."""

import base64
import http.client
import io
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fracture_edge.prediction import COLUMNS

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

Serve = Callable[..., Any]
Cli = Callable[..., tuple[int, str, str]]
GreyFile = Callable[[str, int], Path]


def _without_times(text: str) -> str:
    return re.sub(r'"elapsed_ms": [\d.]+', '"elapsed_ms": 0', text)


def test_records_are_those_of_the_command_line_to_the_letter(
    serve: Serve, cli: Cli, tmp_path: Path, grey_file: GreyFile, pointed_model: Path, write_cine: Any
) -> None:
    files = [grey_file("a.png", 192), grey_file("b c.bmp", 64), write_cine(tmp_path / "cine.dcm", [0, 64, 32])]
    broken, empty = tmp_path / "broken.png", tmp_path / "empty.png"
    broken.write_bytes(files[0].read_bytes()[:60])
    empty.write_bytes(b"")
    files += [broken, empty]
    code, out, _ = cli("classify", *files, "--json", "--model", pointed_model, "--threads", 1)
    assert code == 3
    answer = serve().send_form("/v1/classify", *((str(path), path.read_bytes()) for path in files))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert _without_times(answer.text) == _without_times(out)
    assert [record["status"] for record in answer.json] == ["ok"] * 5 + ["truncated", "empty"]
    assert [record["frame"] for record in answer.json] == [1, 1, 1, 2, 3, 1, 1]


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "application/x-www-form-urlencoded"])
def test_the_body_is_an_image(kind: str, serve: Serve, grey_file: GreyFile) -> None:
    answer = serve().ask("/v1/classify", grey_file("a.png", 192).read_bytes(), Content_Type=kind)
    (record,) = answer.json
    assert (answer.status, record["path"], record["decision"]) == (200, "<bytes>", "fractured")
    assert record["probability"] == pytest.approx(0.8808, abs=1e-4)


def test_a_policy_of_the_request(serve: Serve, grey_file: GreyFile) -> None:
    running, data = serve(), grey_file("a.png", 64).read_bytes()
    for query, decision, threshold in (
        ("", "not_fractured", 0.5),
        ("?policy=screening", "fractured", 0.1),
        ("?heatmap=0", "not_fractured", 0.5),
    ):
        (record,) = running.ask(f"/v1/classify{query}", data).json
        assert (record["decision"], record["threshold"]) == (decision, threshold)


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("policy=brave", "policy must be one of: screening"),
        ("threshold=0.3", "unknown parameter 'threshold'; must be one of: heatmap, policy"),
        ("policy=screening&policy=screening", "a parameter is given twice"),
        ("heatmap=yes", "heatmap must be one of: 0, 1"),
        ("heatmap=1", "tiny has no heat map; export it with `fracture-edge export MODEL --heatmap`"),
    ],
)
def test_wrong_parameters_are_refused(query: str, detail: str, serve: Serve, grey_file: GreyFile) -> None:
    answer = serve().ask(f"/v1/classify?{query}", grey_file("a.png", 64).read_bytes())
    assert (answer.status, answer.detail) == (400, detail)


def test_heat_maps_are_those_of_the_command_line(
    serve: Serve, cli: Cli, tmp_path: Path, bone: Callable[..., Any]
) -> None:
    path, folder = tmp_path / "bone.png", tmp_path / "maps"
    Image.fromarray(bone(1, True)).save(path)
    code, out, _ = cli("classify", path, "--json", "--heatmap", folder, "--threads", 1)
    (expected,) = json.loads(out)
    (record,) = serve(None).send_form("/v1/classify?heatmap=1", (str(path), path.read_bytes())).json
    assert code == 0
    assert list(record) == list(expected)
    kind, _, data = record.pop("heatmap").partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as one, Image.open(expected.pop("heatmap")) as other:
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    assert {**record, "elapsed_ms": 0} == {**expected, "elapsed_ms": 0}


def test_the_page_is_made_once(serve: Serve) -> None:
    running = serve(page="<!doctype html>\u2713" + "x" * 200_000)
    answer = running.ask("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.text == "<!doctype html>\u2713" + "x" * 200_000
    again = running.ask("/", If_None_Match=answer.headers["etag"])
    assert (again.status, again.text) == (304, "")
    head = running.ask("/", method="HEAD")
    assert (head.status, head.text, head.headers["content-length"]) == (200, "", str(len(answer.text.encode())))


def test_without_a_page_everything_else_works(serve: Serve, grey_file: GreyFile) -> None:
    running = serve()
    answer = running.ask("/")
    assert (answer.status, answer.detail) == (404, "there is no page here: not built")
    assert running.ask("/v1/classify", grey_file("a.png", 64).read_bytes()).status == 200


def test_model_is_what_info_prints(serve: Serve, cli: Cli, pointed_model: Path) -> None:
    assert serve().ask("/v1/model").text == cli("info", pointed_model)[1]


def test_health(serve: Serve) -> None:
    running = serve()
    assert [running.ask(path).text for path in ("/healthz", "/readyz")] == ["ok\n", "ready\n"]


def test_unknown_paths_and_methods(serve: Serve) -> None:
    running = serve()
    for path, method, status in (
        ("/v1/classify", "GET", 405),
        ("/healthz", "POST", 405),
        ("/v2/classify", "POST", 404),
        ("/v1/classify/", "POST", 404),
        ("/../etc/passwd", "GET", 404),
    ):
        answer = running.ask(path, method=method)
        assert (answer.status, bool(answer.detail)) == (status, True), path


def test_metrics_count(serve: Serve, grey_file: GreyFile, tmp_path: Path) -> None:
    running = serve()
    running.send_form("/v1/classify", ("a", grey_file("a.png", 192).read_bytes()), ("b", b"no image"))
    running.ask("/v1/classify?heatmap=2", b"x")
    running.ask("/etc/passwd")
    answer = running.ask("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    for line in (
        'fracture_edge_requests_total{path="/v1/classify",status="200"} 1',
        'fracture_edge_requests_total{path="/v1/classify",status="400"} 1',
        'fracture_edge_requests_total{path="other",status="404"} 1',
        'fracture_edge_images_total{status="ok",decision="fractured"} 1',
        'fracture_edge_images_total{status="unsupported_format",decision=""} 1',
        "fracture_edge_classify_seconds_count 2",
        "fracture_edge_requests_active 0",
        "fracture_edge_held_bytes 0",
    ):
        assert line in lines
    # Each line is a comment, or a name with labels and a number.
    sample = re.compile(r'fracture_edge_\w+(\{(\w+="[^"]*",?)+\})? [\d.e+-]+')
    assert all(line.startswith("# ") or sample.fullmatch(line) for line in lines)
    assert "passwd" not in answer.text


def test_every_response_forbids_frames_and_guessing(serve: Serve) -> None:
    headers = serve().ask("/nowhere").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "frame-ancestors 'none'"
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


def test_description_has_the_routes_and_the_fields(serve: Serve, grey_file: GreyFile) -> None:
    running = serve(None)
    found = running.ask("/openapi.json").json
    (app,) = (layer for layer in _layers(running.server.service.app()) if hasattr(layer, "routes"))
    routes = {route.path: {method.lower() for method in route.methods - {"HEAD"}} for route in app.routes}
    assert {path: set(methods) for path, methods in found["paths"].items()} == routes
    schema = found["components"]["schemas"]["Record"]
    assert schema["required"] == list(COLUMNS)
    data = grey_file("a.png", 64).read_bytes()
    (record,) = running.ask("/v1/classify?heatmap=1", data).json
    assert set(record) <= set(schema["properties"])
    for name, value in record.items():
        allowed = schema["properties"][name].get("enum")
        assert allowed is None or value in allowed, name
    policies = found["paths"]["/v1/classify"]["post"]["parameters"][0]["schema"]["enum"]
    assert [running.ask(f"/v1/classify?policy={name}", data).status for name in policies] == [200] * 4


def test_every_status_is_described(serve: Serve) -> None:
    """The statuses of the test modules of this room; the parser of the protocol adds 400 in words."""
    found = serve().ask("/openapi.json").json["paths"]["/v1/classify"]["post"]["responses"]
    assert set(found) == {"200", "400", "401", "403", "408", "413", "421", "503"}


def _layers(app: Any) -> Any:
    while app is not None:
        yield app
        app = getattr(app, "_app", None) or getattr(app, "app", None)


def test_one_connection_serves_many_requests(serve: Serve, grey_file: GreyFile) -> None:
    running = serve()
    connection: http.client.HTTPConnection = running.connect()
    data = grey_file("a.png", 192).read_bytes()
    connection.connect()
    used = connection.sock
    for _ in range(5):
        connection.request("POST", "/v1/classify", data)
        assert len(json.loads(connection.getresponse().read())) == 1
    assert connection.sock is used
    # Or each answer would wait 40 ms between header and content.
    (other_end,) = running.server.server_state.connections
    option = other_end.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert option != 0
    connection.close()
