"""Objects of a store, from a local server that speaks S3."""

import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fracture_edge.batch.archive.sources import find_sources

moto = pytest.importorskip("moto.server", reason="needs moto: pip install 'moto[server]'")
boto3 = pytest.importorskip("boto3", reason="needs moto: pip install 'moto[server]'")
pytest.importorskip("pyarrow", reason="needs the extra [ray]")
pytest.importorskip("flask", reason="needs moto: pip install 'moto[server]'")

Run = Callable[..., tuple[int, str, str]]
Cine = Callable[..., Path]
BUCKET = "s3://archive"


def png(grey: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((64, 64), grey, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def bucket(store: str, monkeypatch: pytest.MonkeyPatch, write_cine: Cine, tmp_path: Path) -> dict[str, bytes]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": store,
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="archive")
    cine = write_cine(tmp_path / "cine.dcm", (48, 16, 40)).read_bytes()
    objects = {
        "xrays/1.png": png(192),
        "xrays/a b%20c+d.png": png(64),
        "xrays/broken.png": png(3)[:60],
        "xrays/sub/cine.dcm": cine,
        "xrays/notes.txt": b"no image",
        "other/2.png": png(128),
    }
    for key, content in objects.items():
        client.put_object(Bucket="archive", Key=key, Body=content)
    return objects


def test_objects_under_a_prefix(bucket: dict[str, bytes], tmp_path: Path) -> None:
    prefix = f"{BUCKET}/xrays/"
    names = [f"{prefix}{name}" for name in ("1.png", "a b%20c+d.png", "broken.png", "sub/cine.dcm")]
    assert find_sources([prefix], recursive=True) == (names, [])
    assert find_sources([prefix], recursive=False) == (names[:3], [])
    # A single object whatever its name; a prefix without images gets a record, as a folder does.
    given = [f"{BUCKET}/xrays/notes.txt", f"{BUCKET}/none/", str(tmp_path / "x.png")]
    assert find_sources(given, recursive=False) == (
        given,
        [f"{BUCKET}/none/: no images under this prefix; -r searches deeper"],
    )


def test_list_on_stdin(bucket: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    names = f"{BUCKET}/xrays/1.png\n./x.png\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(names)))
    assert find_sources(["-"], recursive=False) == ([f"{BUCKET}/xrays/1.png", "x.png"], [])


def test_answers_are_those_of_the_same_files(
    bucket: dict[str, bytes], fake_ray: Any, cli: Run, tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    for key, content in bucket.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(content)
    missing = ("xrays/none.png", "none/none.png")
    keys = [*bucket, *missing]

    def answers(output: Path) -> list[dict[str, Any]]:
        text = re.sub(r'"elapsed_ms": [\d.]+', '"elapsed_ms": 0', output.read_text())
        return [json.loads(line) for line in text.splitlines()]

    objects = [f"{BUCKET}/{key}" for key in keys]
    assert cli("archive", *objects, "-o", tmp_path / "out", "--model", tiny_model)[0] == 3
    found = answers(tmp_path / "out" / "answers.jsonl")
    files = [folder / key for key in keys]
    whole = tmp_path / "whole.jsonl"
    assert cli("classify", *files, "--model", tiny_model, "--jsonl", "-o", whole)[0] == 3
    expected = answers(whole)
    # In the order in which they were given, three frames of the cine loop among them.
    assert len(found) == len(keys) + 2
    for one, other in zip(found, expected, strict=True):
        assert one["path"] == other["path"].replace(str(folder), BUCKET)
        assert one | {"path": ""} == other | {"path": ""}
    assert [one["status"] for one in found[-2:]] == ["not_found", "not_found"]
