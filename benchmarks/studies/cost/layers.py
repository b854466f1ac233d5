"""Time the kinds of layers of a network in two runtimes: `python -m benchmarks.studies layers FILE.onnx ...`.

onnxruntime and OpenVINO time each node themselves, on one thread, and take turns. Writes
``benchmarks/results/layers/FILE.json``.
"""

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import typer

from benchmarks.records.environment import Environment
from benchmarks.runtimes.runners import OpenVinoRunner
from fracture_edge.console import say
from fracture_edge.modelfile import INPUT_NAME
from fracture_edge.runtimes.session import session_options
from train.artifacts import sha256
from train.evaluation.formatting import markdown_table
from train.json_records import from_plain, read_json, write_record

app = typer.Typer(add_completion=False, rich_markup_mode=None)
RESULTS = Path(__file__).resolve().parents[2] / "results" / "layers"
#: Kinds of layers, in the order of the table; `_REST` is what has no weights.
FIRST, POINTWISE, DEPTHWISE, CONVOLUTION, DENSE, REST = (
    "first convolution",
    "1x1 convolutions",
    "depthwise convolutions",
    "other convolutions",
    "Dense layers",
    "all else",
)
KINDS = (FIRST, POINTWISE, DEPTHWISE, CONVOLUTION, DENSE, REST)
#: Parts of the operators' names in both runtimes, such as QLinearConv, FusedGemm or FullyConnected.
_CONVOLUTIONS, _DENSE = ("Conv",), ("MatMul", "Gemm", "FullyConnected")
_NO_CONVOLUTIONS = ("Convert",)
#: Number of inferences that a runtime makes before it is the other's turn.
_TURN = 10
#: Number of uncounted inferences at the start of each turn: the other runtime has emptied the caches.
_WARM_UP = 2
#: Layer's name and operator in a runtime, and its milliseconds.
Timed = tuple[str, str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTimes:
    """Times of the kinds of layers of one file.

    Attributes:
        file: Name of the file.
        sha256: SHA-256 of the file, hexadecimal.
        layers: Number of layers by kind; 0 for `REST`.
        onnxruntime_ms: Median milliseconds by kind in onnxruntime.
        openvino_ms: Median milliseconds by kind in OpenVINO.
        runs: Number of timed inferences in each runtime.
        environment: Machine and package versions.
    """

    file: str
    sha256: str
    layers: dict[str, int]
    onnxruntime_ms: dict[str, float]
    openvino_ms: dict[str, float]
    runs: int
    environment: Environment


def kinds_of_convolutions(model: onnx.ModelProto) -> dict[str, str]:
    """Return the kind of each convolution by the name of its node; the first one in the graph is `FIRST`."""
    found: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
            if not found:
                kind = FIRST
            elif attributes.get("group", 1) > 1:
                kind = DEPTHWISE
            else:
                kind = POINTWISE if set(attributes.get("kernel_shape", ())) == {1} else CONVOLUTION
            found[node.name] = kind
    return found


def kind_of(name: str, operator: str, convolutions: Mapping[str, str]) -> str:
    """Return the kind of a layer as a runtime names it.

    Args:
        name: Name of the layer: that of a node of the file, perhaps with an ending of the runtime.
        operator: Operator of the runtime.
        convolutions: Kinds of convolutions, of `kinds_of_convolutions`.
    """
    if any(part in operator for part in _CONVOLUTIONS) and operator not in _NO_CONVOLUTIONS:
        # The longest of the names that it begins with: Conv_33 is the beginning of Conv_332, too.
        known = max((each for each in convolutions if name.startswith(each)), key=len, default=None)
        return CONVOLUTION if known is None else convolutions[known]
    return DENSE if any(part in operator for part in _DENSE) else REST


def measure(path: Path, runs: int) -> LayerTimes:
    """Time the kinds of layers of a file.

    Args:
        path: Path of an ``.onnx`` file of `fracture-edge export`.
        runs: Number of timed inferences in each runtime; rounded up to whole turns.

    Raises:
        FractureEdgeError: OpenVINO is not installed, or cannot read the file.
    """
    convolutions = kinds_of_convolutions(onnx.load(path))
    openvino = _OpenVinoLayers(path)
    size = openvino.info.preprocessing
    image = np.random.default_rng(0).integers(0, 256, (1, size.height, size.width, 1), np.uint8)
    times: dict[str, list[list[Timed]]] = {"onnxruntime": [], "openvino": []}
    for _ in range(-(-runs // _TURN)):
        times["onnxruntime"] += _in_onnxruntime(path, image)
        times["openvino"] += openvino.times(image)
    by_kind = {runtime: _medians(found, convolutions) for runtime, found in times.items()}
    layers = [*convolutions.values(), *(DENSE for node in times["openvino"][0] if kind_of(*node[:2], {}) == DENSE)]
    return LayerTimes(
        file=path.name,
        sha256=sha256(path),
        layers={kind: layers.count(kind) for kind in KINDS},
        onnxruntime_ms=by_kind["onnxruntime"],
        openvino_ms=by_kind["openvino"],
        runs=len(times["openvino"]),
        environment=Environment.here(),
    )


def _medians(inferences: Sequence[Sequence[Timed]], convolutions: Mapping[str, str]) -> dict[str, float]:
    sums: dict[str, list[float]] = {kind: [0.0] * len(inferences) for kind in KINDS}
    for number, layers in enumerate(inferences):
        for name, operator, milliseconds in layers:
            sums[kind_of(name, operator, convolutions)][number] += milliseconds
    return {kind: float(np.median(found)) for kind, found in sums.items()}


def _in_onnxruntime(path: Path, image: npt.NDArray[np.uint8]) -> list[list[Timed]]:
    """Run one turn in onnxruntime, whose profile is complete only when its session ends."""
    options = session_options(1)
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        for _ in range(_WARM_UP + _TURN):
            session.run(None, {INPUT_NAME: image})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    durations: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            layer = event["name"].removesuffix("_kernel_time"), event["args"]["op_name"]
            durations[layer].append(event["dur"] / 1000)
    return [
        [(name, operator, found[number]) for (name, operator), found in durations.items()]
        for number in range(_WARM_UP, _WARM_UP + _TURN)
    ]


class _OpenVinoLayers(OpenVinoRunner):
    """OpenVINO that times its layers."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, threads=1)
        self._settings["PERF_COUNT"] = True

    def times(self, image: npt.NDArray[np.uint8]) -> list[list[Timed]]:
        """Run one turn."""
        found = []
        for _ in range(_WARM_UP + _TURN):
            self.probabilities(image)
            found.append(
                [
                    (node.node_name, node.node_type, node.real_time.total_seconds() * 1000)
                    for node in self._compiled[1].profiling_info
                ]
            )
        return found[_WARM_UP:]


def table() -> str:
    """Render all files in ``benchmarks/results/layers`` as Markdown."""
    results = [from_plain(LayerTimes, read_json(path), str(path)) for path in sorted(RESULTS.glob("*.json"))]
    rows: list[Sequence[Any]] = []
    for result in results:
        rows += [
            (
                f"`{result.file}`",
                kind,
                result.layers[kind] or "",
                _ms(result.onnxruntime_ms, kind),
                _ms(result.openvino_ms, kind),
            )
            for kind in KINDS
            if result.layers[kind] or kind == REST
        ]
        total = (sum(found.values()) for found in (result.onnxruntime_ms, result.openvino_ms))
        rows.append((f"`{result.file}`", "together", "", *(f"{each:.2f}" for each in total)))
    return markdown_table(("file", "kind", "layers", "onnxruntime ms", "OpenVINO ms"), rows)


def _ms(times: Mapping[str, float], kind: str) -> str:
    return f"{times[kind]:.2f}"


@app.command()
def run(
    files: Annotated[list[Path], typer.Argument(metavar="FILE.onnx...", help="Exported ONNX files.")],
    runs: Annotated[int, typer.Option(min=1, help="Number of timed inferences in each runtime.")] = 200,
) -> None:
    """Time the kinds of layers of ONNX files in onnxruntime and OpenVINO, one thread, for docs/formats.md."""
    for path in files:
        say(f"{path.name}: timing")
        write_record(RESULTS / f"{path.stem}.json", measure(path, runs))
