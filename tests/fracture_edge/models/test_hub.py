"""The folder for a model hub: what is in it, and that huggingface_hub reads its card."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fracture_edge import FractureClassifier, __version__
from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import ModelInfo, embed_info
from fracture_edge.models import EMBEDDED_FILE, hub
from fracture_edge.models.card import HOME, CardHeader
from fracture_edge.models.hub import with_absolute_links, write_hub_folder

Run = Callable[..., tuple[int, str, str]]
POINT = {
    "threshold": 0.25, "uncertain_low": 0.125, "uncertain_high": 0.5, "sensitivity": 0.9, "specificity": 0.8,
    "uncertain_share": 0.4, "images": "out-of-fold",
}  # fmt: skip


@pytest.fixture(autouse=True)
def page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A page, whether or not a checkout has built its parts."""
    (tmp_path / "built").mkdir()
    monkeypatch.setattr("fracture_edge.web.assemble.BUILT", tmp_path / "built")
    monkeypatch.setattr("fracture_edge.web.assemble.assemble", lambda model: f"<html>{model}</html>")


@pytest.fixture
def own(write_graph: Callable[..., Path], tiny_info: ModelInfo, tmp_path: Path) -> Path:
    """A model file that knows where it comes from."""
    info = replace(
        tiny_info,
        version="1.2",
        operating_points={"balanced": POINT},
        training={"layout": "fracatlas", "fingerprint": "abc", "images": {"train": {"fractured": 3}}, "seed": 0},
        metrics={
            "validation": {
                "images": 7, "fractured": 3, "auroc": 0.87654, "balanced_accuracy": 0.75, "log_loss": 1.0
            }
        },
        licence="CC BY 4.0: somebody",
    )  # fmt: skip
    path = write_graph(tmp_path / "own.onnx")
    embed_info(path, info, path)
    return path


def loaded(card: Path) -> Any:
    repocard = pytest.importorskip("huggingface_hub")
    return repocard.ModelCard.load(card)


def test_folder_of_the_embedded_model(tmp_path: Path) -> None:
    folder = tmp_path / "upload"
    sizes = write_hub_folder(folder, None)
    assert sizes == {path.name: path.stat().st_size for path in folder.iterdir()}
    assert sizes.keys() == {"edge-int8.onnx", "README.md", "config.json", "fracture-edge.html"}
    assert (folder / "edge-int8.onnx").read_bytes() == EMBEDDED_FILE.read_bytes()
    config = json.loads((folder / "config.json").read_text())
    classifier = FractureClassifier(folder / config["model_file"])
    assert config["model_sha256"] == classifier.sha256 == FractureClassifier().sha256
    assert (config["library_name"], config["library_version"]) == ("fracture-edge", __version__)
    assert config["input"] == {"name": "image", "type": "uint8", "shape": ["N", 288, 224, 1]}
    assert config["outputs"] == ["atypicality", "body_part", "heatmap", "probability", "view"]
    assert ModelInfo.from_json(json.dumps(config["metadata"])) == classifier.info


def test_card_of_the_embedded_model_is_read_back(tmp_path: Path) -> None:
    write_hub_folder(tmp_path / "upload", None)
    card = loaded(tmp_path / "upload" / "README.md")
    assert (card.data.license, card.data.library_name) == ("apache-2.0", "fracture-edge")
    assert (card.data.pipeline_tag, card.data.datasets) == ("image-classification", ["fracatlas"])
    assert card.data.base_model == "efficientnet-lite0"
    assert {"medical", "onnx", "int8"} <= set(card.data.tags)
    assert card.data.model_name == FractureClassifier().info.full_name
    assert len(card.data.eval_results) == 9
    assert card.text.lstrip().startswith("# Model card: edge-int8")


def test_links_lead_to_the_repository(tmp_path: Path) -> None:
    text = "[a](../../docs/device.md#operating-points), [b](https://doi.org/1), [c](#caveats), [d](edge-int8.json)"
    assert with_absolute_links(text) == (
        f"[a]({HOME}/blob/main/docs/device.md#operating-points), [b](https://doi.org/1), [c](#caveats), "
        f"[d]({HOME}/blob/main/fracture_edge/models/edge-int8.json)"
    )
    write_hub_folder(tmp_path / "upload", None)
    assert "](../" not in (tmp_path / "upload" / "README.md").read_text()


