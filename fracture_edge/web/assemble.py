"""One HTML file with the model, onnxruntime's WASM and everything else inside, which needs no network."""

import base64
import gzip
import hashlib
import json
import lzma
import os
from importlib import metadata
from pathlib import Path

from fracture_edge.attributes import Attributes
from fracture_edge.errors import FractureEdgeError, ModelError
from fracture_edge.modelfile import is_tflite, read_model
from fracture_edge.runtimes.session import open_session, output_sizes, read_info
from fracture_edge.web.contract import contract, model_record
from fracture_edge.web.operators import operator_domains

#: Folder of the parts that `make web` builds, each compressed with xz.
BUILT = Path(__file__).resolve().parent / "built"
_PARTS = ("page.html", "page.css", "page.js", "worker.js", "ort.wasm", "webp.wasm", "licences.txt")
#: Domains of the operators in the WASM build of onnxruntime. Models laid out for the vectors of one processor
#: have operators of others.
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
#: Maximum size of a model in bytes: as text in a page, larger ones exceed what browsers hold in one string.
_MAX_MODEL = 256_000_000
#: What the page may do: run its own script, its worker and WASM, and show what it draws. Nothing may be fetched.
_POLICY = (
    "default-src 'none'; script-src '{script}' 'wasm-unsafe-eval'; worker-src blob:; style-src '{style}'; "
    "img-src blob: data:; connect-src 'none'; base-uri 'none'; form-action 'none'"
)


def assemble(model: str | os.PathLike[str] | None = None) -> str:
    """Make the page of a model.

    Args:
        model: Path of an ``.onnx`` file; the embedded model if ``None``.

    Returns:
        HTML. The same model and package give the same text.

    Raises:
        ModelError: The model cannot be used, or not in a browser.
        FractureEdgeError: The parts of the page have not been built.
    """
    parts = {name: _built(name) for name in _PARTS}
    name, data, sha256 = read_model(model)
    if is_tflite(name, data):
        raise ModelError(
            f"{name}: TFLite files do not run in the page; give the .onnx file that `fracture-edge export` makes"
        )
    session = open_session(name, data, 1)
    info = read_info(name, session)
    further = Attributes.of_model(info.attributes, info.classes, output_sizes(session), remarks=True)
    if foreign := operator_domains(data) - _DOMAINS:
        raise ModelError(
            f"{name}: operators of {', '.join(sorted(foreign))} do not run in browsers; make a page of the file "
            "that `fracture-edge export` writes"
        )
    if len(data) > _MAX_MODEL:
        raise ModelError(
            f"{name}: {len(data) / 1e6:,.0f} MB, over the limit of {_MAX_MODEL / 1e6:,.0f} MB for a page"
        )
    script, style = parts["page.js"].decode("ascii"), parts["page.css"].decode("ascii")
    inside = {
        "worker": parts["worker.js"],
        "ort": parts["ort.wasm"],
        "webp": parts["webp.wasm"],
        "notices": _notices(parts["licences.txt"]),
        "model": data,
    }
    record = {"rules": contract(), "model": model_record(info, sha256, further)}
    filled = {
        "@CSP@": _POLICY.format(script=_hash(script), style=_hash(style)),
        "@STYLE@": style,
        # A "<" in a sentence could end the element.
        "@DATA@": json.dumps(record, allow_nan=False).replace("<", "\\u003c"),
        "@PARTS@": "\n".join(_element(key, content) for key, content in inside.items()),
        "@SCRIPT@": script,
    }
    page = parts["page.html"].decode("utf-8")
    for place, text in filled.items():
        before, found, after = page.partition(place)
        if not found or "</script" in (script if place == "@SCRIPT@" else ""):
            raise FractureEdgeError(_REBUILD)
        page = before + text + after
    return page


_REBUILD = "the parts of the page are missing or damaged: run `make web` in a checkout, or reinstall fracture-edge"


def _built(name: str) -> bytes:
    try:
        return lzma.decompress((BUILT / f"{name}.xz").read_bytes())
    except (OSError, lzma.LZMAError) as error:
        raise FractureEdgeError(_REBUILD) from error


def _element(name: str, content: bytes) -> str:
    # Without a time, so that equal pages have equal text.
    packed = base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")
    return f'<script type="application/gzip" id="part-{name}">{packed}</script>'


def _hash(text: str) -> str:
    """Return the hash of an inline script or style for a content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}"


def _notices(licences: bytes) -> bytes:
    """Join the licences of all that is inside; onnxruntime's come with its Python package, of the same code."""
    found = [licences.decode("utf-8")]
    for file in metadata.files("onnxruntime") or ():
        if file.name in ("LICENSE", "ThirdPartyNotices.txt"):
            found.append(f"onnxruntime: {file.name}\n\n{file.read_text(encoding='utf-8')}")
    return f"\n{'-' * 72}\n\n".join(found).encode("utf-8")
