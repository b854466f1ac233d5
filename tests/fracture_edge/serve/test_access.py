"""Who may ask: host names, origins, the token, encryption, and the options of the command."""

import base64
import http.client
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fracture_edge.commands import registry
from fracture_edge.errors import FractureEdgeError
from fracture_edge.pacs.gateway.options import TlsFiles
from fracture_edge.serve.options import ServeOptions, read_token, resolve

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

Serve = Callable[..., Any]
Cli = Callable[..., tuple[int, str, str]]
TOKEN = "correct-horse-battery"
ALL_PATHS = ("/", "/v1/model", "/metrics", "/openapi.json")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8765", 200),
        ("localhost.", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8765", 200),
        ("192.168.1.7", 200),
        ("xray.clinic.example", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example:8765", 421),
        ("evil.example@127.0.0.1x", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_host_names(host: str, status: int, serve: Serve) -> None:
    answer = serve(host_names=("Xray.clinic.example",)).ask("/healthz", Host=host)
    assert answer.status == status
    assert status == 200 or answer.detail.endswith("--allow-host allows further names")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", "http://127.0.0.1"])
def test_pages_of_other_origins_are_refused(origin: str, serve: Serve) -> None:
    running = serve()
    answer = running.ask("/v1/classify", b"x", Origin=origin)
    assert (answer.status, answer.detail[:49]) == (403, "the request comes from a page of another origin; ")
    assert "access-control-allow-origin" not in answer.headers
    own = f"http://127.0.0.1:{running.port}"
    assert running.ask("/v1/classify", b"x", Origin=own).status == 200


def test_allowed_origins_may_read(serve: Serve) -> None:
    running = serve(origins=("https://app.example",), token=TOKEN)
    # The browser asks first, without the token.
    asked = running.ask(
        "/v1/classify",
        method="OPTIONS",
        Origin="https://app.example",
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="authorization",
    )
    assert (asked.status, asked.headers["access-control-allow-origin"]) == (200, "https://app.example")
    answer = running.ask("/v1/classify", b"x", Origin="https://app.example", Authorization=f"Bearer {TOKEN}")
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://app.example")
    refused = running.ask("/v1/classify", b"x", Origin="https://evil.example", Authorization=f"Bearer {TOKEN}")
    assert refused.status == 403
    assert "access-control-allow-origin" not in refused.headers


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (_basic("anyone", TOKEN), 200),
        (_basic("", TOKEN), 200),
        (None, 401),
        ("Bearer", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (TOKEN, 401),
        (_basic(TOKEN, ""), 401),
        ("Basic !", 401),
        ("Bearer \xe9", 401),
    ],
)
def test_token(given: str | None, status: int, serve: Serve) -> None:
    running = serve(token=TOKEN, page="page")
    headers = {} if given is None else {"Authorization": given}
    for path in ALL_PATHS:
        assert running.ask(path, **headers).status == status
    assert running.ask("/v1/classify", b"x", **headers).status == status
    # A monitor needs none.
    assert (running.ask("/healthz").status, running.ask("/readyz").status) == (200, 200)


def test_a_refused_token_says_what_to_send(serve: Serve) -> None:
    answer = serve(token=TOKEN).ask("/v1/model")
    assert answer.headers["www-authenticate"] == 'Basic realm="fracture-edge", Bearer'
    assert answer.detail == "send the token: 'Authorization: Bearer TOKEN', or as the password in a browser"
    assert TOKEN not in answer.text


def _options(**options: Any) -> ServeOptions:
    return ServeOptions(**{"workers": 1, "queue": 1, "max_held_bytes": 300_000_000, **options})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1.2.3"])
def test_loopback_needs_no_token(host: str) -> None:
    assert resolve(_options(host=host)).is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "", "192.0.2.1"])
def test_other_addresses_need_a_token(host: str) -> None:
    with pytest.raises(FractureEdgeError, match=r"other computers could connect; that needs a token"):
        resolve(_options(host=host))
    assert not resolve(_options(host=host, token=TOKEN)).is_loopback


@pytest.mark.parametrize("token", ["short", "with a space in it", "fifteen letters", "é" * 20, "x" * 20 + "\n"])
def test_tokens_that_can_be_guessed_or_not_be_sent(token: str) -> None:
    with pytest.raises(FractureEdgeError, match=r"the token must have 16 or more") as raised:
        _options(token=token)
    assert token not in str(raised.value)
    assert token not in repr(_options(token=TOKEN))