def test_home_is_that_of_the_package(repository: Path) -> None:
    assert f'Homepage = "{HOME}"' in (repository / "pyproject.toml").read_text()


def test_model_of_ones_own(own: Path, cli: Run, tmp_path: Path) -> None:
    folder = tmp_path / "upload"
    code, out, err = cli("hub", folder, "--model", own, "--licence", "cc-by-4.0")
    assert (code, out, err.count("\n")) == (0, "", 4)
    assert (folder / "own.onnx").read_bytes() == own.read_bytes()
    assert (folder / "fracture-edge.html").read_text() == f"<html>{own}</html>"
    card = loaded(folder / "README.md")
    assert (card.data.license, card.data.model_name) == ("cc-by-4.0", "tiny 1.2")
    found = {each.metric_type: (each.metric_value, each.dataset_split) for each in card.data.eval_results}
    # Only metrics that hubs have names for; four decimals.
    assert found == {"roc_auc": (0.8765, "validation"), "balanced_accuracy": (0.75, "validation")}
    assert hashlib.sha256(own.read_bytes()).hexdigest() in card.text
    assert "| `balanced` | 0.250 | 0.125 to 0.500 | 0.900 | 0.800 | 0.400 | out-of-fold |" in card.text
    assert "**For research and education. Not a medical device.**" in card.text
    assert "- Licence and attribution: CC BY 4.0: somebody\n" in card.text
    assert '- Training, images: {"train": {"fractured": 3}}\n- Training, seed: 0\n' in card.text


def test_bare_metadata_and_tflite(tiny_tflite: Any, tmp_path: Path) -> None:
    assert write_hub_folder(tmp_path / "upload", tiny_tflite.plain).keys() == {
        "plain.tflite",
        "README.md",
        "config.json",
    }
    card = loaded(tmp_path / "upload" / "README.md")
    assert (card.data.license, card.data.datasets, card.data.eval_results) == ("other", None, None)
    assert {"tflite", "float32"} <= set(card.data.tags)


def test_a_checkout_without_the_page_says_so(
    own: Path, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fracture_edge.web.assemble.BUILT", tmp_path / "missing")
    code, _, err = cli("hub", tmp_path / "upload", "--model", own)
    assert code == 0
    assert "without the page, which needs an .onnx file and the parts that `make web` builds" in err
    assert not (tmp_path / "upload" / hub.PAGE).exists()


def test_nothing_is_replaced_without_force(own: Path, tmp_path: Path) -> None:
    folder = tmp_path / "upload"
    folder.mkdir()
    (folder / "README.md").write_text("mine")
    (folder / "notes.txt").write_text("mine too")
    with pytest.raises(FractureEdgeError, match=r"README\.md exists already; give --force to replace it"):
        write_hub_folder(folder, own)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "notes.txt"]
    write_hub_folder(folder, own, force=True)
    assert "# tiny 1.2" in (folder / "README.md").read_text()
    assert (folder / "notes.txt").read_text() == "mine too"


def test_the_licence_of_the_embedded_model_is_fixed(tmp_path: Path) -> None:
    with pytest.raises(FractureEdgeError, match="the embedded model has its licence"):
        write_hub_folder(tmp_path / "upload", None, licence="mit")
    assert not (tmp_path / "upload").exists()


def test_text_that_yaml_could_mistake(tmp_path: Path) -> None:
    header = CardHeader(name="a", licence="no", tags=("1.0", "a: b", "- c", 'd "e" # f', "\u00e4\n"))
    path = tmp_path / "README.md"
    path.write_text(header.text() + "\n# Title\n")
    found = loaded(path).data
    assert (found.license, found.tags[5:]) == ("no", ["1.0", "a: b", "- c", 'd "e" # f', "\u00e4\n"])
