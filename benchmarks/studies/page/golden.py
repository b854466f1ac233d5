"""Study `page-golden`: drawn pictures and the program's answers, which the page's JavaScript is tested against."""

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.studies.page.pictures import KINDS, Drawn, draw, spoilt
from fracture_edge.attributes import Attribute, Attributes
from fracture_edge.batch.records import columns, csv_line
from fracture_edge.classifier import FractureClassifier
from fracture_edge.files import atomic_write_text
from fracture_edge.heatmap import over_image
from fracture_edge.images.image_file import ImageFile
from fracture_edge.modelfile import embed_info
from fracture_edge.models import EMBEDDED_FILE
from fracture_edge.policy import Policy
from fracture_edge.prediction import Prediction
from fracture_edge.preprocess import Preprocessing
from fracture_edge.suitability import measure
from fracture_edge.web.contract import contract, further_record, model_record

FILE = Path(__file__).resolve().parents[3] / "web" / "test" / "golden.json"
#: Files above this size are left out: noise and other things that a seed makes again.
_MOST_BYTES = 40_000
_SIZE = 150
#: Seeds of DICOM pictures whose header states a body part: what the model sees, nothing, and something else.
_STATED = (0, 5, 6, 10, 12, 23, 27, 31)
#: Limit of the squared distance in `tolerant_copy`: about half of the drawn pictures exceed it.
TOLERANCE = 900.0
#: Fields of a record that are not those of the page, or not the same everywhere.
_LEFT_OUT = ("path", "elapsed_ms", "model_sha256")
#: Preprocessings beside that of the model, so that all filters and framings are compared.
SPECS = (
    Preprocessing(64, 48, "letterbox", "lanczos", 7),
    Preprocessing(96, 96, "stretch", "box"),
    Preprocessing(40, 70, "letterbox", "bilinear", 0, "portrait"),
)

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def golden(
    check: Annotated[bool, typer.Option(help="Compare the file with the program, and change nothing.")] = False,
) -> None:
    """Write `web/test/golden.json`: drawn pictures, and what the program answers for them.

    Run it after the embedded model, a sentence or a limit has changed; the pictures stay as they are.
    """
    text = render(pictures())
    if check:
        if text != FILE.read_text(encoding="utf-8"):
            typer.echo(f"{FILE.name} is not what the program says; run `python -m benchmarks.studies page-golden`")
            raise typer.Exit(1)
        return
    atomic_write_text(FILE, text)


def pictures() -> list[Drawn]:
    """Return the pictures of the golden file, and those that a new kind adds.

    The bytes that an encoder writes change with its version, so the pictures in the file are kept.
    """
    there = []
    if FILE.is_file():
        cases = json.loads(FILE.read_text(encoding="utf-8"))["cases"]
        there = [Drawn(case["name"], base64.b64decode(case["data"])) for case in cases]
    names = {file.name for file in there}
    return [*there, *(file for file in _drawn() if file.name not in names)]


def _drawn() -> list[Drawn]:
    large = [draw("jpg-large", seed, _SIZE + 150) for seed in (100, 101)]
    large.append(draw("jpg-large-rgb", 102, _SIZE + 150))
    usual = [
        draw(kind, seed, _SIZE)
        for kind in KINDS
        if kind not in ("jpg-large", "jpg-large-rgb", "dcm-frame", "dcm-frames", "dcm-part")
        for seed in range(2)
    ]
    turned = [draw("jpg-turned", seed, _SIZE) for seed in range(2, 12)]
    stored = [draw("dcm-frame", seed, 90) for seed in range(2, 14)] + [draw("dcm-frames", 3, 80)]
    stated = [draw("dcm-part", seed, 90) for seed in _STATED]
    files = [*usual, *turned, *stored, *stated, *large, *spoilt(7, _SIZE)]
    return [file for file in files if len(file.data) <= _MOST_BYTES or file.name.startswith("jpg-large")]


def render(files: list[Drawn]) -> str:
    """Return the golden file as text, with one line for each picture."""
    with TemporaryDirectory() as folder:
        classifier = FractureClassifier(tolerant_copy(Path(folder)), threads=1)
    about = {
        "contract": contract(),
        "model": model_record(classifier.info, "", classifier.attributes),
        "columns": list(columns(classifier.attributes.columns, with_heatmap=False)),
        "specs": [spec.to_dict() for spec in SPECS],
        "policies": list(_decided()),
        "described": list(_described()),
    }
    cases = ",\n".join(json.dumps(_case(classifier, file)) for file in files)
    head = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in about.items())
    return f'{{\n{head},\n"cases": [\n{cases}\n]\n}}\n'