def test_token_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    assert read_token("from the variable", path) == TOKEN
    assert read_token("from the variable", None) == "from the variable"
    assert read_token("", None) is None
    with pytest.raises(FractureEdgeError, match=r"none: the token could not be read \(No such file"):
        read_token(None, tmp_path / "none")


@pytest.mark.parametrize("origin", ["*", "app.example", "https://app.example/path", "ftp://app.example", "null"])
def test_origins_are_checked(origin: str) -> None:
    with pytest.raises(FractureEdgeError, match=r"must be a scheme and a host"):
        _options(origins=(origin,))


@pytest.fixture
def tls_files(tmp_path: Path) -> TlsFiles:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    words = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2")
    subprocess.run([openssl, *words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return TlsFiles(certificate=certificate, key=key)


def test_encrypted(serve: Serve, tls_files: TlsFiles) -> None:
    running = serve(tls=tls_files)
    context = ssl.create_default_context(cafile=str(tls_files.certificate))
    context.check_hostname = False
    assert running.ask("/healthz", tls=context).text == "ok\n"
    assert running.server.url == f"https://127.0.0.1:{running.port}/"
    with pytest.raises((OSError, http.client.HTTPException)):
        running.ask("/healthz")


def _start(repository: Path, model: Path, log: Path, *options: object) -> tuple[subprocess.Popen[bytes], str]:
    command = [sys.executable, "-m", "fracture_edge", "serve", "--port", 0, "--model", model, *options]
    environment = {**os.environ, "PYTHONPATH": os.fspath(repository), "FRACTURE_EDGE_TOKEN": TOKEN}
    with log.open("wb") as stream:
        process = subprocess.Popen([*map(str, command)], stdout=stream, stderr=stream, env=environment)
    end = time.monotonic() + 60
    while " at http" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end
        time.sleep(0.05)
    return process, log.read_text().partition(" at ")[2].partition(",")[0]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGTERM")
def test_the_command_answers_until_a_signal(tmp_path: Path, repository: Path, tiny_model: Path) -> None:
    log = tmp_path / "log"
    process, url = _start(repository, tiny_model, log, "--host", "0.0.0.0", "--workers", 2)
    try:
        url = url.replace("0.0.0.0", "127.0.0.1")
        request = urllib.request.Request(f"{url}v1/model", headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=60) as response:
            assert response.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
    lines = log.read_text().splitlines()
    assert lines[0].startswith("fracture-edge: tiny at http://0.0.0.0:")
    assert lines[1:] == [
        "fracture-edge: connections are not encrypted, and so is the token not; --tls-cert encrypts them"
    ]


def test_mistakes_of_the_command_line(
    cli: Cli, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FRACTURE_EDGE_TOKEN", raising=False)
    for options, words in (
        (["--host", "0.0.0.0"], "--host 0.0.0.0: other computers could connect"),
        (["--host", "no such host"], "--host no such host: no address of this machine"),
        (
            ["--host", "192.0.2.1", "--token", TOKEN],
            "192.0.2.1, port 8765: Cannot assign requested",
        ),
        (["--tls-key", "k.pem"], "--tls-key needs --tls-cert"),
        (["--tls-cert", "none.pem"], "none.pem: no certificate with its key could be read"),
        (["--token-file", tmp_path], f"{tmp_path}: the token could not be read"),
        (["--max-size", 100, "--max-memory", 50], "--max-memory 50 is less than --max-size 100"),
        (["--policy", "brave"], "tiny has no operating point 'brave'"),
    ):
        code, out, err = cli("serve", "--model", tiny_model, *options)
        assert (code, out) == (1, ""), options
        assert err.startswith(f"fracture-edge: {words}"), options
        assert err.count("\n") == 1


def test_a_port_in_use(cli: Cli, serve: Serve, tiny_model: Path) -> None:
    port = serve().port
    code, _, err = cli("serve", "--model", tiny_model, "--port", port)
    assert code == 1
    assert err.startswith(f"fracture-edge: 127.0.0.1, port {port}: Address already in use; choose another --host")


def test_without_the_extra_one_line_says_how_to_install_it(
    cli: Cli, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("starlette", "fracture_edge.serve."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    code, out, err = cli("serve", "--model", tiny_model)
    line = "fracture-edge: 'serve' needs starlette: pip install 'fracture-edge[serve]'\n"
    assert (code, out, err) == (1, "", line)
    assert registry.COMMANDS["serve"].extra == "serve"
