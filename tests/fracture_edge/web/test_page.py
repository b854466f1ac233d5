"""`fracture-edge page`: one HTML file with everything inside."""

import base64
import gzip
import hashlib
import json
import lzma
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError, ModelError
from fracture_edge.modelfile import OPERATING_POINTS
from fracture_edge.models import EMBEDDED_FILE
from fracture_edge.web import assemble as module
from fracture_edge.web.assemble import assemble
from fracture_edge.web.contract import contract
from fracture_edge.web.operators import operator_domains

Cli = Callable[..., tuple[int, str, str]]

SCRIPT, STYLE = 'console.log("hi")', "body{color:red}"
PARTS = {
    "page.css": STYLE,
    "page.js": SCRIPT,
    "worker.js": "onmessage=null",
    "ort.wasm": "\0asm of onnxruntime",
    "webp.wasm": "\0asm of libwebp",
    "licences.txt": "licence of a part",
}


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> Path:
    """Parts as `make web` builds them, but small; the HTML is the real one."""
    folder = tmp_path / "built"
    folder.mkdir()
    page = (repository / "web" / "src" / "page" / "index.html").read_text(encoding="utf-8")
    for name, text in {**PARTS, "page.html": page}.items():
        (folder / f"{name}.xz").write_bytes(lzma.compress(text.encode()))
    monkeypatch.setattr(module, "BUILT", folder)
    return folder


def _inside(page: str, name: str) -> bytes:
    found = re.search(rf'<script type="application/gzip" id="part-{name}">([^<]*)</script>', page)
    assert found
    return gzip.decompress(base64.b64decode(found[1]))


def test_everything_is_inside(built: Path) -> None:
    page = assemble()
    assert _inside(page, "model") == EMBEDDED_FILE.read_bytes()
    assert _inside(page, "ort").decode() == PARTS["ort.wasm"]
    assert _inside(page, "worker").decode() == PARTS["worker.js"]
    notices = _inside(page, "notices").decode()
    assert notices.startswith("licence of a part")
    assert "Microsoft" in notices
    assert "@" not in re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
    assert assemble() == page


def test_policy_forbids_connections_and_allows_this_script_only(built: Path) -> None:
    page = assemble()
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert found
    directives = dict(part.strip().split(" ", 1) for part in found[1].split(";"))
    script = "sha256-" + base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert directives["connect-src"] == "'none'"
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == f"'{script}' 'wasm-unsafe-eval'"
    assert f"<script>{SCRIPT}</script>" in page
    # Nothing names another computer.
    assert re.findall(r"(?:src|href)=\"?https?:", page) == []


def test_metadata_comes_from_the_model(built: Path, tiny_model: Path) -> None:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', assemble(tiny_model), re.DOTALL)
    assert found
    record = json.loads(found[1])
    assert record["rules"] == contract()
    assert record["model"]["name"] == "tiny"
    assert record["model"]["preprocessing"]["height"] == 64
    assert record["model"]["policies"] == [
        {"name": "", "threshold": 0.5, "uncertain_low": 0.4, "uncertain_high": 0.6}
    ]
    assert record["model"]["columns"] == []
    assert record["model"]["sha256"] == hashlib.sha256(tiny_model.read_bytes()).hexdigest()


def test_further_outputs_come_from_the_model(built: Path) -> None:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', assemble(), re.DOTALL)
    assert found
    model = json.loads(found[1])["model"]
    classifier = FractureClassifier(threads=1)
    assert model["columns"] == list(classifier.attributes.columns)
    assert model["attributes"] == {name: dict(entry) for name, entry in classifier.info.attributes.items()}
    assert [policy["name"] for policy in model["policies"]] == list(OPERATING_POINTS)
    assert {policy["images"] for policy in model["policies"]} == {"out-of-fold"}


def test_command_writes_a_file_and_keeps_what_was_there(cli: Cli, built: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    code, out, err = cli("page", "-o", path)
    assert (code, out) == (0, "")
    assert re.fullmatch(rf"fracture-edge: {re.escape(str(path))}, \d\.\d MB; open it in a browser\n", err)
    before = path.read_bytes()
    assert before.startswith(b"<!doctype html>")
    assert cli("page", "-o", path)[::2] == (
        1,
        f"fracture-edge: {path} exists already; give --force to replace it\n",
    )
    assert cli("page", "-o", path, "--model", tmp_path / "none.onnx", "--force")[0] == 1
    assert path.read_bytes() == before
    assert cli("page", "-o", path, "--force")[0] == 0


def test_without_built_parts_one_line_says_what_to_do(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUILT", tmp_path / "nothing")
    code, out, err = cli("page", "-o", tmp_path / "page.html")
    assert (code, out) == (1, "")
    assert err == (
        "fracture-edge: the parts of the page are missing or damaged: run `make web` in a checkout, "
        "or reinstall fracture-edge\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_part_is_refused(built: Path) -> None:
    (built / "ort.wasm.xz").write_bytes(b"no xz")
    with pytest.raises(FractureEdgeError, match="run `make web`"):
        assemble()


def test_operator_domains_are_those_that_onnx_reads(tiny_model: Path) -> None:
    onnx = pytest.importorskip("onnx")
    for path in (EMBEDDED_FILE, tiny_model):
        nodes = onnx.load(path).graph.node
        assert operator_domains(path.read_bytes()) == {node.domain for node in nodes}
    assert "com.microsoft" in operator_domains(EMBEDDED_FILE.read_bytes())


def test_a_model_for_one_processor_is_refused_in_words(
    built: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"", "com.microsoft.nchwc"}
    monkeypatch.setattr(module, "operator_domains", lambda data: found)
    with pytest.raises(ModelError, match=r"operators of com\.microsoft\.nchwc do not run in browsers"):
        assemble(tiny_model)


def test_a_huge_model_is_refused_in_words(built: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_MODEL", 100)
    with pytest.raises(ModelError, match="over the limit of 0 MB for a page"):
        assemble(tiny_model)


@pytest.mark.parametrize("data", [b"\xff" * 11, b"\x3b", b""])
def test_domains_of_no_model(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a protocol buffer"):
        operator_domains(data + b"\xff")


def test_classify_does_not_load_the_page(
    run_python: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path
) -> None:
    script = (
        "import sys\nfrom fracture_edge.cli import main\nsys.argv[1:] = ['classify', 'none.png']\n"
        "try: main(own_process=True)\nexcept SystemExit: pass\n"
        "print(sorted(name for name in sys.modules if name.startswith('fracture_edge.web')))"
    )
    assert run_python("-c", script, cwd=tmp_path).stdout.splitlines()[-1] == b"[]"
