"""The gateway from a received image to the archive, as a command in a process of its own."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGTERM")

Send = Callable[..., int | None]
Cli = Callable[..., tuple[int, str, str]]


def test_images_go_in_and_results_come_out(
    gateway: Callable[..., Any], archive: Any, send: Send, films: list[Path], tiny_model: Path
) -> None:
    running = gateway("--to", f"PACS@127.0.0.1:{archive.port}", "--model", tiny_model)
    assert [send(running.port, film) for film in films] == [0, 0, 0]
    running.wait(lambda: len(archive.received) == 6)
    assert running.stop() == 0
    kinds = sorted((found.Modality, str(found.StudyInstanceUID)) for found in archive.received)
    assert kinds == [(kind, f"1.2.{number}.1") for kind in ("OT", "SR") for number in range(1, 4)]
    # --keep 0 is the default: nothing of a patient is left.
    assert running.files() == []
    status = json.loads((running.spool / "status.json").read_text())
    assert (status["state"], status["model"]) == ("stopped", "tiny")
    assert status["counts"] | {"rejected": {}} == {
        "received": 3,
        "own": 0,
        "passed_over": {},
        "refused": {},
        "rejected": {},
        "answered": 3,
        "unanswered": {},
        "sent": 6,
        "failed": 0,
        "dead": 0,
    }
    assert "3 received, 3 answered, 6 sent; in the spool: 0 images, 0 results, 0 dead letters" in running.log
    told = (running.log + (running.spool / "status.json").read_text()).encode()
    # Name and ID of the patient of `films`, and a Study Instance UID.
    for secret in (b"Zyxwvut", b"Qponml", b"PID-918273", b"1.2.1.1"):
        assert secret not in told


def test_termination_finishes_what_was_taken(
    gateway: Callable[..., Any], archive: Any, send: Send, films: list[Path], tiny_model: Path
) -> None:
    running = gateway("--to", f"PACS@127.0.0.1:{archive.port}", "--model", tiny_model)
    for film in films:
        send(running.port, film)
    assert running.stop() == 0
    assert (len(archive.received), running.files()) == (6, [])


def test_a_kill_loses_and_doubles_nothing(
    gateway: Callable[..., Any], archive: Any, send: Send, films: list[Path], tiny_model: Path
) -> None:
    archive.stop()
    running = gateway("--to", f"PACS@127.0.0.1:{archive.port}", "--model", tiny_model)
    assert [send(running.port, film) for film in films] == [0, 0, 0]
    running.process.kill()
    running.process.wait()
    assert running.files() != []
    archive.start()
    running.start()
    # Whatever had not been answered is left in the spool, and said.
    assert "left in the spool: " in running.log
    running.wait(lambda: len({str(found.SOPInstanceUID) for found in archive.received}) == 6)
    assert running.stop() == 0
    assert running.files() == []


def test_results_return_to_the_sender(
    gateway: Callable[..., Any], archive: Any, send: Send, films: list[Path], tiny_model: Path
) -> None:
    running = gateway("--return-to-sender", "--return-port", archive.port, "--model", tiny_model)
    assert send(running.port, films[0], calling="PACS") == 0
    running.wait(lambda: len(archive.received) == 2)
    assert running.stop() == 0


def test_images_and_results_are_kept_if_asked_for(
    gateway: Callable[..., Any], archive: Any, send: Send, films: list[Path], tiny_model: Path
) -> None:
    running = gateway("--to", f"PACS@127.0.0.1:{archive.port}", "--model", tiny_model, "--keep", "1")
    send(running.port, films[0])
    running.wait(lambda: len(archive.received) == 2)
    assert running.stop() == 0
    assert [name.rpartition("/")[2][:2] for name in running.files() if "images" not in name] == ["SC", "SR"]
    assert len([name for name in running.files() if name.startswith("done/images/")]) == 1
    assert "Zyxwvut" not in " ".join(running.files())


def test_an_image_without_an_answer_is_said_and_dropped(
    gateway: Callable[..., Any],
    archive: Any,
    send: Send,
    films: list[Path],
    tiny_model: Path,
    tmp_path: Path,
    write_radiograph: Callable[..., Path],
) -> None:
    small = write_radiograph(
        tmp_path / "small.dcm", np.zeros((16, 16), np.uint8), uids=("1.3.1", "1.3.2", "1.3.3")
    )
    running = gateway("--to", f"PACS@127.0.0.1:{archive.port}", "--model", tiny_model)
    assert [send(running.port, film) for film in (small, films[0])] == [0, 0]
    running.wait(lambda: len(archive.received) == 2)
    assert running.stop() == 0
    assert "an image has no answer: too_small (16x16 pixels, under 32 on a side); 1 so far" in running.log
    assert "1 unanswered (too_small 1)" in running.log
    assert running.files() == []


def test_two_gateways_do_not_share_a_spool(gateway: Callable[..., Any], cli: Cli, tiny_model: Path) -> None:
    running = gateway("--to", "PACS@127.0.0.1:104", "--model", tiny_model)
    code, _, err = cli("gateway", "--spool", running.spool, "--to", "A@h:1", "--model", tiny_model, "--port", 0)
    assert (code, "is being written by another fracture-edge process" in err) == (1, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give --to AET@HOST:PORT or --return-to-sender, so that results go somewhere"),
        (("--to", "PACS"), "target 'PACS': must be AET@HOST:PORT, for example ORTHANC@192.168.1.5:4242"),
        (("--to", "A@h:1", "--aet", "A" * 17), "must have 1 to 16 characters of ASCII"),
        (
            ("--to", "A@h:1", "--allow", "B@nowhere"),
            "must be an IP address or a network, for example 192.168.1.0/24",
        ),
        (("--to", "A@h:1", "--rules", "none.toml"), "none.toml: No such file or directory"),
        (("--to", "tls:A@h:1"), "give --tls-ca"),
    ],
)
def test_mistakes_on_the_command_line(options: tuple[str, ...], message: str, cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("gateway", "--spool", tmp_path / "spool", *options)
    assert (code, out) == (1, "")
    assert err.startswith("fracture-edge: ")
    assert message in err
    assert not (tmp_path / "spool").exists()


def test_a_port_in_use_is_named(gateway: Callable[..., Any], cli: Cli, tiny_model: Path, tmp_path: Path) -> None:
    running = gateway("--to", "PACS@127.0.0.1:104", "--model", tiny_model)
    code, _, err = cli(
        *("gateway", "--spool", tmp_path / "other", "--to", "A@h:1", "--model", tiny_model),
        *("--host", "127.0.0.1", "--port", running.port),
    )
    assert code == 1
    assert f"127.0.0.1, port {running.port}: Address already in use; choose another --host or --port" in err


def test_a_missing_package_says_how_to_install_it(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "pynetdicom", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "pynetdicom" else object())
    code, _, err = cli("gateway", "--spool", tmp_path / "spool", "--to", "A@h:1")
    assert (code, err) == (1, "fracture-edge: DICOM results need pynetdicom: pip install 'fracture-edge[pacs]'\n")