def tolerant_copy(folder: Path) -> Path:
    """Write a copy of the embedded model that doubts fewer pictures, and return its path.

    Its own limit doubts nearly all drawn pictures, and a decision that is always the same shows nothing.
    """
    copy = folder / "tolerant.onnx"
    info = FractureClassifier(threads=1).info
    embed_info(EMBEDDED_FILE, replace(info, typicality={"threshold": TOLERANCE}), copy)
    return copy


def _case(classifier: FractureClassifier, file: Drawn) -> dict[str, Any]:
    predictions = list(classifier.predict_frames(file.data))
    return {
        "name": file.name,
        "frames": [_answer(classifier, file, prediction) for prediction in predictions],
        "data": base64.b64encode(file.data).decode(),
    }


def _answer(classifier: FractureClassifier, file: Drawn, prediction: Prediction) -> dict[str, Any]:
    record = {key: value for key, value in prediction.record().items() if key not in _LEFT_OUT}
    if not prediction.ok:
        return {"record": record}
    height, width = classifier.info.preprocessing.height, classifier.info.preprocessing.width
    source = ImageFile(file.data, model_size=(height, width))
    picture = source.read(prediction.frame - 1)
    framed = classifier.info.preprocessing.framed(picture)
    heatmap = np.zeros((1, 1)) if prediction.heatmap is None else prediction.heatmap
    over = over_image(heatmap, classifier.info.preprocessing, (90, 120))
    return {
        "record": record,
        "size": [picture.pixels.shape[1], picture.pixels.shape[0]],
        "grey": _digest(picture.pixels),
        "colour": picture.colour,
        "aspect": picture.aspect,
        "input": _digest(framed.pixels),
        "specs": [_digest(spec(picture.pixels, picture.aspect)) for spec in SPECS],
        "measures": measure(framed.content, side=framed.side, colour=framed.colour)._asdict(),
        "heatmap": np.asarray(heatmap, np.float64).tolist(),
        "over": np.rint(over[::7, ::7] * 255).astype(int).tolist(),
    }


def _digest(pixels: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _decided() -> Iterator[dict[str, Any]]:
    """Yield decisions at the ends of bands and beside them."""
    for policy in (Policy(0.2, 0.1, 0.4), Policy(0.2, 0.2, 0.2), Policy(0.0, 0.0, 1.0)):
        for probability in (0.0, 0.0999, 0.1, 0.2, 0.3999, 0.4, 1.0):
            decision, reason = policy.decide(probability)
            yield {
                "policy": [policy.threshold, policy.uncertain_low, policy.uncertain_high],
                "probability": probability,
                "decision": decision,
                "code": reason.code,
                "text": reason.text,
            }


def _described() -> Iterator[dict[str, Any]]:
    """Yield descriptions by further outputs: at thresholds, with several labels, headers and odd names."""
    part = Attribute(("hand", "leg", "hip", "shoulder"), 0.56)
    # As a number of 32 bits, 0.48 is below 0.48; "=" begins a formula.
    view = Attribute(("frontal", "=1+1"), 0.48)
    all_three = Attributes({"body_part": part, "view": view}, ("none", "10", "2", 'quoted "ä\x7f"'))
    views = {"view": [0.47, 0.48], "classes": [0.5, 0.25, 0.125, 1e-5]}
    seen = {"hand": [0.9, 0.1, 0.1, 0.1], "none": [0.55, 0.1, 0.2, 0.3], "both": [0.1, 0.6, 0.56, 0.2]}
    for values in seen.values():
        for header in ("", "HAND", "FEMUR", "LEG, FOOT/PELVIS", "XHANDX", "SKULL", "CONSTRUCTOR ARM"):
            yield _description(all_three, {"body_part": values, **views}, header)
    yield _description(Attributes({"view": view}), {"view": [0.7, 0.9]}, "HAND")
    yield _description(Attributes({"body_part": Attribute(("leg", "skull"), 0.5)}), {"body_part": [0, 1]}, "HAND")
    yield _description(Attributes({}, ("a",)), {"classes": [1.0]}, "HAND")
    yield _description(Attributes({}), {}, "HAND")


def _description(attributes: Attributes, outputs: dict[str, list[float]], header: str) -> dict[str, Any]:
    arrays = {name: np.array([values], np.float32) for name, values in outputs.items()}
    found = attributes.describe(arrays, header)
    return {
        "model": further_record(attributes),
        "outputs": {name: values[0].tolist() for name, values in arrays.items()},
        "header": header,
        "columns": found.columns,
        "remark": found.remark,
        "csv": csv_line(found.columns.values()),
    }
